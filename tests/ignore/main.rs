//! Every case under `testdata/dockerfile/ignore`: an ignore file, paths, and what becomes of them.
//!
//! `UPDATE_GOLDEN=1` rewrites the expectations; read the difference before believing it.

use std::fs;
use std::path::Path;

use rbuild::context::{Ignore, IgnoreError, Inherited};

#[test]
fn ignore_files_hide_what_the_reference_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/dockerfile/ignore");
    let mut cases: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let ignore = fs::read(case.join("ignore")).unwrap();
        let paths = fs::read_to_string(case.join("paths.txt")).unwrap();
        let found = describe(&ignore, &paths);
        let expected = case.join("expected.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expected, &found).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != found {
            wrong.push(format!("{}:\n{found}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "differs from expected.txt:\n{}", wrong.join("\n"));
}

/// A line for each path: hidden, with the deciding rule, or kept.
fn describe(text: &[u8], paths: &str) -> String {
    let ignore = match Ignore::parse(text, None) {
        Ok(ignore) => ignore,
        Err(IgnoreError::LoneNegation { line, .. }) => return format!("error in line {line}: a lone mark\n"),
        Err(IgnoreError::Malformed { line, text, flaw, .. }) => {
            return format!("error in line {line}: {text}: {flaw}\n");
        }
        Err(IgnoreError::Io(error)) => panic!("{error}"),
    };
    let mut found = String::new();
    for path in paths.lines() {
        let line = match ignore.hidden_by(Path::new(path)) {
            Some(rule) => format!("hidden {path}  ({}: {})\n", rule.line, rule.text),
            None => format!("kept   {path}\n"),
        };
        found.push_str(&line);
        if path.split('/').all(|name| !matches!(name, "" | "." | "..")) {
            assert_eq!(ignore.matches(Path::new(path)), walked(&ignore, path), "{path}");
        }
    }
    found
}

/// As a walk finds out, one directory after the other.
fn walked(ignore: &Ignore, path: &str) -> bool {
    let mut inherited = Inherited::default();
    for (end, _) in path.match_indices('/') {
        inherited = ignore.enter(&inherited, &path.as_bytes()[..end]);
    }
    ignore.hides(&inherited, path.as_bytes())
}
