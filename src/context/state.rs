//! What is selected, told by what the file system says of it without reading anything: if it is the same before and after files were
//! read, they are what they were.
//!
//! Times of directories do not count: they tell of entries that nobody has selected, too.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::FileType;

use super::select::{SelectError, Selector, Source};
use super::tree::{Metadata, Tree};
use crate::image::{Digest, Hasher};

/// The state of what one selector selects, taken down while somebody walks through it: sources in their order, each with its entries.
#[derive(Debug)]
pub struct State(Hasher);

impl State {
    pub fn begin() -> Self {
        Self(Hasher::new())
    }

    pub fn source(&mut self, source: &Source<'_>) {
        self.add(&source.path, &source.entry.metadata);
    }

    /// An entry of the source that was added last, by its path in it.
    pub fn entry(&mut self, path: &Path, metadata: &Metadata) {
        self.add(path, metadata);
    }

    pub fn finish(self) -> Digest {
        self.0.finish()
    }

    fn add(&mut self, path: &Path, metadata: &Metadata) {
        let Metadata { kind, mode, uid, gid, device, inode, .. } = *metadata;
        let (size, modified, changed) = match kind {
            FileType::Directory => (0, 0, 0),
            _ => (metadata.size, metadata.modified, metadata.changed),
        };
        let path = path.as_os_str().as_bytes();
        self.0.update(&(path.len() as u64).to_le_bytes());
        self.0.update(path);
        let small = [kind.as_raw_mode() | mode, uid, gid].map(u32::to_le_bytes);
        let large = [device, inode, size].map(u64::to_le_bytes);
        let times = [modified, changed].map(i128::to_le_bytes);
        self.0.update(&[small.as_flattened(), large.as_flattened(), times.as_flattened()].concat());
    }
}

/// What all selectors of a step select just now.
pub fn state(tree: &Tree, selectors: &[Selector]) -> Result<Digest, SelectError> {
    let whole = [Selector::literal("/".as_ref())];
    let selectors = if selectors.is_empty() { &whole } else { selectors };
    let states = selectors.iter().map(|selector| selector.state(tree));
    Ok(all_states(states.collect::<Result<Vec<_>, _>>()?))
}

/// The state of what all selectors of a step select, from those of each.
pub fn all_states(each: impl IntoIterator<Item = Digest>) -> Digest {
    let mut hasher = Hasher::new();
    each.into_iter().for_each(|state| hasher.update(state.to_string().as_bytes()));
    hasher.finish()
}

impl Selector {
    pub(super) fn state(&self, tree: &Tree) -> Result<Digest, SelectError> {
        let mut state = State::begin();
        for source in self.select(tree)? {
            state.source(&source);
            for entry in source.hashed_entries()?.into_iter().flatten() {
                let entry = entry?;
                state.entry(&entry.path, &entry.metadata);
            }
        }
        Ok(state.finish())
    }
}
