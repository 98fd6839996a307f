//! No ignore file and no path panics, and a walk from parent to child finds what plain matching finds.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use rbuild::context::{Ignore, Inherited};

fuzz_target!(|input: (&[u8], &str)| {
    let (text, path) = input;
    let Ok(ignore) = Ignore::parse(text, None) else { return };
    let matched = ignore.matches(Path::new(path));
    // A walk only meets clean relative paths.
    if path.contains('\0') || path.split('/').any(|name| matches!(name, "" | "." | "..")) {
        return;
    }
    let mut inherited = Inherited::default();
    for (end, _) in path.match_indices('/') {
        inherited = ignore.enter(&inherited, &path.as_bytes()[..end]);
    }
    assert_eq!(ignore.hides(&inherited, path.as_bytes()), matched, "{path:?}");
});
