//! Chains of layers as directories: those of images are downloaded and unpacked when something has to look into them, not before.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::try_join_all;
use tokio::sync::{OnceCell, Semaphore};

use super::error::LayerError;
use super::merge::bounded;
use super::stack::LayerRef;
use super::{check_layer, receive, receive_blob, unpack_blob};
use crate::event::{EventKind, Events, StepId};
use crate::image::{Descriptor, DiffId, Digest, LayerSource, Reference};
use crate::registry::{Client, Progress, RegistryError, blob_channel};
use crate::store::{
    KnownBlob, LayerRecord, LayoutDirectory, Lock, SealRecord, SnapshotId, Store, StoreError,
};
use crate::sys::{At, blocking};

/// Turns layers into directories.
#[derive(Debug)]
pub struct Layers {
    store: Arc<Store>,
    client: Client,
    events: Events,
    /// Each layer is fetched once, however many steps want it.
    fetched: Mutex<HashMap<DiffId, Arc<OnceCell<PathBuf>>>>,
    /// The step under which downloads are shown, as long as there are any.
    step: StepId,
    downloads: AtomicUsize,
    room: Semaphore,
    /// What could not be had.
    failed: Mutex<HashSet<Digest>>,
}

/// The bytes of a blob, as they come.
type Stream = Box<dyn Read + Send>;

/// How many layers are downloaded at the same time; more make none of them faster.
const AT_ONCE: usize = 6;
/// How many chunks of a download may wait for the unpacker.
const DEPTH: usize = 32;

impl Layers {
    pub fn new(store: Arc<Store>, client: Client, events: Events, step: StepId) -> Self {
        Self {
            store,
            client,
            events,
            fetched: Mutex::default(),
            step,
            downloads: AtomicUsize::new(0),
            room: Semaphore::new(AT_ONCE),
            failed: Mutex::default(),
        }
    }

    /// The directories of a chain, uppermost first, as overlays want them.
    pub async fn directories(&self, chain: &[LayerRef]) -> Result<Vec<PathBuf>, LayerError> {
        let mut directories = try_join_all(chain.iter().map(|layer| self.directory(layer))).await?;
        directories.reverse();
        let directories = without_repeats(directories);
        let store = Arc::clone(&self.store);
        if super::merge::too_many(&directories) {
            return blocking(move || bounded(&store, directories)).await;
        }
        Ok(directories)
    }

    /// The layers that were wanted and could not be had, themselves or as blobs.
    pub fn failures(&self) -> Result<Vec<DiffId>, StoreError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if failed.is_empty() {
            return Ok(Vec::new());
        }
        let records = self.store.records::<LayerRecord>()?.into_iter();
        let layers = records.filter_map(|(key, record)| {
            let layer = DiffId(format!("sha256:{key}").parse().ok()?);
            let has_failed = record.blobs.iter().any(|known| failed.contains(&known.blob.digest));
            (has_failed || failed.contains(&layer.0)).then_some(layer)
        });
        Ok(layers.collect())
    }

    fn note_failure<T>(&self, what: Digest, result: Result<T, LayerError>) -> Result<T, LayerError> {
        result.inspect_err(|_| {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(what);
        })
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Makes sure that the store has a blob, from one of the places that have it ([`LayerSource`]).
    pub async fn ensure_blob(&self, blob: &Descriptor, sources: &[String]) -> Result<(), LayerError> {
        if self.store.blobs().size(&blob.digest)?.is_some() {
            return Ok(());
        }
        let (store, digest) = (Arc::clone(&self.store), blob.digest);
        let keep = move |mut reader: Stream| -> Result<(), LayerError> {
            let mut writer = store.blobs().writer()?;
            std::io::copy(&mut reader, &mut writer).at("read", "blob")?;
            writer.complete_as(&digest)?;
            Ok(())
        };
        let lost = || LayerError::Lost { layer: blob.digest.to_string() };
        let kept = self.fetch(blob, sources, keep).await.ok_or_else(lost).and_then(|kept| kept?);
        self.note_failure(digest, kept)
    }

    async fn directory(&self, layer: &LayerRef) -> Result<PathBuf, LayerError> {
        match layer {
            LayerRef::Made(snapshot) | LayerRef::Linked(snapshot) => Ok(self.store.snapshot_path(snapshot)),
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
    async fn ensure(&self, diff_id: DiffId) -> Result<PathBuf, LayerError> {
        if let Some(path) = self.unpacked(diff_id)? {
            return Ok(path);
        }
        let (store, name) = (Arc::clone(&self.store), format!("layer-{}", diff_id.0.hex()));
        let claim = Arc::new(blocking(move || store.lock(&name)).await?);
        if let Some(path) = self.unpacked(diff_id)? {
            return Ok(path);
        }
        let unpacked = self.unpack_first(diff_id, &self.record(diff_id)?, &claim).await;
        self.note_failure(diff_id.0, unpacked)
    }

    fn record(&self, diff_id: DiffId) -> Result<LayerRecord, StoreError> {
        Ok(self.store.record::<LayerRecord>(&diff_id.0.hex())?.unwrap_or_default())
    }

    fn unpacked(&self, diff_id: DiffId) -> Result<Option<PathBuf>, StoreError> {
        let snapshot = self.record(diff_id)?.snapshot;
        Ok(snapshot.filter(|id| self.store.has_snapshot(id)).map(|id| self.store.snapshot_path(&id)))
    }

    /// Tries what is known of the layer until something proves to be it: first what has been it before, then what
    /// images claim. The first failure is the one that is told.
    async fn unpack_first(
        &self,
        diff_id: DiffId,
        record: &LayerRecord,
        claim: &Arc<Lock>,
    ) -> Result<PathBuf, LayerError> {
        let mut failure = None;
        for known in candidates(record) {
            match self.unpack(diff_id, known, claim).await {
                Ok(path) => return Ok(path),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| self.lost(diff_id, record)))
    }

    /// Why nobody has a layer.
    pub fn lost(&self, diff_id: DiffId, record: &LayerRecord) -> LayerError {
        let layer = diff_id.to_string();
        match &record.snapshot {
            Some(snapshot) if self.store.has_foreign_snapshot(snapshot) => LayerError::Foreign { layer },
            Some(_) | None => LayerError::Lost { layer },
        }
    }

    /// Makes sure that the store has a layer as a blob that has proved to be it; nothing is unpacked.
    pub async fn keep(&self, diff_id: DiffId) -> Result<(), LayerError> {
        let have = |record: &LayerRecord| -> Result<bool, StoreError> {
            let blobs = self.store.blobs();
            record
                .verified()
                .try_fold(false, |found, known| Ok(found || blobs.size(&known.blob.digest)?.is_some()))
        };
        if have(&self.record(diff_id)?)? {
            return Ok(());
        }
        let (store, name) = (Arc::clone(&self.store), format!("layer-{}", diff_id.0.hex()));
        let _claim = blocking(move || store.lock(&name)).await?;
        let record = self.record(diff_id)?;
        if have(&record)? {
            return Ok(());
        }
        let mut failure = None;
        for known in candidates(&record) {
            match self.keep_as(diff_id, known).await {
                Ok(size) => {
                    return Ok(self.store.update_record(&diff_id.0.hex(), |record: &mut LayerRecord| {
                        record.confirm(&known.blob);
                        record.size = Some(size);
                    })?);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| self.lost(diff_id, &record)))
    }

    async fn keep_as(&self, diff_id: DiffId, known: &KnownBlob) -> Result<u64, LayerError> {
        let (store, layer) = (Arc::clone(&self.store), known.blob.clone());
        if self.store.blobs().size(&layer.digest)?.is_some() {
            let checked =
                blocking(move || check_layer(store.blobs().open(&layer.digest)?, &layer, diff_id)).await;
            return checked.map_err(|source| damaged(diff_id, source));
        }
        let read = move |reader| receive_blob(&store, &layer, diff_id, reader);
        let lost = || LayerError::Lost { layer: diff_id.to_string() };
        let kept = self.fetch(&known.blob, &known.sources, read).await.ok_or_else(lost)??;
        kept.map_err(|source| damaged(diff_id, source))
    }

    async fn unpack(
        &self,
        diff_id: DiffId,
        known: &KnownBlob,
        claim: &Arc<Lock>,
    ) -> Result<PathBuf, LayerError> {
        // What is begun goes on when nobody waits for it any more, and keeps the claim so long.
        let (store, blob, claim) = (Arc::clone(&self.store), known.blob.clone(), Arc::clone(claim));
        if self.store.blobs().size(&known.blob.digest)?.is_some() {
            let unpacked = blocking(move || {
                let _claim = claim;
                let (snapshot, size) = unpack_blob(&store, &blob, diff_id)?;
                note_unpacked(&store, diff_id, &blob, snapshot, size)
            });
            return unpacked.await.map_err(|source| damaged(diff_id, source));
        }
        // Downloaded and unpacked at the same time.
        let read = move |reader| {
            let _claim = &claim;
            let (snapshot, size) = receive(&store, &blob, diff_id, reader)?;
            note_unpacked(&store, diff_id, &blob, snapshot, size)
        };
        let lost = || LayerError::Lost { layer: diff_id.to_string() };
        let unpacked = self.fetch(&known.blob, &known.sources, read).await.ok_or_else(lost)??;
        unpacked.map_err(|source| damaged(diff_id, source))
    }

    /// Reads a blob from one of the places that have it, the latest first; what one lacks another may have. None if none is
    /// known; the first failure is the one that is told. What the reader says against a blob is no failure of getting it.
    async fn fetch<T: Send + 'static>(
        &self,
        blob: &Descriptor,
        sources: &[String],
        read: impl Fn(Stream) -> Result<T, LayerError> + Clone + Send + 'static,
    ) -> Option<Result<Result<T, LayerError>, LayerError>> {
        let mut failure = None;
        for source in sources.iter().rev().filter_map(|source| source.parse().ok()) {
            let fetched = match source {
                LayerSource::Registry(name) => self.download(blob, &name, read.clone()).await,
                LayerSource::Layout(path) => self.read_there(blob, path, read.clone()).await,
            };
            match fetched {
                Ok(Ok(value)) => return Some(Ok(Ok(value))),
                // The right bytes are no better from elsewhere.
                Ok(Err(error)) if !matches!(error, LayerError::Store(StoreError::Digest { .. })) => {
                    return Some(Ok(Err(error)));
                }
                failed => failure = failure.or(Some(failed)),
            }
        }
        failure
    }

    /// Reads a blob where it lies, in a layout. The reader checks what it is.
    async fn read_there<T: Send + 'static>(
        &self,
        blob: &Descriptor,
        layout: PathBuf,
        read: impl FnOnce(Stream) -> Result<T, LayerError> + Send + 'static,
    ) -> Result<Result<T, LayerError>, LayerError> {
        let _place = self.room.acquire().await;
        let blob = blob.clone();
        blocking(move || {
            let file = LayoutDirectory::open(&layout)?.open_blob(&blob)?;
            Ok(read(Box::new(file)))
        })
        .await
    }

    /// Downloads a blob into a reader on a thread of its own. A download that fails is the error; when the reader gave
    /// up first, its own error says why.
    async fn download<T: Send + 'static>(
        &self,
        blob: &Descriptor,
        source: &Reference,
        read: impl FnOnce(Stream) -> Result<T, LayerError> + Send + 'static,
    ) -> Result<Result<T, LayerError>, LayerError> {
        let _place = self.room.acquire().await;
        let _shown = self.show_downloading();
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
        let reading = blocking(move || read(Box::new(reader)));
        let (read, downloaded) = tokio::join!(reading, self.client.fetch_blob(source, blob, sender, &shown));
        match (&read, downloaded) {
            (_, Ok(())) | (Err(_), Err(RegistryError::Abandoned { .. })) => {
                progress(blob.size, true);
                Ok(read)
            }
            (_, Err(error)) => Err(error.into()),
        }
    }

    /// Opens the step for downloads with the first of them; the last one closes it.
    fn show_downloading(&self) -> Downloading<'_> {
        if self.downloads.fetch_add(1, Ordering::SeqCst) == 0 {
            let name = "[internal] load layers of images".to_owned();
            self.events.send(EventKind::Started { step: self.step, name });
        }
        Downloading(self)
    }
}

/// Notes that a layer is unpacked, and where; what cannot be noted is removed.
fn note_unpacked(
    store: &Store,
    diff_id: DiffId,
    blob: &Descriptor,
    snapshot: SnapshotId,
    size: u64,
) -> Result<PathBuf, LayerError> {
    let noted = store.update_record(&diff_id.0.hex(), |record: &mut LayerRecord| {
        record.confirm(blob);
        record.size = Some(size);
        record.snapshot = Some(snapshot.clone());
        record.latest = None;
    });
    noted.inspect_err(|_| store.discard_snapshot(&snapshot))?;
    store.put_record(&snapshot.to_string(), &SealRecord { diff_id, packed: false })?;
    Ok(store.snapshot_path(&snapshot))
}

/// One download that is shown.
struct Downloading<'a>(&'a Layers);

impl Drop for Downloading<'_> {
    fn drop(&mut self) {
        if self.0.downloads.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.events.send(EventKind::Done { step: self.0.step });
        }
    }
}

/// What a layer may be, in the order to try it: what has proved to be it, then claims, from the latest on, which is that
/// of an image that is wanted now.
fn candidates(record: &LayerRecord) -> impl Iterator<Item = &KnownBlob> {
    let claimed: Vec<&KnownBlob> = record.claimed().collect();
    record.verified().chain(claimed.into_iter().rev())
}

/// Two steps that make the same changes, often none, share a directory. Overlays take each just once, and what the
/// uppermost has counts: the same changes further down add nothing to it.
fn without_repeats(directories: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    directories.into_iter().filter(|directory| seen.insert(directory.clone())).collect()
}

fn damaged(diff_id: DiffId, source: LayerError) -> LayerError {
    LayerError::Damaged { layer: diff_id.to_string(), source: Box::new(source) }
}

#[cfg(test)]
mod tests;
