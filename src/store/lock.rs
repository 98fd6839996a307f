//! Locks between processes, by name.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Store;
use super::error::StoreError;
use crate::sys::{At, IoError};

/// How long a sweeper may hold a lock that it removes.
const SWEPT_WITHIN: Duration = Duration::from_millis(1);

/// Held until dropped, or until the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// Locked as long as it is open.
    _file: File,
}

impl Store {
    /// Takes a lock, waiting for whoever holds it. Blocks the thread.
    pub fn lock(&self, name: &str) -> Result<Lock, StoreError> {
        loop {
            let (path, file) = self.open_lock(name)?;
            file.lock().at("lock", &path)?;
            if has_name(&path, &file)? {
                return Ok(Lock { path, _file: file });
            }
        }
    }

    /// Takes a lock if nobody holds it.
    pub fn try_lock(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        let mut is_second_try = false;
        loop {
            let (path, file) = self.open_lock(name)?;
            match file.try_lock() {
                Ok(()) if has_name(&path, &file)? => return Ok(Some(Lock { path, _file: file })),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if is_second_try => return Ok(None),
                // Who only removes a file that was left holds it for no longer than this.
                Err(TryLockError::WouldBlock) => {
                    is_second_try = true;
                    std::thread::sleep(SWEPT_WITHIN);
                }
                Err(TryLockError::Error(error)) => return Err(error).at("lock", &path)?,
            }
        }
    }

    fn open_lock(&self, name: &str) -> Result<(PathBuf, File), StoreError> {
        let path = self.root.join("locks").join(name);
        let file =
            OpenOptions::new().create(true).write(true).truncate(false).open(&path).at("open", &path)?;
        Ok((path, file))
    }
}

/// Removes the files that killed processes have left: each as its last holder would have done it.
pub(super) fn sweep(root: &Path) -> Result<(), StoreError> {
    let locks = root.join("locks");
    for entry in std::fs::read_dir(&locks).at("read directory", &locks)? {
        let path = entry.at("read directory", &locks)?.path();
        // Never made anew: it may be gone by now.
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_ok() && has_name(&path, &file)? {
            drop(Lock { path, _file: file });
        }
    }
    Ok(())
}

/// The right to collect: the directory of the locks, itself locked. It needs no file, for which a full disk has no room.
#[derive(Debug)]
pub(super) struct Right {
    /// Locked as long as it is open.
    _directory: File,
}

impl Right {
    /// Waits for whoever collects.
    pub(super) fn wait(root: &Path) -> Result<Self, StoreError> {
        let (path, directory) = Self::open(root)?;
        directory.lock().at("lock", &path)?;
        Ok(Self { _directory: directory })
    }

    /// None if somebody collects.
    pub(super) fn unless_taken(root: &Path) -> Result<Option<Self>, StoreError> {
        let (path, directory) = Self::open(root)?;
        match directory.try_lock() {
            Ok(()) => Ok(Some(Self { _directory: directory })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).at("lock", &path)?,
        }
    }

    /// Whether a collector is at work.
    pub(super) fn is_taken(root: &Path) -> bool {
        Self::open(root).is_ok_and(|(_, directory)| directory.try_lock_shared().is_err())
    }

    fn open(root: &Path) -> Result<(PathBuf, File), IoError> {
        let path = root.join("locks");
        let directory = File::open(&path).at("open", &path)?;
        Ok((path, directory))
    }
}

/// Whether a lock's file still has its name: the last holder may have removed it while this one waited.
fn has_name(path: &Path, file: &File) -> Result<bool, StoreError> {
    Ok(file.metadata().at("stat", path)?.nlink() > 0)
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while held: whoever waits notices that its file has no name and starts again.
        let _ = std::fs::remove_file(&self.path);
    }
}
