//! Names and numbers of the signals of x86_64.

/// Names in the order of their numbers, from 1 on; arch/x86/include/uapi/asm/signal.h.
const NAMES: &str = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM \
     STKFLT CHLD CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";

/// Other names of the same signals.
const OTHER_NAMES: &[(&str, u32)] = &[("IOT", 6), ("CLD", 17), ("POLL", 29)];

/// The real-time signals that programs can use: the C libraries keep 32 and 33 for themselves.
const RTMIN: u32 = 34;
const RTMAX: u32 = 64;

/// The number of a signal that is given by name, with or without `SIG`, in any case, or by number.
pub fn parse(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse::<u32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.split_ascii_whitespace().position(|known| known == name) {
        return Some(index as u32 + 1);
    }
    if let Some((_, number)) = OTHER_NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        RTMIN.checked_add(distance(rest, '+')?)?
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        RTMAX.checked_sub(distance(rest, '-')?)?
    } else {
        return None;
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

/// `+3` or `-3`; nothing is 0.
fn distance(text: &str, sign: char) -> Option<u32> {
    let Some(digits) = text.strip_prefix(sign) else { return text.is_empty().then_some(0) };
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The name of a signal with `SIG`; the number where it has none.
pub fn name(signal: u32) -> String {
    let known =
        signal.checked_sub(1).and_then(|index| NAMES.split_ascii_whitespace().nth(index as usize));
    match (known, signal) {
        (Some(name), _) => format!("SIG{name}"),
        (None, RTMIN..=RTMAX) => format!("SIGRTMIN+{}", signal - RTMIN),
        _ => signal.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_the_number_of_the_kernel_under_each_of_its_names() {
        let pairs = [
            ("KILL", libc::SIGKILL),
            ("sigterm", libc::SIGTERM),
            ("SigWinch", libc::SIGWINCH),
            ("SYS", libc::SIGSYS),
            ("POLL", libc::SIGPOLL),
            ("CHLD", libc::SIGCHLD),
            ("9", 9),
            ("64", 64),
            ("RTMIN", 34),
            ("rtmin+3", 37),
            ("SIGRTMAX-1", 63),
        ];
        for (text, number) in pairs {
            assert_eq!(parse(text), Some(number as u32), "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in ["", "0", "65", "-1", "SIG", "BANANA", "RTMIN+31", "RTMAX-99", "RTMIN++1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_name_of_a_signal_is_parsed_back_to_it() {
        for signal in (1..=31).chain(RTMIN..=RTMAX) {
            assert_eq!(parse(&name(signal)), Some(signal));
        }
    }
}
