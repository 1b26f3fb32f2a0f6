#![no_main]
//! Any text as a template of --format, on a small value.

use libfuzzer_sys::fuzz_target;
use rocker::rocker::template;

fuzz_target!(|text: &str| {
    if let Ok(template) = template::parse(text) {
        let value = miniserde::json::from_str(r#"{"A":{"B":[1,"x",null,true]},"C":"text"}"#);
        let _ = template.apply(&value.expect("it is JSON"));
    }
});
