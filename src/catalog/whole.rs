//! An image of the store with everything that an exporter needs.

use std::sync::Arc;

use crate::export::registry::Destination;
use crate::export::{ExportError, GivenManifest, ImageLayer, Packer};
use crate::image::{Codec, Compression, Config, Descriptor, DiffId, ImageId, Manifest, Packing};
use crate::layer::{LayerRef, Layers, Stack};
use crate::store::{ImageRecord, KnownBlob, LayerRecord, Store, StoreError};

/// How layers that nobody has packed yet are packed.
const PACKING: Packing =
    Packing { codec: Codec { compression: Compression::Gzip, level: None }, force: false };

/// Whether every layer of an image has a blob, here or in a registry: then nothing has to be unpacked or packed, and no
/// namespace is needed to export it.
pub fn is_packed(store: &Store, id: ImageId) -> Result<bool, ExportError> {
    let config = read_config(store, id)?.0;
    if manifest(store, id, &config)?.is_some() {
        return Ok(true);
    }
    for diff_id in &config.rootfs.diff_ids {
        let record = store.record::<LayerRecord>(&diff_id.0.hex())?.unwrap_or_default();
        let mut packed = false;
        for known in record.verified() {
            packed = packed || can_be_had(store, known)?;
        }
        if !packed {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts an image together. It keeps the manifest it came with while all blobs of that can be had; otherwise layers get
/// blobs as a build would give them.
/// What has to be packed for a destination is sent there meanwhile.
pub async fn whole(
    layers: &Layers,
    id: ImageId,
    destination: Option<&Arc<Destination>>,
) -> Result<crate::export::Image, ExportError> {
    let store = layers.store();
    let (config, bytes) = read_config(store, id)?;
    let annotations = store.record::<ImageRecord>(&id.0.hex())?.unwrap_or_default().annotations;
    if let Some((given, layers)) = manifest(store, id, &config)? {
        return Ok(crate::export::Image { config: bytes, layers, annotations, manifest: Some(given) });
    }
    let packer = Packer { layers, packing: Some(PACKING), destination };
    let mut below = Stack::default();
    let mut packed = Vec::with_capacity(config.rootfs.diff_ids.len());
    for diff_id in &config.rootfs.diff_ids {
        let layer = packer.brought_along(*diff_id, &below).await?;
        below = below.with(LayerRef::Image(*diff_id));
        let is_plain = layer.blob.as_ref().is_some_and(|blob| blob.compression() == Some(Compression::None));
        packed.push(if is_plain { packer.compressed(layer, PACKING.codec).await? } else { layer });
    }
    Ok(crate::export::Image { config: bytes, layers: packed, annotations, manifest: None })
}

fn read_config(store: &Store, id: ImageId) -> Result<(Config, Vec<u8>), ExportError> {
    // Read first: from then on nobody takes the image away.
    store.record::<ImageRecord>(&id.0.hex())?;
    let bytes = store.blobs().read(&id.0)?;
    let config = serde_json::from_slice(&bytes);
    let config =
        config.map_err(|error| ExportError::Damaged { id: id.to_string(), reason: error.to_string() })?;
    Ok((config, bytes))
}

/// The manifest that an image came with, and its layers, if all of it is still to be had.
fn manifest(
    store: &Store,
    id: ImageId,
    config: &Config,
) -> Result<Option<(GivenManifest, Vec<ImageLayer>)>, StoreError> {
    let record = store.record::<ImageRecord>(&id.0.hex())?.unwrap_or_default();
    let Some(described) = record.manifest else { return Ok(None) };
    let bytes = match store.blobs().read(&described.digest) {
        Err(StoreError::NoBlob(_) | StoreError::Digest { .. }) => return Ok(None),
        answer => answer?,
    };
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) else { return Ok(None) };
    let diff_ids = &config.rootfs.diff_ids;
    if manifest.layers.len() != diff_ids.len() || manifest.config.digest != id.0 {
        return Ok(None);
    }
    let mut layers = Vec::with_capacity(diff_ids.len());
    for (blob, diff_id) in manifest.layers.into_iter().zip(diff_ids) {
        let Some(layer) = listed(store, blob, *diff_id)? else { return Ok(None) };
        layers.push(layer);
    }
    Ok(Some((GivenManifest { media_type: described.media_type, bytes }, layers)))
}

/// A layer as its image's manifest lists it; none if the blob cannot be had any more.
fn listed(store: &Store, blob: Descriptor, diff_id: DiffId) -> Result<Option<ImageLayer>, StoreError> {
    let record = store.record::<LayerRecord>(&diff_id.0.hex())?.unwrap_or_default();
    let (here, sources) = match record.blobs.into_iter().find(|known| known.blob.digest == blob.digest) {
        Some(known) => (can_be_had(store, &known)?, known.sources),
        None => (store.blobs().size(&blob.digest)?.is_some(), Vec::new()),
    };
    Ok(here.then_some(ImageLayer { diff_id, blob: Some(blob), sources }))
}

fn can_be_had(store: &Store, known: &KnownBlob) -> Result<bool, StoreError> {
    Ok(store.blobs().size(&known.blob.digest)?.is_some() || known.is_elsewhere())
}
