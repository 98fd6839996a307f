//! Names that may have been meant.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::lexical::{as_path, inside, join, last};
use super::tree::Tree;
use crate::sys::IoError;

/// Existing paths that differ from a missing one in the first component that is missing.
pub(super) fn nearest(tree: &Tree, missing: &Path) -> Result<Vec<PathBuf>, IoError> {
    let missing = inside(missing.as_os_str().as_bytes());
    let mut known = Vec::new();
    for name in missing.split(|&byte| byte == b'/') {
        let path = join(&known, name);
        if tree.find(as_path(&path))?.is_some() {
            known = path;
            continue;
        }
        let directory = tree.find(as_path(&known))?;
        let Some(directory) = directory.filter(|entry| entry.metadata.kind == FileType::Directory) else {
            return Ok(Vec::new());
        };
        let allowed = (name.len() / 3).max(1);
        let mut close = Vec::new();
        for entry in tree.list(&directory, |other| other.len().abs_diff(name.len()) <= allowed)? {
            let other = last(&entry.place.inside);
            let distance = distance(&name.to_ascii_lowercase(), &other.to_ascii_lowercase());
            if distance <= allowed && tree.is_there(&entry)? {
                close.push((distance, as_path(&join(&known, other)).to_owned()));
            }
        }
        close.sort();
        return Ok(close.into_iter().take(3).map(|(_, path)| path).collect());
    }
    Ok(Vec::new())
}

/// How many bytes have to be inserted, left out or replaced to turn one name into the other.
fn distance(from: &[u8], to: &[u8]) -> usize {
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (row, a) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in to.iter().enumerate() {
            let replaced = above[column] + usize::from(a != b);
            current.push(replaced.min(above[column + 1] + 1).min(current[column] + 1));
        }
        above = current;
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (from, to, expected) in [("", "", 0), ("abc", "abc", 0), ("kitten", "sitting", 3), ("", "ab", 2)]
        {
            assert_eq!(distance(from.as_bytes(), to.as_bytes()), expected, "{from} {to}");
        }
    }
}
