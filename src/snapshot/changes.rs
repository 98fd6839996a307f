//! What has become of a tree since it was looked at: found by comparing, and written down as an overlay would.
//!
//! Nobody can set the time of change that the kernel keeps (ctime): an entry that has the same one and the same inode is the
//! same.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, XattrFlags, fstat, futimens, mkdirat, openat, renameat, statat,
};

use super::below::{is_whiteout, is_whiteout_at};
use super::metadata::{self, times};
use super::{OPAQUE, WHITEOUT, make_whiteout};
use crate::sys::rooted::read_entries;
use crate::sys::{At, IoError};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A tree as it was.
#[derive(Debug)]
pub(super) struct Index {
    top: Known,
}

/// An entry as it was.
#[derive(Debug)]
struct Known {
    inode: u64,
    changed: (i64, u64),
    /// None if it was no directory.
    entries: Option<BTreeMap<OsString, Self>>,
}

impl Index {
    pub(super) fn of(tree: &Path) -> Result<Self, IoError> {
        let directory = rustix::fs::open(tree, DIRECTORY, Mode::empty()).at("open directory", tree)?;
        Ok(Self { top: Known::directory(&directory, tree)? })
    }

    /// Moves everything that is new or changed in the tree into `upper`, which is empty, with its parents, and marks what is
    /// gone.
    pub(super) fn move_changes(&self, tree: &Path, upper: &Path) -> Result<(), IoError> {
        let open = |path: &Path| rustix::fs::open(path, DIRECTORY, Mode::empty()).at("open directory", path);
        let (tree, upper_directory) = (open(tree)?, open(upper)?);
        let changes = compare(&tree, self.top.entries.as_ref(), upper)?;
        apply(&tree, changes, &upper_directory, upper)
    }
}

impl Known {
    fn directory(directory: &OwnedFd, shown: &Path) -> Result<Self, IoError> {
        let mut known = Self::new(&fstat(directory).at("stat", shown)?);
        let mut entries = BTreeMap::new();
        for entry in read_entries(directory).at("read directory", shown)? {
            let path = shown.join(&entry.name);
            let inside = if entry.kind == FileType::Directory {
                let inner = openat(directory, &entry.name, DIRECTORY, Mode::empty());
                Self::directory(&inner.at("open directory", &path)?, &path)?
            } else {
                Self::new(&statat(directory, &entry.name, AtFlags::SYMLINK_NOFOLLOW).at("stat", &path)?)
            };
            entries.insert(entry.name, inside);
        }
        known.entries = Some(entries);
        Ok(known)
    }

    fn new(stat: &Stat) -> Self {
        Self { inode: stat.st_ino, changed: (stat.st_ctime, stat.st_ctime_nsec), entries: None }
    }

    fn is_unchanged(&self, stat: &Stat) -> bool {
        self.inode == stat.st_ino && self.changed == (stat.st_ctime, stat.st_ctime_nsec)
    }
}

/// What became of an entry; one that is as it was has none.
enum Change {
    Gone,
    /// New or changed, and no directory.
    Moved,
    Directory {
        /// It took the place of another directory.
        replaces: bool,
        entries: BTreeMap<OsString, Self>,
    },
}

fn compare(
    directory: &OwnedFd,
    known: Option<&BTreeMap<OsString, Known>>,
    shown: &Path,
) -> Result<BTreeMap<OsString, Change>, IoError> {
    let mut changes = BTreeMap::new();
    if let Some(known) = known {
        // Those that are there are taken out again below.
        changes.extend(known.keys().map(|name| (name.clone(), Change::Gone)));
    }
    for entry in read_entries(directory).at("read directory", shown)? {
        let path = shown.join(&entry.name);
        let known = known.and_then(|known| known.get(&entry.name));
        let stat = statat(directory, &entry.name, AtFlags::SYMLINK_NOFOLLOW).at("stat", &path)?;
        let is_unchanged = known.is_some_and(|known| known.is_unchanged(&stat));
        let change = if entry.kind == FileType::Directory {
            let inner =
                openat(directory, &entry.name, DIRECTORY, Mode::empty()).at("open directory", &path)?;
            let replaced = known.and_then(|known| known.entries.as_ref());
            let same = replaced.filter(|_| known.is_some_and(|known| known.inode == stat.st_ino));
            let entries = compare(&inner, same, &path)?;
            let replaces = replaced.is_some() && same.is_none();
            (!is_unchanged || !entries.is_empty()).then_some(Change::Directory { replaces, entries })
        } else {
            // Such a device would be taken for a deletion; a step on an overlay cannot make any.
            (!is_unchanged && !is_whiteout(&stat)).then_some(Change::Moved)
        };
        match change {
            Some(change) => changes.insert(entry.name, change),
            None => changes.remove(&entry.name),
        };
    }
    Ok(changes)
}

fn apply(
    directory: &OwnedFd,
    changes: BTreeMap<OsString, Change>,
    upper: &OwnedFd,
    shown: &Path,
) -> Result<(), IoError> {
    for (name, change) in changes {
        let path = shown.join(&name);
        match change {
            Change::Gone => make_whiteout(upper, &name).at("create whiteout", &path)?,
            Change::Moved => {
                renameat(directory, &name, upper, &name).at("move", &path)?;
                drop_mark(upper, &name).at("unmark", &path)?;
            }
            Change::Directory { replaces, entries } => {
                let open =
                    |parent| openat(parent, &name, DIRECTORY, Mode::empty()).at("open directory", &path);
                let from = open(directory)?;
                // Moving things away changes it.
                let stat = fstat(&from).at("stat", &path)?;
                mkdirat(upper, &name, Mode::from_raw_mode(0o700)).at("create directory", &path)?;
                let to = open(upper)?;
                apply(&from, entries, &to, &path)?;
                metadata::copy(&from, &to, &path)?;
                if replaces {
                    rustix::fs::fsetxattr(&to, OPAQUE, b"y", XattrFlags::empty()).at("mark", &path)?;
                }
                futimens(&to, &times(&stat)).at("set times of", &path)?;
            }
        }
    }
    Ok(())
}

/// A mark that a step gave to a file by itself means nothing.
fn drop_mark(directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if is_whiteout_at(directory, name, &stat) {
        let file =
            openat(directory, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        return rustix::fs::fremovexattr(&file, WHITEOUT);
    }
    Ok(())
}
