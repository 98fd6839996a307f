//! Caches that steps keep from one execution to the next: directories that change, unlike everything else here.
//!
//! ```text
//! caches/<id map>-<key>.<n>/
//!   about.json       id, when it was made; its time is that of the last use
//!   data/            what steps see
//! caches/<id map>-<key>.old-<random>/    given up while somebody still worked with it
//! ```
//!
//! A cache is begun under `tmp/` and gets its name by a rename, so one that has a name is whole. Who works with it holds a
//! `flock` on its directory, shared or alone, and has pinned its name. Only who holds it alone may take it away, and whoever
//! gets the lock looks whether the name still means the directory.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::session::{Trash, random_name};
use super::{Store, make_directory, pins};
use crate::image::{Digest, Timestamp};
use crate::sys::At;

/// What caches are called in pins.
pub(super) const KIND: &str = "caches";
const ABOUT: &str = "about.json";

/// Which cache is meant, on every machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey {
    /// As the Dockerfile has it.
    id: String,
    digits: String,
}

/// Who else may work with a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheUse {
    Shared,
    /// Nobody; who finds it taken gets another one.
    Private,
    /// Nobody; who finds it taken waits.
    Locked,
}

/// A cache that somebody works with, until it is dropped.
#[derive(Debug)]
pub struct HeldCache {
    data: PathBuf,
    _lock: File,
}

/// What is known of a cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CacheAbout {
    pub id: String,
    /// Whether it began with files of an image or a stage, or with an owner of its own.
    pub seeded: bool,
    pub created: Timestamp,
}

/// A cache, as a list has it.
#[derive(Debug, Clone)]
pub struct CacheFound {
    /// Its directory in the store.
    pub name: String,
    pub about: CacheAbout,
    pub last_used: SystemTime,
    /// Made under another id map.
    pub foreign: bool,
}

impl CacheKey {
    /// The cache of an id; what begins with something is another one for each thing that it begins with.
    pub fn new(id: &str, beginning: Option<&str>) -> Self {
        let text = format!("{id}\0{}", beginning.unwrap_or_default());
        Self { id: id.to_owned(), digits: Digest::of(text.as_bytes()).hex()[..32].to_owned() }
    }

    pub fn id(&self) -> &str {
        &self.id
    }
}

impl HeldCache {
    /// The directory that steps see.
    pub fn data(&self) -> &Path {
        &self.data
    }
}

impl CacheFound {
    /// The digits that people tell it by.
    pub fn short(&self) -> &str {
        let digits = self.name.split_once('-').map_or(&*self.name, |(_, digits)| digits);
        digits.get(..12).unwrap_or(digits)
    }
}

enum Taken {
    Held(HeldCache),
    Busy,
    Missing,
}

impl Store {
    fn caches(&self) -> PathBuf {
        self.root.join(KIND)
    }

    /// Takes a cache, made when it is missing; `begin` fills the directory then. None if one has to wait for it.
    pub fn try_cache<E: From<StoreError>>(
        &self,
        key: &CacheKey,
        sharing: CacheUse,
        begin: impl Fn(&Path) -> Result<(), E>,
    ) -> Result<Option<HeldCache>, E> {
        let mut number = 0;
        loop {
            let name = format!("{}-{}.{number}", self.id_map, key.digits);
            match self.take_cache(&name, sharing)? {
                Taken::Held(held) => return Ok(Some(held)),
                Taken::Missing if number > 0 && sharing == CacheUse::Locked => return Ok(None),
                // Another try: somebody may have made it meanwhile.
                Taken::Missing => self.begin_cache(&name, key, &begin)?,
                Taken::Busy => number += 1,
            }
        }
    }

    fn take_cache(&self, name: &str, sharing: CacheUse) -> Result<Taken, StoreError> {
        let path = self.caches().join(name);
        // Before it is looked for: from then on no collector takes it.
        self.pins.pin(&[pins::name(KIND, name)])?;
        let lock = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::Missing),
            answer => answer.at("open", &path)?,
        };
        let locked = match sharing {
            CacheUse::Shared => lock.try_lock_shared(),
            CacheUse::Private | CacheUse::Locked => lock.try_lock(),
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Taken::Busy),
            Err(TryLockError::Error(error)) => return Err(error).at("lock", &path)?,
        }
        if !is_at(&lock, &path)? {
            return Ok(Taken::Missing);
        }
        let about = path.join(ABOUT);
        let now =
            File::options().write(true).open(&about).and_then(|file| file.set_modified(SystemTime::now()));
        now.at("set the time of", &about)?;
        Ok(Taken::Held(HeldCache { data: path.join("data"), _lock: lock }))
    }

    fn begin_cache<E: From<StoreError>>(
        &self,
        name: &str,
        key: &CacheKey,
        begin: &impl Fn(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let io = |result: Result<(), crate::sys::IoError>| result.map_err(StoreError::from);
        let workspace = self.workspace()?;
        let path = workspace.directory("cache")?;
        let data = path.join("data");
        io(std::fs::create_dir(&data).at("create directory", &data))?;
        begin(&data)?;
        let seeded = std::fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_some());
        let about = CacheAbout { id: key.id.clone(), seeded, created: Timestamp::now() };
        let about = serde_json::to_vec(&about).expect("plain values serialise");
        io(std::fs::write(path.join(ABOUT), about).at("write", path.join(ABOUT)))?;
        let to = self.caches();
        io(make_directory(&to))?;
        let to = to.join(name);
        match rustix::fs::rename(&path, &to) {
            // Somebody was faster.
            Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY) => Ok(()),
            Err(error) => io(Err(error).at("rename to", &to)).map_err(E::from),
        }
    }

    /// Gives up what a cache holds: whoever asks for it next begins anew. Who works with it goes on undisturbed.
    pub fn give_up_cache(&self, key: &CacheKey) -> Result<(), StoreError> {
        let beginning = format!("{}-{}.", self.id_map, key.digits);
        for name in self.cache_names()? {
            let is_in_order = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit());
            if name.strip_prefix(&beginning).is_some_and(is_in_order) {
                self.give_up(&name, &format!("{beginning}old-{}", random_name()?))?;
            }
        }
        Ok(())
    }

    fn give_up(&self, name: &str, old: &str) -> Result<(), StoreError> {
        let (path, old) = (self.caches().join(name), self.caches().join(old));
        match std::fs::rename(&path, &old) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            answer => answer.at("rename to", &old)?,
        }
        self.remove_unless_held(&old).map(drop)
    }

    /// Moves a cache into the trash, if nobody works with it. Says whether it is gone.
    fn remove_unless_held(&self, path: &Path) -> Result<bool, StoreError> {
        let lock = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            answer => answer.at("open", path)?,
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error).at("lock", path)?,
        }
        Trash::begin(&self.root.join("tmp")).take(path)?;
        Ok(true)
    }

    /// Removes a cache by its name in a list, unless somebody works with it. Says whether it is gone.
    pub fn remove_cache(&self, found: &CacheFound) -> Result<bool, StoreError> {
        self.remove_unless_held(&self.caches().join(&found.name))
    }

    fn cache_names(&self) -> Result<Vec<String>, StoreError> {
        let path = self.caches();
        let entries = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            answer => answer.at("read directory", &path)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.at("read directory", &path)?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Every cache that can be read, in no order that means anything.
    pub fn list_caches(&self) -> Result<Vec<CacheFound>, StoreError> {
        Ok(self.cache_names()?.into_iter().filter_map(|name| self.look_at_cache(name)).collect())
    }

    fn look_at_cache(&self, name: String) -> Option<CacheFound> {
        let path = self.caches().join(&name).join(ABOUT);
        let about = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        let last_used = std::fs::metadata(&path).ok()?.modified().ok()?;
        let foreign = name.split_once('-').is_none_or(|(map, _)| map != self.id_map);
        Some(CacheFound { name, about, last_used, foreign })
    }

    /// Holds a cache of a list as steps hold theirs; none if it is taken, or gone.
    pub fn hold_cache(&self, found: &CacheFound, sharing: CacheUse) -> Result<Option<HeldCache>, StoreError> {
        match self.take_cache(&found.name, sharing)? {
            Taken::Held(held) => Ok(Some(held)),
            Taken::Busy | Taken::Missing => Ok(None),
        }
    }

    pub(super) fn cache_path(&self, name: &str) -> PathBuf {
        self.caches().join(name)
    }
}

/// Whether a name still means what was opened by it.
fn is_at(opened: &File, path: &Path) -> Result<bool, StoreError> {
    let own = opened.metadata().at("stat", path)?;
    match std::fs::symlink_metadata(path) {
        Ok(now) => Ok((now.dev(), now.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).at("stat", path)?,
    }
}

#[cfg(test)]
mod tests;
