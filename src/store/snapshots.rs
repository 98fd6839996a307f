//! Snapshots by id: directories that are finished and no longer change.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Store;
use super::error::StoreError;
use super::pins;
use super::record::{LayerRecord, Record as _, SealRecord};
use super::records::Reading;
use super::session::random_name;
use crate::image::DiffId;
use crate::sys::link_owners::LinkOwners;
use crate::sys::settlement::{self, Understood};
use crate::sys::{At, remove_tree};

/// The name of a snapshot; means nothing outside its store. It begins with the id map that the snapshot was made under:
/// under another one its files have other owners.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(String);

/// What stands behind the id map where not every process with that map understands what is there.
pub(super) const MARKS: [(Understood, &str); 2] =
    [(Understood::InNoNamespace, "x"), (Understood::InANamespace, "r")];

/// What snapshots are called in pins.
pub(super) const KIND: &str = "snapshots";

impl SnapshotId {
    /// The snapshot that a directory's name means.
    pub(super) fn named(name: String) -> Self {
        Self(name)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Store {
    /// Takes over a finished directory as a snapshot, with the owners of its links if they are recorded beside it.
    pub fn adopt_snapshot(&self, directory: &Path) -> Result<SnapshotId, StoreError> {
        let understood = settlement::settle(directory)?;
        let mark = MARKS.into_iter().find(|(marked, _)| *marked == understood).map_or("", |(_, mark)| mark);
        let id = SnapshotId(format!("{}{mark}-{}", self.id_map, random_name()?));
        let path = self.snapshot_path(&id);
        self.pins.pin(&[pins::name(KIND, &id.0)])?;
        // Before the directory: what has its name is whole.
        match std::fs::rename(LinkOwners::file(directory), LinkOwners::file(&path)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            answer => answer.at("rename to", LinkOwners::file(&path))?,
        }
        std::fs::rename(directory, &path).at("rename to", &path)?;
        // Nobody knows of it yet.
        settlement::settle_top(&path).inspect_err(|_| self.discard_snapshot(&id))?;
        Ok(id)
    }

    /// Removes a snapshot because the record that was to lead to it could not be written, and what was noted of it meanwhile.
    pub fn discard_snapshot(&self, id: &SnapshotId) {
        // What stays is found as what it is, and collected.
        let _ = self.try_to_discard(id);
    }

    fn try_to_discard(&self, id: &SnapshotId) -> Result<(), StoreError> {
        let path = self.snapshot_path(id);
        remove_tree(&path).and_then(|()| remove_tree(&LinkOwners::file(&path)))?;
        for seal in self.records.list::<SealRecord>()? {
            if let (true, Reading::Counts(record)) = (SealRecord::parse_key(&seal.key).0 == *id, seal.value) {
                self.forget_unpacked(id, record.diff_id, &seal.key)?;
            }
        }
        Ok(())
    }

    /// To be called when it was noted that a snapshot is a layer: it may have been discarded at the same time.
    pub fn forget_if_discarded(
        &self,
        id: &SnapshotId,
        diff_id: DiffId,
        seal: &str,
    ) -> Result<(), StoreError> {
        if self.has_snapshot(id) { Ok(()) } else { self.forget_unpacked(id, diff_id, seal) }
    }

    fn forget_unpacked(&self, id: &SnapshotId, diff_id: DiffId, seal: &str) -> Result<(), StoreError> {
        self.records.remove(SealRecord::KIND, seal)?;
        self.update_record(&diff_id.0.hex(), |record: &mut LayerRecord| {
            record.snapshot.take_if(|unpacked| unpacked == id);
        })
    }

    pub fn snapshot_path(&self, id: &SnapshotId) -> PathBuf {
        self.root.join("snapshots").join(&id.0)
    }

    /// Whether a snapshot is there, and means here what it meant when it was made.
    pub fn has_snapshot(&self, id: &SnapshotId) -> bool {
        self.is_readable(id) && self.snapshot_path(id).is_dir()
    }

    /// Whether a snapshot is there and means something only to other processes.
    pub fn has_foreign_snapshot(&self, id: &SnapshotId) -> bool {
        !self.is_readable(id) && self.snapshot_path(id).is_dir()
    }

    /// Whether a snapshot was made under the id map of this process, by one that understood what this one does.
    pub(super) fn is_readable(&self, id: &SnapshotId) -> bool {
        self.view.shows(id)
    }
}
