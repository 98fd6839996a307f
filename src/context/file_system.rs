//! On which file systems a file that looks unchanged is unchanged.

use std::os::fd::AsFd;
use std::sync::{PoisonError, RwLock};

use rustix::fs::{fstat, fstatfs, fstatvfs};

/// A file system as long as it is mounted: its kind and its own identifier, mixed. Two that are mounted one after the other
/// may still have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileSystem(pub(super) u64);

/// The file systems of the devices that a walk has come across.
#[derive(Debug, Default)]
pub(super) struct FileSystems {
    known: RwLock<Vec<(u64, Option<FileSystem>)>>,
}

impl FileSystems {
    /// The file system of an entry by its device; none if a file there may change without looking changed. `open` is asked
    /// once for each device, for anything that lies on it.
    pub(super) fn of<F: AsFd>(&self, device: u64, open: impl FnOnce() -> Option<F>) -> Option<FileSystem> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = known.iter().find(|(known, _)| *known == device) {
            return *found;
        }
        drop(known);
        let fits = |fd: &F| fstat(fd).is_ok_and(|stat| stat.st_dev == device);
        let found = open().filter(fits).and_then(|fd| identify(&fd));
        self.known.write().unwrap_or_else(PoisonError::into_inner).push((device, found));
        found
    }
}

/// Only where the kernel stamps the change time itself whenever bytes or metadata change, tells inodes apart by their
/// numbers, and knows of every change. Not where another machine changes files (NFS, SMB, 9p, what FUSE shows) or the time
/// of the last change is one that programs set (FAT).
fn identify(fd: impl AsFd) -> Option<FileSystem> {
    const EXT: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683e;
    const BCACHEFS: u64 = 0xca45_1a4e;
    const F2FS: u64 = 0xf2f5_2010;
    const ZFS: u64 = 0x2fc1_2fc1;
    const TMPFS: u64 = 0x0102_1994;
    const OVERLAY: u64 = 0x794c_7630;
    // A signed number of some width, depending on the architecture.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::unnecessary_cast,
        reason = "the kernel's constants have 32 bits"
    )]
    let kind = fstatfs(&fd).ok()?.f_type as u32 as u64;
    let trusted = [EXT, XFS, BTRFS, BCACHEFS, F2FS, ZFS, TMPFS, OVERLAY].contains(&kind);
    // Most have an identifier from when they were made.
    let own = if trusted { fstatvfs(&fd).ok()?.f_fsid } else { return None };
    Some(FileSystem(own ^ kind))
}
