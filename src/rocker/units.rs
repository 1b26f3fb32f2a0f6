//! Numbers as people write and read them: limits, processors, lengths of time, and sizes that are shown.

use crate::container::size::{self, decimal};
use crate::container::spec::LEAST_MEMORY;
use crate::error::{Error, Result};

/// A whole number.
pub fn whole(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Error::new("not a whole number"))
}

/// A memory limit in bytes; 0 is none, as with docker.
pub fn parse_memory(text: &str) -> Result<Option<u64>> {
    match size::parse(text)? {
        0 => Ok(None),
        1..LEAST_MEMORY => Err(Error::new("the minimum memory limit is 6m")),
        bytes => Ok(Some(bytes)),
    }
}

/// A limit of memory and swap together; -1 is unlimited, 0 as if it were not given.
pub fn parse_swap(text: &str) -> Result<Option<i64>> {
    match text {
        "-1" => Ok(Some(-1)),
        _ => Ok(Some(size::parse(text)? as i64).filter(|bytes| *bytes != 0)),
    }
}

/// Thousandths of a processor: `1.5` is 1500; 0 is no limit.
pub fn parse_cpus(text: &str) -> Result<Option<u64>> {
    let error = || Error::new("not a number of processors like 1.5");
    let (whole, fraction, scale) = decimal(text).ok_or_else(error)?;
    if (whole, fraction) == (0, 0) {
        return Ok(None);
    }
    let thousandths = whole.checked_mul(1000).ok_or_else(error)? + fraction * 1000 / scale;
    match u64::try_from(thousandths) {
        // The kernel gives no share of a tenth of a second below a millisecond.
        Ok(0..10) => Err(Error::new("less than 0.01 of a processor")),
        Ok(thousandths) if thousandths <= 1_000_000_000 => Ok(Some(thousandths)),
        _ => Err(error()),
    }
}

/// A weight for processor time.
pub fn parse_shares(text: &str) -> Result<u64> {
    match text.parse() {
        Ok(shares) if (2..=262_144).contains(&shares) => Ok(shares),
        _ => Err(Error::new("not a whole number from 2 to 262144")),
    }
}

/// A list of processors, `0-1,3`: only its form is checked, not which of them there are.
pub fn parse_cpuset(text: &str) -> Result<String> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u32>().ok()).flatten()
    };
    let good = text.split(',').all(|part| match part.split_once('-') {
        Some((from, to)) => matches!((number(from), number(to)), (Some(a), Some(b)) if a <= b),
        None => number(part).is_some(),
    });
    match good {
        true => Ok(text.to_string()),
        false => Err(Error::new("not a list of processors like 0-1,3")),
    }
}

/// A size in decimal units with three significant digits: `4.43MB`, `187MB`, `999B`.
pub fn size(bytes: u64) -> String {
    let mut unit = 0;
    let mut scale = 1_u128;
    let bytes = u128::from(bytes);
    // 999.5 of a unit is shown as 1.00 of the next.
    while bytes * 2 >= scale * 1999 && unit < 6 {
        scale *= 1000;
        unit += 1;
    }
    let name = ["B", "kB", "MB", "GB", "TB", "PB", "EB"][unit];
    let decimals = match () {
        () if unit == 0 || bytes * 10 >= scale * 995 => 0,
        () if bytes * 100 >= scale * 995 => 1,
        () => 2,
    };
    let parts = 10_u128.pow(decimals);
    let rounded = (bytes * parts * 2 + scale) / (scale * 2);
    let mut text = (rounded / parts).to_string();
    if decimals > 0 {
        let fraction = (rounded % parts + parts).to_string();
        let fraction = fraction[1..].trim_end_matches('0');
        if !fraction.is_empty() {
            text.push('.');
            text.push_str(fraction);
        }
    }
    text + name
}

/// A length of time in words, as docker tells it: `3 minutes`, `About an hour`.
pub fn duration(seconds: i64) -> String {
    let plural =
        |number: i64, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    let days = hours / 24;
    match seconds {
        ..=0 => "Less than a second".to_string(),
        1..60 => plural(seconds, "second"),
        60..120 => "About a minute".to_string(),
        _ if minutes < 60 => plural(minutes, "minute"),
        _ if hours <= 1 => "About an hour".to_string(),
        _ if hours < 48 => plural(hours, "hour"),
        _ if days < 14 => plural(days, "day"),
        _ if days < 60 => plural(days / 7, "week"),
        _ if days < 730 => plural(days / 30, "month"),
        _ => plural(days / 365, "year"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_limit_below_six_mebibytes_is_refused() {
        assert!(parse_memory("1k").is_err());
        assert!(parse_memory("6291455").is_err());
        assert_eq!(parse_memory("6m"), Ok(Some(6 << 20)));
    }

    #[test]
    fn a_limit_of_0_is_none() {
        assert_eq!((parse_memory("0"), parse_cpus("0.0")), (Ok(None), Ok(None)));
        assert_eq!((parse_swap("0b"), parse_swap("-1")), (Ok(None), Ok(Some(-1))));
    }

    #[test]
    fn processors_are_counted_in_thousandths() {
        assert_eq!(parse_cpus("1.5"), Ok(Some(1500)));
        assert_eq!(parse_cpus(".25"), Ok(Some(250)));
        assert_eq!(parse_cpus("0.01"), Ok(Some(10)));
        for text in ["0.0001", "0.009", "-1", "x", "1e9", "99999999999999999999"] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_lie_between_two_and_262144() {
        assert_eq!(parse_shares("2"), Ok(2));
        assert_eq!(parse_shares("262144"), Ok(262_144));
        for text in ["0", "1", "262145", "-1", "many"] {
            assert!(parse_shares(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_of_processors_has_numbers_and_rising_ranges() {
        for text in ["0", "0-1", "0-1,3", "99"] {
            assert_eq!(parse_cpuset(text), Ok(text.to_string()));
        }
        for text in ["", ",", "1-0", "a", "0-", "-1", "0--1", "0, 1", "+1"] {
            assert!(parse_cpuset(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_three_significant_digits() {
        let pairs = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_234, "1.23kB"),
            (4_430_000, "4.43MB"),
            (187_400_000, "187MB"),
            (18_750_000, "18.8MB"),
            (1_500_000, "1.5MB"),
            (999_499, "999kB"),
            (999_500, "1MB"),
            (9_995_000, "10MB"),
            (u64::MAX, "18.4EB"),
        ];
        for (bytes, text) in pairs {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn durations_read_as_dockers() {
        let pairs = [
            (-5, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (172_800, "2 days"),
            (14 * 86_400, "2 weeks"),
            (60 * 86_400, "2 months"),
            (800 * 86_400, "2 years"),
        ];
        for (seconds, text) in pairs {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }
}
