//! Which snapshots mean something to a process: those of its own id map, if it understands them.
//!
//! A process that has not moved into its namespace does not know which id map it would have there, but those that went before
//! it knew, and left word: so records can be told from each other without moving.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Store;
use super::error::StoreError;
use super::record::Record;
use super::snapshots::{MARKS, SnapshotId};
use crate::image::Digest;
use crate::sys::settlement;

/// How the names of snapshots begin that a process can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct View(Vec<String>);

/// The view of processes that move into the same namespace, by what decides about that.
impl Record for View {
    const KIND: &'static str = "views";
    const PINNED: bool = false;
}

/// More than these are left over from other boots.
const MOST: usize = 16;

impl View {
    /// That of this process.
    pub(super) fn own(id_map: &str) -> Self {
        let understood = MARKS.into_iter().filter(|(understood, _)| settlement::understands(*understood));
        let marks = understood.map(|(_, mark)| mark);
        Self(std::iter::once("").chain(marks).map(|mark| format!("{id_map}{mark}-")).collect())
    }

    pub(super) fn shows(&self, id: &SnapshotId) -> bool {
        self.0.iter().any(|beginning| id.as_str().starts_with(beginning))
    }
}

impl Store {
    /// Opens a store that is there already, for a process that has not moved, with the view that it would have had if it had.
    /// It is for looking things up: nothing may be made in it that depends on an id map. None if nobody left word.
    pub fn foreseen(root: &Path, foresight: &str) -> Result<Option<Self>, StoreError> {
        if !root.join("records").join(View::KIND).is_dir() {
            return Ok(None);
        }
        let mut store = Self::ensure(root)?;
        let Some(view) = store.record::<View>(&key(foresight))? else { return Ok(None) };
        store.view = view;
        Ok(Some(store))
    }

    /// Leaves word for those that come after this process, which has moved.
    pub fn leave_word(&self, foresight: &str) -> Result<(), StoreError> {
        let key = key(foresight);
        if self.record::<View>(&key)?.as_ref() == Some(&self.view) {
            return Ok(());
        }
        let others = self.records.list::<View>()?;
        if others.len() > MOST {
            for other in others {
                self.records.remove(View::KIND, &other.key)?;
            }
        }
        self.put_record(&key, &self.view)
    }
}

fn key(foresight: &str) -> String {
    Digest::of(foresight.as_bytes()).hex()
}
