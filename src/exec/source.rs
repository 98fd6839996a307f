//! What comes from elsewhere, and is known by what it is.

use std::path::Path;

use super::error::ExecError;
use super::known::{Key, LookUps};
use super::{Files, Output};
use crate::cache::{Remembered, Step};
use crate::graph::VertexId;
use crate::image::{Digest, Timestamp};
use crate::layer::{LayerRef, Stack};
use crate::solve::{StepKey, record_digest};
use crate::store::Workspace;

impl LookUps {
    /// The key of a source, with what its digest leaves open.
    pub(super) fn source_key(&self, digest: Digest, open: Option<Digest>) -> Key {
        Key {
            step: Some(StepKey::with_order(record_digest(&digest), &[], open)),
            source: Some(digest),
            elsewhere: self.source_elsewhere(&[digest]),
            ..Key::default()
        }
    }

    pub(super) fn find_source(&self, key: &Key) -> Result<Option<Output>, ExecError> {
        let Some(step) = key.step else { return Ok(None) };
        for found in self.cache().find(&step.0) {
            match found? {
                Remembered::Made(record) => {
                    let layers = Stack::default().with(LayerRef::Made(record.snapshot));
                    return Ok(Some(Output::Files(Files { layers, created: Some(record.created) })));
                }
                Remembered::Imported(_) => {}
            }
        }
        Ok(None)
    }

    pub(super) fn remember_source(
        &self,
        vertex: VertexId,
        key: &Key,
        workspace: Workspace,
        upper: &Path,
    ) -> Result<Output, ExecError> {
        let step = key.step.ok_or(ExecError::Unexpected("what was fetched has a key"))?;
        let snapshot = self.store.adopt_snapshot(upper)?;
        drop(workspace);
        let it = self.graph.get(vertex);
        let record = Step {
            name: it.name.clone(),
            parent: None,
            on: None,
            contents: Vec::new(),
            definition: it.op.definition(),
            inputs: Vec::new(),
        };
        let record = record.into_record(snapshot.clone(), Timestamp::now());
        self.cache().remember(&step.0, &record).inspect_err(|_| self.store.discard_snapshot(&snapshot))?;
        let layers = Stack::default().with(LayerRef::Made(snapshot));
        Ok(Output::Files(Files { layers, created: Some(record.created) }))
    }
}
