//! Into registries: blobs first and at the same time, then the manifest, tags last.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{try_join, try_join_all};
use tokio::sync::Semaphore;

use super::documents::Documents;
use super::early::Early;
use super::{ExportError, Image, ImageLayer};
use crate::image::{Descriptor, Digest, Form, LayerSource, Reference};
use crate::layer::Layers;
use crate::registry::{Client, FileSource, Opening, Placed, Progress, Pushed};
use crate::store::{ImageRecord, LayerRecord, Store, StoreError};

/// Hears what happens to each blob.
pub trait Watch: Send + Sync {
    /// `current` of `total` bytes have gone.
    fn sent(&self, blob: &str, current: u64, total: u64, done: bool);
}

/// How many blobs are on their way at the same time.
const AT_ONCE: usize = 6;

/// Where an image is to be pushed, known before there is an image.
#[derive(Debug)]
pub struct Destination {
    client: Client,
    names: Vec<Reference>,
    form: Form,
    pub(super) early: Early,
}

impl Destination {
    pub fn new(client: &Client, names: &[Reference], form: Form) -> Self {
        let mut first: Vec<Reference> = Vec::new();
        for names in by_repository(names).values() {
            if !first.iter().any(|other| other.registry == names[0].registry) {
                first.push(names[0].clone());
            }
        }
        let early = Early::new(client.clone(), first);
        Self { client: client.clone(), names: names.to_vec(), form, early }
    }

    /// Pushes an image under every name; returns its manifest's digest.
    pub async fn push(
        &self,
        layers: &Layers,
        image: &Image,
        watch: &Arc<dyn Watch>,
    ) -> Result<Digest, ExportError> {
        let documents = Documents::of(image, self.form)?;
        for names in by_repository(&self.names).values() {
            let push = Push { layers, client: &self.client, early: &self.early, to: names[0], watch };
            let config = (&documents.config, Bytes::from(image.config.clone()));
            push.blobs(config, &image.layers, &documents.layers).await?;
            for name in names {
                let Documents { manifest, manifest_bytes, .. } = &documents;
                self.client.push_manifest(name, &manifest.media_type, manifest_bytes).await?;
            }
            push.note(&image.layers, &documents.layers)?;
        }
        self.keep(layers.store(), &documents)?;
        Ok(documents.manifest.digest)
    }

    /// Keeps the manifest, and notes where it is. What is known is not written again: a push of what is there leaves
    /// the disk alone.
    fn keep(&self, store: &Store, documents: &Documents) -> Result<(), StoreError> {
        let Documents { config, manifest, manifest_bytes, .. } = documents;
        if store.blobs().size(&manifest.digest)?.is_none() {
            store.blobs().put(manifest_bytes)?;
        }
        let key = config.digest.hex();
        let known = store.record::<ImageRecord>(&key)?.is_some_and(|record| {
            let listed =
                |name: &Reference| record.places.contains(&format!("{}@{}", name.name(), manifest.digest));
            record.manifest.as_ref() == Some(manifest) && self.names.iter().all(listed)
        });
        if known {
            return Ok(());
        }
        store.update_record(&key, |record: &mut ImageRecord| {
            record.manifest = Some(manifest.clone());
            self.names.iter().for_each(|name| record.found_at(&name.name(), &manifest.digest));
        })
    }
}

/// Names of one repository share their blobs.
fn by_repository(names: &[Reference]) -> BTreeMap<String, Vec<&Reference>> {
    let mut repositories: BTreeMap<String, Vec<&Reference>> = BTreeMap::new();
    for name in names {
        repositories.entry(name.name()).or_default().push(name);
    }
    repositories
}

/// The push into one repository.
pub(super) struct Push<'a> {
    pub layers: &'a Layers,
    pub client: &'a Client,
    pub early: &'a Early,
    pub to: &'a Reference,
    pub watch: &'a Arc<dyn Watch>,
}

impl Push<'_> {
    /// Sees that a config is there, and layers as the blobs that a manifest lists them as.
    pub(super) async fn blobs(
        &self,
        (blob, config): (&Descriptor, Bytes),
        layers: &[ImageLayer],
        blobs: &[Descriptor],
    ) -> Result<(), ExportError> {
        let config = async {
            let how = self.client.push_blob(self.to, blob, &config, &self.progress(blob)).await?;
            self.say(blob, how.text());
            Ok::<_, ExportError>(())
        };
        let room = Semaphore::new(AT_ONCE);
        let layers = layers.iter().zip(blobs).map(|(layer, blob)| async {
            let _place = room.acquire().await;
            self.say(blob, self.layer(layer, blob).await?);
            Ok(())
        });
        try_join(config, try_join_all(layers)).await.map(drop)
    }

    /// Sees that a layer is there, and says how that came about. Its bytes are fetched only if they have to be sent.
    async fn layer(&self, layer: &ImageLayer, blob: &Descriptor) -> Result<&'static str, ExportError> {
        if blob.is_foreign() {
            // Its publisher wants it to be fetched from nowhere else.
            return Ok("is not distributed");
        }
        let (arrived, under_way) = match self.early.take(&blob.digest, self.to) {
            Some(begun) if begun.is_finished() => (begun.opening().await, None),
            under_way => (None, under_way),
        };
        let opening = match arrived {
            Some(arrived) => arrived,
            // Now that the layer has a digest it may turn out that the rest need not be sent.
            None => match (self.placed(layer, blob).await?, under_way) {
                (Placed::There(how), _) => return Ok(how.text()),
                (Placed::Missing(opening), None) => opening,
                (Placed::Missing(opening), Some(begun)) => begun.opening().await.unwrap_or(opening),
            },
        };
        self.upload(layer, blob, opening).await?;
        Ok(Pushed::Uploaded.text())
    }

    async fn placed(&self, layer: &ImageLayer, blob: &Descriptor) -> Result<Placed, ExportError> {
        let pushed_to = self.record(layer)?.pushed_to(&blob.digest).to_vec();
        let pushed_to = pushed_to.iter().filter_map(|name| name.parse::<Reference>().ok());
        // The latest place is the likeliest to have it still.
        let places: Vec<Reference> = repositories(layer).chain(pushed_to).collect();
        let mut mount_from: Vec<&str> = Vec::new();
        for place in places.iter().rev().filter(|place| place.registry == self.to.registry) {
            if !mount_from.contains(&&*place.repository) {
                mount_from.push(&place.repository);
            }
        }
        Ok(self.client.place_blob(self.to, blob, &mount_from).await?)
    }

    /// Notes where the layers are now: what is pushed to another repository of that registry later is mounted from there.
    pub(super) fn note(&self, layers: &[ImageLayer], blobs: &[Descriptor]) -> Result<(), StoreError> {
        let repository = self.to.name();
        for (layer, blob) in layers.iter().zip(blobs) {
            if self.record(layer)?.pushed_to(&blob.digest).last() != Some(&repository) {
                let note = |record: &mut LayerRecord| record.pushed(&blob.digest, &repository);
                self.layers.store().update_record(&layer.diff_id.0.hex(), note)?;
            }
        }
        Ok(())
    }

    fn record(&self, layer: &ImageLayer) -> Result<LayerRecord, StoreError> {
        Ok(self.layers.store().record(&layer.diff_id.0.hex())?.unwrap_or_default())
    }

    async fn upload(
        &self,
        layer: &ImageLayer,
        blob: &Descriptor,
        opening: Opening,
    ) -> Result<(), ExportError> {
        self.layers.ensure_blob(blob, &layer.sources).await?;
        let file = FileSource(self.layers.store().blobs().path(&blob.digest));
        Ok(self.client.upload_blob(self.to, blob, &file, opening, &self.progress(blob)).await?)
    }

    fn progress(&self, blob: &Descriptor) -> Progress {
        let (watch, name, total) = (Arc::clone(self.watch), blob.digest.to_string(), blob.size);
        Arc::new(move |current| watch.sent(&name, current, total, false))
    }

    pub(super) fn say(&self, blob: &Descriptor, how: &str) {
        self.watch.sent(&format!("{} {how}", blob.digest), blob.size, blob.size, true);
    }
}

/// The repositories that have a layer.
fn repositories(layer: &ImageLayer) -> impl Iterator<Item = Reference> {
    let sources = layer.sources.iter().filter_map(|source| source.parse::<LayerSource>().ok());
    sources.filter_map(|source| source.reference().cloned())
}
