//! Layers as directories: those of images are downloaded and unpacked when something has to look into them, not before.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::try_join_all;
use tokio::sync::OnceCell;

use super::blocking;
use super::error::ExecError;
use crate::event::{EventKind, Events, StepId};
use crate::image::{Descriptor, DiffId, Reference};
use crate::layer::{self, LayerError, Unpacked};
use crate::registry::{BlobReader, Client, Progress, RegistryError, blob_channel};
use crate::store::{LayerRecord, SealRecord, SnapshotId, Store, StoreError};
use crate::sys::At;

/// One layer of a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LayerRef {
    /// A layer of an image, perhaps not here yet.
    Image(DiffId),
    /// What a step has made.
    Made(SnapshotId),
}

/// Layers from the lowest up, as images list them.
pub type Chain = Arc<Vec<LayerRef>>;

/// Turns layers into directories.
#[derive(Debug)]
pub struct Layers {
    store: Arc<Store>,
    client: Client,
    events: Events,
    /// Each layer is fetched once, however many steps want it.
    fetched: Mutex<HashMap<DiffId, Arc<OnceCell<PathBuf>>>>,
    /// The step under which downloads are shown.
    step: StepId,
}

/// How many chunks of a download may wait for the unpacker.
const DEPTH: usize = 32;

impl Layers {
    pub fn new(store: Arc<Store>, client: Client, events: Events, step: StepId) -> Self {
        Self { store, client, events, fetched: Mutex::default(), step }
    }

    /// The directories of a chain, uppermost first, as overlays want them.
    pub async fn directories(&self, chain: &[LayerRef]) -> Result<Vec<PathBuf>, ExecError> {
        let mut directories = try_join_all(chain.iter().map(|layer| self.directory(layer))).await?;
        directories.reverse();
        Ok(directories)
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes sure that the store has a blob, from one of the places that have it.
    pub async fn ensure_blob(&self, blob: &Descriptor, sources: &[Reference]) -> Result<(), ExecError> {
        if self.store.blobs().size(&blob.digest)?.is_some() {
            return Ok(());
        }
        let Some(source) = sources.last() else {
            return Err(ExecError::LostLayer { layer: blob.digest.to_string() });
        };
        let (store, digest) = (Arc::clone(&self.store), blob.digest);
        let kept = self.fetch(blob, source, move |mut reader| -> Result<(), StoreError> {
            let mut writer = store.blobs().writer()?;
            std::io::copy(&mut reader, &mut writer).at("download", "blob")?;
            writer.complete_as(&digest)?;
            Ok(())
        });
        Ok(kept.await??)
    }

    async fn directory(&self, layer: &LayerRef) -> Result<PathBuf, ExecError> {
        match layer {
            LayerRef::Made(snapshot) => Ok(self.store.snapshot_path(snapshot)),
            LayerRef::Image(diff_id) => {
                let cell = {
                    let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
                    Arc::clone(fetched.entry(*diff_id).or_default())
                };
                cell.get_or_try_init(|| self.ensure(*diff_id)).await.cloned()
            }
        }
    }

    /// Unpacks a layer unless it is unpacked, here or by another process just now.
    async fn ensure(&self, diff_id: DiffId) -> Result<PathBuf, ExecError> {
        if let Some(path) = self.unpacked(diff_id)? {
            return Ok(path);
        }
        let (store, name) = (Arc::clone(&self.store), format!("layer-{}", diff_id.0.hex()));
        let _claim = blocking(move || store.lock(&name)).await?;
        if let Some(path) = self.unpacked(diff_id)? {
            return Ok(path);
        }
        let record = self.record(diff_id)?;
        let (snapshot, lost) = self.unpack(diff_id, &record).await?;
        self.report(diff_id, lost);
        // Read again: what is known of its blobs may have grown.
        let record = LayerRecord { snapshot: Some(snapshot.clone()), ..self.record(diff_id)? };
        self.store.put_record(&diff_id.0.hex(), &record)?;
        self.store.put_record(&snapshot.to_string(), &SealRecord { diff_id })?;
        Ok(self.store.snapshot_path(&snapshot))
    }

    fn record(&self, diff_id: DiffId) -> Result<LayerRecord, StoreError> {
        Ok(self.store.record::<LayerRecord>(&diff_id.0.hex())?.unwrap_or_default())
    }

    fn unpacked(&self, diff_id: DiffId) -> Result<Option<PathBuf>, StoreError> {
        let snapshot = self.record(diff_id)?.snapshot;
        Ok(snapshot.filter(|id| self.store.has_snapshot(id)).map(|id| self.store.snapshot_path(&id)))
    }

    async fn unpack(
        &self,
        diff_id: DiffId,
        record: &LayerRecord,
    ) -> Result<(SnapshotId, Unpacked), ExecError> {
        for blob in &record.blobs {
            if self.store.blobs().size(&blob.digest)?.is_some() {
                let (store, blob) = (Arc::clone(&self.store), blob.clone());
                let unpacked = blocking(move || layer::unpack_blob(&store, &blob, diff_id)).await;
                return unpacked.map_err(|source| damaged(diff_id, source));
            }
        }
        let (Some(blob), Some(source)) = (record.blobs.first(), record.sources.last()) else {
            return Err(ExecError::LostLayer { layer: diff_id.to_string() });
        };
        let source: Reference =
            source.parse().map_err(|_| ExecError::LostLayer { layer: diff_id.to_string() })?;
        self.download(diff_id, blob, &source).await
    }

    /// Downloads a blob and unpacks it at the same time.
    async fn download(
        &self,
        diff_id: DiffId,
        blob: &Descriptor,
        source: &Reference,
    ) -> Result<(SnapshotId, Unpacked), ExecError> {
        let (store, layer) = (Arc::clone(&self.store), blob.clone());
        let unpacked =
            self.fetch(blob, source, move |reader| layer::receive(&store, &layer, diff_id, reader));
        unpacked.await?.map_err(|source| damaged(diff_id, source))
    }

    /// Downloads a blob into a reader on a thread of its own. A download that fails is the error; when the reader gave
    /// up first, its own error says why.
    async fn fetch<T: Send + 'static, E: Send + 'static>(
        &self,
        blob: &Descriptor,
        source: &Reference,
        read: impl FnOnce(BlobReader) -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, ExecError> {
        let (sender, reader) = blob_channel(DEPTH);
        let (events, step, total) = (self.events.clone(), self.step, blob.size);
        let id = blob.digest.to_string();
        let progress = move |current, done| {
            let (id, total) = (id.clone(), Some(total));
            events.send(EventKind::Progress { step, id, current, total, done });
        };
        let shown: Progress = {
            let progress = progress.clone();
            Arc::new(move |current| progress(current, false))
        };
        let reading = blocking(move || read(reader));
        let (read, downloaded) = tokio::join!(reading, self.client.fetch_blob(source, blob, sender, &shown));
        match (&read, downloaded) {
            (_, Ok(())) | (Err(_), Err(RegistryError::Abandoned { .. })) => {
                progress(blob.size, true);
                Ok(read)
            }
            (_, Err(error)) => Err(error.into()),
        }
    }

    fn report(&self, diff_id: DiffId, lost: Unpacked) {
        let short = diff_id.0.short();
        if lost.flattened > 0 {
            self.events.warn(format!(
                "layer {short}: {} entries belong to root here, because this user namespace has a single id",
                lost.flattened
            ));
        }
        if lost.devices > 0 {
            self.events.warn(format!("layer {short}: {} device nodes were left out", lost.devices));
        }
    }
}

fn damaged(diff_id: DiffId, source: LayerError) -> ExecError {
    ExecError::Layer { layer: diff_id.to_string(), source }
}
