//! Copies of entries that are no directories, as true as this process may make them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, chmodat, chownat, futimens, ioctl_ficlone, mknodat,
    openat, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::metadata::times;
use crate::sys::ownership::{self, Device};
use crate::sys::{At, IoError, attributes};

/// Copies an entry of one directory to another under the same name. Hard links become files of their own, as they do when an
/// overlay copies one of them.
pub(super) fn duplicate(from: &OwnedFd, name: &OsStr, to: &OwnedFd, shown: &Path) -> Result<(), IoError> {
    let stat = ownership::stat_at(from, name).at("stat", shown)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    match kind {
        FileType::RegularFile => return copy_file(from, name, to, &stat, shown),
        FileType::Symlink => {
            let target = readlinkat(from, name, Vec::new()).at("read link", shown)?;
            symlinkat(target, to, name).at("create link", shown)?;
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            let device = Device { kind, number: stat.st_rdev };
            ownership::make_device(to, name, device, stat.st_uid, stat.st_gid).at("create device", shown)?;
        }
        FileType::Fifo | FileType::Socket => {
            mknodat(to, name, kind, Mode::from_raw_mode(0o600), 0).at("create", shown)?;
        }
        FileType::Directory | FileType::Unknown => return Err(Errno::INVAL).at("copy", shown),
    }
    // Whose a device, link or pipe is that could not be given away is recorded elsewhere.
    let raw = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).at("stat", shown)?;
    let (uid, gid) = (Uid::from_raw(raw.st_uid), Gid::from_raw(raw.st_gid));
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).at("change owner of", shown)?;
    if kind != FileType::Symlink {
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        chmodat(to, name, mode, AtFlags::empty()).at("change mode of", shown)?;
    }
    utimensat(to, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW).at("set times of", shown)
}

fn copy_file(from: &OwnedFd, name: &OsStr, to: &OwnedFd, stat: &Stat, shown: &Path) -> Result<(), IoError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = openat(from, name, flags, Mode::empty()).at("open", shown)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = openat(to, name, flags, Mode::from_raw_mode(0o600)).at("create", shown)?;
    let (mut source, mut target) = (File::from(source), File::from(target));
    copy_content(&mut source, &mut target, || Ok(())).at("copy", shown)?;
    ownership::chown(&target, stat.st_uid, stat.st_gid).at("change owner of", shown)?;
    attributes::copy(&source, &target);
    ownership::chmod(&target, stat.st_mode).at("change mode of", shown)?;
    futimens(&target, &times(stat)).at("set times of", shown)
}

/// Copies a file's content: shares the blocks where the file system can; otherwise copies what is there, and leaves holes holes.
/// `go_on` is asked now and then; its error ends the copy.
pub fn copy_content(from: &mut File, to: &mut File, go_on: impl Fn() -> io::Result<()>) -> io::Result<()> {
    /// A moment's work.
    const AT_ONCE: u64 = 4 << 20;
    let size = from.metadata()?.len();
    if size == 0 || ioctl_ficlone(to.as_fd(), from.as_fd()).is_ok() {
        return Ok(());
    }
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(&*from, rustix::fs::SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            // The file system does not tell.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(error) => return Err(error.into()),
        };
        let hole = rustix::fs::seek(&*from, rustix::fs::SeekFrom::Hole(data)).unwrap_or(size);
        let end = hole.min(data + AT_ONCE);
        from.seek(SeekFrom::Start(data))?;
        to.seek(SeekFrom::Start(data))?;
        // In the kernel, where it can.
        io::copy(&mut from.take(end - data), to)?;
        at = end;
        go_on()?;
    }
    to.set_len(size)
}
