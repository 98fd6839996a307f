//! What a command is shown beside its root: files of inputs, caches, secrets, agents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::FileType;

use super::agent::Agent;
use super::copy::{look_into, tree_of};
use super::error::ExecError;
use super::given::{Given, Mask};
use super::known::KnownInput;
use super::subtree::copy_subtree;
use super::{Executor, LOOK_AGAIN_AFTER, Output};
use crate::context::{SelectError, Tree as Files};
use crate::event::{StepId, Stream};
use crate::graph::{BindMount, CacheMount, Mount, MountKind, RunOp, Sharing, Slot, VertexId};
use crate::sandbox::{
    Layering, Mount as Shown, MountPointKind, Mounted, MountedLayers, Mounts, SecretFile, Tree,
};
use crate::snapshot::Merged;
use crate::store::{CacheKey, CacheUse, HeldCache, Store, StoreError, Workspace};
use crate::sys::blocking;
use crate::sys::rooted::Root;

/// What all steps of a build have of mounts.
#[derive(Debug, Default)]
pub struct StepMounts {
    given: Given,
    /// Caches that this build has begun anew.
    renewed: Mutex<BTreeSet<CacheKey>>,
}

impl StepMounts {
    pub fn new(given: Given) -> Self {
        Self { given, renewed: Mutex::default() }
    }
}

/// What one command is shown.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub mounts: Mounts,
    /// `NAME=value`, which nobody else may see.
    pub variables: Vec<String>,
    pub mask: Mask,
    pub held: Held,
}

/// What is kept until the command is gone.
#[derive(Debug, Default)]
pub(super) struct Held {
    caches: BTreeMap<CacheKey, HeldCache>,
    agents: Vec<Agent>,
}

/// The files of an input that is mounted.
#[derive(Debug, Clone)]
enum Origin {
    Nothing,
    Context(Arc<Files>),
    /// Directories of layers, uppermost first.
    Layers(Vec<PathBuf>),
}

/// What takes part in making trees.
struct Making {
    store: Arc<Store>,
    workspace: PathBuf,
    layering: Layering,
    trees: usize,
}

impl Executor {
    /// Prepares the mounts of a command, whose root lies in a workspace.
    pub(super) async fn prepare_mounts(
        &self,
        vertex: VertexId,
        op: &RunOp,
        inputs: &[KnownInput],
        layering: Layering,
        workspace: &Workspace,
    ) -> Result<Prepared, ExecError> {
        let mut prepared = Prepared::default();
        if op.mounts.is_empty() && op.secret_variables.is_empty() {
            return Ok(prepared);
        }
        let given = &self.mounts.given;
        for variable in &op.secret_variables {
            if let Some(value) = given.secret(&variable.id, variable.required)? {
                prepared.variables.push(format!("{}={}", variable.name, value.text(&variable.id)?));
                prepared.mask.add(value);
            }
        }
        prepared.held.caches = self.take_caches(vertex, &op.mounts, inputs).await?;
        let mut origins = Vec::with_capacity(op.mounts.len());
        for mount in &op.mounts {
            origins.push(match &mount.kind {
                MountKind::Bind(bind) => self.origin(inputs, bind.input).await?,
                MountKind::Cache(_) | MountKind::Tmpfs(_) | MountKind::Secret(_) | MountKind::Ssh(_) => {
                    Origin::Nothing
                }
            });
        }
        let (store, path) = (Arc::clone(&self.store), workspace.path().to_owned());
        prepared.mounts.staging = workspace.directory("mounts")?;
        let mut making = Making { store, workspace: path, layering, trees: 0 };
        for (mount, origin) in op.mounts.iter().zip(origins) {
            let what = match &mount.kind {
                MountKind::Bind(bind) => {
                    let (bind, mut its) = (bind.clone(), making);
                    let (shown, its) =
                        blocking(move || its.bind(&bind, &origin).map(|shown| (shown, its))).await?;
                    making = its;
                    Some(shown)
                }
                MountKind::Cache(cache) => {
                    Some(show_cache(cache, &prepared.held.caches[&key(cache, inputs)])?)
                }
                MountKind::Tmpfs(tmpfs) => {
                    Some(Mounted::Tmpfs { size: tmpfs.size, read_only: tmpfs.readonly })
                }
                MountKind::Secret(secret) => given.secret(&secret.id, secret.required)?.map(|value| {
                    prepared.mask.add(value);
                    let content = value.bytes().to_vec();
                    Mounted::Secret(SecretFile {
                        content,
                        mode: secret.mode,
                        uid: secret.uid,
                        gid: secret.gid,
                    })
                }),
                MountKind::Ssh(ssh) => match given.agent(&ssh.id, ssh.required)? {
                    Some(agent) => {
                        let name = format!("agent-{}", prepared.held.agents.len());
                        let agent = Agent::forward(agent, workspace, &name, ssh)?;
                        let path = agent.path().to_owned();
                        prepared.held.agents.push(agent);
                        Some(Mounted::Socket(path))
                    }
                    None => None,
                },
            };
            let at = absolute(&op.directory, &mount.target);
            prepared.mounts.mounts.extend(what.map(|what| Shown { at, what }));
        }
        // What lies inside of something else comes after it.
        prepared.mounts.mounts.sort_by(|one, other| one.at.cmp(&other.at));
        Ok(prepared)
    }

    async fn origin(&self, inputs: &[KnownInput], slot: Option<Slot>) -> Result<Origin, ExecError> {
        let Some(slot) = slot else { return Ok(Origin::Nothing) };
        match inputs.get(slot).and_then(|input| input.output.as_ref()) {
            Some(Output::Context) => Ok(Origin::Context(Arc::clone(&self.context))),
            Some(Output::Files(files)) => {
                Ok(Origin::Layers(self.layers.directories(&files.layers.to_vec()).await?))
            }
            None => Err(ExecError::Unexpected("inputs are there")),
        }
    }

    /// Takes every cache of a step, always in the same order, so that no two steps wait for each other.
    async fn take_caches(
        &self,
        vertex: VertexId,
        mounts: &[Mount],
        inputs: &[KnownInput],
    ) -> Result<BTreeMap<CacheKey, HeldCache>, ExecError> {
        let mut wanted: BTreeMap<CacheKey, (CacheUse, &CacheMount)> = BTreeMap::new();
        for mount in mounts {
            let MountKind::Cache(cache) = &mount.kind else { continue };
            let sharing = match cache.sharing {
                Sharing::Shared => CacheUse::Shared,
                Sharing::Private => CacheUse::Private,
                Sharing::Locked => CacheUse::Locked,
            };
            let known = wanted.entry(key(cache, inputs)).or_insert((sharing, cache));
            // One that a step names twice is the same one, and shared with nobody if either says so.
            if known.0 == CacheUse::Shared {
                known.0 = sharing;
            }
        }
        let mut held = BTreeMap::new();
        for (key, (sharing, cache)) in wanted {
            if self.graph.get(vertex).forced {
                self.renew(&key)?;
            }
            let taken = self.take_cache(self.step(vertex), &key, sharing, cache, inputs).await?;
            held.insert(key, taken);
        }
        Ok(held)
    }

    /// Who wants everything anew begins with an empty cache; later steps of the same build see what it has put there.
    fn renew(&self, key: &CacheKey) -> Result<(), ExecError> {
        let mut renewed = self.mounts.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        if renewed.insert(key.clone()) {
            self.store.give_up_cache(key)?;
        }
        Ok(())
    }

    async fn take_cache(
        &self,
        step: StepId,
        key: &CacheKey,
        sharing: CacheUse,
        cache: &CacheMount,
        inputs: &[KnownInput],
    ) -> Result<HeldCache, ExecError> {
        let mut waited = false;
        let mut beginning: Option<Vec<PathBuf>> = None;
        loop {
            let (store, its_key, begin) = (Arc::clone(&self.store), key.clone(), beginning.clone());
            let (source, has_input) = (cache.source.clone(), cache.input.is_some());
            let may_overlay = self.sandboxing.may_overlay();
            let taken = blocking(move || {
                store.try_cache::<Beginning>(&its_key, sharing, |data| match (&begin, has_input) {
                    (None, false) => Ok(()),
                    (None, true) => Err(Beginning::Wanted),
                    (Some(chain), _) => Ok(fill(&store, chain, may_overlay, &source, data)?),
                })
            });
            match taken.await {
                Ok(Some(held)) => return Ok(held),
                Ok(None) => {}
                Err(Beginning::Failed(error)) => return Err(*error),
                // Layers may have to be downloaded for it.
                Err(Beginning::Wanted) => {
                    beginning = Some(match self.origin(inputs, cache.input).await? {
                        Origin::Layers(chain) => chain,
                        Origin::Nothing | Origin::Context(_) => Vec::new(),
                    });
                    continue;
                }
            }
            if !waited {
                let line = format!("waiting for another step that has locked the cache {}", key.id());
                self.events.log(step, Stream::Stderr, line).await;
            }
            waited = true;
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}

/// Why a cache has not been begun.
enum Beginning {
    /// What it begins with has not been looked for yet.
    Wanted,
    Failed(Box<ExecError>),
}

impl From<ExecError> for Beginning {
    fn from(error: ExecError) -> Self {
        Self::Failed(Box::new(error))
    }
}

impl From<StoreError> for Beginning {
    fn from(error: StoreError) -> Self {
        Self::from(ExecError::from(error))
    }
}

/// Which cache a mount means. One that begins with something holds just the part of it that is shown.
fn key(cache: &CacheMount, inputs: &[KnownInput]) -> CacheKey {
    let step = cache.input.and_then(|slot| inputs.get(slot)).map(|input| match input.key.step {
        Some(step) => format!("{step}\0{}", cache.source),
        None => cache.source.clone(),
    });
    CacheKey::new(cache.id.strip_prefix('/').unwrap_or(&cache.id), step.as_deref())
}

fn fill(
    store: &Arc<Store>,
    chain: &[PathBuf],
    may_overlay: bool,
    source: &str,
    data: &Path,
) -> Result<(), ExecError> {
    let workspace = store.workspace()?;
    let root = look_into(store, &workspace, "source", chain, may_overlay)?;
    let part = copy_subtree(&tree_of(&root, chain)?, source, data)?;
    match part.kind {
        MountPointKind::Directory => Ok(()),
        MountPointKind::File => Err(ExecError::CacheSource {
            path: source.to_owned(),
            problem: "is a file, and a cache begins with a directory",
        }),
    }
}

fn show_cache(cache: &CacheMount, held: &HeldCache) -> Result<Mounted, ExecError> {
    let inside = if cache.input.is_some() { "/" } else { &*cache.source };
    let found = Root::open(held.data())?.try_stat(Path::new(inside))?;
    let kind = match found.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Some(FileType::Directory) => MountPointKind::Directory,
        Some(_) => MountPointKind::File,
        None => {
            let problem = "is not in the cache: a step that mounts the cache without source can make it";
            return Err(ExecError::CacheSource { path: inside.to_owned(), problem });
        }
    };
    let tree = Tree::Directory(held.data().to_owned());
    Ok(Mounted::Tree { tree, inside: inside.to_owned(), kind, read_only: cache.readonly })
}

impl Making {
    /// A directory for a tree of its own.
    fn directory(&mut self) -> Result<PathBuf, ExecError> {
        use crate::sys::At as _;
        let path = self.workspace.join(format!("mount-{}", self.trees));
        self.trees += 1;
        std::fs::create_dir(&path).at("create directory", &path)?;
        Ok(path)
    }

    fn bind(&mut self, bind: &BindMount, origin: &Origin) -> Result<Mounted, ExecError> {
        let read_only = bind.readonly;
        match origin {
            // A copy: it is root's, has just what the ignore file lets through, and may be changed.
            Origin::Context(tree) => self.copied(tree, bind),
            Origin::Nothing if bind.source != "/" => Err(not_found(&bind.source)),
            Origin::Nothing => {
                let tree = Tree::Directory(if read_only { self.store.empty() } else { self.directory()? });
                Ok(Mounted::Tree { tree, inside: "/".to_owned(), kind: MountPointKind::Directory, read_only })
            }
            Origin::Layers(chain) => {
                let files = Merged::open(&self.store.empty(), chain)?;
                let place = files.final_place(Path::new(&bind.source))?;
                let Some(stat) = files.try_stat(&place)? else { return Err(not_found(&bind.source)) };
                let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                let kind = if is_directory { MountPointKind::Directory } else { MountPointKind::File };
                let inside = place.to_string_lossy().into_owned();
                let at_once = match self.layering {
                    Layering::Kernel => false,
                    Layering::Mount => true,
                    Layering::Fuse | Layering::Copy => {
                        return self.without_overlay(chain, bind, inside, kind);
                    }
                };
                let lowers = [&chain[..], &[self.store.empty()]].concat();
                let changes = if read_only { None } else { Some(self.changes()?) };
                let tree = Tree::Layers(MountedLayers { lowers, changes, at_once });
                Ok(Mounted::Tree { tree, inside, kind, read_only })
            }
        }
    }

    /// Where changes go that nobody keeps.
    fn changes(&mut self) -> Result<(PathBuf, PathBuf), ExecError> {
        Ok((self.directory()?, self.directory()?))
    }

    fn copied(&mut self, tree: &Files, bind: &BindMount) -> Result<Mounted, ExecError> {
        let directory = self.directory()?;
        let part = copy_subtree(tree, &bind.source, &directory)?;
        let (inside, kind, tree) = (part.inside, part.kind, Tree::Directory(directory));
        Ok(Mounted::Tree { tree, inside, kind, read_only: bind.readonly })
    }

    fn without_overlay(
        &mut self,
        chain: &[PathBuf],
        bind: &BindMount,
        inside: String,
        kind: MountPointKind,
    ) -> Result<Mounted, ExecError> {
        let directory = self.directory()?;
        crate::snapshot::flatten(chain, &directory)?;
        let tree = tree_of(&Root::open(&directory)?, chain)?;
        if bind.readonly {
            let tree = Tree::Directory(directory);
            return Ok(Mounted::Tree { tree, inside, kind, read_only: true });
        }
        self.copied(&tree, bind)
    }
}

fn not_found(source: &str) -> ExecError {
    let path = PathBuf::from(source.trim_start_matches('/'));
    ExecError::Select(SelectError::NotFound { path, hidden_by: None, nearest: Vec::new() })
}

/// A target as it is mounted on: clean, and below the working directory if it is relative.
fn absolute(directory: &str, target: &str) -> String {
    let from = if target.starts_with('/') { "" } else { directory };
    let mut names: Vec<&str> = Vec::new();
    for name in from.split('/').chain(target.split('/')) {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}
