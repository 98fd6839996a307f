//! A memory of file digests that can be kept between builds, as bytes.
//!
//! ```text
//! generation: u64   how often the memory was written
//! count: u64        of the devices that follow, each a number and what its file system is
//! entries           sorted by inode, 88 bytes each; all numbers are little-endian
//! ```
//!
//! Files of the device that the memory itself lies on are known by that, whatever the number of the device is by now: what
//! happens to the device, be it mounted elsewhere, rolled back or copied, happens to both. The store sees to it that such
//! a memory counts in a later boot only if it reached the disk with all that its device had then.
//!
//! Files of other devices are known within one boot: by the number of the device, what the file system says it is, and a
//! change time since that boot. When one file system takes the number of another, a file on it that has the inode, size
//! and times of one that was there before was changed by the running kernel in the same moment as that one: it is a copy
//! of it, made with the whole file system. What was put on a file system elsewhere, as into an image that is made the same
//! way every time, may have the same times and other bytes; but those times are from before the boot.

mod entry;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use super::file_system::FileSystem;
use super::remembered::{Remembered, StatKey};
use super::tree::Instant;
use crate::image::Digest;
use entry::{Entry, Facts, SIZE};

/// A memory that was loaded, and what has been learnt since.
#[derive(Debug)]
pub struct KnownDigests {
    origin: Option<Origin>,
    devices: Vec<Device>,
    /// Entries as they were written.
    entries: Vec<[u8; SIZE]>,
    /// Which of them somebody has asked for.
    seen: Vec<AtomicBool>,
    generation: u64,
    booted: Instant,
    learnt: Mutex<HashMap<StatKey, Digest>>,
}

/// Where a memory was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Whether this machine has not been started anew since.
    pub of_this_boot: bool,
    /// The number of the device then.
    pub device_then: u64,
    /// The number of that same device now.
    pub device_now: u64,
}

#[derive(Debug, Clone, Copy)]
struct Device {
    /// As of now.
    number: u64,
    file_system: FileSystem,
    known_by: KnownBy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KnownBy {
    /// The memory lies on it, too.
    Company,
    /// Its number, in this boot.
    Number,
    /// Nothing any more.
    Nothing,
}

/// What nobody has asked for while the memory was written so many times is forgotten.
const STAYS_FOR: u64 = 32;
/// At most so many entries are written, 22 MB.
const MOST_ENTRIES: usize = 250_000;

impl KnownDigests {
    /// Knows nothing yet.
    pub fn nothing() -> Self {
        Self {
            origin: None,
            devices: Vec::new(),
            entries: Vec::new(),
            seen: Vec::new(),
            generation: 0,
            booted: booted(),
            learnt: Mutex::default(),
        }
    }

    /// What [`KnownDigests::to_bytes`] has written; nothing, if that is not what it is.
    pub fn from_bytes(bytes: &[u8], origin: Origin) -> Self {
        Self::parse(bytes, origin).unwrap_or_else(Self::nothing)
    }

    fn parse(bytes: &[u8], origin: Origin) -> Option<Self> {
        let mut rest = bytes;
        let mut number = || -> Option<u64> {
            let (number, after) = rest.split_first_chunk()?;
            rest = after;
            Some(u64::from_le_bytes(*number))
        };
        let (generation, count) = (number()?, number()?);
        let mut devices = Vec::new();
        for _ in 0..count {
            let (written, file_system) = (number()?, FileSystem(number()?));
            let (number, known_by) = match (written == origin.device_then, origin.of_this_boot) {
                (true, _) => (origin.device_now, KnownBy::Company),
                (false, true) => (written, KnownBy::Number),
                (false, false) => (written, KnownBy::Nothing),
            };
            devices.push(Device { number, file_system, known_by });
        }
        let (entries, []) = rest.as_chunks() else { return None };
        let seen = entries.iter().map(|_| AtomicBool::new(false)).collect();
        let known = Self {
            origin: Some(origin),
            devices,
            entries: entries.to_vec(),
            generation,
            seen,
            ..Self::nothing()
        };
        Some(known)
    }

    /// Everything that is worth keeping; none if nothing was learnt.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let learnt = self.learnt();
        if learnt.is_empty() {
            return None;
        }
        let generation = self.generation.saturating_add(1);
        let mut devices = Vec::new();
        let mut entries = self.worth_keeping(generation, &learnt, &mut devices);
        for (key, digest) in learnt.iter() {
            let device = place_of(&mut devices, key.device, key.file_system);
            let facts = Facts::of(key);
            entries.extend(facts.map(|facts| Entry { facts, device, generation, digest: *digest }));
        }
        if entries.len() > MOST_ENTRIES {
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.generation));
            entries.truncate(MOST_ENTRIES);
        }
        entries.sort_by_key(|entry| (entry.facts.inode, entry.device));
        let mut bytes = Vec::with_capacity(64 + entries.len() * SIZE);
        let head = [generation, devices.len() as u64].into_iter();
        let head = head.chain(devices.into_iter().flat_map(|(number, system)| [number, system.0]));
        bytes.extend(head.flat_map(u64::to_le_bytes));
        entries.iter().for_each(|entry| entry.write(&mut bytes));
        Some(bytes)
    }

    /// What was loaded, but for what is old or wrong by now.
    fn worth_keeping(
        &self,
        generation: u64,
        learnt: &HashMap<StatKey, Digest>,
        devices: &mut Vec<(u64, FileSystem)>,
    ) -> Vec<Entry> {
        let changed: HashSet<(u64, u64)> = learnt.keys().map(|key| (key.device, key.inode)).collect();
        let mut kept = Vec::with_capacity(self.entries.len() + learnt.len());
        for (entry, seen) in self.entries.iter().map(Entry::read).zip(&self.seen) {
            let generation_seen = if seen.load(Ordering::Relaxed) { generation } else { entry.generation };
            let Some(device) = self.device(&entry) else { continue };
            if device.known_by != KnownBy::Nothing
                && generation_seen.saturating_add(STAYS_FOR) > generation
                && !changed.contains(&(device.number, entry.facts.inode))
            {
                let place = place_of(devices, device.number, device.file_system);
                kept.push(Entry { device: place, generation: generation_seen, ..entry });
            }
        }
        kept
    }

    fn learnt(&self) -> MutexGuard<'_, HashMap<StatKey, Digest>> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn device(&self, entry: &Entry) -> Option<&Device> {
        self.devices.get(usize::try_from(entry.device).ok()?)
    }

    /// Whether a file with this key lies on the device that an entry is about.
    fn is_on_device_of(&self, entry: &Entry, key: &StatKey) -> bool {
        self.device(entry).is_some_and(|device| {
            device.number == key.device
                && match device.known_by {
                    KnownBy::Company => true,
                    KnownBy::Number => device.file_system == key.file_system && key.changed >= self.booted,
                    KnownBy::Nothing => false,
                }
        })
    }

    fn loaded(&self, key: &StatKey) -> Option<Digest> {
        let facts = Facts::of(key)?;
        let inode = |entry: &[u8; SIZE]| entry.first_chunk().map_or(0, |inode| u64::from_le_bytes(*inode));
        let first = self.entries.partition_point(|entry| inode(entry) < facts.inode);
        let of_inode = self.entries[first..].iter().take_while(|entry| inode(entry) == facts.inode);
        let (found, index) = of_inode
            .map(Entry::read)
            .zip(first..)
            .find(|(entry, _)| entry.facts == facts && self.is_on_device_of(entry, key))?;
        self.seen[index].store(true, Ordering::Relaxed);
        Some(found.digest)
    }
}

impl Remembered for KnownDigests {
    fn get(&self, key: &StatKey) -> Option<Digest> {
        self.loaded(key).or_else(|| self.learnt().get(key).copied())
    }

    fn put(&self, key: StatKey, digest: Digest) {
        // What will not be found again is no reason to write anything.
        let is_elsewhere = self.origin.is_some_and(|origin| origin.device_now != key.device);
        if !(is_elsewhere && key.changed < self.booted) {
            self.learnt().insert(key, digest);
        }
    }
}

/// Where a device stands in a list, at its end if it was not in it.
fn place_of(devices: &mut Vec<(u64, FileSystem)>, number: u64, file_system: FileSystem) -> u32 {
    let known = devices.iter().position(|known| *known == (number, file_system));
    let place = known.unwrap_or_else(|| {
        devices.push((number, file_system));
        devices.len() - 1
    });
    u32::try_from(place).expect("there are fewer devices than numbers for them")
}

/// When this machine was started, by the clock that files are stamped from, as it goes now.
fn booted() -> Instant {
    let since = clock_gettime(ClockId::Boottime);
    let since = i128::from(since.tv_sec) * 1_000_000_000 + i128::from(since.tv_nsec);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos().cast_signed());
    now - since
}

#[cfg(test)]
mod tests;
