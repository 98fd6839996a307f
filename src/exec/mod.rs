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
mod network;
mod owner;
mod run;

use std::path::PathBuf;
use std::sync::Arc;

pub use death::Death;
pub use error::ExecError;
pub use network::StepNetworks;

use crate::cache::LocalCache;
use crate::context::{Forgetful, Parents, Selector, Tree, fingerprint};
use crate::event::{EventKind, Events, StepId};
use crate::graph::{CopySource, Graph, Op, VertexId};
use crate::image::{Digest, Timestamp};
use crate::layer::{Chain, LayerRef, Layers};
use crate::sandbox::Sandboxing;
use crate::solve::{Progress, StepKey, Worker};
use crate::store::{Lock, SnapshotId, Store, StoreError, Workspace};
use crate::sys::blocking;

/// What an operation yields: the layers of a root file system.
#[derive(Debug, Clone)]
pub struct Output {
    pub chain: Chain,
    /// When its uppermost layer was made; none for an image's own.
    pub created: Option<Timestamp>,
}

/// The name that a step's machine has.
pub const HOSTNAME: &str = "buildkitsandbox";

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
    /// Whether earlier results are passed over.
    pub no_cache: bool,
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
        &self,
        vertex: VertexId,
        key: &StepKey,
        base: Option<&Output>,
        workspace: Workspace,
        upper: PathBuf,
    ) -> Result<Output, ExecError> {
        let (store, cache, key) = (Arc::clone(&self.store), self.cache(), *key);
        let name = self.graph.get(vertex).name.clone();
        let parent = match base.and_then(|base| base.chain.last()) {
            Some(LayerRef::Made(parent)) => Some(parent.clone()),
            Some(LayerRef::Image(_)) | None => None,
        };
        let record = blocking(move || -> Result<_, StoreError> {
            let snapshot = store.adopt_snapshot(&upper)?;
            drop(workspace);
            cache
                .remember(&key.0, snapshot.clone(), name, parent)
                .inspect_err(|_| store.discard_snapshot(&snapshot))
        })
        .await?;
        Ok(extended(base, record.snapshot, record.created))
    }
}

fn extended(base: Option<&Output>, snapshot: SnapshotId, created: Timestamp) -> Output {
    let below = base.map(|base| base.chain.as_slice()).unwrap_or_default();
    let chain = below.iter().cloned().chain([LayerRef::Made(snapshot)]).collect();
    Output { chain: Arc::new(chain), created: Some(created) }
}

impl Worker for Executor {
    type Output = Output;
    type Error = ExecError;
    type Claim = Lock;

    async fn content(&self, vertex: VertexId) -> Result<Option<Digest>, ExecError> {
        match &self.graph.get(vertex).op {
            Op::Copy(op) if op.from == CopySource::Context => {
                let (context, sources) = (Arc::clone(&self.context), op.sources.clone());
                blocking(move || {
                    let parse = |source: &String| Selector::parse(source, None, Parents::Drop);
                    let selectors = sources.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
                    Ok(Some(fingerprint(&context, &selectors, &Forgetful)?))
                })
                .await
            }
            Op::Copy(_) | Op::Image(_) | Op::Run(_) | Op::MakeDirectory(_) | Op::MakeFile(_) => Ok(None),
        }
    }

    async fn find(
        &self,
        vertex: VertexId,
        key: &StepKey,
        inputs: &[Output],
    ) -> Result<Option<Output>, ExecError> {
        let op = &self.graph.get(vertex).op;
        if let Op::Image(op) = op {
            let chain = op.diff_ids.iter().copied().map(LayerRef::Image).collect();
            return Ok(Some(Output { chain: Arc::new(chain), created: None }));
        }
        if self.no_cache {
            return Ok(None);
        }
        let base = base(op, inputs);
        Ok(self.cache().find(&key.0)?.map(|record| extended(base, record.snapshot, record.created)))
    }

    async fn claim(&self, key: &StepKey) -> Result<Lock, ExecError> {
        let store = Arc::clone(&self.store);
        // A build that wants everything anew has nothing to share with others.
        let name = if self.no_cache { format!("{key}.{}", std::process::id()) } else { key.to_string() };
        Ok(blocking(move || store.lock(&name)).await?)
    }

    async fn execute(&self, vertex: VertexId, key: &StepKey, inputs: &[Output]) -> Result<Output, ExecError> {
        let op = &self.graph.get(vertex).op;
        let base = base(op, inputs);
        self.networks.come_nearer(vertex);
        match op {
            Op::Image(_) => Err(ExecError::Unexpected("an image is found, not executed")),
            Op::Run(op) => self.run(vertex, op, key, base).await,
            Op::Copy(op) => self.copy(vertex, op, key, base, inputs.last()).await,
            Op::MakeDirectory(op) => self.make_directory(vertex, op, key, base).await,
            Op::MakeFile(op) => self.make_file(vertex, op, key).await,
        }
    }

    async fn settled(&self) {
        self.sandboxing.endings.all().await;
    }

    fn progress(&self, vertex: VertexId, progress: Progress) {
        let step = self.step(vertex);
        self.events.send(match progress {
            Progress::Started => {
                let name = self.graph.get(vertex).name.clone();
                EventKind::Started { step, name }
            }
            Progress::Cached => EventKind::Cached { step },
            Progress::Done => EventKind::Done { step },
            Progress::Canceled => EventKind::Canceled { step },
        });
    }
}

/// The input that an operation modifies.
fn base<'a>(op: &Op, inputs: &'a [Output]) -> Option<&'a Output> {
    match op {
        Op::Run(_) | Op::MakeDirectory(_) => inputs.first(),
        Op::Copy(op) if op.has_base => inputs.first(),
        Op::Copy(_) | Op::Image(_) | Op::MakeFile(_) => None,
    }
}
