//! Which modules a file names, and whether it may.

use crate::source::Source;
use crate::{NEIGHBOURS, RANKS, STRANGERS};

#[derive(Debug, PartialEq)]
pub(crate) struct Import {
    pub(crate) line: usize,
    pub(crate) module: String,
}

/// Why a module may not import another; none when it may.
pub(crate) fn judge(importer: &str, import: &Import) -> Option<String> {
    let imported = import.module.as_str();
    // `main` starts everything; the crate's own root is nobody's module.
    if importer == imported || importer == "main" {
        return None;
    }
    let stranger = STRANGERS.iter().find(|(from, to, _)| *from == importer && to.contains(&imported));
    if let Some((_, _, reason)) = stranger {
        return Some(format!("`{importer}` must not import `{imported}`: {reason}"));
    }
    let (from, to) = (rank(importer)?, rank(imported));
    let Some(to) = to else {
        return Some(format!(
            "`crate::{imported}` is no ranked module: name the module itself, or add it to RANKS"
        ));
    };
    if to < from || NEIGHBOURS.iter().any(|(a, b, _)| *a == importer && *b == imported) {
        return None;
    }
    let advice = "let the caller bring the two together, define a trait here, or move the shared type down";
    Some(if to == from {
        format!("`{importer}` and `{imported}` have the same rank and may not import each other: {advice}")
    } else {
        format!("`{importer}` stands below `{imported}` and may not import it: {advice}")
    })
}

pub(crate) fn rank(module: &str) -> Option<usize> {
    if module == "main" {
        return Some(RANKS.len());
    }
    RANKS.iter().position(|rank| rank.contains(&module))
}

/// Every top module that a file names by `crate::`, in groups as well, or by climbing to the root with `super::`.
pub(crate) fn of(source: &Source) -> Vec<Import> {
    let mut found = Vec::new();
    for (at, prefix) in source.code.match_indices("crate::") {
        let before = source.code[..at].chars().next_back();
        if !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            collect(source, at + prefix.len(), &mut found);
        }
    }
    let climb = "super::".repeat(depth(&source.path));
    for (at, prefix) in source.code.match_indices(&climb) {
        // Inside `mod tests` the first `super` only leaves the tests.
        let in_product = source.code[..at].lines().count() < source.tests_from;
        let end = at + prefix.len();
        if in_product && !source.code[..at].ends_with("super::") && !source.code[end..].starts_with("super::")
        {
            collect(source, end, &mut found);
        }
    }
    found
}

fn collect(source: &Source, start: usize, found: &mut Vec<Import>) {
    let line = source.code[..start].matches('\n').count() + 1;
    let names = heads(&source.code[start..]);
    found.extend(names.into_iter().map(|module| Import { line, module }));
}

/// The first names of a path or of each path in a group: `{a::b, c::{d, e}}` has `a` and `c`.
fn heads(path: &str) -> Vec<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut names = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                names.push(name(group[start..at].trim_start()));
                start = at + 1;
            }
            '}' if depth == 0 => {
                names.push(name(group[start..at].trim_start()));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// How many `super::` lead from a file's own module to the crate's root.
fn depth(path: &str) -> usize {
    let parts = path.trim_start_matches("src/").split('/').filter(|part| *part != "mod.rs");
    parts.count()
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::image::Digest;\nuse crate::{\n    sys::At,\n    store::{Blob, Tag},\n};\nfn f(x: crate::event::Event) {}\nuse super::super::build::B;\nuse super::parse;\npub(crate) fn g() {}\n";
    let found = of(&Source::new("src/a/b.rs", text));
    let found: Vec<_> = found.iter().map(|import| (import.line, import.module.as_str())).collect();
    assert_eq!(found, [(1, "image"), (2, "sys"), (2, "store"), (6, "event"), (7, "build")]);
}

#[test]
fn judgement_follows_the_tables() {
    let judge = |from: &str, to: &str| judge(from, &Import { line: 1, module: to.to_owned() });
    for (from, to) in [
        ("cli", "build"),
        ("cli", "ui"),
        ("store", "sys"),
        ("sys", "sys"),
        ("main", "cli"),
        ("exec", "sandbox"),
    ] {
        assert_eq!(judge(from, to), None, "{from} -> {to}");
    }
    for (from, to) in [
        ("sys", "store"),
        ("store", "registry"),
        ("ui", "cli"),
        ("plan", "store"),
        ("sandbox", "image"),
        ("cli", "nowhere"),
    ] {
        assert!(judge(from, to).is_some(), "{from} -> {to}");
    }
}
