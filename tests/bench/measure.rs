//! Runs commands and takes their times: every command once a round, in a new random order, so that
//! none always follows the same neighbour. Ratios are taken within a round, then the median.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A command that is measured.
pub struct Case {
    pub name: &'static str,
    pub words: Vec<String>,
}

/// What one run took, or nothing where it failed.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub wall: Duration,
    /// User and system time of the command and the children it waited for.
    pub cpu: Duration,
}

/// The runs of one case, by round.
pub struct Series {
    pub name: &'static str,
    pub words: Vec<String>,
    pub runs: Vec<Option<Run>>,
}

impl Case {
    pub fn new<S: AsRef<str>>(name: &'static str, words: impl IntoIterator<Item = S>) -> Self {
        Self { name, words: words.into_iter().map(|word| word.as_ref().to_string()).collect() }
    }
}

impl Series {
    fn walls(&self) -> impl Iterator<Item = f64> {
        self.runs.iter().flatten().map(|run| run.wall.as_secs_f64() * 1e3)
    }

    /// Milliseconds.
    pub fn median(&self) -> f64 {
        median(self.walls().collect())
    }

    /// Milliseconds.
    pub fn least(&self) -> f64 {
        self.walls().fold(f64::NAN, f64::min)
    }

    /// Milliseconds.
    pub fn cpu(&self) -> f64 {
        median(self.runs.iter().flatten().map(|run| run.cpu.as_secs_f64() * 1e3).collect())
    }

    /// The median of the ratios to another series of the same rounds.
    pub fn ratio(&self, other: &Series) -> f64 {
        let pairs = self.runs.iter().zip(&other.runs).filter_map(|pair| match pair {
            (Some(a), Some(b)) => Some(a.wall.as_secs_f64() / b.wall.as_secs_f64()),
            _ => None,
        });
        median(pairs.collect())
    }
}

/// NaN of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// Runs every case once a round, with a pause before each; a case that does not work is left out.
pub fn rounds(cases: Vec<Case>, count: usize, pause: Duration) -> Vec<Series> {
    let mut series: Vec<Series> = cases
        .into_iter()
        .filter(works)
        .map(|case| Series { name: case.name, words: case.words, runs: Vec::new() })
        .collect();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut order: Vec<usize> = (0..series.len()).collect();
    for _ in 0..count {
        for last in (1..order.len()).rev() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            order.swap(last, (random % (last as u64 + 1)) as usize);
        }
        for &index in &order {
            std::thread::sleep(pause);
            let run = run(&series[index].words);
            series[index].runs.push(run);
            settle();
        }
    }
    for series in &series {
        let failed = series.runs.iter().filter(|run| run.is_none()).count();
        if failed > 0 {
            crate::report::note(&format!("{}: {failed} of {count} runs failed", series.name));
        }
    }
    series
}

/// Runs a case twice, to warm up and to see whether it works here at all.
fn works(case: &Case) -> bool {
    for _ in 0..2 {
        let output = command(&case.words).stderr(Stdio::piped()).output();
        let problem = match output {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            crate::report::note(&format!("left out {}: {}", case.name, problem.trim()));
            return false;
        }
        settle();
    }
    true
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs a command to its end; a hanging one is killed.
pub fn run(words: &[String]) -> Option<Run> {
    let mut command = command(words);
    let start = Instant::now();
    let child = command.spawn().ok()?;
    let pid = child.id() as i32;
    // SAFETY: plain system calls on a child that nobody else waits for; the structures are zeroed,
    // borrowed for the calls, and filled by them.
    #[allow(unsafe_code)]
    unsafe {
        let pidfd = OwnedFd::from_raw_fd(libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32);
        let mut poll = libc::pollfd { fd: pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        if libc::poll(&raw mut poll, 1, 60_000) == 0 {
            libc::kill(pid, libc::SIGKILL);
        }
        let (mut status, mut usage) = (0, std::mem::zeroed::<libc::rusage>());
        let waited = libc::wait4(pid, &raw mut status, 0, &raw mut usage);
        let wall = start.elapsed();
        let cpu = duration(usage.ru_utime) + duration(usage.ru_stime);
        (waited == pid && status == 0).then_some(Run { wall, cpu })
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000)
}

/// Waits for what a command has left running to end (a runtime's helpers), for the neighbour's sake.
///
/// We are the first process of our namespace: what lost its parent is our child. What was running
/// before, because it belongs to a living container, is not waited for.
fn settle() {
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        // SAFETY: takes no memory of ours.
        #[allow(unsafe_code)]
        let reaped = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        match reaped {
            -1 => return,
            0 if crate::live::count() > 0 => return,
            0 => std::thread::sleep(Duration::from_micros(300)),
            _ => {}
        }
    }
}

/// Runs a command that must work, and gives its standard output.
pub fn must(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        Ok(output) => panic!("{words:?}: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => panic!("{words:?}: {error}"),
    }
}
