//! Which of the records of a finished tree can give way to the truth on the disk, so that the kernel sees it, too.
//!
//! While a tree is made its directories have to be writable. When it is finished they need not be; what has to stay readable
//! against its permissions, and capabilities, remain records. A tree with such is only for who understands them.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, Mode, OFlags, fchmod, fgetxattr, fremovexattr, openat};

use super::error::{At, IoError};
use super::ownership::MODE;
use super::rooted::read_entries;

static UNSETTLED: AtomicBool = AtomicBool::new(false);
static SPECIAL: AtomicBool = AtomicBool::new(false);

/// Whether a directory can be read with these permissions.
pub(super) fn is_readable(mode: Mode) -> bool {
    mode.contains(Mode::RUSR | Mode::XUSR)
}

/// A record was made that [`settle`] will remove.
pub(super) fn note_unsettled() {
    UNSETTLED.store(true, Ordering::Relaxed);
}

/// A record was made that stays and that the kernel would contradict.
pub(super) fn note_special() {
    SPECIAL.store(true, Ordering::Relaxed);
}

/// Whether this process has made anything that only such a process understands.
pub fn has_made_special() -> bool {
    SPECIAL.load(Ordering::Relaxed)
}

/// Gives the directories of a finished tree their permissions, as far as it can still be read then.
pub fn settle(directory: &Path) -> Result<(), IoError> {
    if !UNSETTLED.load(Ordering::Relaxed) {
        return Ok(());
    }
    settle_below(
        &rustix::fs::open(directory, DIRECTORY, Mode::empty()).at("open directory", directory)?,
        directory,
    )
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn settle_below(directory: &OwnedFd, shown: &Path) -> Result<(), IoError> {
    for entry in read_entries(directory).at("read directory", shown)? {
        if entry.kind == FileType::Directory {
            let path = shown.join(&entry.name);
            let inner = openat(directory, &entry.name, DIRECTORY, Mode::empty());
            settle_below(&inner.at("open directory", &path)?, &path)?;
        }
    }
    match recorded_mode(directory) {
        Some(mode) if is_readable(mode) => {
            fremovexattr(directory, MODE).and_then(|()| fchmod(directory, mode)).at("change mode of", shown)
        }
        Some(_) | None => Ok(()),
    }
}

fn recorded_mode(directory: &OwnedFd) -> Option<Mode> {
    let mut buffer = [0; 16];
    let length = fgetxattr(directory, MODE, &mut buffer).ok()?;
    let text = std::str::from_utf8(&buffer[..length]).ok()?;
    u32::from_str_radix(text, 8).ok().map(|mode| Mode::from_raw_mode(mode & 0o7777))
}
