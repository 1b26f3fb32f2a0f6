#![no_main]
//! Any bytes as an archive: an end or an error comes, within the bounds of memory.

use libfuzzer_sys::fuzz_target;
use rocker::image::tar::Reader;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    while let Ok(Some(entry)) = reader.next_entry() {
        assert!(entry.size <= i64::MAX as u64 - 511);
        assert!(entry.path.len() <= 4096 && entry.link.len() <= 4096);
        loop {
            match reader.chunk() {
                Ok([]) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }
});
