//! No text panics; what is read and printed is read again as the same tree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rbuild::dockerfile::{parse, parse_trigger};

fuzz_target!(|text: &str| {
    let _ = parse_trigger("trigger", text, '\\');
    let Ok(file) = parse("Dockerfile", text) else { return };
    let printed = file.print();
    let again = parse("Dockerfile", &printed).expect("what is printed can be read");
    assert_eq!(again.print(), printed);
});
