//! Where images go.
//!
//! An [`Image`] is complete but placeless: a config and layers that are known by their diff ids. Each destination is a
//! file of its own.

pub mod registry;
pub mod store;

use crate::image::{Config, Descriptor, DiffId};
use crate::layer::LayerError;
use crate::registry::RegistryError;
use crate::store::StoreError;

/// A finished image.
#[derive(Debug, Clone)]
pub struct Image {
    pub config: Config,
    /// Lowest first, as many as the config has diff ids.
    pub layers: Vec<ImageLayer>,
}

/// One layer of an image, and where its blob can be had.
#[derive(Debug, Clone)]
pub struct ImageLayer {
    pub diff_id: DiffId,
    /// The blob, when there is one; it may still be in a registry.
    pub blob: Option<Descriptor>,
    /// Names of images in registries that have the blob.
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
    /// A rule of the program itself is broken.
    #[error("layer {0} was not compressed before it was pushed")]
    NotCompressed(DiffId),
    /// What is in the store under a layer's name is not that layer.
    #[error("layer {0} is damaged in the store")]
    Changed(DiffId),
}
