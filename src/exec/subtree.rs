//! Part of a tree as a directory of its own: what a mount shows of files that lie elsewhere.

use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::copy_tree::Copier;
use super::directory::set_owner;
use super::error::ExecError;
use super::mode::ModeChange;
use super::owner::Owner;
use crate::context::{Selector, Tree};
use crate::sandbox::MountPointKind;
use crate::snapshot::Merged;
use crate::sys::{At, attributes, ownership};

/// Where the part lies now.
pub(super) struct Part {
    /// In the directory.
    pub inside: String,
    pub kind: MountPointKind,
}

/// Copies what a path leads to: a directory's entries into `into`, which takes its owner and mode, or a file. Nothing that the
/// tree's ignore file hides is copied, links stay links, and none leads out of the tree.
pub(super) fn copy_subtree(tree: &Tree, path: &str, into: &Path) -> Result<Part, ExecError> {
    let selector = Selector::literal(Path::new(path));
    let mut copier = Copier::new(None, ModeChange::Keep);
    let root = Merged::open(into, &[])?;
    for source in selector.select(tree)? {
        let Some(entries) = source.entries()? else {
            let name = source.entry.path.file_name().ok_or(ExecError::Unexpected("a file has a name"))?;
            let place = Path::new("/").join(name);
            copier.entry(&root, &source.entry, &place)?;
            return Ok(Part { inside: place.to_string_lossy().into_owned(), kind: MountPointKind::File });
        };
        copier.entries(&root, entries, Path::new("/"), |_| {})?;
        let top = rustix::fs::open(into, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let (top, metadata) = (top.at("open", into)?, &source.entry.metadata);
        attributes::copy(source.entry.open_directory()?, &top);
        set_owner(&top, Owner { uid: metadata.uid, gid: metadata.gid }, into)?;
        ownership::chmod(&top, metadata.mode).at("change mode of", into)?;
        copier.set_times(&top, &source.entry, into)?;
    }
    Ok(Part { inside: "/".to_owned(), kind: MountPointKind::Directory })
}
