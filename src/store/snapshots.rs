//! Snapshots by id: directories that are finished and no longer change.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Store;
use super::error::StoreError;
use super::session::random_name;
use crate::sys::At;

/// The name of a snapshot; means nothing outside its store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(String);

impl fmt::Display for SnapshotId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Store {
    /// Takes over a finished directory as a snapshot.
    pub fn adopt_snapshot(&self, directory: &Path) -> Result<SnapshotId, StoreError> {
        let id = SnapshotId(random_name()?);
        let path = self.snapshot_path(&id);
        std::fs::rename(directory, &path).at("rename to", &path)?;
        Ok(id)
    }

    pub fn snapshot_path(&self, id: &SnapshotId) -> PathBuf {
        self.root.join("snapshots").join(&id.0)
    }

    pub fn has_snapshot(&self, id: &SnapshotId) -> bool {
        self.snapshot_path(id).is_dir()
    }
}
