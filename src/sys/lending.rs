//! Reading own files whose permissions forbid it: root always can, and everybody can change them for that moment.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::ownership::is_plain;

/// Tries something that takes the right to read an entry of a directory.
pub fn reading<T>(
    directory: impl AsFd,
    name: impl AsRef<Path>,
    attempt: impl Fn() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    match attempt() {
        Err(Errno::ACCESS) if is_plain() => lending(directory, name.as_ref(), attempt),
        answer => answer,
    }
}

fn lending<T>(
    directory: impl AsFd,
    name: &Path,
    attempt: impl Fn() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let needed = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Mode::RUSR,
        FileType::Directory => Mode::RUSR | Mode::XUSR,
        _ => return Err(Errno::ACCESS),
    };
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    if stat.st_uid != rustix::process::geteuid().as_raw() || mode.contains(needed) {
        return Err(Errno::ACCESS);
    }
    let change = |mode| rustix::fs::chmodat(&directory, name, mode, AtFlags::empty());
    change(mode | needed)?;
    let answer = attempt();
    change(mode)?;
    answer
}
