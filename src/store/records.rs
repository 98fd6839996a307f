//! Records: small JSON answers that count only if they surely reached the disk, or were written in this boot.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::digests::Standing;
use super::error::StoreError;
use super::record::Record;
use super::session::{Session, Temporary};
use super::snapshots::SnapshotId;
use crate::sys::namespace::read_setting;
use crate::sys::{At, IoError};

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    boot: String,
    /// Nanoseconds since that boot.
    at: u64,
    value: T,
}

/// What a record's file says.
#[derive(Debug)]
pub(super) enum Reading<T> {
    Counts(T),
    /// Written in a boot that ended before it surely reached the disk.
    LostItsBoot,
    Unreadable,
}

/// A record as a listing shows it.
#[derive(Debug)]
pub(super) struct Listed<T> {
    pub key: String,
    pub path: PathBuf,
    /// When it was written or last used, within [`USE_IS_NOTED_AFTER`].
    pub used: SystemTime,
    /// What its file takes on disk.
    pub size: u64,
    pub value: Reading<T>,
}

impl<T: Record> Listed<T> {
    /// The snapshot that it leads to, if it counts.
    pub(super) fn snapshot(&self) -> Option<&SnapshotId> {
        match &self.value {
            Reading::Counts(value) => value.snapshot(),
            Reading::LostItsBoot | Reading::Unreadable => None,
        }
    }
}

/// A record that is used is marked by its time, but not more often than this: a build that is all cached writes nothing.
const USE_IS_NOTED_AFTER: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Records {
    root: PathBuf,
    boot: String,
    /// Until when the records of each boot are known to be on disk.
    synced: BTreeMap<String, u64>,
    /// Since the last sync.
    written: AtomicBool,
    ever_written: AtomicBool,
}

impl Records {
    pub(super) fn open(root: &Path) -> Result<Self, StoreError> {
        let path = root.join("records");
        let synced = match std::fs::read(path.join("synced")) {
            // Damaged: then nothing of earlier boots counts, which is safe.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => Err(error).at("read", path.join("synced"))?,
        };
        let boot = read_setting("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self {
            root: path,
            boot,
            synced,
            written: AtomicBool::new(false),
            ever_written: AtomicBool::new(false),
        })
    }

    pub(super) fn read<T: Record>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let path = self.path(T::KIND, key);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            answer => answer.at("open", &path)?,
        };
        let (bytes, used) = read_whole(&mut file).at("read", &path)?;
        // A damaged record is as good as none: what it answered is made again.
        let Reading::Counts(value) = self.judge(&bytes) else { return Ok(None) };
        if T::PINNED && used.elapsed().is_ok_and(|since| since > USE_IS_NOTED_AFTER) {
            // For collectors only: who may not note it may read it all the same.
            let _ = file.set_modified(SystemTime::now());
        }
        Ok(Some(value))
    }

    /// Reads a record for somebody who only tells of it: nothing is marked as used.
    pub(super) fn look<T: Record>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let path = self.path(T::KIND, key);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            answer => answer.at("open", &path)?,
        };
        let (bytes, _) = read_whole(&mut file).at("read", &path)?;
        match self.judge(&bytes) {
            Reading::Counts(value) => Ok(Some(value)),
            Reading::LostItsBoot | Reading::Unreadable => Ok(None),
        }
    }

    /// Every record of a kind. Nothing is pinned or marked as used.
    pub(super) fn list<T: Record>(&self) -> Result<Vec<Listed<T>>, StoreError> {
        let directory = self.root.join(T::KIND);
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            answer => answer.at("read directory", &directory)?,
        };
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry.at("read directory", &directory)?;
            let path = entry.path();
            let Ok(key) = entry.file_name().into_string() else { continue };
            let mut file = match File::open(&path) {
                // Replaced or taken away since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                answer => answer.at("open", &path)?,
            };
            let (value, used, size) = match read_whole(&mut file) {
                Ok((bytes, used)) => (self.judge(&bytes), used, super::measure::file_size(&path)),
                Err(_) => (Reading::Unreadable, SystemTime::UNIX_EPOCH, None),
            };
            listed.push(Listed { key, path, used, size: size.unwrap_or(0), value });
        }
        Ok(listed)
    }

    pub(super) fn path(&self, kind: &str, key: &str) -> PathBuf {
        self.root.join(kind).join(key)
    }

    fn judge<T: Record>(&self, bytes: &[u8]) -> Reading<T> {
        match serde_json::from_slice::<Envelope<T>>(bytes) {
            Ok(envelope) if self.counts(&envelope.boot, envelope.at) => Reading::Counts(envelope.value),
            Ok(_) => Reading::LostItsBoot,
            Err(_) => Reading::Unreadable,
        }
    }

    /// Whether there was one to remove.
    pub(super) fn remove(&self, kind: &str, key: &str) -> Result<bool, StoreError> {
        let path = self.root.join(kind).join(key);
        match std::fs::remove_file(&path) {
            Ok(()) => {
                self.written.store(true, Ordering::Relaxed);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).at("remove", &path)?,
        }
    }

    /// The same records as another boot would see them.
    #[cfg(test)]
    pub(super) fn in_boot(self, boot: &str) -> Self {
        Self { boot: boot.to_owned(), ..self }
    }

    fn counts(&self, boot: &str, at: u64) -> bool {
        self.standing(boot, at).is_some()
    }

    /// Since when what was written then counts; none if it does not.
    pub(super) fn standing(&self, boot: &str, at: u64) -> Option<Standing> {
        // A kernel that does not name its boot gives no reason to trust anything but what was synced.
        if boot == self.boot && !boot.is_empty() {
            return Some(Standing::ThisBoot);
        }
        self.synced.get(boot).is_some_and(|until| at <= *until).then_some(Standing::EarlierBoot)
    }

    /// The boot, and the time since it.
    pub(super) fn now(&self) -> (String, u64) {
        (self.boot.clone(), since_boot())
    }

    pub(super) fn write<T: Record>(&self, session: &Session, key: &str, value: &T) -> Result<(), StoreError> {
        self.prepare(session, key, value)?.commit(self)
    }

    /// Writes a record that does not count yet.
    pub(super) fn prepare<T: Record>(
        &self,
        session: &Session,
        key: &str,
        value: &T,
    ) -> Result<Prepared, StoreError> {
        let envelope = Envelope { boot: self.boot.clone(), at: since_boot(), value };
        let text = serde_json::to_vec(&envelope).expect("records have only string keys");
        let path = self.path(T::KIND, key);
        let directory = path.parent().unwrap_or(&self.root);
        if !directory.is_dir() {
            std::fs::create_dir_all(directory).at("create directory", directory)?;
        }
        let file = session.file()?;
        std::fs::write(file.path(), text).at("write", file.path())?;
        Ok(Prepared { file, path })
    }

    pub(super) fn ever_written(&self) -> bool {
        self.ever_written.load(Ordering::Relaxed)
    }

    pub(super) fn sync(&self, session: &Session) -> Result<(), StoreError> {
        if !self.written.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let until = since_boot();
        let directory = File::open(&self.root).at("open", &self.root)?;
        rustix::fs::syncfs(&directory).at("sync", &self.root)?;
        let path = self.root.join("synced");
        // Read again: another process may have added to it meanwhile. Losing a race costs only knowledge.
        let mut synced: BTreeMap<String, u64> = std::fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let entry = synced.entry(self.boot.clone()).or_default();
        *entry = until.max(*entry);
        Ok(write_durably(session.file()?, &path, &serde_json::to_vec(&synced).expect("string keys"))?)
    }
}

/// A record that is whole and that nobody can find yet. The disk may fill up while it is written, but hardly when it gets
/// its name.
#[derive(Debug)]
pub(super) struct Prepared {
    file: Temporary,
    path: PathBuf,
}

impl Prepared {
    pub(super) fn commit(mut self, records: &Records) -> Result<(), StoreError> {
        records.written.store(true, Ordering::Relaxed);
        records.ever_written.store(true, Ordering::Relaxed);
        Ok(self.file.rename(&self.path).at("rename to", &self.path)?)
    }
}

fn read_whole(file: &mut File) -> io::Result<(Vec<u8>, SystemTime)> {
    let metadata = file.metadata()?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
    file.read_to_end(&mut bytes)?;
    Ok((bytes, metadata.modified()?))
}

fn write_durably(mut temporary: Temporary, path: &Path, text: &[u8]) -> Result<(), IoError> {
    let mut file = File::create(temporary.path()).at("create", temporary.path())?;
    file.write_all(text).and_then(|()| file.sync_data()).at("write", temporary.path())?;
    temporary.rename(path).at("rename to", path)
}

fn since_boot() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let nanoseconds = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(nanoseconds).unwrap_or(0)
}
