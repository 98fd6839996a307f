//! What git has written, made independent of who has fetched it.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, openat, statat, utimensat};

use crate::sys::rooted::{Entry, read_entries};
use crate::sys::{At, IoError};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Gives all that is in a directory the modes that git knows, and a time if one is given, in seconds since 1970.
pub(super) fn tidy(path: &Path, made: Option<i64>) -> Result<(), IoError> {
    let times = made.map(|seconds| Timespec { tv_sec: seconds, tv_nsec: 0 });
    let times = times.map(|time| Timestamps { last_access: time, last_modification: time });
    let top = openat(rustix::fs::CWD, path, DIRECTORY, Mode::empty()).at("open", path)?;
    directory(&top, path, times.as_ref())
}

/// Names of a repository are short enough for git to have written them by their whole paths, so this goes no deeper than it may.
fn directory(open: &OwnedFd, path: &Path, times: Option<&Timestamps>) -> Result<(), IoError> {
    for entry in read_entries(open).at("read directory", path)? {
        let (name, place) = (entry.name.as_os_str(), path.join(&entry.name));
        if entry.kind == FileType::Directory {
            let below = openat(open, name, DIRECTORY, Mode::empty()).at("open", &place)?;
            directory(&below, &place, times)?;
        } else if entry.kind == FileType::RegularFile {
            set_mode(open, &entry, &place)?;
        }
        if let (Some(times), true) = (times, entry.kind != FileType::Directory) {
            utimensat(open, name, times, AtFlags::SYMLINK_NOFOLLOW).at("set times of", &place)?;
        }
    }
    rustix::fs::fchmod(open, Mode::from_raw_mode(0o755)).at("change mode of", path)?;
    // After the entries: they have changed it.
    times.map_or(Ok(()), |times| rustix::fs::futimens(open, times).at("set times of", path))
}

fn set_mode(directory: &OwnedFd, entry: &Entry, place: &Path) -> Result<(), IoError> {
    let stat = statat(directory, &entry.name, AtFlags::SYMLINK_NOFOLLOW).at("stat", place)?;
    let now = Mode::from_raw_mode(stat.st_mode);
    let mode = match (now.contains(Mode::XUSR), now.contains(Mode::WUSR)) {
        (true, _) => 0o755,
        (false, true) => 0o644,
        // Packs of a repository that is kept.
        (false, false) => 0o444,
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(directory, &entry.name, flags, Mode::empty()).at("open", place)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).at("change mode of", place)
}
