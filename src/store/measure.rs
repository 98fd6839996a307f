//! How much of the disk a tree takes.

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::sys::rooted::read_entries;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The bytes that a tree takes on disk, a file with several names once. None where it cannot be read: its files belong
/// to ids that this process has not, or it has just been taken away.
///
/// Trees can be deeper than there are descriptors and longer than paths can be: one directory is open at a time, and
/// the way back is `..`, which leads where it should because snapshots do not change.
pub(super) fn tree_size(path: &Path, links: Links) -> Option<u64> {
    let mut current = rustix::fs::open(path, DIRECTORY, Mode::empty()).ok()?;
    let mut tree = Tree { bytes: blocks(&fstat(&current).ok()?), links, seen: HashSet::new() };
    // What is still to be gone into, level by level.
    let mut pending = vec![tree.directory(&current).ok()?];
    while let Some(level) = pending.last_mut() {
        match level.pop() {
            Some(name) => {
                current = openat(&current, name, DIRECTORY, Mode::empty()).ok()?;
                pending.push(tree.directory(&current).ok()?);
            }
            None => {
                pending.pop();
                if !pending.is_empty() {
                    current = openat(&current, "..", DIRECTORY, Mode::empty()).ok()?;
                }
            }
        }
    }
    Some(tree.bytes)
}

/// The bytes that one file takes on disk; none if it is not there.
pub(super) fn file_size(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Some(std::fs::symlink_metadata(path).ok()?.blocks() * 512)
}

/// What files with several names count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// All names are in the tree: once.
    Once,
    /// Another tree has them, too, and counts them.
    Skipped,
}

struct Tree {
    bytes: u64,
    links: Links,
    /// Files with several names.
    seen: HashSet<(u64, u64)>,
}

impl Tree {
    /// Adds what is in a directory; returns the directories in it.
    fn directory(&mut self, directory: &OwnedFd) -> rustix::io::Result<Vec<OsString>> {
        let mut below = Vec::new();
        for entry in read_entries(directory)? {
            let stat = match statat(directory, &entry.name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                answer => answer?,
            };
            if stat.st_nlink > 1
                && entry.kind != FileType::Directory
                && (self.links == Links::Skipped || !self.seen.insert((stat.st_dev, stat.st_ino)))
            {
                continue;
            }
            self.bytes += blocks(&stat);
            if entry.kind == FileType::Directory {
                below.push(entry.name);
            }
        }
        Ok(below)
    }
}

fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_several_names_count_once_and_depth_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("one"), vec![1; 100_000]).unwrap();
        let alone = tree_size(dir.path(), Links::Once).unwrap();
        assert!((100_000..200_000).contains(&alone), "{alone}");
        std::fs::hard_link(dir.path().join("one"), dir.path().join("two")).unwrap();
        assert_eq!(tree_size(dir.path(), Links::Once).unwrap(), alone);
        assert!(tree_size(dir.path(), Links::Skipped).unwrap() < 100_000);
        let mut deep = rustix::fs::open(dir.path(), DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&deep, "d", Mode::from_raw_mode(0o700)).unwrap();
            deep = openat(&deep, "d", DIRECTORY, Mode::empty()).unwrap();
        }
        drop(openat(&deep, "end", OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600)).unwrap());
        assert!(tree_size(dir.path(), Links::Once).unwrap() >= alone);
        crate::sys::remove_tree(&dir.path().join("d")).unwrap();
        assert_eq!(tree_size(dir.path(), Links::Once).unwrap(), alone);
        assert_eq!(tree_size(&dir.path().join("missing"), Links::Once), None);
    }
}
