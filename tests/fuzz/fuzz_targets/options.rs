#![no_main]
//! Any text as the value of an option.

use libfuzzer_sys::fuzz_target;
use rocker::namespace::{capabilities, mounts};
use rocker::rocker::commands::security;
use rocker::rocker::units;
use rocker::runtime::words;
use rocker::cgroups;

fuzz_target!(|text: &str| {
    let _ = units::parse_size(text);
    let _ = units::parse_cpus(text);
    let _ = units::parse_cpuset(text);
    let _ = units::parse_shares(text);
    let _ = units::parse_swap(text);
    let _ = cgroups::limits::cpu_list(text);
    let _ = capabilities::parse(text);
    let _ = mounts::tmpfs_options(text);
    let _ = words::split(text);
    let _ = security::ulimit(text);
    if let Ok(device) = security::device(text) {
        assert!(device.target.starts_with("/dev/") && !device.target.contains("/../"));
    }
    let _ = security::security_option(&mut Default::default(), text);
});
