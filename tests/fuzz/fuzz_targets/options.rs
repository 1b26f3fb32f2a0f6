#![no_main]
//! Any text as the value of an option.

use libfuzzer_sys::fuzz_target;
use rocker::namespace::{capabilities, mounts};
use rocker::rocker::commands::security;
use rocker::rocker::{change, list, units};
use rocker::runtime::words;
use rocker::cgroups;
use rocker::container::{size, userns, volumes};

fuzz_target!(|text: &str| {
    let _ = size::parse(text);
    let _ = units::parse_cpus(text);
    let _ = units::parse_cpuset(text);
    let _ = units::parse_shares(text);
    let _ = units::parse_swap(text);
    let _ = cgroups::limits::cpu_list(text);
    let _ = capabilities::parse(text);
    let _ = mounts::tmpfs_options(text);
    let _ = words::split(text);
    let _ = volumes::parse_mount(text);
    let _ = list::matches("web", text);
    let line = format!("ENV A=1 B=$A\nENV {text}");
    let lines: Vec<String> = line.lines().map(str::to_owned).collect();
    let _ = change::apply(&mut Default::default(), &lines);
    if let Ok(Some(userns::Asked::Range(map))) = userns::parse(text) {
        assert_eq!(userns::parse(&map.text()), Ok(Some(userns::Asked::Range(map))));
        assert!(map.outside(map.size - 1, false).is_some() && map.outside(0, true).is_some());
    }
    if let Ok(Some(userns::Asked::Range(map))) = userns::parse("7:8:9") {
        let _ = userns::tmpfs_options(map, text);
    }
    let _ = security::ulimit(text);
    if let Ok(device) = security::device(text) {
        assert!(device.target.starts_with("/dev/") && !device.target.contains("/../"));
    }
    let _ = security::security_option(&mut Default::default(), text);
});
