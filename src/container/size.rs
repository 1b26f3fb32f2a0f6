//! Sizes as people write them.

use crate::error::{Error, Result};

/// Digits with perhaps a fraction, as whole and fraction over a power of ten.
pub fn decimal(text: &str) -> Option<(u128, u128, u128)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.len() <= 24 && text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    Some((number(whole)?, number(fraction)?, 10_u128.pow(fraction.len() as u32)))
}

/// A size in bytes: `100m`, `1.5g`, `4096`, `64KiB`. The units are binary, in any case.
pub fn parse(text: &str) -> Result<u64> {
    let error = || Error::new("not a size like 100m or 1g");
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let shift = match unit {
        "" | "b" => 0,
        _ => match (unit.as_bytes()[0], &unit[1..]) {
            (letter, "" | "b" | "ib") => match letter {
                b'k' => 10,
                b'm' => 20,
                b'g' => 30,
                b't' => 40,
                b'p' => 50,
                _ => return Err(error()),
            },
            _ => return Err(error()),
        },
    };
    let (whole, fraction, scale) = decimal(number.trim_end()).ok_or_else(error)?;
    let bytes = whole
        .checked_mul(1 << shift)
        .and_then(|whole| whole.checked_add((fraction << shift) / scale))
        .ok_or_else(error)?;
    // Limits are signed in the kernel.
    match i64::try_from(bytes) {
        Ok(bytes) => Ok(bytes as u64),
        Err(_) => Err(Error::new("too large")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_in_any_case_with_or_without_b() {
        let pairs = [
            ("0", 0),
            ("4096", 4096),
            ("10b", 10),
            ("1k", 1 << 10),
            ("100m", 100 << 20),
            ("100MB", 100 << 20),
            ("64KiB", 64 << 10),
            ("1.5g", 3 << 29),
            (".5G", 1 << 29),
            ("2 g", 2 << 30),
            ("1t", 1 << 40),
        ];
        for (text, bytes) in pairs {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        let texts =
            ["", "m", "banana", "-1", "1x", "1kk", "1ibk", "1.2.3", ".", "1e3", "9999999t", "１k"];
        for text in texts {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
