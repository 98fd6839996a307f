use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::super::{Ignore, Owner, Parents, SelectError, Selector, Tree};
use crate::sys::rooted::Root;

/// A directory with files (each holding its own name), directories (trailing slash) and links (`name -> target`).
fn world(entries: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in entries {
        match entry.split_once(" -> ") {
            Some((name, target)) => symlink(target, dir.path().join(name)).unwrap(),
            None if entry.ends_with('/') => fs::create_dir_all(dir.path().join(entry)).unwrap(),
            None => {
                fs::create_dir_all(dir.path().join(entry).parent().unwrap()).unwrap();
                fs::write(dir.path().join(entry), entry).unwrap();
            }
        }
    }
    dir
}

fn tree(dir: &tempfile::TempDir, ignore: &str) -> Tree {
    let ignore = Ignore::parse(ignore.as_bytes(), None).unwrap();
    Tree::new(&Root::open(dir.path()).unwrap(), ignore, Owner::Zeroed).unwrap()
}

/// What is selected: `path` or `path=where it leads`, and what is below as `path: below, ...`.
fn selected(tree: &Tree, source: &str, exclude: &[&str], parents: Parents) -> Result<String, SelectError> {
    let exclude = Ignore::from_patterns(exclude).unwrap();
    let selector = Selector::parse(source, Some(&exclude), parents)?;
    let mut shown = Vec::new();
    for source in selector.select(tree)? {
        let mut line = source.path.display().to_string();
        if source.path != source.entry.path {
            line += &format!("={}", source.entry.path.display());
        }
        if let Some(walk) = source.entries()? {
            let below: Vec<_> = walk.map(|entry| entry.unwrap().path.display().to_string()).collect();
            line += &format!(": {}", below.join(", "));
        }
        shown.push(line);
    }
    Ok(shown.join("; "))
}

#[track_caller]
fn check(tree: &Tree, source: &str, expected: &str) {
    assert_eq!(selected(tree, source, &[], Parents::Drop).unwrap(), expected, "{source}");
}

#[test]
fn plain_paths_are_clamped_and_links_followed_inside_the_root() {
    let dir = world(&[
        "a/b/file",
        "a/.hidden",
        "top",
        "link -> a",
        "absolute -> /a/b",
        "escape -> ../../../top",
        "chain -> link/b/file",
        "a/up -> ../top",
        "broken -> nowhere",
        "loop -> loop",
    ]);
    let tree = tree(&dir, "");
    check(&tree, "top", "top");
    check(&tree, "/top", "top");
    check(&tree, "../../top", "top");
    check(&tree, "a/../top", "top");
    check(&tree, "a/b/", "a/b: file");
    check(&tree, "a", "a: .hidden, b, b/file, up");
    check(&tree, "link", "link=a: .hidden, b, b/file, up");
    check(&tree, "link/b/file", "link/b/file=a/b/file");
    check(&tree, "absolute/file", "absolute/file=a/b/file");
    check(&tree, "escape", "escape=top");
    check(&tree, "chain", "chain=a/b/file");
    check(&tree, "a/up", "a/up=top");
    let long = "n".repeat(300);
    for missing in [&*long, "nothing", "top/below", "a/b/file/x"] {
        let error = selected(&tree, missing, &[], Parents::Drop).unwrap_err();
        assert!(matches!(error, SelectError::NotFound { .. }), "{missing}: {error}");
    }
    for broken in ["broken", "broken/below"] {
        let error = selected(&tree, broken, &[], Parents::Drop).unwrap_err();
        assert_eq!(error.to_string(), "\"/broken\" links to nowhere: not found");
    }
    let error = selected(&tree, "loop", &[], Parents::Drop).unwrap_err();
    assert!(matches!(error, SelectError::Endless { .. }), "{error}");
}

#[test]
fn wildcards_match_component_by_component() {
    let dir = world(&[
        "a1/x.c",
        "a1/y.h",
        "a2/x.c",
        "a2/sub/x.c",
        ".dot",
        "lone",
        "linked -> a1",
        "la -> lone",
        "real/a/f",
        "to -> real",
    ]);
    let tree = tree(&dir, "");
    check(&tree, "*/x.c", "a1/x.c; a2/x.c");
    check(&tree, "a?", "a1: x.c, y.h; a2: sub, sub/x.c, x.c");
    check(&tree, "a[^1]/*", "a2/sub: x.c; a2/x.c");
    check(&tree, ".*", ".dot");
    check(&tree, "l[ai]*", "la=lone; linked=a1: x.c, y.h");
    // Before the first wildcard links are followed, after it only by the match itself.
    check(&tree, "to/*/f", "to/a/f=real/a/f");
    check(&tree, "t*/a", "");
    check(&tree, "nothing*", "");
    check(&tree, "nothing/*", "");
    check(&tree, "**/x.c", "a1/x.c; a2/x.c");
    let error = selected(&tree, "a[", &[], Parents::Drop).unwrap_err();
    assert!(matches!(error, SelectError::Malformed { .. }), "{error}");
}

#[test]
fn a_wildcard_that_matches_a_broken_link_is_an_error() {
    let dir = world(&["broken -> nowhere"]);
    let error = selected(&tree(&dir, ""), "bro*", &[], Parents::Drop).unwrap_err();
    assert_eq!(error.to_string(), "\"/broken\" links to nowhere: not found");
}

#[test]
fn ignored_paths_are_absent() {
    let dir = world(&["keep/a", "drop/b", "drop/c/d", "drop/c/e", "to_drop -> drop/b", "only/x", "f1", "f2"]);
    let tree = tree(&dir, "drop\n!drop/c/d\nonly\n!only/y\nf1");
    check(&tree, ".", "=: drop, drop/c, drop/c/d, f2, keep, keep/a, to_drop".trim_start_matches('='));
    check(&tree, "drop", "drop: c, c/d");
    check(&tree, "f*", "f2");
    check(&tree, "*/?", "drop/c: d; keep/a");
    for hidden in ["drop/b", "to_drop", "only", "only/x", "f1", "drop/c/e"] {
        let error = selected(&tree, hidden, &[], Parents::Drop).unwrap_err();
        let SelectError::NotFound { hidden_by: Some(_), .. } = error else { panic!("{hidden}: {error}") };
    }
}

#[test]
fn a_missing_source_says_what_hides_it_or_what_was_meant() {
    let dir = world(&["src/main.rs", "Makefile", "secret"]);
    let tree = tree(&dir, "# rules\nsecr*");
    let message = |source| selected(&tree, source, &[], Parents::Drop).unwrap_err().to_string();
    assert_eq!(message("secret"), "\"/secret\": not found, ignored by \"secr*\" in .dockerignore:2");
    assert_eq!(message("nothing"), "\"/nothing\": not found");
    let nearest = |source| match selected(&tree, source, &[], Parents::Drop) {
        Err(SelectError::NotFound { nearest, .. }) => nearest,
        other => panic!("{other:?}"),
    };
    assert_eq!(nearest("makefile"), [Path::new("Makefile")]);
    assert_eq!(nearest("src/mian.rs"), [Path::new("src/main.rs")]);
    assert_eq!(nearest("scr/main.rs"), [Path::new("src/main.rs")]);
    assert_eq!(nearest("scr/other"), [Path::new("src")]);
    assert!(nearest("secrat").is_empty(), "what is ignored is not suggested");
}

#[test]
fn excludes_are_relative_to_each_source() {
    let dir = world(&["d1/a.png", "d1/b.txt", "d1/s/c.png", "d2/d.png", "e.png"]);
    let tree = tree(&dir, "");
    let without = |source, exclude: &[&str]| selected(&tree, source, exclude, Parents::Drop).unwrap();
    assert_eq!(without("d1", &["*.png"]), "d1: b.txt, s, s/c.png");
    assert_eq!(without("d1", &["**/*.png"]), "d1: b.txt, s");
    assert_eq!(without("d1", &["*", "!s/c.png"]), "d1: s, s/c.png");
    assert_eq!(without("d1", &["**"]), "d1: ");
    assert_eq!(without("d*", &["*.png"]), "d1: b.txt, s, s/c.png; d2: ");
    assert_eq!(without(".", &["d1", "*/*.png"]), ": d2, e.png");
    // A file that is the source is no part of a directory.
    assert_eq!(without("*.png", &["*.png"]), "e.png");
}

#[test]
fn parents_keep_the_path_from_the_pivot_on() {
    let dir = world(&["a/b/c/d", "a/b/c/e", "a/b/x", "a/z", "f"]);
    let tree = tree(&dir, "");
    let kept = |source| selected(&tree, source, &[], Parents::Keep);
    assert_eq!(kept("a/b/c/d").unwrap(), ": a, a/b, a/b/c, a/b/c/d");
    assert_eq!(kept("/a/b/x").unwrap(), ": a, a/b, a/b/x");
    assert_eq!(kept("a/b/./c/d").unwrap(), "a/b: c, c/d");
    assert_eq!(kept("a/./b/./c").unwrap(), "a: b, b/c, b/c/d, b/c/e");
    assert_eq!(kept("a/./*/c").unwrap(), "a: b, b/c, b/c/d, b/c/e");
    assert_eq!(kept("./f").unwrap(), ": f");
    assert_eq!(kept("**/x").unwrap(), ": a, a/b, a/b/x");
    assert_eq!(kept("*/./b/c").unwrap(), "a: b, b/c, b/c/d, b/c/e");
    assert_eq!(kept("a/./nothing*").unwrap(), "a: ");
    let message = |source| kept(source).unwrap_err().to_string();
    assert_eq!(message("a/b/nothing"), "\"/a/b/nothing\": not found");
    assert_eq!(message("a/./nothing"), "\"/a/nothing\": not found");
    assert_eq!(message("none/./x"), "\"/none\": not found");
}

#[test]
fn many_matches_in_many_directories_need_few_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..3000 {
        fs::create_dir(dir.path().join(number.to_string())).unwrap();
        fs::write(dir.path().join(format!("{number}/f")), "").unwrap();
    }
    let tree = tree(&dir, "");
    let selector = Selector::parse("*/f", None, Parents::Drop).unwrap();
    let sources = selector.select(&tree).unwrap();
    assert_eq!(sources.len(), 3000);
    sources[2999].entry.open().unwrap();
}

#[test]
fn a_deep_tree_is_walked_to_its_end() {
    let dir = world(&[&"d/".repeat(700)]);
    fs::write(dir.path().join("d/".repeat(300)).join("file"), "").unwrap();
    let tree = tree(&dir, "");
    let whole = tree.find(Path::new("/")).unwrap().unwrap();
    let entries: Vec<_> = tree.walk(&whole).unwrap().map(|entry| entry.unwrap().path).collect();
    assert_eq!(entries.len(), 701);
    assert!(entries.iter().any(|path| path.ends_with("file")));
}

#[test]
fn what_became_something_else_is_not_read() {
    let dir = world(&["file", "other"]);
    let tree = tree(&dir, "");
    let entry = tree.find(Path::new("file")).unwrap().unwrap();
    fs::remove_file(dir.path().join("file")).unwrap();
    symlink("other", dir.path().join("file")).unwrap();
    assert!(entry.open().is_err());
    fs::remove_file(dir.path().join("file")).unwrap();
    let root = Root::open(dir.path()).unwrap();
    rustix::fs::mkfifoat(&root, "file", rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert!(entry.open().is_err());
}
