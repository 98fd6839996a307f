//! What operations have made: first a layer is there, and then it is remembered under what is known of the step by then.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::ExecError;
use super::known::{Key, Keys, KnownInput};
use super::looks::AsRead;
use super::sharing::Sharing;
use super::{Executor, Files, Output, files};
use crate::context::{Owner, Taken, Tree, state};
use crate::graph::{Slot, VertexId};
use crate::image::{Digest, Timestamp};
use crate::layer::LayerRef;
use crate::solve::{StepKey, Worker as _};
use crate::store::{SnapshotId, Store, Workspace};
use crate::sys::blocking;

/// What an execution has made.
#[derive(Debug)]
pub enum Made {
    /// It is what it is, and remembered.
    Source(Key),
    Layer(Box<Layer>),
}

/// A layer that has no key yet.
#[derive(Debug)]
pub struct Layer {
    snapshot: NewSnapshot,
    created: Timestamp,
    reading: Reading,
}

/// The same, once it is known by something.
#[derive(Debug)]
pub enum Named {
    Source,
    Layer(Box<NamedLayer>),
}

/// A layer that is still to be remembered.
#[derive(Debug)]
pub struct NamedLayer {
    snapshot: NewSnapshot,
    created: Timestamp,
    sharing: Option<Sharing>,
    inputs: Vec<KnownInput>,
    /// None if it must not be found.
    keys: Option<Keys>,
}

/// A snapshot that nothing leads to; gone with the value unless it was kept.
#[derive(Debug)]
struct NewSnapshot {
    id: SnapshotId,
    store: Arc<Store>,
    is_kept: bool,
}

impl NewSnapshot {
    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for NewSnapshot {
    fn drop(&mut self) {
        if !self.is_kept {
            self.store.discard_snapshot(&self.id);
        }
    }
}

/// A directory of changes, finished.
pub(super) struct Changes {
    pub workspace: Workspace,
    pub upper: PathBuf,
    pub reading: Reading,
}

/// What an operation has learnt of its inputs when it read them.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// How files outside the graph were.
    pub as_read: AsRead,
    /// Those that are to be looked at, by the inputs they are of.
    pub trees: HashMap<Slot, Arc<Tree>>,
    /// What was hashed of these on the way.
    pub taken: Taken,
    pub sharing: Option<Sharing>,
    /// Where the trees may lie.
    pub workspace: Option<Workspace>,
}

impl Changes {
    /// Of an operation that has nothing to tell of its inputs.
    pub(super) fn new((workspace, upper): (Workspace, PathBuf)) -> Self {
        Self { workspace, upper, reading: Reading::default() }
    }
}

impl Executor {
    /// Takes over a finished directory of changes as the result of a step.
    pub(super) async fn adopt(
        self: &Arc<Self>,
        vertex: VertexId,
        inputs: &[KnownInput],
        changes: Changes,
    ) -> Result<(Made, Output), ExecError> {
        let executor = Arc::clone(self);
        let Changes { workspace, upper, mut reading } = changes;
        let base = self.graph.get(vertex).op.base();
        let below = files(inputs, base).map(|files| files.layers.clone()).unwrap_or_default();
        blocking(move || {
            let store = Arc::clone(&executor.store);
            let id = store.adopt_snapshot(&upper)?;
            let snapshot = NewSnapshot { id: id.clone(), store, is_kept: false };
            if !reading.trees.is_empty() {
                reading.workspace = Some(workspace);
            }
            let created = Timestamp::now();
            let layers = below.with(LayerRef::Made(id));
            let layer = Layer { snapshot, created, reading };
            Ok((Made::Layer(Box::new(layer)), Output::Files(Files { layers, created: Some(created) })))
        })
        .await
    }

    /// Finds out what a layer is known by, now that it is known what has been read for it.
    pub(super) async fn name_layer(
        self: &Arc<Self>,
        vertex: VertexId,
        mut inputs: Vec<KnownInput>,
        layer: Layer,
    ) -> Result<(Key, Named), ExecError> {
        for slot in self.not_looked_at(vertex, &inputs) {
            if !layer.reading.trees.contains_key(&slot) {
                let output = inputs[slot].output.clone();
                let output = output.ok_or(ExecError::Unexpected("inputs are there"))?;
                inputs[slot].content = Some(self.content(vertex, slot, &output).await?);
            }
        }
        let executor = Arc::clone(self);
        blocking(move || {
            let Layer { snapshot, created, mut reading } = layer;
            let is_as_read = executor.look_behind(vertex, &mut inputs, &mut reading)?
                && !executor.has_changed_outside(vertex, &inputs, &reading.as_read)?;
            let keys = is_as_read.then(|| executor.keys_of(vertex, &inputs)).transpose()?;
            let key = match &keys {
                Some(keys) => keys.known(),
                None => executor.pass_over(vertex, &snapshot.id),
            };
            let sharing = reading.sharing;
            Ok((key, Named::Layer(Box::new(NamedLayer { snapshot, created, sharing, inputs, keys }))))
        })
        .await
    }

    pub(super) async fn remember_layer(
        self: &Arc<Self>,
        vertex: VertexId,
        layer: NamedLayer,
    ) -> Result<(), ExecError> {
        let executor = Arc::clone(self);
        blocking(move || {
            let NamedLayer { snapshot, created, sharing, inputs, keys } = layer;
            if let Some(keys) = keys {
                executor.remember_step(vertex, &inputs, &keys, snapshot.id.clone(), created)?;
            }
            if let Some(sharing) = &sharing {
                // Where nothing can be kept, the next one copies.
                let _ = sharing.keep(&executor.store, &snapshot.id);
            }
            snapshot.keep();
            Ok(())
        })
        .await
    }

    /// The inputs whose content counts and has not been looked at.
    pub(super) fn not_looked_at(&self, vertex: VertexId, inputs: &[KnownInput]) -> Vec<Slot> {
        let counts = self.graph.get(vertex).op.input_keys(inputs.len());
        let slots = inputs.iter().zip(counts).enumerate();
        slots
            .filter(|(_, (input, counts))| counts.content.is_some() && input.content.is_none())
            .map(|(slot, _)| slot)
            .collect()
    }

    /// Looks at what was read. Says whether it is what it was then.
    fn look_behind(
        &self,
        vertex: VertexId,
        inputs: &mut [KnownInput],
        reading: &mut Reading,
    ) -> Result<bool, ExecError> {
        for slot in self.not_looked_at(vertex, inputs) {
            let tree = reading.trees.get(&slot).ok_or(ExecError::Unexpected("what was read is known"))?;
            let selectors = self.selected(vertex, slot)?;
            let is_fixed = tree.owner() == Owner::Kept;
            let look = match self.list(tree, &selectors, Some(&reading.taken)) {
                Err(_) if !is_fixed => return Ok(false),
                look => look?,
            };
            inputs[slot].content = Some(look.digest);
            if is_fixed {
                continue;
            }
            self.looks.note(vertex, slot, &look);
            // What was read only now may have changed since it was copied, or while it was read.
            if reading.taken.was_not_all() {
                let now = state(tree, &selectors).ok();
                let is_still = reading.as_read.get(&slot).is_some_and(|then| *then == now);
                reading.as_read.insert(slot, now.filter(|_| is_still));
            }
        }
        Ok(true)
    }

    /// A result that must not be taken for that of the step: files have changed while it was made, and nobody knows what it has
    /// read of them. It has a name that nothing else has, and so has all that is built upon it.
    fn pass_over(&self, vertex: VertexId, snapshot: &SnapshotId) -> Key {
        let name = &self.graph.get(vertex).name;
        self.events.warn(format!(
            "files of the context have changed during {name}: its result is used just this once"
        ));
        let step = StepKey::new(Digest::of(snapshot.to_string().as_bytes()), &[]);
        Key { step: Some(step), ..Key::default() }
    }
}
