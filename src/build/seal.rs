//! Layers of the result are sealed as soon as they are made, behind later steps.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::exec::Executor;
use crate::export::{ExportError, ImageLayer};
use crate::image::{DiffId, Packing};
use crate::layer::{self, LayerRef};
use crate::store::{KnownBlob, LayerRecord, SealRecord, SnapshotId};
use crate::sys::blocking;

pub(super) struct Sealing {
    executor: Arc<Executor>,
    /// How the layers are compressed, if somebody wants their blobs.
    packing: Option<Packing>,
    /// What is newer in a new layer is of this time, in seconds since 1970.
    latest: Option<i64>,
    begun: HashMap<SnapshotId, JoinHandle<Result<ImageLayer, ExportError>>>,
}

impl Sealing {
    pub(super) fn new(executor: Arc<Executor>, packing: Option<Packing>, latest: Option<i64>) -> Self {
        Self { executor, packing, latest, begun: HashMap::new() }
    }

    /// Starts sealing the uppermost layer of a chain.
    pub(super) fn begin(&mut self, chain: &Arc<Vec<LayerRef>>) {
        let Some((LayerRef::Made(snapshot), below)) = chain.split_last() else { return };
        if self.begun.contains_key(snapshot) {
            return;
        }
        let (executor, packing, latest) = (Arc::clone(&self.executor), self.packing, self.latest);
        let (id, below) = (snapshot.clone(), below.to_vec());
        let task = tokio::spawn(async move { seal(&executor, &id, &below, packing, latest).await });
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
                    None => {
                        seal(&self.executor, snapshot, &chain[..index], self.packing, self.latest).await?
                    }
                },
            });
        }
        Ok(layers)
    }

    /// A layer that came with an image, as the blob that it came as. What an image only claims of it is believed as long
    /// as nothing contradicts it: otherwise the layer is unpacked, which shows who is right.
    async fn brought_along(&self, diff_id: DiffId, below: &[LayerRef]) -> Result<ImageLayer, ExportError> {
        let record = self.record(diff_id)?;
        if let Some(known) = preferred(&record, self.packing) {
            return self.packed(diff_id, known).await;
        }
        let claims: Vec<&KnownBlob> = record.claimed().collect();
        let snapshot = record.snapshot.as_ref().filter(|id| self.executor.store.has_snapshot(id));
        match (snapshot, &claims[..]) {
            // Built here and never pushed: there is no blob yet.
            (Some(snapshot), _) if self.packing.is_some() => {
                let sealed = seal(&self.executor, snapshot, below, self.packing, record.latest).await?;
                if sealed.diff_id == diff_id { Ok(sealed) } else { Err(ExportError::Changed(diff_id)) }
            }
            (None, [only]) => self.packed(diff_id, only).await,
            (None, [_, _, ..]) if self.packing.is_some() => {
                self.executor.layers.directories(&[LayerRef::Image(diff_id)]).await?;
                let record = self.record(diff_id)?;
                let known = preferred(&record, self.packing).ok_or(ExportError::Changed(diff_id))?;
                self.packed(diff_id, known).await
            }
            (_, _) => Ok(ImageLayer { diff_id, blob: None, sources: Vec::new() }),
        }
    }

    /// A layer as a blob that is known of it, or, where that is not how it is wanted and it has to be, compressed again.
    async fn packed(&self, diff_id: DiffId, known: &KnownBlob) -> Result<ImageLayer, ExportError> {
        let Some(Packing { codec, force: true }) = self.packing else { return Ok(layer_of(diff_id, known)) };
        if known.blob.compression() == Some(codec.compression) {
            return Ok(layer_of(diff_id, known));
        }
        let sources: Vec<_> = known.sources.iter().filter_map(|source| source.parse().ok()).collect();
        self.executor.layers.ensure_blob(&known.blob, &sources).await?;
        let (store, blob) = (Arc::clone(&self.executor.store), known.blob.clone());
        blocking(move || {
            let blob = layer::recompress(&store, &blob, diff_id, codec)?;
            store.update_record(&diff_id.0.hex(), |record: &mut LayerRecord| record.confirm(&blob))?;
            Ok(ImageLayer { diff_id, blob: Some(blob), sources: Vec::new() })
        })
        .await
    }

    fn record(&self, diff_id: DiffId) -> Result<LayerRecord, ExportError> {
        Ok(self.executor.store.record::<LayerRecord>(&diff_id.0.hex())?.unwrap_or_default())
    }
}

/// The blob to be used of those that have proved to be the layer: one that is compressed as it is wanted, else any.
fn preferred(record: &LayerRecord, packing: Option<Packing>) -> Option<&KnownBlob> {
    let wanted = packing.map(|packing| packing.codec.compression);
    let fits = |known: &&KnownBlob| known.blob.compression() == wanted;
    record.verified().find(fits).or_else(|| record.verified().next())
}

fn layer_of(diff_id: DiffId, known: &KnownBlob) -> ImageLayer {
    ImageLayer { diff_id, blob: Some(known.blob.clone()), sources: known.sources.clone() }
}

async fn seal(
    executor: &Executor,
    snapshot: &SnapshotId,
    below: &[LayerRef],
    packing: Option<Packing>,
    latest: Option<i64>,
) -> Result<ImageLayer, ExportError> {
    let store = &executor.store;
    let seal_key = latest.map_or_else(|| snapshot.to_string(), |latest| format!("{snapshot}.{latest}"));
    if let Some(SealRecord { diff_id, .. }) = store.record(&seal_key)? {
        let record = store.record::<LayerRecord>(&diff_id.0.hex())?.unwrap_or_default();
        let fits = |known: &KnownBlob| match packing {
            Some(Packing { codec, force: true }) => known.blob.compression() == Some(codec.compression),
            Some(Packing { force: false, .. }) | None => true,
        };
        let there =
            |known: &&KnownBlob| fits(known) && matches!(store.blobs().size(&known.blob.digest), Ok(Some(_)));
        if let Some(known) = record.verified().find(there) {
            return Ok(layer_of(diff_id, known));
        }
        // A layer that was collected meanwhile has to be noted again.
        if packing.is_none() && record.snapshot.as_ref().is_some_and(|id| store.has_snapshot(id)) {
            return Ok(ImageLayer { diff_id, blob: None, sources: Vec::new() });
        }
    }
    let below = executor.layers.directories(below).await?;
    let (store, id) = (Arc::clone(store), snapshot.clone());
    let codec = packing.map(|packing| packing.codec);
    let sealed = blocking(move || -> Result<_, ExportError> {
        let sealed = layer::seal(&store, &store.snapshot_path(&id), &below, codec, latest)?;
        let key = sealed.diff_id.0.hex();
        let known = |id: &SnapshotId| store.has_snapshot(id);
        store.update_record(&key, |record: &mut LayerRecord| {
            if !record.snapshot.as_ref().is_some_and(known) {
                record.snapshot = Some(id.clone());
                record.latest = latest;
            }
            if let Some(blob) = &sealed.blob {
                record.confirm(blob);
            }
        })?;
        store.put_record(&seal_key, &SealRecord { diff_id: sealed.diff_id, packed: true })?;
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
