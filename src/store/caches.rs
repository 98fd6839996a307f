//! Caches that steps keep from one execution to the next, and repositories: directories that change, unlike everything else
//! here.
//!
//! ```text
//! caches/<id map>-<key>.<n>/
//!   about.json       id, kind, when it was made; its time is that of the last use
//!   data/            what steps see
//! caches/<id map>-<key>.old-<random>/    given up while somebody still worked with it
//! ```
//!
//! A cache is begun under `tmp/` and gets its name by a rename, so one that has a name is whole. Who works with it holds a
//! `flock` on its directory, shared or alone, and has pinned its name. Only who holds it alone may take it away, and whoever
//! gets the lock looks whether the name still means the directory.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::measure::{self, Links};
use super::session::{Trash, Workspace, random_name};
use super::{Store, make_directory, pins};
use crate::image::{Digest, Timestamp};
use crate::sys::At;

/// What caches are called in pins.
pub(super) const KIND: &str = "caches";
const ABOUT: &str = "about.json";
const DIGITS: usize = 32;
/// In the name of what was given up.
const OLD: &str = ".old-";

/// Which cache is meant, on every machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey {
    kind: CacheKind,
    /// As the Dockerfile has it.
    id: String,
    digits: String,
}

/// What a cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum CacheKind {
    /// What commands put there.
    #[default]
    Mount,
    /// What has been fetched from a git repository. Its id is the address.
    Repository,
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
    lock: File,
}

/// What is known of a cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CacheAbout {
    pub id: String,
    #[serde(default)]
    pub kind: CacheKind,
    /// Whether it began with files of an image or a stage, or with an owner of its own.
    pub seeded: bool,
    pub created: Timestamp,
}

/// A cache, as a list has it.
#[derive(Debug, Clone)]
pub struct CacheFound {
    /// Its directory in the store.
    pub name: String,
    pub(super) path: PathBuf,
    /// None if that cannot be read.
    pub about: Option<CacheAbout>,
    pub last_used: SystemTime,
    /// Made under another id map.
    pub foreign: bool,
    /// What it takes on disk; none where that cannot be read.
    pub size: Option<u64>,
    /// Whether a living process works with it.
    pub in_use: bool,
}

impl CacheKey {
    /// The cache that a list has with these digits; none if they are no such digits.
    pub fn of_digits(id: &str, digits: &str) -> Option<Self> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let fits = digits.len() == DIGITS && digits.bytes().all(is_hex);
        fits.then(|| Self { kind: CacheKind::Mount, id: id.to_owned(), digits: digits.to_owned() })
    }

    /// The cache of an id; what begins with something is another one for each thing that it begins with.
    pub fn new(id: &str, beginning: Option<&str>) -> Self {
        let text = format!("{id}\0{}", beginning.unwrap_or_default());
        let digits = Digest::of(text.as_bytes()).hex()[..DIGITS].to_owned();
        Self { kind: CacheKind::Mount, id: id.to_owned(), digits }
    }

    /// The cache of a repository, by its address and how its objects are named.
    pub fn of_repository(address: &str, format: &str) -> Self {
        // No command can name it.
        let text = format!("\0git\0{address}\0{format}");
        let digits = Digest::of(text.as_bytes()).hex()[..DIGITS].to_owned();
        Self { kind: CacheKind::Repository, id: address.to_owned(), digits }
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

    /// What a process keeps the cache with for itself, as long as it has this open.
    pub fn share(&self) -> Result<File, StoreError> {
        Ok(self.lock.try_clone().at("share the lock of", &self.data)?)
    }
}

impl CacheFound {
    /// The digits of its key, the same on every machine.
    pub fn digits(&self) -> &str {
        let digits = self.name.split_once('-').map_or(&*self.name, |(_, digits)| digits);
        digits.split_once('.').map_or(digits, |(digits, _)| digits)
    }

    pub fn id(&self) -> &str {
        self.about.as_ref().map_or("<unknown>", |about| &about.id)
    }

    pub fn kind(&self) -> CacheKind {
        self.about.as_ref().map(|about| about.kind).unwrap_or_default()
    }

    /// Whether builds that come do not look for it any more.
    pub fn is_given_up(&self) -> bool {
        self.name.contains(OLD)
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
        let touch = |file: File| file.set_modified(SystemTime::now());
        match File::options().write(true).open(&about).and_then(touch) {
            // Its files are good all the same.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            answer => answer.at("set the time of", &about)?,
        }
        Ok(Taken::Held(HeldCache { data: path.join("data"), lock }))
    }

    fn begin_cache<E: From<StoreError>>(
        &self,
        name: &str,
        key: &CacheKey,
        begin: &impl Fn(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let workspace = self.workspace()?;
        let new = self.fill_cache(&workspace, key, begin)?;
        // Else somebody was faster.
        self.name_cache(&new, name).map(drop).map_err(E::from)
    }

    /// Makes all of a cache in a workspace.
    fn fill_cache<E: From<StoreError>>(
        &self,
        workspace: &Workspace,
        key: &CacheKey,
        fill: &impl Fn(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let path = workspace.directory("cache")?;
        let data = path.join("data");
        std::fs::create_dir(&data).at("create directory", &data).map_err(StoreError::from)?;
        fill(&data)?;
        let seeded = std::fs::read_dir(&data).is_ok_and(|mut entries| entries.next().is_some());
        let about = CacheAbout { id: key.id.clone(), kind: key.kind, seeded, created: Timestamp::now() };
        let about = serde_json::to_vec(&about).expect("plain values serialise");
        std::fs::write(path.join(ABOUT), about).at("write", path.join(ABOUT)).map_err(StoreError::from)?;
        Ok(path)
    }

    /// Whether nobody has given the name to another one.
    fn name_cache(&self, new: &Path, name: &str) -> Result<bool, StoreError> {
        let caches = self.caches();
        make_directory(&caches)?;
        let to = caches.join(name);
        match rustix::fs::rename(new, &to) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::EXIST | rustix::io::Errno::NOTEMPTY) => Ok(false),
            Err(error) => Err(error).at("rename to", &to)?,
        }
    }

    /// Gives up what a cache holds: whoever asks for it next begins anew. Who works with it goes on undisturbed.
    pub fn give_up_cache(&self, key: &CacheKey) -> Result<(), StoreError> {
        let beginning = format!("{}-{}.", self.id_map, key.digits);
        for name in self.cache_names()? {
            let is_in_order = |number: &str| number.bytes().all(|byte| byte.is_ascii_digit());
            if name.strip_prefix(&beginning).is_some_and(is_in_order) {
                let old = format!("{}{OLD}{}", beginning.trim_end_matches('.'), random_name()?);
                self.give_up(&name, &old)?;
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
        let lock = File::open(&old).at("open", &old)?;
        match lock.try_lock() {
            Ok(()) => Trash::begin(&self.root.join("tmp")).take(&old),
            // Who has it keeps it; it is removed as what nobody needs.
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(error)) => Err(error).at("lock", &old)?,
        }
    }

    /// Lets a cache hold something else: `fill` fills a new one, which takes the place of what there is when it is whole.
    pub fn replace_cache<E: From<StoreError>>(
        &self,
        key: &CacheKey,
        fill: impl Fn(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let workspace = self.workspace()?;
        let new = self.fill_cache(&workspace, key, &fill)?;
        let name = format!("{}-{}.0", self.id_map, key.digits);
        self.pins.pin(&[pins::name(KIND, &name)])?;
        loop {
            self.give_up_cache(key)?;
            if self.name_cache(&new, &name)? {
                return Ok(());
            }
        }
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

    /// Every cache, with what it takes on disk now.
    pub fn list_caches(&self) -> Result<Vec<CacheFound>, StoreError> {
        let pinned = pins::pinned_now(&self.root)?;
        let mut found: Vec<CacheFound> =
            self.cache_names()?.into_iter().map(|name| self.look_at_cache(name, &pinned)).collect();
        let place = |cache: &CacheFound| (cache.path.clone(), Links::Once);
        let sizes = measure::tree_sizes(&found.iter().map(place).collect::<Vec<_>>());
        for (cache, size) in found.iter_mut().zip(sizes) {
            cache.size = size.filter(|_| !cache.foreign).map(|size| size.total());
        }
        Ok(found)
    }

    fn look_at_cache(&self, name: String, pinned: &HashSet<String>) -> CacheFound {
        let path = self.cache_path(&name);
        let about = std::fs::read(path.join(ABOUT)).ok();
        let about = about.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let times = [path.join(ABOUT), path.clone()];
        let last_used = times.iter().find_map(|path| std::fs::metadata(path).ok()?.modified().ok());
        let last_used = last_used.unwrap_or(SystemTime::UNIX_EPOCH);
        let foreign = name.split_once('-').is_none_or(|(map, _)| map != self.id_map);
        let in_use = pinned.contains(&pins::name(KIND, &name)) || self.is_held_still(&name);
        CacheFound { name, path, about, last_used, foreign, size: None, in_use }
    }

    /// Holds a cache of a list as steps hold theirs; none if it is taken, or gone.
    pub fn hold_cache(&self, found: &CacheFound, sharing: CacheUse) -> Result<Option<HeldCache>, StoreError> {
        match self.take_cache(&found.name, sharing)? {
            Taken::Held(held) => Ok(Some(held)),
            Taken::Busy | Taken::Missing => Ok(None),
        }
    }

    /// Whether somebody still works with what was given up, which pins do not tell: they name what it was. Nobody else looks
    /// for it, so that asking is in nobody's way.
    pub(super) fn is_held_still(&self, name: &str) -> bool {
        let is_taken = |file: File| matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        name.contains(OLD) && File::open(self.cache_path(name)).is_ok_and(is_taken)
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
