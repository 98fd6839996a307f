//! One file as it is written down.

use super::super::remembered::StatKey;
use crate::image::Digest;

/// What was asked for when the memory was written so and so often, and its digest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub facts: Facts,
    /// Its place in the list of devices.
    pub device: u32,
    /// Of the memory, when somebody last asked.
    pub generation: u64,
    pub digest: Digest,
}

/// What of a [`StatKey`] is about the inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub inode: u64,
    size: u64,
    modified: i64,
    changed: i64,
    uid: u32,
    gid: u32,
    mode: u32,
}

/// The inode comes first: entries are found by it.
pub(super) const SIZE: usize = 88;

impl Facts {
    /// None for a time that is centuries away.
    pub(super) fn of(key: &StatKey) -> Option<Self> {
        let StatKey { inode, size, uid, gid, mode, .. } = *key;
        let (modified, changed) = (key.modified.try_into().ok()?, key.changed.try_into().ok()?);
        Some(Self { inode, size, modified, changed, uid, gid, mode })
    }
}

impl Entry {
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        let Facts { inode, size, modified, changed, uid, gid, mode } = self.facts;
        for number in [inode, size, modified.cast_unsigned(), changed.cast_unsigned(), self.generation] {
            to.extend_from_slice(&number.to_le_bytes());
        }
        for number in [uid, gid, mode, self.device] {
            to.extend_from_slice(&number.to_le_bytes());
        }
        to.extend_from_slice(self.digest.as_bytes());
    }

    pub(super) fn read(bytes: &[u8; SIZE]) -> Self {
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let short = |at: usize| u32::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let (modified, changed) = (long(16).cast_signed(), long(24).cast_signed());
        let (uid, gid, mode) = (short(40), short(44), short(48));
        let facts = Facts { inode: long(0), size: long(8), modified, changed, uid, gid, mode };
        let digest = Digest::from_bytes(std::array::from_fn(|index| bytes[56 + index]));
        Self { facts, device: short(52), generation: long(32), digest }
    }
}
