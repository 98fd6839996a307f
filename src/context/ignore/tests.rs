use std::path::Path;
use std::time::Instant;

use proptest::prelude::*;

use super::{Ignore, IgnoreError, Inherited, Rule};
use crate::context::pattern::{Ends, PathPattern};
use crate::sys::rooted::Root;

#[test]
fn the_file_beside_the_dockerfile_wins() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let read = |dockerfile: Option<&str>| {
        let dockerfile = dockerfile.map(|name| dir.path().join(name));
        Ignore::read(dockerfile.as_deref(), &Root::open(dir.path()).unwrap()).unwrap()
    };
    assert!(read(Some("a.Dockerfile")).is_empty());
    write(".dockerignore", "general");
    write("b.Dockerfile.dockerignore", "special");
    assert!(read(None).matches(Path::new("general")));
    assert!(read(Some("a.Dockerfile")).matches(Path::new("general")));
    assert!(read(Some("missing/a.Dockerfile")).matches(Path::new("general")));
    let special = read(Some("b.Dockerfile"));
    assert!(special.matches(Path::new("special")) && !special.matches(Path::new("general")));
    assert_eq!(special.origin(), Some(&*dir.path().join("b.Dockerfile.dockerignore")));
}

#[test]
fn a_lone_mark_is_reported_as_docker_does() {
    let error = Ignore::parse(b"a\n!\n", None).unwrap_err();
    assert_eq!(error.to_string(), "illegal exclusion pattern: \"!\"");
    assert!(matches!(error, IgnoreError::LoneNegation { line: 2, .. }));
    assert!(matches!(Ignore::from_patterns(&["a", "!"]), Err(IgnoreError::LoneNegation { line: 2, .. })));
}

#[test]
fn flags_are_read_more_literally_than_files() {
    let ignore = Ignore::from_patterns(&[" a ", "#b", "./c/", "/d"]).unwrap();
    let hidden = |path| ignore.matches(Path::new(path));
    assert!(hidden("a") && hidden("#b") && hidden("c") && !hidden("d"));
}

#[test]
fn a_directory_is_pruned_unless_something_below_may_come_back() {
    for (text, directory, expected) in [
        ("a", "a", true),
        ("a\n!b", "a", true),
        ("a\n!a/b", "a", false),
        ("a\n!a/b/c", "a/b", false),
        ("a\n!a/b/c", "a/x", true),
        ("!a/b\na", "a", true),
        ("*\n!**/x", "a", false),
        ("*\n!d/*.md", "a", true),
        ("*\n!d/*.md", "d", false),
        ("*\n!d*/x", "da", false),
        ("*\n!d/**", "d", false),
        ("a", "b", false),
    ] {
        let ignore = Ignore::parse(text.as_bytes(), None).unwrap();
        let mut inherited = Inherited::default();
        for end in directory.match_indices('/').map(|(end, _)| end).chain([directory.len()]) {
            inherited = ignore.enter(&inherited, &directory.as_bytes()[..end]);
        }
        assert_eq!(ignore.prunes(&inherited, directory.as_bytes()), expected, "{text:?} {directory}");
    }
}

const PIECES: [&str; 16] =
    ["a", "b", "ab", "*", "**", "**/", "?", "/", "[ab]", "[^a]", "\\a", ".", "..", "!", "#", "é"];

fn pattern() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..7).prop_map(|pieces| pieces.concat())
}

fn file() -> impl Strategy<Value = String> {
    let line = (prop::bool::weighted(0.3), pattern());
    let line = line.prop_map(|(negated, pattern)| if negated { format!("!{pattern}") } else { pattern });
    prop::collection::vec(line, 0..6).prop_map(|lines| lines.join("\n"))
}

fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(&["a", "b", "ab", "ba", "aab", "é"][..]);
    prop::collection::vec(name, 1..6).prop_map(|names| names.join("/"))
}

/// The path, and before it each of its parents.
fn with_parents(path: &str) -> impl Iterator<Item = &[u8]> {
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    ends.map(|end| &path.as_bytes()[..end])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_and_no_path_panics(text in prop::collection::vec(any::<u8>(), 0..64), path in ".{0,24}") {
        if let Ok(ignore) = Ignore::parse(&text, None) {
            let _ = ignore.matches(Path::new(&path));
        }
    }

    #[test]
    fn gates_and_pruning_turn_no_match_away(pattern in pattern(), path in path()) {
        if let Ok(pattern) = PathPattern::parse(pattern.as_bytes())
            && pattern.matches(path.as_bytes())
        {
            prop_assert!(pattern.gate().admits(Ends::of(path.as_bytes())));
            for parent in with_parents(&path).filter(|parent| parent.len() < path.len()) {
                prop_assert!(pattern.may_match_below(parent));
            }
        }
    }

    #[test]
    fn the_last_rule_that_hits_a_path_or_a_parent_decides(text in file(), path in path()) {
        if let Ok(ignore) = Ignore::parse(text.as_bytes(), None) {
            let hits = |rule: &&Rule| with_parents(&path).any(|path| rule.pattern.matches(path));
            let last = ignore.rules().iter().rfind(hits);
            prop_assert_eq!(ignore.matches(Path::new(&path)), last.is_some_and(|rule| !rule.negated));
        }
    }

    #[test]
    fn a_walk_finds_what_plain_matching_finds(text in file(), path in path()) {
        if let Ok(ignore) = Ignore::parse(text.as_bytes(), None) {
            let mut inherited = Inherited::default();
            let mut pruned = false;
            for path in with_parents(&path) {
                let expected = ignore.matches(Path::new(std::str::from_utf8(path).unwrap()));
                prop_assert_eq!(ignore.hides(&inherited, path), expected);
                prop_assert!(expected || !pruned, "shown below a pruned directory");
                inherited = ignore.enter(&inherited, path);
                pruned |= ignore.prunes(&inherited, path);
            }
        }
    }
}

#[test]
#[ignore = "a measurement: run with --release --nocapture"]
fn a_hundred_thousand_paths_against_a_hundred_patterns() {
    let mut text = String::new();
    for number in 0..20 {
        text += &format!(
            "dir{number}\nbuild/out{number}/**\n**/cache{number}\n*.ext{number}\n**/gen{number}/*.o\n"
        );
    }
    let ignore = Ignore::parse(text.as_bytes(), None).unwrap();
    assert_eq!(ignore.rules().len(), 100);
    let mut directories = Vec::new();
    for outer in 0..100 {
        for inner in 0..10 {
            directories.push((format!("pkg{outer}/src"), format!("pkg{outer}/src/mod{inner}")));
        }
    }
    let began = Instant::now();
    let mut hidden = 0;
    let mut count = 0;
    for (parent, directory) in &directories {
        let above = ignore.enter(&Inherited::default(), parent.as_bytes());
        let inherited = ignore.enter(&above, directory.as_bytes());
        for file in 0..100 {
            let path = format!("{directory}/file_name_{file}.rs");
            hidden += usize::from(ignore.hides(&inherited, path.as_bytes()));
            count += 1;
        }
    }
    let walked = began.elapsed();
    let began = Instant::now();
    for (_, directory) in &directories {
        for file in 0..100 {
            hidden += usize::from(ignore.matches(Path::new(&format!("{directory}/file_name_{file}.rs"))));
        }
    }
    println!("{count} paths, {hidden} hidden: walk {walked:?}, plain {:?}", began.elapsed());
}
