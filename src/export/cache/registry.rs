//! Into a registry: blobs first and at the same time, each only if it is missing, then the manifest.

use std::sync::Arc;

use bytes::Bytes;

use super::{CacheForm, PackedCache};
use crate::export::ExportError;
use crate::export::early::Early;
use crate::export::registry::{Push, Watch};
use crate::image::{Digest, Reference};
use crate::layer::Layers;
use crate::registry::Client;

/// Pushes a cache under a name; returns its manifest's digest.
pub async fn push(
    client: &Client,
    to: &Reference,
    form: CacheForm,
    cache: &PackedCache,
    layers: &Layers,
    watch: &Arc<dyn Watch>,
) -> Result<Digest, ExportError> {
    let documents = cache.documents(form);
    let early = Early::new(client.clone(), Vec::new());
    let push = Push { layers, client, early: &early, to, watch };
    let config = (&documents.config, Bytes::from(cache.config.clone()));
    push.blobs(config, &cache.layers, &documents.blobs).await?;
    client.push_manifest(to, &documents.manifest.media_type, &documents.manifest_bytes).await?;
    push.note(&cache.layers, &documents.blobs)?;
    Ok(documents.manifest.digest)
}
