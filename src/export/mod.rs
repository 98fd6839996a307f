//! Where images go.
//!
//! An [`Image`] is complete but placeless: a config and layers that are known by their diff ids. Each destination is a
//! file of its own; [`layout`] is what images in files have in common, and [`tree`] writes files without layers.

pub mod archive;
pub mod cache;
pub mod directory;
mod documents;
mod early;
pub mod layout;
mod layout_files;
mod output;
mod pack;
mod pending;
pub mod registry;
pub mod store;
pub mod tree;

pub use output::{ImageFile, Output, Place};
pub use pack::Packer;
pub use pending::Pending;

use std::path::PathBuf;

use crate::image::{Annotations, Descriptor, DiffId, Digest};
use crate::layer::LayerError;
use crate::registry::RegistryError;
use crate::store::StoreError;
use crate::sys::IoError;

/// A finished image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The bytes whose digest is the image id: those that came, where it came from elsewhere.
    pub config: Vec<u8>,
    /// Lowest first, as many as the config has diff ids.
    pub layers: Vec<ImageLayer>,
    /// Of a manifest that is made for it.
    pub annotations: Annotations,
    /// The manifest that it is to keep; the layers' blobs are those that it lists.
    pub manifest: Option<GivenManifest>,
}

/// A manifest as it came.
#[derive(Debug, Clone)]
pub struct GivenManifest {
    pub media_type: String,
    pub bytes: Vec<u8>,
}

/// One layer of an image, and where its blob can be had.
#[derive(Debug, Clone)]
pub struct ImageLayer {
    pub diff_id: DiffId,
    /// The blob, when there is one; it may still be in a registry.
    pub blob: Option<Descriptor>,
    /// Where the blob can be had ([`crate::image::LayerSource`]), the latest last.
    pub sources: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file outside the store could not be written.
    #[error(transparent)]
    Write(#[from] IoError),
    /// Nobody waits for it any more.
    #[error("it was given up")]
    GivenUp,
    /// What was asked for cannot be said in docker's media types.
    #[error("layer {0} is compressed with zstd, which docker's media types have no name for")]
    NeedsOci(Digest),
    /// What is to be added to is not what it should be.
    #[error("{} is no index of an OCI layout: {reason}", .path.display())]
    Index { path: PathBuf, reason: String },
    /// A rule of the program itself is broken.
    #[error("layer {0} was not compressed before it was pushed")]
    NotCompressed(DiffId),
    /// What is in the store under a layer's name is not that layer.
    #[error("layer {0} is damaged in the store")]
    Changed(DiffId),
    /// The config or manifest of an image cannot be read.
    #[error("image {id} is damaged in the store: {reason}")]
    Damaged { id: String, reason: String },
}
