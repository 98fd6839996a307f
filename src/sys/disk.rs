//! How much room a file system has, and why it takes nothing more.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Why a file system takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No room for bytes, or for files.
    Full,
    /// What this user or project may have is used up.
    Quota,
    ReadOnly,
}

impl Refusal {
    /// None if an error is about something else.
    pub fn of(error: &io::Error) -> Option<Self> {
        match error.kind() {
            ErrorKind::StorageFull => Some(Self::Full),
            ErrorKind::QuotaExceeded => Some(Self::Quota),
            ErrorKind::ReadOnlyFilesystem => Some(Self::ReadOnly),
            _ => None,
        }
    }

    /// Whether it would take more.
    pub fn is_want_of_room(self) -> bool {
        match self {
            Self::Full | Self::Quota => true,
            Self::ReadOnly => false,
        }
    }
}

/// The room of one file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes.
    pub size: u64,
    pub free: u64,
    /// How many files there may be, and how many of them are not there yet; some file systems do not count.
    pub files: u64,
    pub free_files: u64,
}

impl Room {
    /// Of the file system that a path is on, or would be.
    pub fn around(path: &Path) -> Option<Self> {
        let stat = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
        Some(Self {
            size: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            files: stat.f_files,
            free_files: stat.f_favail,
        })
    }

    /// Whether hardly anything fits: a hundredth of it, but at most 64 MiB, or hardly any file.
    pub fn is_short(&self) -> bool {
        let is_short = |free: u64, all: u64, most: u64| all > 0 && free < (all / 100).clamp(1, most);
        is_short(self.free, self.size, 64 << 20) || is_short(self.free_files, self.files, 1000)
    }

    /// Whether nothing fits any more but crumbs.
    pub fn is_used_up(&self) -> bool {
        self.free < 64 << 10 || (self.files > 0 && self.free_files == 0)
    }
}

impl fmt::Display for Room {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: u64| bytes >> 20;
        write!(out, "{} of {} MiB free", mebibytes(self.free), mebibytes(self.size))?;
        if self.files > 0 {
            write!(out, ", {} of {} files", self.free_files, self.files)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_short_in_bytes_or_in_files() {
        let room = Room { size: 10 << 30, free: 1 << 30, files: 1000, free_files: 500 };
        assert!(!room.is_short());
        assert!(Room { free: 1 << 20, ..room }.is_short());
        assert!(Room { free_files: 2, ..room }.is_short());
        assert!(!room.is_used_up() && Room { free: 4096, ..room }.is_used_up());
        assert!(Room { free_files: 0, ..room }.is_used_up());
        assert!(!Room { files: 0, free_files: 0, ..room }.is_short());
        assert_eq!(room.to_string(), "1024 of 10240 MiB free, 500 of 1000 files");
        assert!(Room::around(Path::new("/proc/no/such/place")).is_some());
    }

    #[test]
    fn a_quota_is_no_full_disk_and_neither_is_a_mistake() {
        let of = |number: i32| Refusal::of(&io::Error::from_raw_os_error(number));
        assert_eq!(of(libc::ENOSPC), Some(Refusal::Full));
        assert_eq!(of(libc::EDQUOT), Some(Refusal::Quota));
        assert_eq!(of(libc::EROFS), Some(Refusal::ReadOnly));
        assert_eq!(of(libc::EACCES), None);
        assert_eq!(of(libc::EIO), None);
        assert_eq!(Refusal::of(&ErrorKind::StorageFull.into()), Some(Refusal::Full));
    }
}
