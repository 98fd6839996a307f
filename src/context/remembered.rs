//! Digests of files that need not be read again.
//!
//! An answer may be missing at any time but never wrong. What makes a file count as unchanged is a [`StatKey`], and three
//! rules make that right:
//!
//! 1. *Every change shows.* Whatever alters bytes, mode, owner or attributes sets the inode change time, which programs
//!    cannot set, on the file systems that [`FileSystem`] lets in; no others are remembered.
//! 2. *It shows as a different time.* A digest is remembered only if the last change lies two seconds back when the file
//!    is read ([`StatKey::settled`]), and if the file was the same after it was read.
//! 3. *It is the same file system.* Numbers of devices are given anew, and inodes are only numbers. What stands on one
//!    device with the memory itself is found together with it or not at all, however it is mounted and in whatever boot;
//!    [`KnownDigests`](super::KnownDigests) says how the others are told apart.
//!
//! One thing escapes, as it escapes everybody who compares times: what a program writes through a shared mapping of a file
//! shows when the kernel next notices, which is at its first write and again after the page has reached the disk. Who has
//! a file of a context mapped and changes it *while* builds run may find that the older content counts.

use std::fmt;

use super::file_system::FileSystem;
use super::tree::{Instant, Metadata};
use crate::image::Digest;

/// What has to be equal for a file to count as unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatKey {
    pub device: u64,
    pub file_system: FileSystem,
    pub inode: u64,
    pub size: u64,
    pub mode: u32,
    /// As the tree shows them: the digest covers them.
    pub uid: u32,
    pub gid: u32,
    pub modified: Instant,
    pub changed: Instant,
}

/// A memory of file digests, used from several threads.
pub trait Remembered: Send + Sync + fmt::Debug {
    fn get(&self, key: &StatKey) -> Option<Digest>;
    fn put(&self, key: StatKey, digest: Digest);

    /// Writes down what was learnt, where there is a place for it.
    fn keep(&self) {}
}

/// Remembers nothing.
#[derive(Debug, Clone, Copy)]
pub struct Forgetful;

/// How long a file must have been left alone before its digest is remembered. Times are stamped from a clock that ticks
/// every few milliseconds, and some file systems keep whole or even seconds: a file written twice within one tick, with
/// our reading in between, would look unchanged. Once the last change lies this far back, every later one shows.
const SETTLED: Instant = 2_000_000_000;

impl StatKey {
    pub fn new(metadata: &Metadata, file_system: FileSystem) -> Self {
        let Metadata { device, inode, size, mode, uid, gid, modified, changed, .. } = *metadata;
        Self { device, file_system, inode, size, mode, uid, gid, modified, changed }
    }

    /// Whether a digest taken by reading from `began` on may be remembered. A time in the future, as after setting back
    /// the clock, says no.
    pub fn settled(&self, began: Instant) -> bool {
        self.modified.max(self.changed) < began - SETTLED
    }
}

impl Remembered for Forgetful {
    fn get(&self, _: &StatKey) -> Option<Digest> {
        None
    }

    fn put(&self, _: StatKey, _: Digest) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_settled_two_seconds_after_its_last_change() {
        let key = |modified, changed| StatKey {
            device: 1,
            file_system: FileSystem(1),
            inode: 1,
            size: 1,
            mode: 0o644,
            uid: 0,
            gid: 0,
            modified,
            changed,
        };
        const SECOND: Instant = 1_000_000_000;
        let now = 100 * SECOND;
        assert!(key(0, 97 * SECOND).settled(now));
        assert!(!key(0, 98 * SECOND).settled(now));
        assert!(!key(99 * SECOND, 0).settled(now));
        assert!(!key(0, 101 * SECOND).settled(now), "from the future");
    }
}
