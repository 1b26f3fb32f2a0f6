#![no_main]
//! Any text as a seccomp profile: what is taken is a filter that the kernel would take.

use libfuzzer_sys::fuzz_target;
use rocker::namespace::seccomp::profile;

fuzz_target!(|text: &str| {
    if let Ok(filter) = profile::read(text, 0x8004_05fb) {
        assert!(!filter.is_empty() && filter.len() <= 4096);
        for (at, step) in filter.iter().enumerate() {
            let (code, value) = (*step as u16, (*step >> 32) as usize);
            let (yes, no) = ((*step >> 16 & 0xff) as usize, (*step >> 24 & 0xff) as usize);
            // Every jump ends inside, and the last step is a verdict.
            match code {
                0x05 => assert!(at + 1 + value < filter.len()),
                0x15 | 0x25 | 0x35 | 0x45 => assert!(at + 1 + yes.max(no) < filter.len()),
                0x06 => {}
                _ => assert!(at + 1 < filter.len()),
            }
        }
        assert_eq!(*filter.last().expect("it is not empty") as u16, 0x06);
    }
});
