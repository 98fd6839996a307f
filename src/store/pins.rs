//! Pins: what living processes work with, so that no collector takes it away from under them.
//!
//! A pin is a line `kind/key` in a process's own file in `pins/`, which it keeps locked (`flock`) as long as it lives.
//! The directory itself is the *gate*: a `flock` on it, shared for those who pin, exclusive for a collector, never held
//! for longer than a few milliseconds. The rules:
//!
//! 1. **Finding.** A record that others' existence depends on is read, and pinned with what it leads to, in one passage
//!    through the shared gate.
//! 2. **Making.** A name is pinned before a thing is renamed to it, and before a record is written that leads to it.
//! 3. **Ending.** A process removes its file in a passage through the shared gate, unless a collection is going on
//!    (the directory `locks/` is locked): then it leaves the file, unlocked.
//! 4. **Collecting.** A collector keeps the directory `locks/` locked all the time. It begins with a passage through the exclusive gate
//!    that removes the files of processes that are gone. Then it takes stock, and decides what could go. Then it takes
//!    things away in small bites: each is one passage through the exclusive gate, in which it reads every file again,
//!    whether its process lives or not, and takes only what no line names and nothing leads to that stays. Within a bite
//!    what leads to a thing goes before the thing.
//!
//! Why nothing is lost. Say that a process needs a thing, because it works with it or has written something that leads
//! to it after the collector took stock. By 1 and 2 it has pinned it. If it did so before the collection began and was
//! alive then, its file stayed, and stays until the next collection begins (3, 4); if it ended before, what it wrote was
//! there when stock was taken. If it pinned it later, but before the bite, the bite sees the line. After the bite, it
//! does not find the thing, which is a miss and no damage: it makes the thing itself. There is no *during*: that is what
//! the gate is for. A process that is killed leaves its file, as in 3. A collector that is killed has left things whole
//! or taken away what leads to them first; what nothing leads to is taken away by the next.
//!
//! Pins are not counted and not taken back: a process holds what it has touched until it ends.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::StoreError;
use super::lock::Right;
use super::session::random_name;
use crate::sys::disk::Refusal;
use crate::sys::{At, IoError};

/// This process's pins.
#[derive(Debug)]
pub(super) struct Pins {
    root: PathBuf,
    /// Passed by one thread at a time, the one that has `own`.
    gate: File,
    own: Mutex<Own>,
}

#[derive(Debug, Default)]
struct Own {
    /// Made with the first pin.
    file: Option<(PathBuf, File)>,
    names: HashSet<String>,
}

/// The gate, held exclusively.
#[derive(Debug)]
pub(super) struct Closed {
    directory: PathBuf,
    _gate: File,
}

pub(super) fn name(kind: &str, key: &str) -> String {
    format!("{kind}/{key}")
}

impl Pins {
    pub(super) fn open(root: &Path) -> Result<Self, StoreError> {
        Ok(Self { root: root.to_owned(), gate: open_gate(root)?, own: Mutex::default() })
    }

    /// Pins names that are about to be made, or are pinned in another way already.
    pub(super) fn pin(&self, names: &[String]) -> Result<(), StoreError> {
        let mut own = self.own();
        if names.iter().all(|name| own.names.contains(name)) {
            return Ok(());
        }
        let _passage = Passage::begin(&self.gate, &self.root)?;
        self.write(&mut own, names)
    }

    /// Looks something up and pins it, with no collector in between. `look` gives the names to pin, too.
    pub(super) fn find<T>(
        &self,
        look: impl FnOnce() -> Result<Option<(T, Vec<String>)>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut own = self.own();
        let _passage = Passage::begin(&self.gate, &self.root)?;
        let Some((found, names)) = look()? else { return Ok(None) };
        match self.write(&mut own, &names) {
            // Who can write nothing may read all the same. Should it be taken away by another way into the store, it will be
            // missing, which is told as that.
            Err(error) if error.refusal() == Some(Refusal::ReadOnly) => {}
            answer => answer?,
        }
        Ok(Some(found))
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds lines to this process's file. Only within a passage: a collector takes a file for abandoned that is not
    /// locked, and this one is for a moment.
    fn write(&self, own: &mut Own, names: &[String]) -> Result<(), StoreError> {
        let new: Vec<&String> = names.iter().filter(|name| !own.names.contains(*name)).collect();
        if new.is_empty() {
            return Ok(());
        }
        if own.file.is_none() {
            let path = directory(&self.root).join(random_name()?);
            let file = OpenOptions::new().create_new(true).append(true).open(&path).at("create", &path)?;
            file.lock().at("lock", &path)?;
            own.file = Some((path, file));
        }
        let (path, file) = own.file.as_mut().expect("it was made just now");
        let lines: String = new.iter().flat_map(|name| [name, "\n"]).collect();
        file.write_all(lines.as_bytes()).at("write", path)?;
        own.names.extend(new.into_iter().cloned());
        Ok(())
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let own = self.own.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some((path, _)) = &own.file else { return };
        let Ok(_passage) = Passage::begin(&self.gate, &self.root) else { return };
        // What stays is removed when the next collection begins, or by a sweep.
        if !Right::is_taken(&self.root) {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Closed {
    /// Waits until nobody passes any more.
    pub(super) fn wait(root: &Path) -> Result<Self, StoreError> {
        let gate = open_gate(root)?;
        gate.lock().at("lock", directory(root))?;
        Ok(Self { directory: directory(root), _gate: gate })
    }

    /// Every name that is pinned, by whoever.
    pub(super) fn pinned(&self) -> Result<HashSet<String>, StoreError> {
        pinned(&self.directory)
    }

    /// Removes the files of processes that are gone.
    pub(super) fn forget_the_gone(&self) -> Result<(), StoreError> {
        for path in abandoned(&self.directory)? {
            std::fs::remove_file(&path).at("remove", &path)?;
        }
        Ok(())
    }
}

/// Every name that is pinned just now.
pub(super) fn pinned_now(root: &Path) -> Result<HashSet<String>, StoreError> {
    pinned(&directory(root))
}

/// Removes what killed processes have left, unless somebody collects or passes just now.
pub(super) fn sweep(root: &Path) -> Result<(), StoreError> {
    if abandoned(&directory(root))?.is_empty() {
        return Ok(());
    }
    let gate = open_gate(root)?;
    match gate.try_lock() {
        Ok(()) if Right::is_taken(root) => Ok(()),
        Ok(()) => Closed { directory: directory(root), _gate: gate }.forget_the_gone(),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error).at("lock", directory(root))?,
    }
}

/// A passage through the shared gate.
struct Passage<'a>(&'a File);

impl<'a> Passage<'a> {
    fn begin(gate: &'a File, root: &Path) -> Result<Self, StoreError> {
        gate.lock_shared().at("lock", directory(root))?;
        Ok(Self(gate))
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        // It cannot fail for a descriptor that is open and locked.
        let _ = self.0.unlock();
    }
}

fn directory(root: &Path) -> PathBuf {
    root.join("pins")
}

fn open_gate(root: &Path) -> Result<File, IoError> {
    File::open(directory(root)).at("open", directory(root))
}

fn pinned(directory: &Path) -> Result<HashSet<String>, StoreError> {
    let mut names = HashSet::new();
    for entry in std::fs::read_dir(directory).at("read directory", directory)? {
        let path = entry.at("read directory", directory)?.path();
        match std::fs::read_to_string(&path) {
            Ok(text) => names.extend(text.lines().map(str::to_owned)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => Err(error).at("read", &path)?,
        }
    }
    Ok(names)
}

/// Files that nobody holds.
fn abandoned(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).at("read directory", directory)? {
        let path = entry.at("read directory", directory)?.path();
        match File::open(&path) {
            Ok(file) => found.extend(file.try_lock().is_ok().then_some(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => Err(error).at("open", &path)?,
        }
    }
    Ok(found)
}
