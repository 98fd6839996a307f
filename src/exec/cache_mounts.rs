//! Caches of a command: taken, begun and shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use rustix::fs::FileType;

use super::copy::{look_into, tree_of};
use super::error::ExecError;
use super::known::KnownInput;
use super::subtree::copy_subtree;
use super::{Executor, LOOK_AGAIN_AFTER, layers_of};
use crate::event::{StepId, Stream};
use crate::graph::{CacheMount, Mount, MountKind, Sharing, VertexId};
use crate::sandbox::{MountPointKind, Mounted, Tree};
use crate::store::{CacheKey, CacheUse, HeldCache, Store, StoreError};
use crate::sys::blocking;
use crate::sys::rooted::Root;

impl Executor {
    /// Takes every cache of a step, always in the same order, so that no two steps wait for each other.
    pub(super) async fn take_caches(
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
            let known = wanted.entry(cache_key(cache, inputs)).or_insert((sharing, cache));
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
                    beginning = Some(self.layers.directories(&layers_of(inputs, cache.input)).await?);
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
pub(super) fn cache_key(cache: &CacheMount, inputs: &[KnownInput]) -> CacheKey {
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

pub(super) fn show_cache(cache: &CacheMount, held: &HeldCache) -> Result<Mounted, ExecError> {
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
