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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::context::{Ignore, Owner};

    #[test]
    fn a_file_is_opened_in_the_layer_that_it_is_of() {
        let place = tempfile::tempdir().unwrap();
        let [view, upper, lower] = ["view", "upper", "lower"].map(|name| place.path().join(name));
        for directory in [&view, &upper, &lower] {
            fs::create_dir_all(directory.join("d")).unwrap();
        }
        fs::write(lower.join("d/f"), "the file").unwrap();
        fs::hard_link(lower.join("d/f"), view.join("d/f")).unwrap();
        // Hidden, as one below a file that was written anew.
        fs::write(upper.join("d/f"), "another").unwrap();
        let tree = Tree::new(&Root::open(&view).unwrap(), Ignore::nothing(), Owner::Kept).unwrap();
        let entry = tree.find(Path::new("d/f")).unwrap().unwrap();
        let tree = Arc::new(tree);
        let opened = |chain: &[&PathBuf]| {
            let chain = chain.iter().map(|layer| (*layer).clone()).collect();
            let file = SourceTree::new(Arc::clone(&tree), chain, false).open_in_layer(&entry)?;
            Some(std::io::read_to_string(file).unwrap())
        };
        assert_eq!(opened(&[&upper, &lower]).as_deref(), Some("the file"));
        assert_eq!(opened(&[&upper]), None);
        assert_eq!(opened(&[]), None);
    }
}
