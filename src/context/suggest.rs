//! Names that may have been meant.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::lexical::{as_path, inside, join, last};
use super::tree::{Entry, Tree};
use crate::sys::IoError;

/// Where a path that leads to nothing comes to its end.
struct End {
    /// The last directory that is there.
    directory: Entry,
    /// As the path names it.
    known: Vec<u8>,
    /// The components after it.
    rest: Vec<Vec<u8>>,
}

/// None where all of the path is there, or goes on behind something that is no directory.
fn end(tree: &Tree, missing: &Path) -> Result<Option<End>, IoError> {
    let missing = inside(missing.as_os_str().as_bytes());
    let names: Vec<&[u8]> = missing.split(|&byte| byte == b'/').collect();
    let mut known = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let path = join(&known, name);
        if tree.find(as_path(&path))?.is_some() {
            known = path;
            continue;
        }
        let directory = tree.find(as_path(&known))?;
        let directory = directory.filter(|entry| entry.metadata.kind == FileType::Directory);
        let rest = names[index..].iter().map(|name| name.to_vec()).collect();
        return Ok(directory.map(|directory| End { directory, known, rest }));
    }
    Ok(None)
}

/// Existing paths that differ from a missing one in the first component that is missing, with the rest of the path where
/// that exists too.
pub(super) fn nearest(tree: &Tree, missing: &Path) -> Result<Vec<PathBuf>, IoError> {
    let Some(End { directory, known, rest }) = end(tree, missing)? else { return Ok(Vec::new()) };
    let name = &rest[0];
    let allowed = (name.len() / 3).max(1);
    let mut close = Vec::new();
    for entry in tree.list(&directory, |other| other.len().abs_diff(name.len()) <= allowed)? {
        let other = last(&entry.place.inside);
        let distance = distance(&name.to_ascii_lowercase(), &other.to_ascii_lowercase());
        if distance <= allowed && tree.is_there(&entry)? {
            let path = join(&known, other);
            let whole = join(&path, &rest[1..].join(&b'/'));
            let path = if tree.find(as_path(&whole))?.is_some() { whole } else { path };
            close.push((distance, as_path(&path).to_owned()));
        }
    }
    close.sort();
    Ok(close.into_iter().take(3).map(|(_, path)| path).collect())
}

/// The first thing on the way to what is missing, if it is a symlink: that leads nowhere, then.
pub(super) fn dangling(tree: &Tree, missing: &Path) -> Result<Option<(PathBuf, PathBuf)>, IoError> {
    let Some(End { directory, known, rest }) = end(tree, missing)? else { return Ok(None) };
    for entry in tree.list(&directory, |other| other == rest[0])? {
        if tree.is_there(&entry)? {
            let path = as_path(&join(&known, &rest[0])).to_owned();
            return Ok(entry.target.map(|target| (path, target)));
        }
    }
    Ok(None)
}

/// How many bytes have to be inserted, left out, replaced or swapped with the next to turn one name into the other.
fn distance(from: &[u8], to: &[u8]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for row in 1..=from.len() {
        let mut current = vec![row];
        for column in 1..=to.len() {
            let above = &rows[row - 1];
            let replaced = above[column - 1] + usize::from(from[row - 1] != to[column - 1]);
            let mut best = replaced.min(above[column] + 1).min(current[column - 1] + 1);
            if row > 1 && column > 1 && from[row - 2..row] == [to[column - 1], to[column - 2]] {
                best = best.min(rows[row - 2][column - 2] + 1);
            }
            current.push(best);
        }
        rows.push(current);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (from, to, expected) in
            [("", "", 0), ("abc", "abc", 0), ("kitten", "sitting", 3), ("", "ab", 2), ("scr", "src", 1)]
        {
            assert_eq!(distance(from.as_bytes(), to.as_bytes()), expected, "{from} {to}");
        }
    }
}
