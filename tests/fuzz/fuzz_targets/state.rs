#![no_main]
//! Any text as a state file.

use libfuzzer_sys::fuzz_target;
use miniserde::json;
use rocker::container::record::{Record, State};

fuzz_target!(|text: &str| {
    if let Ok(state) = json::from_str::<State>(text) {
        let again: State = json::from_str(&json::to_string(&state)).expect("it was written by us");
        assert_eq!((again.pid, again.id), (state.pid, state.id));
    }
    if let Ok(record) = json::from_str::<Record>(text) {
        let again: Record = json::from_str(&json::to_string(&record)).expect("it was written by us");
        assert_eq!(again.id, record.id);
    }
});
