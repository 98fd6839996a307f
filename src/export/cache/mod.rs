//! Caches for other machines, in BuildKit's format: into a registry, or into a directory.
//!
//! A [`PackedCache`] is complete but placeless, as an image is: the document with all records, and layers that are known as
//! blobs. What is inline in an image is no matter of an exporter: the config that holds it is pushed anyway.

mod local;
mod registry;

pub use local::{CacheDirectory, write};
pub use registry::push;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::registry::Watch;
use super::{ExportError, ImageLayer};
use crate::cache::document::MEDIA_TYPE;
use crate::cache::{OutLayer, Outgoing};
use crate::image::{Descriptor, Digest, Form, Index, Manifest, Packing, Reference, annotation};
use crate::layer::Layers;
use crate::registry::Client;

/// What `--cache-to` says.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheTo {
    pub target: CacheTarget,
    pub mode: CacheMode,
    /// How layers that have no blob yet are packed; nothing to say for a cache in the image.
    pub packing: Packing,
    /// Whether a cache that cannot be written is no failure.
    pub ignore_error: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheTarget {
    Registry {
        name: Reference,
        form: CacheForm,
        /// Whether the registry need not be trusted.
        insecure: bool,
    },
    Local {
        directory: CacheDirectory,
        form: CacheForm,
    },
    /// In the config of the image that is built.
    Inline,
}

/// Which results are exported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CacheMode {
    /// Those whose layers the image has.
    #[default]
    Min,
    /// Those of every step.
    Max,
}

impl CacheTarget {
    /// Sends a cache to where it is to be; returns its manifest's digest. None for what is sent with the image.
    pub async fn send(
        &self,
        client: &Client,
        cache: &PackedCache,
        layers: &Layers,
        watch: &Arc<dyn Watch>,
    ) -> Result<Option<Digest>, ExportError> {
        match self {
            Self::Registry { name, form, .. } => {
                push(client, name, *form, cache, layers, watch).await.map(Some)
            }
            Self::Local { directory, form } => write(directory, *form, cache, layers, watch).await.map(Some),
            Self::Inline => Ok(None),
        }
    }
}

impl std::fmt::Display for CacheTarget {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry { name, .. } => name.fmt(out),
            Self::Local { directory, .. } => write!(out, "{}:{}", directory.path.display(), directory.tag),
            Self::Inline => out.write_str("the image"),
        }
    }
}

/// How the manifest of a cache is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheForm {
    pub form: Form,
    pub shape: CacheShape,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CacheShape {
    /// As the manifest of an image, which every registry takes.
    #[default]
    Manifest,
    /// As an index whose entries are blobs; older versions of BuildKit read just this.
    Index,
}

/// A cache that is ready to be sent.
#[derive(Debug, Clone)]
pub struct PackedCache {
    config: Vec<u8>,
    /// One for each layer of the document, in its order.
    entries: Vec<Descriptor>,
    /// Each blob once.
    layers: Vec<ImageLayer>,
}

/// The documents of a cache as they are sent.
struct Documents {
    config: Descriptor,
    /// As many as the cache's blobs.
    blobs: Vec<Descriptor>,
    manifest: Descriptor,
    manifest_bytes: Vec<u8>,
}

impl PackedCache {
    /// None if no result is in it: nobody would be served by that.
    pub fn of(outgoing: &Outgoing) -> Option<Self> {
        let config = outgoing.config();
        let mut known: BTreeMap<Digest, &OutLayer> = BTreeMap::new();
        for layer in &outgoing.layers {
            let kept = known.entry(layer.blob.digest).or_insert(layer);
            // The same blob may have been made twice; which time counts must not depend on their order.
            if layer.created < kept.created {
                *kept = layer;
            }
        }
        let entries: Vec<Descriptor> = config
            .layers
            .iter()
            .filter_map(|layer| known.get(&layer.blob))
            .map(|layer| described(layer))
            .collect();
        if entries.is_empty() {
            return None;
        }
        let used: HashSet<Digest> = entries.iter().map(|entry| entry.digest).collect();
        let layers =
            known.into_iter().filter(|(digest, _)| used.contains(digest)).map(|(_, layer)| ImageLayer {
                diff_id: layer.diff_id,
                blob: Some(layer.blob.clone()),
                sources: layer.sources.clone(),
            });
        Some(Self { config: config.to_bytes(), entries, layers: layers.collect() })
    }

    fn documents(&self, CacheForm { form, shape }: CacheForm) -> Documents {
        let config = Descriptor::new(MEDIA_TYPE, Digest::of(&self.config), self.config.len() as u64);
        let entries = self.entries.iter().map(|entry| of_form(entry, form)).collect();
        let (media_type, manifest_bytes) = match shape {
            CacheShape::Manifest => (form.manifest(), json(&Manifest::new(form, config.clone(), entries))),
            CacheShape::Index => {
                let manifests = [entries, vec![config.clone()]].concat();
                let media_type = Some(form.index().to_owned());
                let index = Index { schema_version: 2, media_type, manifests, annotations: BTreeMap::new() };
                (form.index(), json(&index))
            }
        };
        let manifest = Descriptor::new(media_type, Digest::of(&manifest_bytes), manifest_bytes.len() as u64);
        let blobs = self.layers.iter().filter_map(|layer| layer.blob.clone()).collect();
        Documents { config, blobs, manifest, manifest_bytes }
    }
}

/// A layer as manifests of caches list it.
fn described(layer: &OutLayer) -> Descriptor {
    let mut entry = Descriptor::new(&layer.blob.media_type, layer.blob.digest, layer.blob.size);
    entry.urls.clone_from(&layer.blob.urls);
    entry.annotations.insert(annotation::DIFF_ID.to_owned(), layer.diff_id.to_string());
    if let Some(created) = layer.created {
        entry.annotations.insert(annotation::CREATED.to_owned(), created.to_string());
    }
    entry
}

/// Docker's media types and OCI's mean the same bytes.
fn of_form(entry: &Descriptor, form: Form) -> Descriptor {
    match entry.compression() {
        Some(compression) if !entry.is_foreign() => {
            Descriptor { media_type: form.layer(compression).to_owned(), ..entry.clone() }
        }
        Some(_) | None => entry.clone(),
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("manifests have only string keys")
}

#[cfg(test)]
mod tests;
