//! Digests of context files, kept between builds: a file in `digests/` for each context, which means something only to
//! whoever wrote it.
//!
//! It is read at once, and written when something new was learnt: beside its place and renamed, so that it is whole. Of
//! two processes that write at the same time one is forgotten, which costs knowledge and nothing else; so is what is
//! damaged, cut off, of another version, or of a boot that ended before the disk surely had it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::fstat;

use super::Store;
use super::error::StoreError;
use crate::sys::namespace::{may_administrate, read_setting};
use crate::sys::{At, IoError};

/// What was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub bytes: Vec<u8>,
    pub standing: Standing,
    /// The number of the device that it was written to.
    pub device_then: u64,
    /// The number of that same device now.
    pub device_now: u64,
}

/// Since when something is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It was written since this machine was started.
    ThisBoot,
    /// It was written before, and so was everything else that its device had then.
    EarlierBoot,
}

/// A file that was kept, as somebody who takes stock sees it.
#[derive(Debug, Clone)]
pub(super) struct KeptFile {
    pub name: String,
    pub path: PathBuf,
    /// For people; none if the file cannot be read as what it should be.
    pub about: Option<String>,
    pub size: u64,
    pub used: SystemTime,
}

pub(super) const DIRECTORY: &str = "digests";
/// The last digit is the version.
const MAGIC: [u8; 8] = *b"rbdigst1";
/// So many contexts are remembered.
const MOST_FILES: usize = 100;
/// Larger ones are not read: no writer makes them.
const LARGEST: u64 = 64 << 20;
const USE_IS_NOTED_AFTER: Duration = Duration::from_secs(3600);

impl Store {
    /// What was kept under a name, if it still counts.
    pub fn kept_digests(&self, name: &str) -> Option<Kept> {
        let file = File::open(self.digests_path(name)).ok()?;
        let metadata = file.metadata().ok()?;
        let (envelope, bytes) = read(&file).ok().flatten()?;
        let standing = self.records.standing(&envelope.boot, envelope.at)?;
        if metadata.modified().is_ok_and(is_long_ago) {
            // For collectors only: who may not note it may read it all the same.
            let _ = file.set_modified(SystemTime::now());
        }
        let device_now = fstat(&file).ok()?.st_dev;
        Some(Kept { bytes, standing, device_then: envelope.device, device_now })
    }

    /// Keeps digests under a name until others are kept. `about` is what people are told of them.
    pub fn keep_digests(&self, name: &str, about: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.digests_path(name);
        let directory = self.root.join(DIRECTORY);
        match std::fs::create_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            answer => answer.at("create directory", &directory)?,
        }
        let mut temporary = self.session.file()?;
        let shown = temporary.path().to_owned();
        let mut file = File::create(&shown).at("create", &shown)?;
        // Of the file: a directory of an overlay may be said to lie on another device.
        let device = fstat(&file).at("stat", &shown)?.st_dev;
        let (boot, at) = self.records.now();
        let envelope = Envelope { boot, at, device, about: about.to_owned() };
        file.write_all(&envelope.with(bytes)).at("write", &shown)?;
        temporary.rename(&path).at("rename to", &path)?;
        self.forget_the_oldest()
    }

    /// Some attributes are shown only to who may administrate the machine; else all read the same in a file, on every
    /// rung and before one is taken.
    fn digests_path(&self, name: &str) -> PathBuf {
        let reader = if administrates_the_machine() { "a" } else { "u" };
        self.root.join(DIRECTORY).join(format!("{reader}-{name}"))
    }

    fn forget_the_oldest(&self) -> Result<(), StoreError> {
        let directory = self.root.join(DIRECTORY);
        let entries = std::fs::read_dir(&directory).at("read directory", &directory)?;
        let aged = |path: PathBuf| Some((std::fs::symlink_metadata(&path).ok()?.modified().ok()?, path));
        let mut files: Vec<_> = entries.filter_map(|entry| aged(entry.ok()?.path())).collect();
        let excess = files.len().saturating_sub(MOST_FILES);
        files.sort();
        files.iter().take(excess).try_for_each(|(_, path)| super::collect::remove_file(path))
    }
}

fn administrates_the_machine() -> bool {
    let all_ids = |map: &str| map.split_whitespace().eq(["0", "0", "4294967295"]);
    may_administrate() && read_setting("/proc/self/uid_map").is_some_and(|map| all_ids(&map))
}

/// All that is kept.
pub(super) fn list(root: &Path) -> Result<Vec<KeptFile>, StoreError> {
    let directory = root.join(DIRECTORY);
    let entries = match std::fs::read_dir(&directory) {
        // A store that never saw a context, or one of an older program.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        answer => answer.at("read directory", &directory)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.at("read directory", &directory)?;
        let (path, Ok(name)) = (entry.path(), entry.file_name().into_string()) else { continue };
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.modified()?, read(&file))));
        let (used, about) = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Ok((used, Ok(Some((envelope, _))))) => (used, Some(envelope.about)),
            Ok((used, _)) => (used, None),
            Err(_) => (SystemTime::UNIX_EPOCH, None),
        };
        files.push(KeptFile { size: super::measure::file_size(&path).unwrap_or(0), name, path, about, used });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn is_long_ago(used: SystemTime) -> bool {
    used.elapsed().is_ok_and(|since| since > USE_IS_NOTED_AFTER)
}

/// What stands before the digests: magic, sum of all that follows, device, time since boot, lengths of the texts, texts.
struct Envelope {
    boot: String,
    /// Nanoseconds since that boot.
    at: u64,
    device: u64,
    about: String,
}

/// Magic and sum.
const SUMMED_FROM: usize = 16;

impl Envelope {
    fn with(&self, bytes: &[u8]) -> Vec<u8> {
        let lengths = [self.boot.len() as u64, self.about.len() as u64];
        let numbers = [self.device, self.at, lengths[0], lengths[1]];
        let mut whole = Vec::with_capacity(256 + bytes.len());
        whole.extend_from_slice(&MAGIC);
        whole.extend_from_slice(&[0; 8]);
        whole.extend(numbers.into_iter().flat_map(u64::to_le_bytes));
        whole.extend_from_slice(self.boot.as_bytes());
        whole.extend_from_slice(self.about.as_bytes());
        whole.extend_from_slice(bytes);
        let sum = sum(&whole[SUMMED_FROM..]);
        whole[MAGIC.len()..SUMMED_FROM].copy_from_slice(&sum.to_le_bytes());
        whole
    }

    /// Takes the envelope off; none if this is nothing that was written by this version, and whole.
    fn off(mut whole: Vec<u8>) -> Option<(Self, Vec<u8>)> {
        let summed = whole.strip_prefix(&MAGIC)?;
        let (claimed, summed) = summed.split_first_chunk()?;
        if u64::from_le_bytes(*claimed) != sum(summed) {
            return None;
        }
        let mut rest = summed;
        let mut number = || -> Option<u64> {
            let (number, after) = rest.split_first_chunk()?;
            rest = after;
            Some(u64::from_le_bytes(*number))
        };
        let (device, at, boot, about) = (number()?, number()?, number()?, number()?);
        let mut text = |length: u64| -> Option<String> {
            let (text, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            rest = after;
            String::from_utf8(text.to_vec()).ok()
        };
        let envelope = Self { device, at, boot: text(boot)?, about: text(about)? };
        let length = rest.len();
        whole.drain(..whole.len() - length);
        Some((envelope, whole))
    }
}

fn read(file: &File) -> Result<Option<(Envelope, Vec<u8>)>, IoError> {
    let size = file.metadata().at("stat", DIRECTORY)?.len().min(LARGEST);
    let mut whole = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    file.take(LARGEST).read_to_end(&mut whole).at("read", DIRECTORY)?;
    Ok(Envelope::off(whole))
}

/// Against damage, not against malice: who may write here may write everything. Every step can be undone, so a change in
/// one word always shows.
fn sum(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(FACTOR).rotate_left(29);
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(bytes.len() as u64, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| mix(sum, u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::ensure(&dir.path().join("store")).unwrap();
        (dir, store)
    }

    fn file(store: &Store) -> PathBuf {
        list(store.root()).unwrap().pop().unwrap().path
    }

    #[test]
    fn what_is_kept_is_there_for_the_next() {
        let (_dir, store) = store();
        assert_eq!(store.kept_digests("a"), None);
        store.keep_digests("a", "/src", b"some bytes").unwrap();
        store.keep_digests("a", "/src", b"other bytes").unwrap();
        let store = Store::ensure(store.root()).unwrap();
        let kept = store.kept_digests("a").unwrap();
        assert_eq!((&*kept.bytes, kept.standing), (&b"other bytes"[..], Standing::ThisBoot));
        assert_eq!(kept.device_then, kept.device_now);
        assert_eq!(store.kept_digests("b"), None);
        let listed = list(store.root()).unwrap();
        assert_eq!((listed.len(), listed[0].about.as_deref()), (1, Some("/src")));
    }

    #[test]
    fn what_is_damaged_in_any_byte_or_cut_off_is_none() {
        let (_dir, store) = store();
        store.keep_digests("a", "/src", b"123456789").unwrap();
        let (path, whole) = (file(&store), std::fs::read(file(&store)).unwrap());
        for index in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[index] ^= 0x40;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(store.kept_digests("a"), None, "byte {index}");
            std::fs::write(&path, &whole[..index]).unwrap();
            assert_eq!(store.kept_digests("a"), None, "cut off at {index}");
            assert_eq!(list(store.root()).unwrap()[0].about, None);
        }
        std::fs::write(&path, [&whole[..], b"\0"].concat()).unwrap();
        assert_eq!(store.kept_digests("a"), None, "longer");
        std::fs::write(&path, &whole).unwrap();
        assert!(store.kept_digests("a").is_some());
    }

    #[test]
    fn what_an_earlier_boot_learnt_counts_only_when_it_reached_the_disk() {
        let (_dir, store) = store();
        store.keep_digests("a", "/src", b"bytes").unwrap();
        let later = || {
            let mut later = Store::ensure(store.root()).unwrap();
            later.records = later.records.in_boot("another");
            later.kept_digests("a").map(|kept| kept.standing)
        };
        assert_eq!(later(), None);
        store.put_record("key", &super::super::BlobRecord { size: 1 }).unwrap();
        store.sync().unwrap();
        assert_eq!(later(), Some(Standing::EarlierBoot));
    }

    #[test]
    fn contexts_not_seen_for_long_are_forgotten() {
        let (_dir, store) = store();
        for number in 0..=MOST_FILES {
            store.keep_digests(&number.to_string(), "", b"").unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64);
            let path = store.digests_path(&number.to_string());
            File::open(path).unwrap().set_modified(time).unwrap();
        }
        assert_eq!(list(store.root()).unwrap().len(), MOST_FILES);
        assert_eq!(store.kept_digests("0"), None);
        assert!(store.kept_digests("1").is_some());
    }
}
