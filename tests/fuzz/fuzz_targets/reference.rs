#![no_main]
//! Any text as the name of an image: what is taken never leaves its directory.

use libfuzzer_sys::fuzz_target;
use rocker::image::Reference;

fuzz_target!(|text: &str| {
    if let Ok(reference) = Reference::parse(text) {
        let directory = reference.directory();
        assert!(!directory.contains('/') && !directory.starts_with('.') && !directory.is_empty());
        assert!(!reference.tag.contains('/') && !reference.tag.starts_with('.'));
        let back = Reference::from_directory(&directory, &reference.tag);
        assert_eq!(back.as_ref(), Ok(&reference));
    }
});
