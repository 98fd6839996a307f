//! One process's unfinished work: a locked directory, so that others can tell left-overs from work going on.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::Mode;

use super::error::StoreError;
use crate::sys::{At, IoError, remove_tree};

/// A locked directory in `tmp/` that is made when it is first needed: who only looks, or removes, needs none, and so can do
/// its work where nothing can be written.
#[derive(Debug)]
struct Place {
    tmp: PathBuf,
    /// Locked as long as the process lives, however it ends.
    made: Mutex<Option<(PathBuf, File)>>,
}

impl Place {
    fn within(tmp: &Path) -> Self {
        Self { tmp: tmp.to_owned(), made: Mutex::new(None) }
    }

    fn path(&self) -> Result<PathBuf, StoreError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.is_none() {
            *made = Some(locked_directory(&self.tmp)?);
        }
        Ok(made.as_ref().map(|(path, _)| path.clone()).expect("it was made just now"))
    }

    fn made(&mut self) -> Option<&Path> {
        let made = self.made.get_mut().unwrap_or_else(PoisonError::into_inner);
        made.as_ref().map(|(path, _)| &**path)
    }
}

/// This process's part of `tmp/`, removed at the end.
#[derive(Debug)]
pub struct Session(Place);

impl Session {
    pub(super) fn begin(tmp: &Path) -> Self {
        Self(Place::within(tmp))
    }

    pub(super) fn workspace(&self) -> Result<Workspace, StoreError> {
        let path = self.0.path()?.join(random_name()?);
        std::fs::create_dir(&path).at("create directory", &path)?;
        Ok(Workspace { path })
    }

    /// A name for a file that is about to be written and renamed.
    pub(super) fn file(&self) -> Result<Temporary, StoreError> {
        Ok(Temporary(self.0.path()?.join(random_name()?)))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What cannot be removed now is swept by a later process.
        self.0.made().map(remove_tree);
    }
}

/// A file that has not got its name yet; gone with the value.
#[derive(Debug)]
pub(super) struct Temporary(PathBuf);

impl Temporary {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn rename(&mut self, to: &Path) -> io::Result<()> {
        std::fs::rename(&self.0, to)?;
        self.0 = PathBuf::new();
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // The session's directory is removed at the end; this frees the space earlier.
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

/// A directory that takes in what is to be removed. When the value is dropped it is a left-over like those of killed
/// processes: whoever sweeps next removes it.
#[derive(Debug)]
pub(super) struct Trash(Place);

impl Trash {
    pub(super) fn begin(tmp: &Path) -> Self {
        Self(Place::within(tmp))
    }

    pub(super) fn take(&self, path: &Path) -> Result<(), StoreError> {
        let into = match self.0.path() {
            // On a full disk there is no room for a directory; what is put beside it is a left-over, too.
            Err(error) if error.is_want_of_room() => self.0.tmp.clone(),
            answer => answer?,
        };
        let aside = into.join(random_name()?);
        let moved = std::fs::rename(path, &aside).or_else(|error| match error.kind() {
            // A directory that may not be written to cannot be moved, except by root.
            io::ErrorKind::PermissionDenied => {
                rustix::fs::chmod(path, Mode::RWXU)?;
                std::fs::rename(path, &aside)
            }
            _ => Err(error),
        });
        match moved {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            answer => Ok(answer.at("move away", path)?),
        }
    }
}

impl Drop for Trash {
    fn drop(&mut self) {
        // Only if there is nothing to remove behind.
        self.0.made().map(std::fs::remove_dir);
    }
}

/// A new directory that is locked as long as the file is open.
fn locked_directory(tmp: &Path) -> Result<(PathBuf, File), StoreError> {
    let path = tmp.join(random_name()?);
    // Locked under a name that sweepers skip, so that none takes it for a left-over in between.
    let hidden = path.with_extension("new");
    std::fs::create_dir(&hidden).at("create directory", &hidden)?;
    let lock = File::open(&hidden).at("open", &hidden)?;
    lock.lock().at("lock", &hidden)?;
    std::fs::rename(&hidden, &path).at("rename to", &path)?;
    Ok((path, lock))
}

/// A directory for one piece of work, removed with the value unless it was moved away.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
}

impl Workspace {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory in it.
    pub fn directory(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.path.join(name);
        std::fs::create_dir(&path).at("create directory", &path)?;
        Ok(path)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        // What cannot be removed now is swept by a later process.
        let _ = remove_tree(&self.path);
    }
}

/// Removes the sessions of processes that are gone, and trash. Each is locked meanwhile: of several sweepers one removes it.
pub(super) fn sweep(tmp: &Path) -> Result<(), StoreError> {
    for entry in std::fs::read_dir(tmp).at("read directory", tmp)? {
        let path = entry.at("read directory", tmp)?.path();
        if let Some(_held) = abandoned(&path)? {
            remove_tree(&path)?;
        }
    }
    Ok(())
}

/// The sessions of processes that are gone, and trash, but for what is being removed.
pub(super) fn all_abandoned(tmp: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(tmp).at("read directory", tmp)? {
        let path = entry.at("read directory", tmp)?.path();
        found.extend(abandoned(&path)?.map(|_| path));
    }
    Ok(found)
}

/// The locked directory of a process that is gone; none if it lives.
fn abandoned(path: &Path) -> Result<Option<File>, IoError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        answer => answer.at("open", path)?,
    };
    if path.extension().is_some() {
        // Being set up just now, or abandoned in that moment: an hour tells.
        let age = file
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.elapsed().ok());
        return Ok(age.is_some_and(|age| age.as_secs() > 3600).then_some(file));
    }
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).at("lock", path),
    }
}

/// 128 random bits as hexadecimal digits.
pub(super) fn random_name() -> Result<String, IoError> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .at("read", "random numbers")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
