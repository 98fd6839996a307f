//! Digests of the files of a context, remembered in the store: a file that has not changed since is not read again.

use std::collections::HashMap;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::context::{KnownDigests, Origin, Remembered, StatKey, Tree};
use crate::image::Digest;
use crate::store::{Standing, Store};

/// The memories of all contexts of a build.
#[derive(Debug)]
pub(super) struct ContextMemories<'a> {
    store: &'a Arc<Store>,
    /// A directory may be several contexts.
    known: HashMap<PathBuf, Arc<ContextMemory>>,
}

impl<'a> ContextMemories<'a> {
    pub(super) fn new(store: &'a Arc<Store>) -> Self {
        Self { store, known: HashMap::new() }
    }

    /// The same files with a memory; that of an archive goes by where it came from. A single file that was fetched needs none.
    pub(super) fn remembering(&mut self, tree: Tree) -> Tree {
        if tree.path().starts_with(self.store.root()) {
            return tree;
        }
        let memory = ContextMemory::new(self.store, tree.path());
        let memory = self.known.entry(memory.path.clone()).or_insert_with(|| Arc::new(memory));
        let memory = Arc::clone(memory);
        tree.with_memory(memory)
    }
}

/// What is known of one context: loaded when it is first asked for something.
struct ContextMemory {
    store: Arc<Store>,
    /// Of the context's directory.
    path: PathBuf,
    known: OnceLock<KnownDigests>,
    is_kept: AtomicBool,
}

impl ContextMemory {
    fn new(store: &Arc<Store>, context: &Path) -> Self {
        let path = std::path::absolute(context).unwrap_or_else(|_| context.to_owned());
        Self { store: Arc::clone(store), path, known: OnceLock::new(), is_kept: AtomicBool::new(false) }
    }

    /// What the memory is kept under. Should two contexts have one name, they share it.
    fn name(&self) -> String {
        Digest::of(self.path.as_os_str().as_bytes()).short()
    }

    fn known(&self) -> &KnownDigests {
        self.known.get_or_init(|| match self.store.kept_digests(&self.name()) {
            None => KnownDigests::nothing(),
            Some(kept) => {
                let of_this_boot = kept.standing == Standing::ThisBoot;
                let origin =
                    Origin { of_this_boot, device_then: kept.device_then, device_now: kept.device_now };
                KnownDigests::from_bytes(&kept.bytes, origin)
            }
        })
    }
}

impl Remembered for ContextMemory {
    fn get(&self, key: &StatKey) -> Option<Digest> {
        self.known().get(key)
    }

    fn put(&self, key: StatKey, digest: Digest) {
        self.known().put(key, digest);
    }

    /// It surely counts after a loss of power only if the store is synced after this.
    fn keep(&self) {
        if self.is_kept.swap(true, Ordering::Relaxed) {
            return;
        }
        let Some(bytes) = self.known.get().and_then(KnownDigests::to_bytes) else { return };
        // Where nothing can be kept everything is read again.
        let about = format!("digests of the files of {}", self.path.display());
        let _ = self.store.keep_digests(&self.name(), &about, &bytes);
    }
}

/// A build that fails has learnt something, too.
impl Drop for ContextMemory {
    fn drop(&mut self) {
        self.keep();
    }
}

impl fmt::Debug for ContextMemory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ContextMemory").field("path", &self.path).finish_non_exhaustive()
    }
}
