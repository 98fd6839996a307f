//! Paths as text: shortened without looking at any disk, as Go's `path.Clean` does.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The shortest path that means the same: no `.`, no inner `..`, no doubled or trailing slash. Nothing becomes `.`.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut kept: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if kept.last().is_some_and(|last| *last != b"..") => drop(kept.pop()),
            // There is nothing above the root.
            b".." if rooted => {}
            part => kept.push(part),
        }
    }
    let mut cleaned = if rooted { b"/".to_vec() } else { Vec::new() };
    cleaned.extend(kept.join(&b'/'));
    if cleaned.is_empty() { b".".to_vec() } else { cleaned }
}

/// The path of a source inside its tree, without leading slash: `..` never leaves the root, which itself is empty.
pub(super) fn inside(path: &[u8]) -> Vec<u8> {
    let mut rooted = b"/".to_vec();
    rooted.extend(path);
    clean(&rooted).split_off(1)
}

pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    join_into(&mut path, directory, name);
    path
}

/// As [`join`], into what there is already.
pub(super) fn join_into(path: &mut Vec<u8>, directory: &[u8], name: &[u8]) {
    path.clear();
    path.extend_from_slice(directory);
    if !directory.is_empty() && !name.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// The part after the last slash.
pub(super) fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

pub(super) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_in_go() {
        for (path, expected) in [
            ("", "."),
            (".", "."),
            ("./a/", "a"),
            ("a/../b", "b"),
            ("a//b/./c", "a/b/c"),
            ("../../a", "../../a"),
            ("a/../../b", "../b"),
            ("/../a", "/a"),
            ("/", "/"),
            ("//a", "/a"),
            ("a/..", "."),
        ] {
            assert_eq!(clean(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn dots_are_clamped_to_the_root() {
        for (path, expected) in [("../../a", "a"), ("/a/", "a"), (".", ""), ("/", ""), ("a/../../..", "")] {
            assert_eq!(inside(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }
}
