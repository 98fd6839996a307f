//! Does what operations say: the worker behind `solve`, one file per kind of operation.
//!
//! Every operation that makes files works on a [`Draft`](crate::snapshot::Draft) and ends by giving its directory of
//! changes to the store: nothing is copied, and what was begun leaves no trace.
#![warn(clippy::wildcard_enum_match_arm)]

mod copy;
mod copy_tree;
mod death;
mod directory;
mod error;
mod explaining;
mod known;
mod network;
mod owner;
mod run;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use death::Death;
pub use error::ExecError;
pub use explaining::{Explain, Explaining};
pub use known::Key;
pub use network::StepNetworks;

use crate::cache::LocalCache;
use crate::context::{Forgetful, Parents, SelectError, Selector, Tree, fingerprint};
use crate::event::{EventKind, Events, StepId};
use crate::graph::{Graph, Op, Selection, Slot, SourcePath, VertexId};
use crate::image::{Digest, Timestamp};
use crate::layer::{LayerRef, Layers, Stack};
use crate::sandbox::Sandboxing;
use crate::solve::{Found, Progress, Worker};
use crate::store::{Lock, Store, Workspace};
use crate::sys::blocking;
use known::KnownInput;

/// What an operation yields.
#[derive(Debug, Clone)]
pub enum Output {
    Files(Files),
    /// Files outside the graph: the build context.
    Context,
}

/// A root file system.
#[derive(Debug, Clone)]
pub struct Files {
    pub layers: Stack,
    /// When its uppermost layer was made; none for an image's own.
    pub created: Option<Timestamp>,
}

impl Output {
    pub fn files(&self) -> Option<&Files> {
        match self {
            Self::Files(files) => Some(files),
            Self::Context => None,
        }
    }

    /// What tells it from other results of the same step.
    fn top(&self) -> Option<String> {
        Some(self.files()?.layers.top()?.to_string())
    }
}

/// The name that a step's machine has.
pub const HOSTNAME: &str = "buildkitsandbox";

/// How often somebody looks whether another process has made a step.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Everything that operations need.
#[derive(Debug)]
pub struct Executor {
    pub graph: Arc<Graph>,
    pub store: Arc<Store>,
    pub layers: Layers,
    pub context: Arc<Tree>,
    pub sandboxing: Arc<Sandboxing>,
    pub networks: StepNetworks,
    pub events: Events,
    /// Numbers of steps begin here; smaller ones are taken by what is not in the graph.
    pub first_step: u32,
    /// Tells of what was not found.
    pub explaining: Option<Explaining>,
}

impl Executor {
    pub fn step(&self, vertex: VertexId) -> StepId {
        StepId(self.first_step + u32::try_from(vertex.index()).expect("a graph has fewer vertices"))
    }

    fn cache(&self) -> LocalCache {
        LocalCache::new(Arc::clone(&self.store))
    }

    /// Takes over a finished directory of changes as the result of a step.
    async fn finish(
        self: &Arc<Self>,
        vertex: VertexId,
        inputs: &[KnownInput],
        workspace: Workspace,
        upper: PathBuf,
    ) -> Result<(Key, Output), ExecError> {
        let (executor, inputs) = (Arc::clone(self), inputs.to_vec());
        blocking(move || {
            let store = &executor.store;
            let snapshot = store.adopt_snapshot(&upper)?;
            drop(workspace);
            let (key, created) = executor
                .remember(vertex, &inputs, snapshot.clone())
                .inspect_err(|_| store.discard_snapshot(&snapshot))?;
            let base = executor.graph.get(vertex).op.base();
            let below = base.and_then(|slot| files(&inputs, Some(slot))).map(|files| files.layers.clone());
            let layers = below.unwrap_or_default().with(LayerRef::Made(snapshot));
            Ok((key, Output::Files(Files { layers, created: Some(created) })))
        })
        .await
    }
}

/// The files of an input.
fn files(inputs: &[KnownInput], slot: Option<Slot>) -> Option<&Files> {
    inputs.get(slot?)?.output.as_ref()?.files()
}

/// The layers of an input, lowest first; none of a root file system that is empty.
fn layers_of(inputs: &[KnownInput], slot: Option<Slot>) -> Vec<LayerRef> {
    files(inputs, slot).map(|files| files.layers.to_vec()).unwrap_or_default()
}

/// What is selected, as the context knows it.
fn selectors(selections: &[Selection]) -> Result<Vec<Selector>, SelectError> {
    let selector = |selection: &Selection| match &selection.path {
        SourcePath::Pattern(path) => Selector::parse(path, None, Parents::Drop),
        SourcePath::WithParents(path) => Selector::parse(path, None, Parents::Keep),
        SourcePath::File(path) => Ok(Selector::literal(path.as_ref())),
    };
    selections.iter().map(selector).collect()
}

impl Executor {
    fn selected(&self, vertex: VertexId, slot: Slot) -> Result<Vec<Selector>, ExecError> {
        let it = self.graph.get(vertex);
        let counts = it.op.input_keys(it.inputs.len()).swap_remove(slot);
        Ok(selectors(&counts.content.ok_or(ExecError::Unexpected("content is asked for where it counts"))?)?)
    }
}

impl Worker for Executor {
    type Key = Key;
    type Output = Output;
    type Error = ExecError;
    type Claim = Lock;

    fn outside(&self, vertex: VertexId, slot: usize) -> Result<Digest, ExecError> {
        Ok(fingerprint(&self.context, &self.selected(vertex, slot)?, &Forgetful)?)
    }

    async fn content(&self, vertex: VertexId, slot: usize, input: &Output) -> Result<Digest, ExecError> {
        let layers = input.files().map(|files| files.layers.to_vec()).unwrap_or_default();
        let chain = self.layers.directories(&layers).await?;
        let (store, selectors) = (Arc::clone(&self.store), self.selected(vertex, slot)?);
        let may_overlay = self.sandboxing.may_overlay();
        blocking(move || {
            let workspace = store.workspace()?;
            let root = copy::look_into(&store, &workspace, "source", &chain, may_overlay)?;
            let tree = copy::tree_of(&root, &chain)?;
            Ok(fingerprint(&tree, &selectors, &Forgetful)?)
        })
        .await
    }

    fn find(&self, vertex: VertexId, inputs: &[KnownInput]) -> Result<Found<Key, Output>, ExecError> {
        self.look_up(vertex, inputs)
    }

    async fn claim(&self, vertex: VertexId, key: &Key) -> Result<Lock, ExecError> {
        let step = key.step.ok_or(ExecError::Unexpected("a step that is executed has a key"))?;
        // Who wants everything anew has nothing to share with others.
        let forced = self.graph.get(vertex).forced;
        let name = if forced { format!("{step}.{}", std::process::id()) } else { step.to_string() };
        let mut waited = false;
        loop {
            if let Some(lock) = self.store.try_lock(&name)? {
                return Ok(lock);
            }
            if !waited {
                let text = "waiting for another build that makes this step".to_owned();
                self.events.send(EventKind::Remark { step: self.step(vertex), text });
            }
            waited = true;
            // Asked again and again instead of waiting in the kernel: that could not be given up.
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    async fn execute(
        self: &Arc<Self>,
        vertex: VertexId,
        key: &Key,
        inputs: &[KnownInput],
    ) -> Result<(Key, Output), ExecError> {
        self.networks.come_nearer(vertex);
        self.explain(vertex, key, inputs)?;
        let (workspace, upper) = match &self.graph.get(vertex).op {
            Op::Image(_) | Op::Context(_) | Op::Merge(_) => {
                return Err(ExecError::Unexpected("what is only found is not executed"));
            }
            Op::Run(op) => self.run(vertex, op, inputs).await?,
            Op::Copy(op) => self.copy(op, inputs).await?,
            Op::MakeDirectory(op) => self.make_directory(op, inputs).await?,
            Op::MakeFile(op) => self.make_file(op).await?,
        };
        self.finish(vertex, inputs, workspace, upper).await
    }

    async fn settled(&self) {
        self.sandboxing.endings.all().await;
    }

    fn progress(&self, vertex: VertexId, progress: Progress) {
        let (step, it) = (self.step(vertex), self.graph.get(vertex));
        // Nothing is done in these that would have to be told.
        if matches!(it.op, Op::Context(_) | Op::Merge(_)) {
            return;
        }
        self.events.send(match progress {
            Progress::Started => EventKind::Started { step, name: it.name.clone() },
            Progress::Cached => EventKind::Cached { step },
            Progress::Shared => EventKind::Shared { step },
            Progress::Done => EventKind::Done { step },
            Progress::Canceled => EventKind::Canceled { step },
        });
    }
}
