//! Instants as people write them, local (by the C library: `TZ`, else `/etc/localtime`) and UTC;
//! and the time since the boot.

use std::time::{SystemTime, UNIX_EPOCH};

/// An instant as a clock on the wall shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Local {
    pub year: i32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    /// How far this zone is ahead of UTC.
    pub offset_seconds: i64,
    /// The short name of the zone; empty where it is unknown or not readable.
    pub zone: String,
}

/// Nanoseconds of a second.
pub const SECOND: i64 = 1_000_000_000;

/// Nanoseconds since the epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Seconds since the epoch.
pub fn seconds() -> i64 {
    now() / SECOND
}

/// Nanoseconds since the boot, the time that the machine slept included. Unlike the time of day
/// it is always right.
pub fn since_boot() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is the one that the call fills; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

/// The local time of an instant, in seconds since the epoch; `None` for a year out of range.
pub fn local(seconds: i64) -> Option<Local> {
    let mut parts = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call, there is one thread, and the result is read
    // only when the call says that it was filled. `tm_zone` is null or a C string of the C
    // library that stays until the zone is read again, which is not before it was copied.
    let (parts, zone) = unsafe {
        if libc::localtime_r(&raw const seconds, parts.as_mut_ptr()).is_null() {
            return None;
        }
        let parts = parts.assume_init();
        let zone = match parts.tm_zone.is_null() {
            true => String::new(),
            false => std::ffi::CStr::from_ptr(parts.tm_zone).to_str().unwrap_or("").to_string(),
        };
        (parts, zone)
    };
    Some(Local {
        year: parts.tm_year.checked_add(1900)?,
        month: parts.tm_mon as u32 + 1,
        day: parts.tm_mday as u32,
        hour: parts.tm_hour as u32,
        minute: parts.tm_min as u32,
        second: parts.tm_sec as u32,
        offset_seconds: parts.tm_gmtoff,
        zone,
    })
}

/// The day of the Gregorian calendar, that many days after 1970-01-01.
///
/// Years are counted from March, so that the leap day is a year's last: 146097 days are
/// 400 years, and the months from March on have 153 days in each five.
pub fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

/// An instant in UTC, from nanoseconds since the epoch: `2026-01-14T09:07:17.123456789Z`. Later ones
/// are greater as texts too.
pub fn utc(nanoseconds: i64) -> String {
    let (seconds, rest) = (nanoseconds.div_euclid(SECOND), nanoseconds.rem_euclid(SECOND));
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leap_days_and_centuries_have_their_dates_in_utc() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (1_795_458_323, "2026-11-23T18:25:23"),
        ] {
            assert_eq!(utc(seconds * SECOND + 5), format!("{expected}.000000005Z"));
        }
        assert_eq!(utc(-1), "1969-12-31T23:59:59.999999999Z");
    }

    #[test]
    fn the_local_time_and_its_offset_name_the_instant() {
        let local = local(1_768_381_637).expect("2026 is in range");
        let of_day = i64::from(local.hour * 3600 + local.minute * 60 + local.second);
        let utc_of_day = 1_768_381_637 % 86_400;
        assert_eq!((of_day - local.offset_seconds).rem_euclid(86_400), utc_of_day);
        assert_eq!(local.year, 2026);
    }

    #[test]
    fn a_year_out_of_range_is_none() {
        assert_eq!(local(i64::MAX), None);
    }
}
