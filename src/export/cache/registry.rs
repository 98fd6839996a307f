//! Into a registry: blobs first and at the same time, each only if it is missing, then the manifest.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{CacheForm, PackedCache};
use crate::export::early::Early;
use crate::export::registry::{Push, Watch};
use crate::export::{ExportError, ImageLayer};
use crate::image::{Descriptor, Digest, Document, Reference};
use crate::layer::Layers;
use crate::registry::{Client, Pushed};

/// Pushes a cache under a name; returns its manifest's digest.
///
/// Most of a cache is in the one that it replaces. What that lists the repository has, so that nobody has to ask for each of a
/// thousand layers; a registry that has lost some all the same refuses the manifest, and then all are asked for.
pub async fn push(
    client: &Client,
    to: &Reference,
    form: CacheForm,
    cache: &PackedCache,
    layers: &Layers,
    watch: &Arc<dyn Watch>,
) -> Result<Digest, ExportError> {
    let documents = cache.documents(form);
    let replaced = client.fetch_pushed(to).await;
    if replaced.as_ref().is_some_and(|replaced| replaced.bytes == documents.manifest_bytes) {
        return Ok(documents.manifest.digest);
    }
    let listed = replaced.map(|replaced| digests(&replaced.document)).unwrap_or_default();
    let early = Early::new(client.clone(), Vec::new());
    let push = Push { layers, client, early: &early, to, watch };
    let config = || (&documents.config, Bytes::from(cache.config.clone()));
    let (kind, bytes) = (&*documents.manifest.media_type, &documents.manifest_bytes);

    let pairs = cache.layers.iter().zip(&documents.blobs);
    let (there, new): (Vec<_>, Vec<_>) = pairs.partition(|(_, blob)| listed.contains(&blob.digest));
    there.iter().for_each(|(_, blob)| push.say(blob, Pushed::Existed.text()));
    let (new_layers, new_blobs): (Vec<ImageLayer>, Vec<Descriptor>) =
        new.into_iter().map(|(layer, blob)| (layer.clone(), blob.clone())).unzip();
    push.blobs(config(), &new_layers, &new_blobs).await?;
    let pushed = client.push_manifest(to, kind, bytes).await;
    if pushed.is_err() && !there.is_empty() {
        push.blobs(config(), &cache.layers, &documents.blobs).await?;
        client.push_manifest(to, kind, bytes).await?;
    } else {
        pushed?;
    }
    push.note(&cache.layers, &documents.blobs)?;
    Ok(documents.manifest.digest)
}

/// All that a document lists.
fn digests(document: &Document) -> HashSet<Digest> {
    let entries = match document {
        Document::Manifest(manifest) => &manifest.layers,
        Document::Index(index) => &index.manifests,
    };
    entries.iter().map(|entry| entry.digest).collect()
}
