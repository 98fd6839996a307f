//! Layers of the result are sealed as soon as they are made, behind later steps.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::exec::{Executor, LayerRef, blocking};
use crate::export::{ExportError, ImageLayer};
use crate::image::{Compression, DiffId};
use crate::layer;
use crate::store::{LayerRecord, SealRecord, SnapshotId};

pub(super) struct Sealing {
    executor: Arc<Executor>,
    /// Whether somebody wants the compressed blobs.
    want_blobs: bool,
    begun: HashMap<SnapshotId, JoinHandle<Result<ImageLayer, ExportError>>>,
}

impl Sealing {
    pub(super) fn new(executor: Arc<Executor>, want_blobs: bool) -> Self {
        Self { executor, want_blobs, begun: HashMap::new() }
    }

    /// Starts sealing the uppermost layer of a chain.
    pub(super) fn begin(&mut self, chain: &Arc<Vec<LayerRef>>) {
        let Some((LayerRef::Made(snapshot), below)) = chain.split_last() else { return };
        if self.begun.contains_key(snapshot) {
            return;
        }
        let (executor, want_blob) = (Arc::clone(&self.executor), self.want_blobs);
        let (id, below) = (snapshot.clone(), below.to_vec());
        let task = tokio::spawn(async move { seal(&executor, &id, &below, want_blob).await });
        self.begun.insert(snapshot.clone(), task);
    }

    /// The layers of a chain, lowest first.
    pub(super) async fn finish(mut self, chain: &[LayerRef]) -> Result<Vec<ImageLayer>, ExportError> {
        let mut layers = Vec::with_capacity(chain.len());
        for (index, layer) in chain.iter().enumerate() {
            layers.push(match layer {
                LayerRef::Image(diff_id) => self.brought_along(*diff_id, &chain[..index]).await?,
                LayerRef::Made(snapshot) => match self.begun.remove(snapshot) {
                    Some(task) => match task.await {
                        Ok(sealed) => sealed?,
                        Err(error) => std::panic::resume_unwind(error.into_panic()),
                    },
                    None => seal(&self.executor, snapshot, &chain[..index], self.want_blobs).await?,
                },
            });
        }
        Ok(layers)
    }

    /// A layer that came with an image: its blob is taken as it is. An image that was built here and never pushed has
    /// none yet.
    async fn brought_along(&self, diff_id: DiffId, below: &[LayerRef]) -> Result<ImageLayer, ExportError> {
        let record = self.executor.store.record::<LayerRecord>(&diff_id.0.hex())?.unwrap_or_default();
        match (record.blobs.first(), &record.snapshot) {
            (None, Some(snapshot)) if self.want_blobs => seal(&self.executor, snapshot, below, true).await,
            (blob, _) => Ok(ImageLayer { diff_id, blob: blob.cloned(), sources: record.sources }),
        }
    }
}

async fn seal(
    executor: &Executor,
    snapshot: &SnapshotId,
    below: &[LayerRef],
    want_blob: bool,
) -> Result<ImageLayer, ExportError> {
    let store = &executor.store;
    if let Some(SealRecord { diff_id }) = store.record(&snapshot.to_string())? {
        let record = store.record::<LayerRecord>(&diff_id.0.hex())?.unwrap_or_default();
        let blob = record.blobs.iter().find(|blob| matches!(store.blobs().size(&blob.digest), Ok(Some(_))));
        if blob.is_some() || !want_blob {
            return Ok(ImageLayer { diff_id, blob: blob.cloned(), sources: record.sources });
        }
    }
    let below = executor.layers.directories(below).await?;
    let (store, id) = (Arc::clone(store), snapshot.clone());
    let compression = want_blob.then_some(Compression::Gzip);
    let sealed = blocking(move || -> Result<_, ExportError> {
        let sealed = layer::seal(&store, &store.snapshot_path(&id), &below, compression)?;
        let key = sealed.diff_id.0.hex();
        let mut record = store.record::<LayerRecord>(&key)?.unwrap_or_default();
        record.snapshot.get_or_insert(id.clone());
        if let Some(blob) = &sealed.blob {
            record.blobs.retain(|known| known.digest != blob.digest);
            record.blobs.insert(0, blob.clone());
        }
        store.put_record(&key, &record)?;
        store.put_record(&id.to_string(), &SealRecord { diff_id: sealed.diff_id })?;
        Ok((sealed, record.sources))
    });
    let (sealed, sources) = sealed.await?;
    if sealed.sockets > 0 {
        executor.events.warn(format!(
            "{} sockets were left out of a layer: a tar has no place for them",
            sealed.sockets
        ));
    }
    Ok(ImageLayer { diff_id: sealed.diff_id, blob: sealed.blob, sources })
}
