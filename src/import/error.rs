//! What can be wrong with an archive of images.

use std::path::PathBuf;

use crate::image::{Digest, ManifestError, ReferenceError};
use crate::layer::LayerError;
use crate::store::StoreError;
use crate::sys::IoError;

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the archive cannot be read: {0}")]
    Read(std::io::Error),
    #[error("there are no images in it: it has neither an index.json nor a manifest.json")]
    NoImages,
    #[error("the archive has the form that docker wrote before version 1.10, which is not supported")]
    Legacy,
    #[error("the archive contains {}, which leads out of it", .0.display())]
    Escape(PathBuf),
    #[error("the archive contains more than {0} files")]
    TooMany(usize),
    #[error("{path} is larger than the {limit} bytes that a document may have")]
    TooLarge { path: String, limit: u64 },
    #[error("{path} is not what it should be: {source}")]
    Json { path: String, source: serde_json::Error },
    #[error("{path} is missing")]
    Missing { path: String },
    #[error("{path} is a sparse file, which no image contains")]
    Sparse { path: String },
    #[error("{path} is a link that leads back to itself")]
    Loop { path: String },
    #[error("{path} does not match its digest: it is {found}")]
    Digest { path: String, found: Digest },
    #[error("{path} has {found} bytes, but {expected} are listed")]
    Size { path: String, expected: u64, found: u64 },
    #[error("image {id} has {layers} layers, but its config lists {diff_ids}")]
    Count { id: Digest, layers: usize, diff_ids: usize },
    #[error("layer {layer}: {source}")]
    Layer { layer: Digest, source: LayerError },
    #[error("{path}: {source}")]
    Document { path: String, source: ManifestError },
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// The file or directory to be loaded.
    #[error(transparent)]
    Open(#[from] IoError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImportError {
    /// What would help.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Legacy => Some("load it with docker, and save it again".to_owned()),
            Self::NoImages => Some(
                "an archive comes from `rbuild save`, `docker save`, `podman save` or `skopeo copy`"
                    .to_owned(),
            ),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }

    /// Whether the disk is to blame, and not what was to be loaded.
    pub fn is_of_disk(&self) -> bool {
        match self {
            Self::Store(_) => true,
            Self::Layer { source, .. } => source.is_of_disk(),
            _ => false,
        }
    }
}
