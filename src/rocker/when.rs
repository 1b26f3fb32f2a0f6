//! Instants as text: RFC 3339 in UTC, the local time of tables, and what `--since` takes.

use super::units;
use crate::error::{Error, Result};
use crate::sys::time::{self, SECOND, date, local, utc};

const DAY: i64 = 86_400;

/// How many days after 1970-01-01 a day of the Gregorian calendar is.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let month = (month + 9) % 12;
    let day = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day - 719_468
}

fn two(text: &mut String, number: i64, before: char) {
    text.push(before);
    text.push((b'0' + (number / 10 % 10) as u8) as char);
    text.push((b'0' + (number % 10) as u8) as char);
}

/// `2026-01-14T17:07:17.123456789Z`; what never happened (0) is the year 1, as with docker.
pub fn rfc3339(nanoseconds: i64) -> String {
    match nanoseconds {
        0 => "0001-01-01T00:00:00Z".to_string(),
        _ => utc(nanoseconds),
    }
}

/// `2026-01-14 17:07:17` where the host lives.
pub fn local_text(seconds: i64) -> String {
    let Some(at) = local(seconds) else { return seconds.to_string() };
    let mut text = format!("{:04}", at.year);
    two(&mut text, at.month.into(), '-');
    two(&mut text, at.day.into(), '-');
    two(&mut text, at.hour.into(), ' ');
    two(&mut text, at.minute.into(), ':');
    two(&mut text, at.second.into(), ':');
    text
}

/// `2026-01-14 17:07:17 +0100 CET`, as docker's lists have it.
pub fn local_text_with_zone(seconds: i64) -> String {
    let at = local(seconds).unwrap_or_default();
    let ahead = at.offset_seconds.abs();
    let mut text = local_text(seconds);
    text.push(' ');
    two(&mut text, ahead / 3600, if at.offset_seconds < 0 { '-' } else { '+' });
    text.push((b'0' + (ahead / 600 % 6) as u8) as char);
    text.push((b'0' + (ahead / 60 % 10) as u8) as char);
    text.push(' ');
    text.push_str(if at.zone.is_empty() { "UTC" } else { &at.zone });
    text
}

/// The time of day, and since the boot, in nanoseconds.
#[derive(Clone, Copy)]
pub struct Now {
    pub wall: i64,
    pub uptime: i64,
}

impl Now {
    pub fn read() -> Self {
        Self { wall: time::now(), uptime: time::since_boot() }
    }

    /// How long ago something was, in words: by the clock that nobody sets where it was in this boot,
    /// so where `uptime` is not 0.
    pub fn since(self, wall: i64, uptime: i64) -> String {
        let passed = if uptime == 0 { self.wall - wall } else { self.uptime - uptime };
        units::duration(passed / SECOND)
    }
}

/// What `--since` and `--until` take, in nanoseconds since the epoch: an RFC 3339 time (local
/// without a zone), seconds since the epoch, or how long ago as in `1h30m`.
pub fn parse(text: &str, now: i64) -> Result<i64> {
    seconds(text)
        .or_else(|| ago(text).and_then(|ago| now.checked_sub(ago)))
        .or_else(|| calendar(text))
        .ok_or_else(|| Error::new("not a time like 2026-01-14T17:07:17Z, 1768410437 or 10m"))
}

fn digits(text: &str) -> Option<i64> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().ok()).flatten()
}

/// `123456789` of `.123456789`, filled up with zeros.
fn fraction(text: &str) -> Option<i64> {
    match text {
        "" => Some(0),
        _ => {
            let padded = format!("{text:0<9}");
            padded.is_char_boundary(9).then(|| digits(&padded[..9]))?
        }
    }
}

fn seconds(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    digits(whole)?.checked_mul(SECOND)?.checked_add(fraction(part)?)
}

/// A length of time: numbers with the units of Go, and days.
fn ago(text: &str) -> Option<i64> {
    let (mut rest, mut total) = (text, 0_i64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            "d" => DAY * SECOND,
            _ => return None,
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let part = i128::from(fraction(part)?) * i128::from(unit) / i128::from(SECOND);
        total = total.checked_add(digits(whole)?.checked_mul(unit)?)?.checked_add(part as i64)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

/// `2026-01-14`, `…T17:07`, `…T17:07:17.5`, each perhaps with `Z` or `+01:00`.
fn calendar(text: &str) -> Option<i64> {
    let (day, clock) = match text.split_once(['T', 't', ' ']) {
        Some(both) => both,
        // A zone may follow the day at once.
        None => {
            let third = text.match_indices('-').nth(2).map(|(at, _)| at);
            text.split_at(text.find(['Z', 'z', '+']).or(third).unwrap_or(text.len()))
        }
    };
    let mut parts = day.split('-');
    let (year, month, day) =
        (digits(parts.next()?)?, digits(parts.next()?)?, digits(parts.next()?)?);
    let days = days(year, month, day);
    // The 30th of February comes back as another day.
    if parts.next().is_some() || year > 9999 || date(days) != (year, month, day) {
        return None;
    }
    let zone_at = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone_at);
    let (clock, part) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':');
    let mut of_day = 0;
    for (unit, limit) in [(3600, 24), (60, 60), (1, 60)] {
        match parts.next() {
            None | Some("") => {}
            Some(number) => {
                of_day += digits(number).filter(|number| *number < limit)? * unit;
            }
        }
    }
    if parts.next().is_some() {
        return None;
    }
    let at = days * DAY + of_day;
    let at = match zone {
        // Twice, since the offset is that of the instant which is sought.
        "" => (0..2).fold(at, |guess, _| at - local(guess).unwrap_or_default().offset_seconds),
        "Z" | "z" => at,
        _ => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let ahead = digits(hours)? * 3600 + digits(minutes)? * 60;
            if zone.starts_with('-') { at + ahead } else { at - ahead }
        }
    };
    at.checked_mul(SECOND)?.checked_add(fraction(part)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_768_381_637 * SECOND;

    #[test]
    fn an_instant_is_shown_in_utc_with_nanoseconds() {
        assert_eq!(rfc3339(NOW + 5), "2026-01-14T09:07:17.000000005Z");
        assert_eq!(rfc3339(951_782_400 * SECOND), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(rfc3339(0), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn a_day_and_its_number_belong_together_over_four_centuries() {
        for number in (-150_000..150_000).step_by(17) {
            let (year, month, day) = date(number);
            assert_eq!(days(year, month, day), number);
        }
    }

    #[test]
    fn since_takes_times_seconds_and_durations() {
        let pairs = [
            ("2026-01-14T09:07:17Z", NOW),
            ("2026-01-14T10:07:17+01:00", NOW),
            ("2026-01-14Z", NOW - 32_837 * SECOND),
            ("2026-01-14+01:00", NOW - 36_437 * SECOND),
            ("2026-01-14-01:00", NOW - 29_237 * SECOND),
            ("2026-01-14T09:07:17.25Z", NOW + SECOND / 4),
            ("1768381637", NOW),
            ("1768381637.5", NOW + SECOND / 2),
            ("10m", NOW - 600 * SECOND),
            ("1h30m", NOW - 5400 * SECOND),
            ("1.5s", NOW - 3 * SECOND / 2),
            ("0s", NOW),
        ];
        for (text, at) in pairs {
            assert_eq!(parse(text, NOW), Ok(at), "{text}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_local() {
        let text = local_text(NOW / SECOND);
        assert_eq!(parse(&text, 0), Ok(NOW));
        assert_eq!(parse(&text.replace(' ', "T"), 0), Ok(NOW));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let texts = [
            "",
            "yesterday",
            "2026-02-30",
            "2026-13-01",
            "2026-01-14T25:00:00Z",
            "10x",
            "m",
            "1h-3m",
            "2026-01-14T10:00:00+1",
            "2026-01-14Zulu",
            "2026-01-14-1",
            "99999999999999999999",
            "１0m",
            "1.é",
        ];
        for text in texts {
            assert!(parse(text, NOW).is_err(), "{text}");
        }
    }
}
