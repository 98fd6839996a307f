//! What is in a directory of changes and no change: copied up to be written to, and then as it was. An overlay copies a file when
//! its owner or mode is set, even to what they are.
//!
//! An entry is left out if the tar would say of it just what the layers below say already. So times count in whole seconds and
//! cut as the tar's are: a layer must not depend on whether those below it were made here or unpacked.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat, openat, readlinkat};
use std::os::unix::ffi::OsStrExt;

use super::xattrs::read_xattrs;
use crate::snapshot::Lower;
use crate::sys::{At, IoError};

/// An entry of the directory of changes.
pub(super) struct Upper<'a> {
    pub directory: &'a OwnedFd,
    pub name: &'a std::ffi::OsStr,
    /// With what is recorded of it.
    pub stat: &'a Stat,
    /// For messages.
    pub path: &'a Path,
}

/// Whether an entry is what lies below; nothing in the tar is newer than `latest`. The cheapest questions are asked
/// first, and what differs mostly differs in its time.
pub(super) fn is_unchanged(
    upper: &Upper<'_>,
    lower: &Lower<'_>,
    latest: Option<i64>,
) -> Result<bool, IoError> {
    if cut(upper.stat.st_mtime, latest) != cut(lower.raw.st_mtime, latest) {
        return Ok(false);
    }
    let (stat, below) = (upper.stat, lower.stat()?);
    let what = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
    if what(stat) != what(&below) {
        return Ok(false);
    }
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => same_attributes(&upper.open()?, lower),
        FileType::RegularFile => {
            if stat.st_size != below.st_size {
                return Ok(false);
            }
            let file = upper.open()?;
            Ok(same_attributes(&file, lower)?
                && same_content(file.into(), lower).at("compare", upper.path)?)
        }
        FileType::Symlink => {
            let target = readlinkat(upper.directory, upper.name, Vec::new()).at("read link", upper.path)?;
            Ok(target.as_bytes() == lower.link_target()?.as_os_str().as_bytes())
        }
        FileType::CharacterDevice | FileType::BlockDevice => Ok(stat.st_rdev == below.st_rdev),
        FileType::Fifo => Ok(true),
        FileType::Socket | FileType::Unknown => Ok(false),
    }
}

impl Upper<'_> {
    fn open(&self) -> Result<OwnedFd, IoError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(self.directory, self.name, flags, Mode::empty()).at("open", self.path)
    }
}

/// The time that a tar gives to an entry.
pub(super) fn cut(mtime: i64, latest: Option<i64>) -> i64 {
    latest.map_or(mtime, |latest| mtime.min(latest))
}

fn same_attributes(upper: impl AsFd, lower: &Lower<'_>) -> Result<bool, IoError> {
    let read = |fd: &dyn AsFd| read_xattrs(fd.as_fd());
    let below = lower.open()?;
    Ok(read(&upper).at("read attributes of", "a changed file")?
        == read(&below).at("read attributes of", "a layer's file")?)
}

fn same_content(mut upper: std::fs::File, lower: &Lower<'_>) -> io::Result<bool> {
    const AT_ONCE: usize = 128 << 10;
    let mut below = lower.open_file().map_err(|error| error.source)?;
    let (mut ours, mut theirs) = (Vec::with_capacity(AT_ONCE), Vec::with_capacity(AT_ONCE));
    loop {
        ours.clear();
        theirs.clear();
        Read::by_ref(&mut upper).take(AT_ONCE as u64).read_to_end(&mut ours)?;
        Read::by_ref(&mut below).take(AT_ONCE as u64).read_to_end(&mut theirs)?;
        if ours != theirs {
            return Ok(false);
        }
        if ours.is_empty() {
            return Ok(true);
        }
    }
}
