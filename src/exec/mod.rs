//! Does what operations say: the worker behind `solve`, one file per kind of operation.
//!
//! Every operation that makes files works on a [`Draft`](crate::snapshot::Draft) and ends by giving its directory of
//! changes to the store: nothing is copied, and what was begun leaves no trace.
#![warn(clippy::wildcard_enum_match_arm)]

mod agent;
mod archive;
mod binds;
mod cache_mounts;
mod contexts;
mod copy;
mod copy_file;
mod copy_tree;
mod death;
mod devices;
mod directory;
mod elsewhere;
mod error;
mod explaining;
mod git;
mod given;
mod http;
mod keys;
mod known;
mod looks;
mod mode;
mod mounts;
mod network;
mod owner;
mod run;
mod sharing;
mod source;
mod subtree;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use archive::{ArchiveError, check_archive};
pub use contexts::{Context, Contexts};
pub use death::Death;
pub use devices::DeviceError;
pub use elsewhere::Lost;
pub use error::ExecError;
pub use explaining::{Explain, Explaining};
pub use git::GitError;
pub use given::{Given, Secret, Surroundings};
pub use keys::keys;
pub use known::{Key, LookUps};
pub use looks::Looks;
pub use mounts::StepMounts;
pub use network::StepNetworks;

use crate::context::{Forgetful, Ignore, Parents, SelectError, Selector};
use crate::event::EventKind;
use crate::graph::{Op, Selection, Slot, SourcePath, VertexId};
use crate::image::{Digest, Timestamp};
use crate::layer::{LayerRef, Layers, Stack};
use crate::registry::Client;
use crate::sandbox::Sandboxing;
use crate::solve::{Finder, Found, Progress, StepKey, Worker};
use crate::store::{Lock, SnapshotId, Workspace};
use crate::sys::blocking;
use known::KnownInput;
use looks::AsRead;

/// What an operation yields.
#[derive(Debug, Clone)]
pub enum Output {
    Files(Files),
    /// Files outside the graph.
    Context(Context),
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
            Self::Context(_) => None,
        }
    }

    /// What tells it from other results of the same step.
    fn id(&self) -> Option<String> {
        Some(self.files()?.layers.id()?.to_string())
    }
}

/// The name that a step's machine has.
pub const HOSTNAME: &str = "buildkitsandbox";

/// How often somebody looks whether another process has made a step.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Everything that operations need.
#[derive(Debug)]
pub struct Executor {
    pub known: LookUps,
    pub layers: Layers,
    pub sandboxing: Arc<Sandboxing>,
    pub networks: StepNetworks,
    pub mounts: StepMounts,
    /// Who fetches files.
    pub client: Client,
    /// Tells of what was not found.
    pub explaining: Option<Explaining>,
}

impl Deref for Executor {
    type Target = LookUps;

    fn deref(&self) -> &LookUps {
        &self.known
    }
}

/// What an operation has made.
struct Made {
    workspace: Workspace,
    /// The directory of changes.
    upper: PathBuf,
    as_read: AsRead,
}

impl Made {
    fn new((workspace, upper): (Workspace, PathBuf)) -> Self {
        Self { workspace, upper, as_read: AsRead::new() }
    }
}

impl Executor {
    /// Takes over a finished directory of changes as the result of a step.
    async fn finish(
        self: &Arc<Self>,
        vertex: VertexId,
        inputs: &[KnownInput],
        made: Made,
    ) -> Result<(Key, Output), ExecError> {
        let (executor, inputs) = (Arc::clone(self), inputs.to_vec());
        blocking(move || {
            let store = &executor.store;
            let snapshot = store.adopt_snapshot(&made.upper)?;
            drop(made.workspace);
            let changed = executor.has_changed_outside(vertex, &inputs, &made.as_read);
            let remembered = match changed {
                Ok(true) => Ok(executor.pass_over(vertex, &snapshot)),
                Ok(false) => executor.remember(vertex, &inputs, snapshot.clone()),
                Err(error) => Err(error),
            };
            let (key, created) = remembered.inspect_err(|_| store.discard_snapshot(&snapshot))?;
            let base = executor.graph.get(vertex).op.base();
            let below = base.and_then(|slot| files(&inputs, Some(slot))).map(|files| files.layers.clone());
            let layers = below.unwrap_or_default().with(LayerRef::Made(snapshot));
            Ok((key, Output::Files(Files { layers, created: Some(created) })))
        })
        .await
    }
}

impl Executor {
    /// A result that must not be taken for that of the step: files have changed while it was made, and nobody knows what it has
    /// read of them. It has a name that nothing else has, and so has all that is built upon it.
    fn pass_over(&self, vertex: VertexId, snapshot: &SnapshotId) -> (Key, Timestamp) {
        let name = &self.graph.get(vertex).name;
        self.events.warn(format!(
            "files of the context have changed during {name}: its result is used just this once"
        ));
        let step = StepKey::new(Digest::of(snapshot.to_string().as_bytes()), &[]);
        (Key { step: Some(step), ..Key::default() }, Timestamp::now())
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
    selections.iter().map(selector).collect()
}

fn selector(selection: &Selection) -> Result<Selector, SelectError> {
    let exclude = Ignore::from_patterns(&selection.excludes)?;
    let selector = match &selection.path {
        SourcePath::Pattern(path) => Selector::parse(path, Some(&exclude), Parents::Drop)?,
        SourcePath::WithParents(path) => Selector::parse(path, Some(&exclude), Parents::Keep)?,
        SourcePath::Everything => Selector::parse("/", Some(&exclude), Parents::Drop)?,
        SourcePath::File(path) | SourcePath::Archive(path) => Selector::literal(path.as_ref()),
    };
    Ok(if selection.optional { selector.optional() } else { selector })
}

impl Finder for Executor {
    type Key = Key;
    type Output = Output;
    type Error = ExecError;

    fn outside(&self, vertex: VertexId, slot: Slot) -> Result<Digest, ExecError> {
        if let Some(digest) = self.looks.again(vertex, slot) {
            return Ok(digest);
        }
        let (tree, selectors) = (self.outside_tree(vertex, slot)?, self.selected(vertex, slot)?);
        let look = self.list(tree, &selectors, tree.memory())?;
        self.looks.note(vertex, slot, &look);
        Ok(look.digest)
    }

    fn find(&self, vertex: VertexId, inputs: &[KnownInput]) -> Result<Found<Key, Output>, ExecError> {
        self.known.find(vertex, inputs)
    }

    fn progress(&self, vertex: VertexId, progress: Progress) {
        self.known.progress(vertex, progress);
    }
}

impl Worker for Executor {
    type Claim = Lock;

    async fn content(
        self: &Arc<Self>,
        vertex: VertexId,
        slot: usize,
        input: &Output,
    ) -> Result<Digest, ExecError> {
        let layers = input.files().map(|files| files.layers.to_vec()).unwrap_or_default();
        let chain = self.layers.directories(&layers).await?;
        let (executor, selectors) = (Arc::clone(self), self.selected(vertex, slot)?);
        let may_overlay = self.sandboxing.may_overlay();
        blocking(move || {
            let workspace = executor.store.workspace()?;
            let root = copy::look_into(&executor.store, &workspace, "source", &chain, may_overlay)?;
            let tree = copy::tree_of(&root, &chain)?;
            Ok(executor.list(&tree, &selectors, &Forgetful)?.digest)
        })
        .await
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
        // A server is asked in any case: there is nothing to explain.
        if !matches!(self.graph.get(vertex).op, Op::Http(_) | Op::Git(_)) {
            self.explain(vertex, key, inputs)?;
        }
        let made = match &self.graph.get(vertex).op {
            Op::Image(_) | Op::Context(_) | Op::Merge(_) => {
                return Err(ExecError::Unexpected("what is only found is not executed"));
            }
            Op::Http(op) => return self.fetch(vertex, op).await,
            Op::Git(op) => return self.check_out(vertex, op).await,
            Op::Run(op) => self.run(vertex, op, inputs).await?,
            Op::Copy(op) => {
                let (made, sharing) = self.copy(op, inputs, self.graph.get(vertex).forced).await?;
                let (key, output) = self.finish(vertex, inputs, made).await?;
                self.share(sharing, &output).await;
                return Ok((key, output));
            }
            Op::MakeDirectory(op) => self.make_directory(op, inputs).await?,
            Op::MakeFile(op) => self.make_file(op).await?,
        };
        self.finish(vertex, inputs, Made::new(made)).await
    }

    async fn settled(&self) {
        self.sandboxing.endings.all().await;
    }
}

#[cfg(test)]
mod tests;
