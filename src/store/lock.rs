//! Locks between processes, by name.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Store;
use super::error::StoreError;
use crate::sys::At;

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
        loop {
            let (path, file) = self.open_lock(name)?;
            match file.try_lock() {
                Ok(()) if has_name(&path, &file)? => return Ok(Some(Lock { path, _file: file })),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
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
