//! What can go wrong with the store.

use std::path::PathBuf;

use crate::image::Digest;
use crate::sys::IoError;
use crate::sys::disk::Refusal;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error("the store at {} has format {found}, but this program knows only up to {known}", .root.display())]
    Version { root: PathBuf, found: u32, known: u32 },
    #[error("{} is not a store of rbuild: its file `format` is not readable as one", .root.display())]
    Foreign { root: PathBuf },
    #[error("content does not match its digest: expected {expected}, got {found}")]
    Digest { expected: Digest, found: Digest },
    #[error("blob {0} is not in the store")]
    NoBlob(Digest),
}

impl StoreError {
    /// Why the file system has refused, if that is it.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Io(error) => error.refusal(),
            Self::Version { .. } | Self::Foreign { .. } | Self::Digest { .. } | Self::NoBlob(_) => None,
        }
    }

    /// Whether there was no room, by whatever count.
    pub(super) fn is_want_of_room(&self) -> bool {
        self.refusal().is_some_and(Refusal::is_want_of_room)
    }

    /// What would help.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io(error) => match error.errno() {
                Some(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {
                    Some("choose a writable place with --root or RBUILD_ROOT".to_owned())
                }
                _ => None,
            },
            Self::Version { .. } => {
                Some("use a newer rbuild, or another store with --root or RBUILD_ROOT".to_owned())
            }
            Self::Foreign { .. } => Some("choose another place with --root or RBUILD_ROOT".to_owned()),
            Self::Digest { .. } | Self::NoBlob(_) => None,
        }
    }
}
