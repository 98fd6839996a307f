//! Writing a deletion down in a layer.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, XattrFlags, mknodat, openat};
use rustix::io::Errno;

use super::{OPAQUE, WHITEOUT};

/// Makes a whiteout in an open directory: a device 0/0, which everybody may make, or a file with a mark where the file system
/// has none, as an overlay does.
pub fn make_whiteout(directory: impl AsFd, name: &OsStr) -> rustix::io::Result<()> {
    match mknodat(&directory, name, FileType::CharacterDevice, Mode::empty(), 0) {
        Err(Errno::PERM | Errno::NOTSUP | Errno::INVAL) => make_marked_file(directory, name),
        answer => answer,
    }
}

fn make_marked_file(directory: impl AsFd, name: &OsStr) -> rustix::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&directory, name, flags, Mode::from_raw_mode(0o600))?;
    rustix::fs::fsetxattr(&file, WHITEOUT, b"y", XattrFlags::empty())?;
    // By its path: the descriptor may be one of a path alone.
    let path = Path::new("/proc/self/fd").join(directory.as_fd().as_raw_fd().to_string());
    match rustix::fs::setxattr(&path, OPAQUE, b"x", XattrFlags::CREATE) {
        // One that hides everything below needs no further mark.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    }
}
