//! I/O errors that say what was done to which path.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::Refusal;

/// A failed system operation: what was tried, on what, and the kernel's answer.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}: {source}", .path.display())]
pub struct IoError {
    pub operation: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl IoError {
    /// The errno, where there is one.
    pub fn errno(&self) -> Option<rustix::io::Errno> {
        self.source.raw_os_error().map(rustix::io::Errno::from_raw_os_error)
    }

    /// Why the file system has refused, if that is it.
    pub fn refusal(&self) -> Option<Refusal> {
        Refusal::of(&self.source)
    }
}

/// Adds operation and path to a bare I/O error: `fs::read(path).at("read", path)?`.
pub trait At<T> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, IoError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, operation: &'static str, path: impl AsRef<Path>) -> Result<T, IoError> {
        self.map_err(|error| IoError { operation, path: path.as_ref().to_owned(), source: error.into() })
    }
}
