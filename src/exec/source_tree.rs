//! A tree that files are copied from, and where they really lie.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustix::fs::{Mode, OFlags};

use crate::context::{Entry, Tree};
use crate::sys::rooted::Root;

#[derive(Debug)]
pub(super) struct SourceTree {
    pub tree: Arc<Tree>,
    /// Whether somebody will want to know what is in it, so that what is read anyway is hashed.
    pub is_hashed: bool,
    /// The directories that it is a view of, uppermost first; none if it is one itself.
    chain: Vec<PathBuf>,
    layers: OnceLock<Vec<Root>>,
}

impl SourceTree {
    pub(super) fn new(tree: Arc<Tree>, chain: Vec<PathBuf>, is_hashed: bool) -> Self {
        Self { tree, is_hashed, chain, layers: OnceLock::new() }
    }

    /// A file of a view, opened in the layer that has it: its blocks can be shared there, and through an overlay they cannot.
    pub(super) fn open_in_layer(&self, entry: &Entry) -> Option<File> {
        let open = || self.chain.iter().filter_map(|layer| Root::open(layer).ok()).collect();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.layers.get_or_init(open).iter().find_map(|layer| {
            let file = File::from(layer.open_at(entry.inside(), flags, Mode::empty()).ok()?);
            entry.is_same_inode(&file).then_some(file)
        })
    }
}
