//! Layers of the result are sealed as soon as they are made, behind later steps.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::exec::Executor;
use crate::export::{ExportError, ImageLayer};
use crate::image::{Compression, DiffId};
use crate::layer::{self, LayerRef};
use crate::store::{KnownBlob, LayerRecord, SealRecord, SnapshotId};
use crate::sys::blocking;

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

    /// A layer that came with an image, as the blob that it came as. What an image only claims of it is believed as long
    /// as nothing contradicts it: otherwise the layer is unpacked, which shows who is right.
    async fn brought_along(&self, diff_id: DiffId, below: &[LayerRef]) -> Result<ImageLayer, ExportError> {
        let record = self.record(diff_id)?;
        if let Some(known) = record.verified().next() {
            return Ok(layer_of(diff_id, known));
        }
        let claims: Vec<&KnownBlob> = record.claimed().collect();
        let snapshot = record.snapshot.as_ref().filter(|id| self.executor.store.has_snapshot(id));
        match (snapshot, &claims[..]) {
            // Built here and never pushed: there is no blob yet.
            (Some(snapshot), _) if self.want_blobs => {
                let sealed = seal(&self.executor, snapshot, below, true).await?;
                if sealed.diff_id == diff_id { Ok(sealed) } else { Err(ExportError::Changed(diff_id)) }
            }
            (None, [only]) => Ok(layer_of(diff_id, only)),
            (None, [_, _, ..]) if self.want_blobs => {
                self.executor.layers.directories(&[LayerRef::Image(diff_id)]).await?;
                let record = self.record(diff_id)?;
                let known = record.verified().next().ok_or(ExportError::Changed(diff_id))?;
                Ok(layer_of(diff_id, known))
            }
            (_, _) => Ok(ImageLayer { diff_id, blob: None, sources: Vec::new() }),
        }
    }

    fn record(&self, diff_id: DiffId) -> Result<LayerRecord, ExportError> {
        Ok(self.executor.store.record::<LayerRecord>(&diff_id.0.hex())?.unwrap_or_default())
    }
}

fn layer_of(diff_id: DiffId, known: &KnownBlob) -> ImageLayer {
    ImageLayer { diff_id, blob: Some(known.blob.clone()), sources: known.sources.clone() }
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
        let there = |known: &&KnownBlob| matches!(store.blobs().size(&known.blob.digest), Ok(Some(_)));
        if let Some(known) = record.verified().find(there) {
            return Ok(layer_of(diff_id, known));
        }
        if !want_blob {
            return Ok(ImageLayer { diff_id, blob: None, sources: Vec::new() });
        }
    }
    let below = executor.layers.directories(below).await?;
    let (store, id) = (Arc::clone(store), snapshot.clone());
    let compression = want_blob.then_some(Compression::Gzip);
    let sealed = blocking(move || -> Result<_, ExportError> {
        let sealed = layer::seal(&store, &store.snapshot_path(&id), &below, compression)?;
        let key = sealed.diff_id.0.hex();
        let known = |id: &SnapshotId| store.has_snapshot(id);
        store.update_record(&key, |record: &mut LayerRecord| {
            if !record.snapshot.as_ref().is_some_and(known) {
                record.snapshot = Some(id.clone());
            }
            if let Some(blob) = &sealed.blob {
                record.confirm(blob);
            }
        })?;
        store.put_record(&id.to_string(), &SealRecord { diff_id: sealed.diff_id })?;
        Ok(sealed)
    });
    let sealed = sealed.await?;
    if sealed.sockets > 0 {
        executor.events.warn(format!(
            "{} sockets were left out of a layer: a tar has no place for them",
            sealed.sockets
        ));
    }
    Ok(ImageLayer { diff_id: sealed.diff_id, blob: sealed.blob, sources: Vec::new() })
}
