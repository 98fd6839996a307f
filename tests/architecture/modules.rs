//! Which files the compiler sees, and what modules are called.

use std::collections::BTreeSet;

use crate::EMPTY_NAMES;
use crate::source::Source;

/// The paths that `mod` declarations lead to from the roots.
pub(crate) fn reachable(sources: &[Source], roots: &[&str]) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<String> = roots.iter().map(|root| (*root).to_owned()).collect();
    while let Some(path) = waiting.pop() {
        let Some(source) = sources.iter().find(|source| source.path == path) else { continue };
        if reached.insert(path) {
            for name in declared(&source.code) {
                let home = home(&source.path);
                waiting.extend([format!("{home}/{name}.rs"), format!("{home}/{name}/mod.rs")]);
            }
        }
    }
    reached
}

/// Why a file's name is none; names of directories count as well.
pub(crate) fn bad_name(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    if let Some(empty) = parts.iter().find(|part| EMPTY_NAMES.contains(part)) {
        return Some(format!("`{empty}` says nothing: name the module after what it is about"));
    }
    let twice = parts.windows(2).find(|pair| pair[0] == pair[1])?;
    Some(format!("`{0}::{0}`: give the inner module a name of its own, or make it the mod.rs", twice[0]))
}

/// The modules that a file declares without a body.
fn declared(code: &str) -> Vec<&str> {
    let names = code.lines().filter_map(|line| {
        let declaration = line.trim().strip_suffix(';')?;
        let (before, name) = declaration.rsplit_once(' ')?;
        before.split(' ').next_back().filter(|word| *word == "mod").map(|_| name)
    });
    names.collect()
}

/// The directory in which a file's own modules lie.
fn home(path: &str) -> &str {
    let stem = path.trim_end_matches(".rs");
    ["/mod", "/lib", "/main"].iter().find_map(|end| stem.strip_suffix(end)).unwrap_or(stem)
}

#[test]
fn files_are_reached_through_declarations() {
    let file = |path: &str, text: &str| Source::new(path, text);
    let sources = [
        file("src/lib.rs", "pub mod a;\nmod b;\n// mod lost;\n"),
        file("src/a/mod.rs", "#[cfg(test)]\nmod tests;\npub(crate) mod deep;"),
        file("src/a/tests.rs", ""),
        file("src/a/deep.rs", "mod deeper;"),
        file("src/a/deep/deeper.rs", ""),
        file("src/b.rs", "mod inline { }"),
        file("src/lost.rs", ""),
    ];
    let reached = reachable(&sources, &["src/lib.rs"]);
    assert!(sources[..6].iter().all(|source| reached.contains(&source.path)), "{reached:?}");
    assert!(!reached.contains("src/lost.rs"));
}

#[test]
fn empty_and_doubled_names_are_refused() {
    assert!(bad_name("src/util/mod.rs").is_some());
    assert!(bad_name("src/store/helpers.rs").is_some());
    assert!(bad_name("src/store/store.rs").is_some());
    assert_eq!(bad_name("src/store/blobs.rs"), None);
}
