//! Layers as blobs: the ones that are known of them, or new ones.

use std::cell::RefCell;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::registry::Destination;
use super::{ExportError, ImageLayer};
use crate::image::{DiffId, Digest, Packing};
use crate::layer::{self, Follow, LayerError, LayerRef, Layers, Sealed, Stack};
use crate::store::{KnownBlob, LayerRecord, SealRecord, SnapshotId, Store, StoreError};
use crate::sys::blocking;

/// Finds or makes the blobs of layers.
#[derive(Debug, Clone, Copy)]
pub struct Packer<'a> {
    pub layers: &'a Layers,
    /// How the layers are compressed, if somebody wants their blobs.
    pub packing: Option<Packing>,
    /// Where new blobs are sent while they are packed.
    pub destination: Option<&'a Arc<Destination>>,
}

impl Packer<'_> {
    /// The uppermost of some layers; of no layer there is none.
    pub async fn top(&self, layers: &Stack, latest: Option<i64>) -> Result<Option<ImageLayer>, ExportError> {
        Ok(Some(match layers.top() {
            Some(LayerRef::Image(diff_id)) => self.brought_along(*diff_id, &layers.below()).await?,
            Some(LayerRef::Made(snapshot)) => self.seal(snapshot, &layers.below(), latest).await?,
            Some(LayerRef::Linked(snapshot)) => self.seal(snapshot, &Stack::default(), latest).await?,
            None => return Ok(None),
        }))
    }

    /// The uppermost of some layers, if nothing has to be done to know it.
    pub fn known(&self, layers: &Stack, latest: Option<i64>) -> Result<Option<ImageLayer>, ExportError> {
        match layers.top() {
            Some(LayerRef::Image(diff_id)) if self.packing.is_none() => {
                Ok(Some(ImageLayer { diff_id: *diff_id, blob: None, sources: Vec::new() }))
            }
            Some(LayerRef::Made(snapshot) | LayerRef::Linked(snapshot)) => self.sealed(snapshot, latest),
            Some(LayerRef::Image(_)) | None => Ok(None),
        }
    }

    /// A layer that came with an image, as the blob that it came as. What an image only claims of it is believed as long
    /// as nothing contradicts it: otherwise the layer is unpacked, which shows who is right.
    pub async fn brought_along(&self, diff_id: DiffId, below: &Stack) -> Result<ImageLayer, ExportError> {
        let record = self.record(diff_id)?;
        if let Some(known) = self.preferred(&record)? {
            return self.packed(diff_id, known).await;
        }
        let claims: Vec<&KnownBlob> = record.claimed().collect();
        let snapshot = record.snapshot.as_ref().filter(|id| self.layers.store().has_snapshot(id));
        match (snapshot, &claims[..]) {
            // Built here and never pushed: there is no blob yet.
            (Some(snapshot), _) if self.packing.is_some() => {
                let sealed = self.seal(snapshot, below, record.latest).await?;
                if sealed.diff_id == diff_id { Ok(sealed) } else { Err(ExportError::Changed(diff_id)) }
            }
            (None, [only]) => self.packed(diff_id, only).await,
            (None, [_, _, ..]) if self.packing.is_some() => {
                self.layers.keep(diff_id).await?;
                let record = self.record(diff_id)?;
                let known = self.preferred(&record)?.ok_or(ExportError::Changed(diff_id))?;
                self.packed(diff_id, known).await
            }
            // Nobody here can make the blob that is asked for.
            (None, []) if self.packing.is_some() => Err(self.layers.lost(diff_id, &record).into()),
            (_, _) => Ok(ImageLayer { diff_id, blob: None, sources: Vec::new() }),
        }
    }

    /// What a step has made, as the layer that it is above `below`, with nothing newer than `latest`.
    pub async fn seal(
        &self,
        snapshot: &SnapshotId,
        below: &Stack,
        latest: Option<i64>,
    ) -> Result<ImageLayer, ExportError> {
        if let Some(sealed) = self.sealed(snapshot, latest)? {
            return Ok(sealed);
        }
        let store = self.layers.store();
        let below = self.layers.directories(&below.to_vec()).await?;
        let (store, id) = (Arc::clone(store), snapshot.clone());
        let codec = self.packing.map(|packing| packing.codec);
        let sending = Sending::to(self.destination);
        let sealed = blocking(move || -> Result<_, ExportError> {
            let path = store.snapshot_path(&id);
            let sealed = sending.during(|follow| {
                let sealed = layer::seal_followed(&store, &path, &below, codec, latest, follow)?;
                Ok((sealed.blob.as_ref().map(|blob| blob.digest), sealed))
            })?;
            let noted = note_sealed(&store, &id, &sealed, latest);
            store.forget_if_discarded(&id, sealed.diff_id, &seal_key(&id, latest))?;
            noted?;
            Ok(sealed)
        });
        let sealed = sealed.await?;
        if sealed.sockets > 0 {
            self.layers.events().warn(format!(
                "{} sockets were left out of a layer: a tar has no place for them",
                sealed.sockets
            ));
        }
        Ok(ImageLayer { diff_id: sealed.diff_id, blob: sealed.blob, sources: Vec::new() })
    }

    /// A layer that was sealed before, as it is wanted now.
    fn sealed(&self, snapshot: &SnapshotId, latest: Option<i64>) -> Result<Option<ImageLayer>, ExportError> {
        let store = self.layers.store();
        let Some(SealRecord { diff_id, .. }) = store.record(&seal_key(snapshot, latest))? else {
            return Ok(None);
        };
        let record = self.record(diff_id)?;
        let fits = |known: &KnownBlob| match self.packing {
            Some(Packing { codec, force: true }) => known.blob.compression() == Some(codec.compression),
            Some(Packing { force: false, .. }) | None => true,
        };
        let there =
            |known: &&KnownBlob| fits(known) && matches!(store.blobs().size(&known.blob.digest), Ok(Some(_)));
        if let Some(known) = record.verified().find(there) {
            return Ok(Some(layer_of(diff_id, known)));
        }
        // A layer that was collected meanwhile has to be noted again.
        let is_noted = record.snapshot.as_ref().is_some_and(|id| store.has_snapshot(id));
        let alone = ImageLayer { diff_id, blob: None, sources: Vec::new() };
        Ok((self.packing.is_none() && is_noted).then_some(alone))
    }

    /// A layer as a blob that is known of it, or, where that is not how it is wanted and it has to be, compressed again.
    async fn packed(&self, diff_id: DiffId, known: &KnownBlob) -> Result<ImageLayer, ExportError> {
        let layer = layer_of(diff_id, known);
        match self.packing {
            Some(Packing { codec, force: true }) if known.blob.compression() != Some(codec.compression) => {
                self.compressed(layer, codec).await
            }
            Some(_) | None => Ok(layer),
        }
    }

    /// The same layer as another blob.
    pub async fn compressed(
        &self,
        layer: ImageLayer,
        codec: crate::image::Codec,
    ) -> Result<ImageLayer, ExportError> {
        let diff_id = layer.diff_id;
        let blob = layer.blob.ok_or(ExportError::NotCompressed(diff_id))?;
        self.layers.ensure_blob(&blob, &layer.sources).await?;
        let store = Arc::clone(self.layers.store());
        let sending = Sending::to(self.destination);
        blocking(move || {
            let blob = sending.during(|follow| {
                let blob = layer::recompress(&store, &blob, diff_id, codec, follow)?;
                Ok((Some(blob.digest), blob))
            })?;
            store.update_record(&diff_id.0.hex(), |record: &mut LayerRecord| record.confirm(&blob))?;
            Ok(ImageLayer { diff_id, blob: Some(blob), sources: Vec::new() })
        })
        .await
    }

    /// The blob to be used of those that have proved to be the layer and can be had: one that is compressed as it is
    /// wanted, else any.
    fn preferred<'r>(&self, record: &'r LayerRecord) -> Result<Option<&'r KnownBlob>, StoreError> {
        let wanted = self.packing.map(|packing| packing.codec.compression);
        let mut any = None;
        for known in record.verified() {
            let can_be_had =
                self.layers.store().blobs().size(&known.blob.digest)?.is_some() || known.is_elsewhere();
            if can_be_had && known.blob.compression() == wanted {
                return Ok(Some(known));
            }
            any = any.or(can_be_had.then_some(known));
        }
        Ok(any)
    }

    fn record(&self, diff_id: DiffId) -> Result<LayerRecord, StoreError> {
        Ok(self.layers.store().record::<LayerRecord>(&diff_id.0.hex())?.unwrap_or_default())
    }
}

/// Sends a new blob on its way while it is packed.
struct Sending {
    to: Option<Arc<Destination>>,
    runtime: Handle,
}

impl Sending {
    fn to(destination: Option<&Arc<Destination>>) -> Self {
        Self { to: destination.cloned(), runtime: Handle::current() }
    }

    /// Packs something; the digest of its blob comes with the result.
    fn during<T>(
        &self,
        pack: impl FnOnce(Follow<'_>) -> Result<(Option<Digest>, T), LayerError>,
    ) -> Result<T, LayerError> {
        let Some(to) = &self.to else { return pack(&|_| {}).map(|(_, packed)| packed) };
        let begun = RefCell::new(Vec::new());
        let (digest, packed) = pack(&|blob| begun.borrow_mut().extend(to.early.begin(&self.runtime, &blob)))?;
        if let Some(digest) = digest {
            to.early.settle(digest, begun.into_inner());
        }
        Ok(packed)
    }
}

/// Notes what a snapshot is as a layer.
fn note_sealed(
    store: &Store,
    id: &SnapshotId,
    sealed: &Sealed,
    latest: Option<i64>,
) -> Result<(), StoreError> {
    let known = |id: &SnapshotId| store.has_snapshot(id);
    store.update_record(&sealed.diff_id.0.hex(), |record: &mut LayerRecord| {
        if !record.snapshot.as_ref().is_some_and(known) {
            record.snapshot = Some(id.clone());
            record.latest = latest;
        }
        record.size = Some(sealed.size);
        if let Some(blob) = &sealed.blob {
            record.confirm(blob);
        }
    })?;
    store.put_record(&seal_key(id, latest), &SealRecord { diff_id: sealed.diff_id, packed: true })
}

fn seal_key(snapshot: &SnapshotId, latest: Option<i64>) -> String {
    latest.map_or_else(|| snapshot.to_string(), |latest| format!("{snapshot}.{latest}"))
}

fn layer_of(diff_id: DiffId, known: &KnownBlob) -> ImageLayer {
    ImageLayer { diff_id, blob: Some(known.blob.clone()), sources: known.sources.clone() }
}
