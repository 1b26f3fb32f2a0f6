//! Containers that run while something is measured.

use crate::measure::must;
use crate::setup::Setup;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// How many containers run now.
pub fn count() -> usize {
    RUNNING.load(Ordering::Relaxed)
}

/// Sleeping containers of rocker; removed when this value goes.
pub struct Live<'a> {
    setup: &'a Setup,
    options: Vec<String>,
    names: Vec<String>,
}

impl<'a> Live<'a> {
    /// On no network.
    pub fn new(setup: &'a Setup) -> Self {
        Self::on(setup, &["--net", "none"])
    }

    /// With these options; without any they are on the default bridge.
    pub fn on(setup: &'a Setup, options: &[&str]) -> Self {
        let options = options.iter().map(|option| option.to_string()).collect();
        Self { setup, options, names: Vec::new() }
    }

    /// Starts containers until there are so many, and waits until they do nothing but run: the kernel
    /// is still busy for a while with the starts, and with taking away what ran before.
    pub fn grow(&mut self, count: usize) {
        while self.names.len() < count {
            self.add(&format!("live{}", self.names.len()), &["/bin/sleep", "100000"]);
        }
        std::thread::sleep(Duration::from_secs(3));
    }

    /// Starts one by a name.
    pub fn add(&mut self, name: &str, words: &[&str]) {
        RUNNING.fetch_add(1, Ordering::Relaxed);
        let rocker = self.setup.rocker.as_str();
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let run = ["run", "-d", "--name", name, "--image", "busybox"];
        must(&[&[rocker][..], &run[..4], &options, &run[4..], words].concat());
        self.names.push(name.to_string());
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        let mut words = vec![self.setup.rocker.as_str(), "rm", "-f"];
        words.extend(self.names.iter().map(String::as_str));
        if words.len() > 3 {
            must(&words);
        }
        RUNNING.fetch_sub(self.names.len(), Ordering::Relaxed);
    }
}

/// One container of another engine, which `start` runs and `end` stops.
pub struct Other {
    end: Vec<String>,
}

impl Other {
    pub fn new(start: &[String], end: Vec<String>) -> Option<Self> {
        // In the background: the yardstick waits for its container, the others return.
        let mut command = std::process::Command::new(&start[0]);
        let null = std::process::Stdio::null;
        command.args(&start[1..]).stdin(null()).stdout(null()).stderr(null());
        command.spawn().ok()?;
        RUNNING.fetch_add(1, Ordering::Relaxed);
        Some(Self { end })
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        must(&self.end.iter().map(String::as_str).collect::<Vec<_>>());
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}
