//! Digests of files that need not be read again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::tree::{Instant, Metadata};
use crate::image::Digest;

/// What has to be equal for a file to count as unchanged. The inode change time cannot be set by programs, so whatever
/// alters bytes, mode, owner or attributes shows in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StatKey {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub mode: u32,
    /// As the tree shows them: the digest covers them.
    pub uid: u32,
    pub gid: u32,
    pub modified: Instant,
    pub changed: Instant,
}

/// A memory of file digests. Used from several threads; an answer may be missing at any time but never wrong, so what
/// cannot tell file systems apart for good (the device number of a mount is given anew after it is gone) must not
/// outlive them.
pub trait Remembered: Sync {
    fn get(&self, key: &StatKey) -> Option<Digest>;
    fn put(&self, key: StatKey, digest: Digest);
}

/// Remembers nothing.
#[derive(Debug, Clone, Copy)]
pub struct Forgetful;

/// Remembers as long as the process lives.
#[derive(Debug, Default)]
pub struct InMemory {
    digests: Mutex<HashMap<StatKey, Digest>>,
}

/// How long a file must have been left alone before its digest is remembered. Times are stamped from a clock that ticks
/// every few milliseconds, and some file systems keep whole or even seconds: a file written twice within one tick, with
/// our reading in between, would look unchanged. Once the last change lies this far back, every later one shows.
const SETTLED: Instant = 2_000_000_000;

impl StatKey {
    pub fn new(metadata: &Metadata) -> Self {
        let Metadata { device, inode, size, mode, uid, gid, modified, changed, .. } = *metadata;
        Self { device, inode, size, mode, uid, gid, modified, changed }
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

impl Remembered for InMemory {
    fn get(&self, key: &StatKey) -> Option<Digest> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    fn put(&self, key: StatKey, digest: Digest) {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).insert(key, digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_settled_two_seconds_after_its_last_change() {
        let key = |modified, changed| StatKey {
            device: 1,
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
