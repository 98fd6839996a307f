//! Files and directories that get their name when they are whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::sys::{At, IoError, remove_tree};

/// Something unfinished beside the place where it is to be; gone with the value unless it was finished.
#[derive(Debug)]
pub struct Pending {
    temporary: PathBuf,
    target: PathBuf,
}

impl Pending {
    /// A file that is to replace what is at `target`, if anything is.
    pub fn file(target: &Path) -> Result<(Self, File), IoError> {
        let pending = Self::beside(target);
        let file = File::create_new(&pending.temporary).at("create", &pending.temporary)?;
        Ok((pending, file))
    }

    /// As [`Pending::file`]; but a pipe or a device stays what it is, and is written to as one writes.
    pub fn stream(target: &Path) -> Result<(Option<Self>, File), IoError> {
        if target.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            return Ok((None, File::options().write(true).open(target).at("open", target)?));
        }
        Self::file(target).map(|(pending, file)| (Some(pending), file))
    }

    /// A directory that is to be at `target`, where there is nothing yet or an empty directory.
    pub fn directory(target: &Path) -> Result<Self, IoError> {
        let pending = Self::beside(target);
        fs::create_dir(&pending.temporary).at("create directory", &pending.temporary)?;
        Ok(pending)
    }

    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Gives it its name.
    pub fn finish(self) -> Result<(), IoError> {
        fs::rename(&self.temporary, &self.target).at("rename to", &self.target)
    }

    fn beside(target: &Path) -> Self {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        // Errors name it, and who reads them wants to know where that is.
        let target = std::path::absolute(target).unwrap_or_else(|_| target.to_owned());
        let temporary = target.with_file_name(format!(".{name}.{}-{now}.tmp", std::process::id()));
        Self { temporary, target }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // Nothing is there any more when it was finished; otherwise what is left says itself by its name what it is.
        let _ = remove_tree(&self.temporary);
    }
}
