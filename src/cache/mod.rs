//! Records of steps: which snapshot a key has led to.
//!
//! Invariants: an answer is never wrong, only missing: what a record names is checked to be there, and stays there as long
//! as this process lives.
//!
//! Not here: how keys come about (`solve`).

pub mod document;
mod explain;
mod import;
mod imported;
mod ingredients;
mod inline;
mod listing;
mod normal;
mod outgoing;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod vectors;

pub use explain::{Difference, Explanation, Miss, MissedInput, Nearest, Reason, explain};
pub use import::{CacheFrom, CacheImportError, CacheSource, Which, import};
pub use imported::{CachedLayer, CachedResult, Imported, Link, Record};
pub use inline::INLINE_KEY;
pub use listing::{ListedEntry, differences, pack};
pub use outgoing::{OutLayer, OutLink, OutRecord, OutResult, Outgoing};

use std::sync::Arc;

use crate::image::{DiffId, Digest, Timestamp};
use crate::store::{
    ImportRecord, LayerRecord, LinkRecord, ListingRecord, OperationRecord, SnapshotId, StepRecord, Store,
    StoreError,
};

/// The records of this machine's store.
#[derive(Debug, Clone)]
pub struct LocalCache {
    store: Arc<Store>,
}

/// What a step has led to.
#[derive(Debug, Clone)]
pub enum Remembered {
    /// One layer more than what it built upon.
    Made(StepRecord),
    /// Layers that came from elsewhere.
    Imported(ImportRecord),
}

impl Remembered {
    /// What was read of each input, where content decides.
    pub fn contents(&self) -> &[Option<Digest>] {
        match self {
            Self::Made(record) => &record.contents,
            Self::Imported(record) => &record.contents,
        }
    }
}

impl LocalCache {
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// What a step has led to, if it is still there: what was made here first, then what came from elsewhere. The first that is
    /// of use is all that has to be looked at.
    pub fn find(&self, key: &Digest) -> impl Iterator<Item = Result<Remembered, StoreError>> {
        let key = key.hex();
        let made = {
            let key = key.clone();
            std::iter::once_with(move || self.made(&key))
        };
        made.chain(std::iter::once_with(move || self.imported(&key))).filter_map(Result::transpose)
    }

    fn made(&self, key: &str) -> Result<Option<Remembered>, StoreError> {
        let record = self.store.record::<StepRecord>(key)?;
        Ok(record.filter(|record| self.store.has_snapshot(&record.snapshot)).map(Remembered::Made))
    }

    fn imported(&self, key: &str) -> Result<Option<Remembered>, StoreError> {
        let Some(record) = self.store.record::<ImportRecord>(key)? else { return Ok(None) };
        for layer in record.layers() {
            if !self.can_be_had(*layer)? {
                return Ok(None);
            }
        }
        Ok(Some(Remembered::Imported(record)))
    }

    /// Whether a layer is here, or somebody is said to have it.
    fn can_be_had(&self, layer: DiffId) -> Result<bool, StoreError> {
        let Some(known) = self.store.record::<LayerRecord>(&layer.0.hex())? else { return Ok(false) };
        if known.snapshot.as_ref().is_some_and(|id| self.store.has_snapshot(id)) {
            return Ok(true);
        }
        self.store.can_have_blob_of(&known)
    }

    /// Notes where a layer can be had, as a cache from elsewhere says.
    pub fn claim(&self, layer: &CachedLayer) -> Result<(), StoreError> {
        let key = layer.diff_id.0.hex();
        let known = self.store.record::<LayerRecord>(&key)?;
        if known.is_some_and(|known| known.has_claim(&layer.blob.digest, Some(&layer.source))) {
            return Ok(());
        }
        let source = Some(layer.source.clone());
        self.store.update_record(&key, |record: &mut LayerRecord| record.claim(&layer.blob, source))
    }

    /// Whether there may be records of some steps of an operation.
    pub fn has_heard_of(&self, operation: &Digest) -> Result<bool, StoreError> {
        Ok(self.store.look_at_record::<OperationRecord>(&operation.hex())?.is_some())
    }

    /// Notes that there are going to be records of steps of an operation.
    pub fn hear_of(&self, operation: &Digest, imported: bool) -> Result<(), StoreError> {
        let key = operation.hex();
        match self.store.look_at_record::<OperationRecord>(&key)? {
            Some(known) if known.imported || !imported => Ok(()),
            Some(_) | None => self.store.put_record(&key, &OperationRecord { imported }),
        }
    }

    /// The key by content of a step that is known by definition, if that is true of what its inputs are now.
    pub fn follow(&self, key: &Digest, tops: &[Option<String>]) -> Result<Option<Digest>, StoreError> {
        let Some(link) = self.store.record::<LinkRecord>(&key.hex())? else { return Ok(None) };
        let agree = |(then, now): (&Option<String>, &Option<String>)| match (then, now) {
            (Some(then), Some(now)) => then == now,
            // An input that is not at hand has not been made anew.
            (None, _) | (_, None) => true,
        };
        let holds = link.tops.len() == tops.len() && link.tops.iter().zip(tops).all(agree);
        Ok(holds.then_some(link.to))
    }

    /// Remembers that a step known by definition is one known by content.
    pub fn link(&self, key: &Digest, to: Digest, tops: Vec<Option<String>>) -> Result<(), StoreError> {
        let link = LinkRecord { to, tops };
        match self.store.record::<LinkRecord>(&key.hex())? {
            Some(known) if known == link => Ok(()),
            Some(_) | None => self.store.put_record(&key.hex(), &link),
        }
    }

    /// Remembers what a content consists of.
    pub fn list(&self, content: &Digest, entries: &[ListedEntry]) -> Result<(), StoreError> {
        let key = content.hex();
        let known = self.store.look_at_record::<ListingRecord>(&key)?.is_some();
        match pack(entries).filter(|_| !known) {
            Some(record) => self.store.put_record(&key, &record),
            None => Ok(()),
        }
    }

    /// What has changed from one content to another, as far as both are remembered.
    pub fn what_has_changed(
        &self,
        before: &Digest,
        after: &Digest,
    ) -> Result<Option<Vec<Difference>>, StoreError> {
        let look = |content: &Digest| self.store.look_at_record::<ListingRecord>(&content.hex());
        let (Some(before), Some(after)) = (look(before)?, look(after)?) else { return Ok(None) };
        Ok(differences(&before, &after))
    }

    /// Remembers what a step has made.
    pub fn remember(&self, key: &Digest, record: &StepRecord) -> Result<(), StoreError> {
        self.store.put_record(&key.hex(), record)
    }

    /// Remembers what a step has led to elsewhere.
    pub fn import(&self, key: &Digest, record: &ImportRecord) -> Result<(), StoreError> {
        match self.store.record::<ImportRecord>(&key.hex())? {
            Some(known) if known == *record => Ok(()),
            Some(_) | None => self.store.put_record(&key.hex(), record),
        }
    }

    /// Forgets what a step has led to elsewhere, because that cannot be had.
    pub fn forget_import(&self, key: &Digest) -> Result<(), StoreError> {
        self.store.remove_record::<ImportRecord>(&key.hex()).map(drop)
    }
}

impl Step {
    /// A record of what it has made, and when.
    pub fn into_record(self, snapshot: SnapshotId, created: Timestamp) -> StepRecord {
        let Self { name, parent, on, contents, definition, inputs } = self;
        StepRecord { snapshot, created, name, parent, on, contents, definition, inputs }
    }
}

/// All that is to be remembered of a step beside its result.
#[derive(Debug, Clone)]
pub struct Step {
    pub name: String,
    pub parent: Option<SnapshotId>,
    pub on: Option<String>,
    pub contents: Vec<Option<Digest>>,
    pub definition: String,
    pub inputs: Vec<Option<Digest>>,
}
