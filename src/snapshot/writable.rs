//! Root file systems to be written to where the kernel puts no layers on top of each other: by fuse-overlayfs, or by copying.

use std::path::{Path, PathBuf};

use super::changes::Index;
use super::flatten::{Files, flatten_files};
use super::fuse::{self, Fused};
use super::{Draft, Merged, SnapshotError};
use crate::sys::link_owners::LinkOwners;
use crate::sys::{At, IoError};

/// A tree that shows a chain of layers and can be written to. It lies in its draft's directory.
#[derive(Debug)]
pub struct Writable {
    tree: PathBuf,
    upper: PathBuf,
    how: How,
}

#[derive(Debug)]
enum How {
    Copied(Index),
    Fused { fused: Fused, lowers: Vec<PathBuf> },
}

/// A place that something will be mounted on. No layer gets it if the chain lacks it.
#[derive(Debug, Clone)]
pub struct Place {
    pub path: PathBuf,
    pub is_directory: bool,
}

impl Writable {
    /// Copies every file of the chain, uppermost first; blocks are shared where the file system can.
    pub fn copy(draft: &Draft, chain: &[PathBuf], places: &[Place]) -> Result<Self, SnapshotError> {
        let tree = draft.make_tree()?;
        flatten_files(chain, &tree, Files::Copied)?;
        make_places(&Merged::open(&tree, &[])?, places)?;
        let index = Index::of(&tree)?;
        Ok(Self { tree, upper: draft.upper(), how: How::Copied(index) })
    }

    /// Has fuse-overlayfs show the chain, whose directories lie below `root` as the draft does.
    pub fn fuse(
        draft: &Draft,
        chain: &[PathBuf],
        places: &[Place],
        root: &Path,
    ) -> Result<Self, SnapshotError> {
        let tree = draft.make_tree()?;
        make_places(&Merged::open(&draft.stubs(), chain)?, places)?;
        let lowers = [&[draft.stubs()], chain].concat();
        let fused = Fused::mount(root, &lowers, &draft.upper(), &draft.work(), &tree)?;
        Ok(Self { tree, upper: draft.upper(), how: How::Fused { fused, lowers } })
    }

    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// Makes the draft's upper directory hold what was changed. Nobody may be writing any more.
    pub fn collect(self) -> Result<(), SnapshotError> {
        match self.how {
            How::Copied(index) => {
                index.move_changes(&self.tree, &self.upper)?;
                let mut owners = LinkOwners::read(&self.tree)?;
                owners.retain_those_in(&self.upper)?;
                owners.write(&self.upper)?;
            }
            How::Fused { fused, lowers } => {
                fused.unmount()?;
                fuse::as_overlay(&self.upper, &lowers)?;
            }
        }
        Ok(())
    }
}

fn make_places(root: &Merged, places: &[Place]) -> Result<(), IoError> {
    places.iter().try_for_each(|place| root.make_place(&place.path, place.is_directory))
}

impl Draft {
    fn make_tree(&self) -> Result<PathBuf, IoError> {
        let tree = self.directory.join("tree");
        std::fs::create_dir(&tree).at("create directory", &tree)?;
        super::set_mode(&tree, 0o755)?;
        Ok(tree)
    }
}
