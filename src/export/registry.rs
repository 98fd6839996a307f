//! Into registries: blobs first and at the same time, then config and manifest, tags last.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::{ExportError, Image, ImageLayer};
use crate::exec::{ExecError, Layers};
use crate::image::{Descriptor, Digest, Manifest, Reference, media_type};
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
    let config = Bytes::from(image.config.to_bytes());
    let config_blob = Descriptor::new(media_type::OCI_CONFIG, Digest::of(&config), config.len() as u64);
    let blobs = image.layers.iter().map(descriptor).collect::<Result<Vec<_>, _>>()?;
    let manifest = Manifest::oci(config_blob.clone(), blobs.clone()).to_bytes();
    for names in by_repository(names).values() {
        let to = names[0];
        let pairs = image.layers.iter().zip(&blobs);
        try_join_all(pairs.map(|(layer, blob)| push_layer(layers, client, to, layer, blob, watch))).await?;
        let silent: Progress = Arc::new(|_| {});
        client.push_blob(to, &config_blob, &config, &[], &silent).await?;
        for name in names {
            client.push_manifest(name, media_type::OCI_MANIFEST, &manifest).await?;
        }
    }
    let digest = layers.store().blobs().put(&manifest)?;
    let pushed = Some(Descriptor::new(media_type::OCI_MANIFEST, digest, manifest.len() as u64));
    layers.store().put_record(&config_blob.digest.hex(), &ImageRecord { manifest: pushed })?;
    Ok(digest)
}

/// Names of one repository share their blobs.
fn by_repository(names: &[Reference]) -> BTreeMap<String, Vec<&Reference>> {
    let mut repositories: BTreeMap<String, Vec<&Reference>> = BTreeMap::new();
    for name in names {
        repositories.entry(name.name()).or_default().push(name);
    }
    repositories
}

/// The layer as an OCI manifest lists it: docker's media types mean the same bytes.
fn descriptor(layer: &ImageLayer) -> Result<Descriptor, ExecError> {
    let blob =
        layer.blob.as_ref().ok_or(ExecError::Unexpected("a layer that is pushed has been compressed"))?;
    let media_type =
        blob.compression().map_or(&*blob.media_type, |compression| compression.layer_media_type());
    Ok(Descriptor::new(media_type, blob.digest, blob.size))
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
