//! Records of steps: which snapshot a key has led to.
//!
//! Invariants: an answer is never wrong, only missing: what a record names is checked to be there, and stays there as long
//! as this process lives.
//!
//! Not here: how keys come about (`solve`).

use std::sync::Arc;

use crate::image::{Digest, Timestamp};
use crate::store::{SnapshotId, StepRecord, Store, StoreError};

/// The records of this machine's store.
#[derive(Debug, Clone)]
pub struct LocalCache {
    store: Arc<Store>,
}

impl LocalCache {
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// The snapshot that a step has made, if it is still there.
    pub fn find(&self, key: &Digest) -> Result<Option<StepRecord>, StoreError> {
        let record = self.store.record::<StepRecord>(&key.hex())?;
        Ok(record.filter(|record| self.store.has_snapshot(&record.snapshot)))
    }

    /// Remembers what a step has made: `name` is what people call it, `parent` what it was built upon.
    pub fn remember(
        &self,
        key: &Digest,
        snapshot: SnapshotId,
        name: String,
        parent: Option<SnapshotId>,
    ) -> Result<StepRecord, StoreError> {
        let record = StepRecord { snapshot, created: Timestamp::now(), name, parent };
        self.store.put_record(&key.hex(), &record)?;
        Ok(record)
    }
}
