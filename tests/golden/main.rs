//! Golden tests: every directory below `testdata/` is a case, its expected output a file in it.
//!
//! `UPDATE_GOLDEN=1` rewrites the expected files; a missing one is a failure, so that none is written unseen.

#![allow(clippy::unwrap_used, reason = "clippy allows it in tests, but not in what they share")]

mod dockerfile;
mod plan;

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_language_has_its_cases() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let kinds = [
        "dockerfile/parse",
        "dockerfile/invalid",
        "dockerfile/expand",
        "dockerfile/plan",
        "dockerfile/lint",
        "dockerfile/ignore",
    ];
    let count: usize = kinds.iter().map(|kind| cases(&root.join(kind)).len()).sum();
    assert!(count >= 400, "only {count} cases");
}

/// Compares what `render` makes of each case below `testdata/<kind>` with the case's `expected` file.
fn check(kind: &str, expected: &str, render: impl Fn(&Path) -> String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(kind);
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let cases = cases(&root);
    assert!(!cases.is_empty(), "no cases below {}", root.display());
    let mut failures = Vec::new();
    for case in &cases {
        let actual = render(case);
        let file = case.join(expected);
        if update {
            fs::write(&file, actual).unwrap();
            continue;
        }
        match fs::read_to_string(&file) {
            Ok(wanted) if wanted == actual => {}
            Ok(wanted) => {
                failures.push(format!("{}:\n--- expected\n{wanted}--- actual\n{actual}", case.display()))
            }
            Err(error) => failures.push(format!("{}: {error}", file.display())),
        }
    }
    let (failed, total) = (failures.len(), cases.len());
    assert!(failures.is_empty(), "{failed} of {total} cases failed\n{}", failures.join("\n"));
}

fn cases(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    let mut cases: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

/// A file that a case may have.
fn read_if_there(case: &Path, name: &str) -> Option<String> {
    case.join(name).exists().then(|| read(case, name))
}

fn read(case: &Path, name: &str) -> String {
    let path = case.join(name);
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8(bytes).unwrap()
}
