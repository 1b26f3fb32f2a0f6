//! Restart policies: whether a container that has ended is started again, and when.

use super::record::Record;
use crate::error::{Error, Result};
use std::time::Duration;

pub const ALWAYS: &str = "always";
pub const ON_FAILURE: &str = "on-failure";
pub const UNLESS_STOPPED: &str = "unless-stopped";

/// Docker's: the first pause, which doubles up to the longest.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);
/// After running for this long a container has got over what ended it before.
const GOOD_NANOSECONDS: i64 = 10_000_000_000;

/// Reads `no`, `on-failure[:N]`, `always`, `unless-stopped`. Gives the name, empty for `no`, and
/// N, 0 for any number of restarts.
pub fn parse(text: &str) -> Result<(String, u32)> {
    let (name, most) = text.split_once(':').map_or((text, None), |(name, n)| (name, Some(n)));
    let most = match (name, most) {
        (_, None) => 0,
        (ON_FAILURE, Some(most)) => most
            .parse()
            .map_err(|_| Error::new(format!("the maximum of restarts {most:?} is no number")))?,
        _ => return Err(Error::new("a maximum of restarts goes with on-failure only")),
    };
    match name {
        "" | "no" => Ok((String::new(), 0)),
        ALWAYS | ON_FAILURE | UNLESS_STOPPED => Ok((name.to_owned(), most)),
        _ => Err(Error::new("neither no, nor on-failure[:N], nor always, nor unless-stopped")),
    }
}

/// How long to wait before a container that ended by itself is started again; `None` for never.
///
/// `count` is how often that has been done since it was started by hand, `last` the pause before
/// the last time, `ran` for how many nanoseconds it ran now.
pub fn pause(record: &Record, code: u8, count: u32, last: Duration, ran: i64) -> Option<Duration> {
    let again = match record.restart.as_str() {
        ALWAYS | UNLESS_STOPPED => true,
        ON_FAILURE => code != 0 && (record.restart_most == 0 || count < record.restart_most),
        _ => false,
    };
    let pause = match last {
        Duration::ZERO => FIRST,
        _ if ran >= GOOD_NANOSECONDS => FIRST,
        last => (last * 2).min(LONGEST),
    };
    again.then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::{options::Options, spec};
    use crate::image::{Image, ImageConfig};

    fn record(policy: &str) -> Record {
        let image = Image {
            name: String::new(),
            tag: String::new(),
            id: String::new(),
            size: 0,
            created_time: String::new(),
            created: 0,
            boot_id: None,
            created_uptime: None,
            layers: Vec::new(),
            config: ImageConfig::default(),
            comment: String::new(),
            author: String::new(),
        };
        let options = Options { restart: Some(policy.to_owned()), ..Options::default() };
        spec::record(&options, &image, &["x".to_owned()], "0123456789".to_owned()).unwrap()
    }

    #[test]
    fn the_pause_doubles_from_a_tenth_of_a_second_to_a_minute_and_begins_anew_after_a_good_run() {
        let record = record("always");
        let mut last = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            last = pause(&record, 1, 0, last, 5).unwrap();
            pauses.push(last.as_millis());
        }
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000];
        assert_eq!(pauses, expected);
        assert_eq!(pause(&record, 1, 0, last, GOOD_NANOSECONDS), Some(FIRST));
    }

    #[test]
    fn only_a_failure_counts_for_on_failure_and_only_so_often() {
        let zero = Duration::ZERO;
        for (policy, code, count, again) in [
            ("no", 1, 0, false),
            ("always", 0, 1000, true),
            ("unless-stopped", 0, 1000, true),
            ("on-failure", 0, 0, false),
            ("on-failure", 1, 1000, true),
            ("on-failure:2", 1, 1, true),
            ("on-failure:2", 1, 2, false),
        ] {
            let pause = pause(&record(policy), code, count, zero, 0);
            assert_eq!(pause.is_some(), again, "{policy} {code} {count}");
        }
    }

    #[test]
    fn a_policy_that_is_none_is_refused() {
        for bad in ["never", "always:3", "no:1", "on-failure:", "on-failure:-1", "on-failure:x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("on-failure:3").unwrap(), ("on-failure".to_owned(), 3));
        assert_eq!(parse("no").unwrap(), (String::new(), 0));
    }
}
