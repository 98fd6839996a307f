//! Caches within images: the config of an image lists records whose layers are the image's own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{CacheImportError, MAX_CONFIG, Reading};
use crate::cache::document::{CacheConfig, ConfigLayer, ConfigRecord};
use crate::cache::imported::Imported;
use crate::image::{Descriptor, DiffId, HistoryEntry, Manifest, annotation};

/// What is needed of an image's config.
#[derive(Deserialize)]
struct ImageConfig {
    rootfs: RootFs,
    #[serde(default)]
    history: Option<Vec<HistoryEntry>>,
    /// The records, in base64.
    #[serde(rename = "moby.buildkit.cache.v0", default)]
    cache: Option<String>,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Option<Vec<DiffId>>,
}

impl Reading<'_> {
    /// The cache in an image, if there is one.
    pub(super) async fn inline(&self, image: &Manifest) -> Result<Option<Imported>, CacheImportError> {
        let refuse = |problem: String| CacheImportError::Inline { name: self.name.clone(), problem };
        let bytes = self.place.blob(&image.config, MAX_CONFIG).await?;
        let config: ImageConfig =
            serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
        let Some(cache) = config.cache.as_ref().filter(|cache| !cache.is_empty()) else { return Ok(None) };
        let records = STANDARD.decode(cache).map_err(|error| refuse(error.to_string()))?;
        let records: Option<Vec<ConfigRecord>> =
            serde_json::from_slice(&records).map_err(|error| refuse(error.to_string()))?;
        let blobs = blobs(&config, image)
            .ok_or_else(|| refuse("the manifest has another number of layers than the config".to_owned()))?;
        // Each layer above the one before.
        let layer = |(place, blob): (usize, &Descriptor)| ConfigLayer {
            blob: blob.digest,
            parent: place.checked_sub(1),
            annotations: None,
        };
        let layers = blobs.iter().enumerate().map(layer).collect();
        let config = CacheConfig { layers, records: records.unwrap_or_default() };
        Ok(Some(Imported::of(&config, &blobs, &self.place.source())))
    }
}

/// The image's layers, described as those of a cache are; none if config and manifest disagree.
fn blobs(config: &ImageConfig, image: &Manifest) -> Option<Vec<Descriptor>> {
    let diff_ids = config.rootfs.diff_ids.as_deref().unwrap_or_default();
    if diff_ids.len() != image.layers.len() {
        return None;
    }
    let history = config.history.iter().flatten().filter(|entry| !entry.empty_layer);
    let mut times = history.map(|entry| entry.created);
    let described = image.layers.iter().zip(diff_ids).map(|(layer, diff_id)| {
        let mut blob = layer.clone();
        blob.annotations.insert(annotation::DIFF_ID.to_owned(), diff_id.to_string());
        if let Some(created) = times.next().flatten() {
            blob.annotations.insert(annotation::CREATED.to_owned(), created.to_string());
        }
        blob
    });
    Some(described.collect())
}
