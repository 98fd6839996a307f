//! Records of steps: which snapshot a key has led to.
//!
//! Invariants: an answer is never wrong, only missing: what a record names is checked to be there.
//!
//! Not here: how keys come about (`solve`).

use std::sync::Arc;

use crate::image::Timestamp;
use crate::solve::StepKey;
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
    pub fn find(&self, key: &StepKey) -> Result<Option<StepRecord>, StoreError> {
        let record = self.store.record::<StepRecord>(&key.to_string())?;
        Ok(record.filter(|record| self.store.has_snapshot(&record.snapshot)))
    }

    pub fn remember(&self, key: &StepKey, snapshot: SnapshotId) -> Result<StepRecord, StoreError> {
        let record = StepRecord { snapshot, created: Timestamp::now() };
        self.store.put_record(&key.to_string(), &record)?;
        Ok(record)
    }
}
