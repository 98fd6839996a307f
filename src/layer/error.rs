//! What can go wrong with a layer.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::image::DiffId;
use crate::registry::RegistryError;
use crate::snapshot::SnapshotError;
use crate::store::{LayoutError, StoreError};
use crate::sys::IoError;
use crate::sys::disk::Refusal;

#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// What came as this layer is not it.
    #[error("layer {layer}: {source}")]
    Damaged { layer: String, source: Box<LayerError> },
    #[error("layer {layer} is in no store and no known registry any more")]
    Lost { layer: String },
    #[error("layer {layer} is in this store, but as only another rung of isolation can read it")]
    Foreign { layer: String },
    #[error("the layer's tar is damaged: {0}")]
    Tar(std::io::Error),
    #[error("the layer's tar contains {}, which leads out of the layer", .0.display())]
    Escape(PathBuf),
    #[error("the layer's tar contains {}, a link to {}, which is not in the layer", .path.display(), .target.display())]
    DeadLink { path: PathBuf, target: PathBuf },
    #[error("the layer unpacks to {found}, but its image says {expected}")]
    DiffId { expected: DiffId, found: DiffId },
    #[error("a blob of media type {0:?} is not a layer")]
    MediaType(String),
    #[error("{} cannot be written into a layer: {reason}", .path.display())]
    Unrepresentable { path: PathBuf, reason: &'static str },
}

impl LayerError {
    /// Whether the disk is to blame, and not what was to be unpacked.
    pub fn is_of_disk(&self) -> bool {
        let is_broken = match self {
            Self::Io(error) | Self::Store(StoreError::Io(error)) => error.errno() == Some(Errno::IO),
            _ => false,
        };
        is_broken || self.refusal().is_some()
    }

    /// Why the file system has refused, if that is it.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Io(error) => error.refusal(),
            Self::Store(error) => error.refusal(),
            Self::Snapshot(error) => error.refusal(),
            Self::Damaged { source, .. } => source.refusal(),
            _ => None,
        }
    }
}
