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
mod made;
mod mode;
mod mounts;
mod network;
mod owner;
mod run;
mod sharing;
mod source;
mod source_tree;
mod subtree;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

pub use agent::OwnAgentError;
pub use archive::{ArchiveError, check_archive};
pub use contexts::{Context, Contexts};
pub use death::Death;
pub use devices::DeviceError;
pub use elsewhere::Lost;
pub use error::ExecError;
pub use explaining::{Explain, Explaining};
pub use git::GitError;
pub use given::{AgentSource, Given, PrivateKey, Secret, Surroundings};
pub use keys::keys;
pub use known::{Key, LookUps};
pub use looks::Looks;
pub use made::{Layer, Made, Named, NamedLayer};
pub use mounts::StepMounts;
pub use network::StepNetworks;

use crate::context::{Ignore, Parents, SelectError, Selector};
use crate::event::EventKind;
use crate::graph::{Op, Selection, Slot, SourcePath, VertexId};
use crate::image::{Digest, Timestamp};
use crate::layer::{LayerRef, Layers, Stack};
use crate::registry::Client;
use crate::sandbox::Sandboxing;
use crate::solve::{Finder, Found, Progress, Worker};
use crate::store::Lock;
use crate::sys::blocking;
use known::KnownInput;
use made::Changes;

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

    fn is_unheard_of(&self, vertex: VertexId) -> Result<bool, ExecError> {
        // To explain what differs, contents have to be known.
        Ok(self.explaining.is_none() && self.known.is_unheard_of(vertex)?)
    }

    fn may_look_later(&self, vertex: VertexId, slot: Slot) -> Result<bool, ExecError> {
        self.known.may_look_later(vertex, slot)
    }

    fn outside(&self, vertex: VertexId, slot: Slot) -> Result<Digest, ExecError> {
        if let Some(digest) = self.looks.again(vertex, slot) {
            return Ok(digest);
        }
        let (tree, selectors) = (self.outside_tree(vertex, slot)?, self.selected(vertex, slot)?);
        let look = self.list(tree, &selectors, None)?;
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

impl Executor {
    /// What a step that is made is known by to other builds that would make it. Who wants everything anew has nothing to share
    /// with others.
    fn name_of_claim(&self, vertex: VertexId, key: Option<&Key>, inputs: &[KnownInput]) -> String {
        let it = self.graph.get(vertex);
        let key = key.and_then(|key| key.step).or_else(|| self.keys_of(vertex, inputs).ok()?.by_content);
        let name = key.map_or_else(|| self.name_without_contents(vertex, inputs), |key| key.to_string());
        if it.forced { format!("{name}.{}", std::process::id()) } else { name }
    }

    /// The operation, what its inputs are, and where directories are.
    fn name_without_contents(&self, vertex: VertexId, inputs: &[KnownInput]) -> String {
        let op = &self.graph.get(vertex).op;
        let mut text = op.definition();
        for input in inputs {
            text.push('\0');
            match (&input.output, input.key.step) {
                (Some(Output::Context(context)), _) => text.push_str(&context.tree.path().to_string_lossy()),
                (_, Some(key)) => text.push_str(&key.to_string()),
                (_, None) => {}
            }
        }
        Digest::of(text.as_bytes()).hex()
    }
}

impl Worker for Executor {
    type Claim = Lock;
    type Made = Made;
    type Named = Named;

    fn check(&self, vertex: VertexId, slot: Slot) -> Result<(), ExecError> {
        let (tree, selectors) = (self.outside_tree(vertex, slot)?, self.selected(vertex, slot)?);
        Ok(selectors.iter().try_for_each(|selector| selector.select(tree).map(drop))?)
    }

    async fn content(
        self: &Arc<Self>,
        vertex: VertexId,
        slot: Slot,
        input: &Output,
    ) -> Result<Digest, ExecError> {
        let (executor, selectors) = (Arc::clone(self), self.selected(vertex, slot)?);
        let files = match input {
            Output::Files(files) => files,
            Output::Context(context) => {
                let tree = Arc::clone(&context.tree);
                return blocking(move || Ok(executor.list(&tree, &selectors, None)?.digest)).await;
            }
        };
        let chain = self.layers.directories(&files.layers.to_vec()).await?;
        let may_overlay = self.sandboxing.may_overlay();
        blocking(move || {
            let workspace = executor.store.workspace()?;
            let root = copy::look_into(&executor.store, &workspace, "source", &chain, may_overlay)?;
            let tree = copy::tree_of(&root, &chain)?;
            Ok(executor.list(&tree, &selectors, None)?.digest)
        })
        .await
    }

    async fn claim(
        &self,
        vertex: VertexId,
        key: Option<&Key>,
        inputs: &[KnownInput],
    ) -> Result<Lock, ExecError> {
        let name = self.name_of_claim(vertex, key, inputs);
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

    fn missed(&self, vertex: VertexId, key: &Key, inputs: &[KnownInput]) -> Result<(), ExecError> {
        // A server is asked in any case: there is nothing to explain.
        if matches!(self.graph.get(vertex).op, Op::Http(_) | Op::Git(_)) {
            return Ok(());
        }
        self.explain(vertex, key, inputs)
    }

    async fn execute(
        self: &Arc<Self>,
        vertex: VertexId,
        inputs: &[KnownInput],
    ) -> Result<(Made, Output), ExecError> {
        self.networks.come_nearer(vertex);
        let source = |(key, output)| (Made::Source(key), output);
        let changes = match &self.graph.get(vertex).op {
            Op::Image(_) | Op::Context(_) | Op::Merge(_) => {
                return Err(ExecError::Unexpected("what is only found is not executed"));
            }
            Op::Http(op) => return self.fetch(vertex, op).await.map(source),
            Op::Git(op) => return self.check_out(vertex, op).await.map(source),
            Op::Run(op) => Changes::new(self.run(vertex, op, inputs).await?),
            Op::Copy(op) => self.copy(vertex, op, inputs).await?,
            Op::MakeDirectory(op) => Changes::new(self.make_directory(op, inputs).await?),
            Op::MakeFile(op) => Changes::new(self.make_file(op).await?),
        };
        self.adopt(vertex, inputs, changes).await
    }

    async fn name(
        self: &Arc<Self>,
        vertex: VertexId,
        inputs: Vec<KnownInput>,
        made: Made,
    ) -> Result<(Key, Named), ExecError> {
        match made {
            Made::Source(key) => Ok((key, Named::Source)),
            Made::Layer(layer) => self.name_layer(vertex, inputs, *layer).await,
        }
    }

    async fn remember(self: &Arc<Self>, vertex: VertexId, named: Named) -> Result<(), ExecError> {
        match named {
            Named::Source => Ok(()),
            Named::Layer(layer) => self.remember_layer(vertex, *layer).await,
        }
    }

    async fn settled(&self) {
        self.sandboxing.endings.all().await;
    }
}

#[cfg(test)]
mod tests;
