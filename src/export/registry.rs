//! Into registries: blobs first and at the same time, then config and manifest, tags last.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::documents::Documents;
use super::{ExportError, Image, ImageLayer};
use crate::image::{Descriptor, Digest, Reference};
use crate::layer::Layers;
use crate::registry::{Client, FileSource, Progress, Pushed};
use crate::store::ImageRecord;

/// Hears what happens to each blob.
pub trait Watch: Send + Sync {
    /// `current` of `total` bytes have gone.
    fn sent(&self, blob: &str, current: u64, total: u64, done: bool);
}

/// Pushes an image under every name; returns its manifest's digest.
pub async fn push(
    layers: &Layers,
    client: &Client,
    image: &Image,
    names: &[Reference],
    watch: &Arc<dyn Watch>,
) -> Result<Digest, ExportError> {
    let config = Bytes::from(image.config.clone());
    let Documents { config: config_blob, layers: blobs, manifest, manifest_bytes } = Documents::of(image)?;
    for names in by_repository(names).values() {
        let to = names[0];
        let pairs = image.layers.iter().zip(&blobs);
        try_join_all(pairs.map(|(layer, blob)| push_layer(layers, client, to, layer, blob, watch))).await?;
        let silent: Progress = Arc::new(|_| {});
        client.push_blob(to, &config_blob, &config, &[], &silent).await?;
        for name in names {
            client.push_manifest(name, &manifest.media_type, &manifest_bytes).await?;
        }
    }
    layers.store().blobs().put(&manifest_bytes)?;
    layers.store().update_record(&config_blob.digest.hex(), |record: &mut ImageRecord| {
        record.manifest = Some(manifest.clone());
        names.iter().for_each(|name| record.found_at(&name.name(), &manifest.digest));
    })?;
    Ok(manifest.digest)
}

/// Names of one repository share their blobs.
fn by_repository(names: &[Reference]) -> BTreeMap<String, Vec<&Reference>> {
    let mut repositories: BTreeMap<String, Vec<&Reference>> = BTreeMap::new();
    for name in names {
        repositories.entry(name.name()).or_default().push(name);
    }
    repositories
}

async fn push_layer(
    layers: &Layers,
    client: &Client,
    to: &Reference,
    layer: &ImageLayer,
    blob: &Descriptor,
    watch: &Arc<dyn Watch>,
) -> Result<(), ExportError> {
    let name = blob.digest.to_string();
    if client.blob_exists(to, blob).await? {
        watch.sent(&format!("{name} exists"), blob.size, blob.size, true);
        return Ok(());
    }
    let sources: Vec<Reference> = layer.sources.iter().filter_map(|source| source.parse().ok()).collect();
    let elsewhere =
        |source: &&Reference| source.registry == to.registry && source.repository != to.repository;
    let mount_from: Vec<&str> = sources.iter().filter(elsewhere).map(|source| &*source.repository).collect();
    layers.ensure_blob(blob, &sources).await?;
    let file = FileSource(layers.store().blobs().path(&blob.digest));
    let progress: Progress = {
        let (watch, name, total) = (Arc::clone(watch), name.clone(), blob.size);
        Arc::new(move |current| watch.sent(&name, current, total, false))
    };
    let how = match client.push_blob(to, blob, &file, &mount_from, &progress).await? {
        Pushed::Existed => "exists",
        Pushed::Mounted => "mounted",
        Pushed::Uploaded => "pushed",
    };
    watch.sent(&format!("{name} {how}"), blob.size, blob.size, true);
    Ok(())
}
