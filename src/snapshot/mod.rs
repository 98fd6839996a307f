//! Root file systems made of layers: an overlay over directories that each hold one layer's changes.
//!
//! A chain of layers is a list of directories, uppermost first. It can be looked at ([`view`]), written to with the
//! changes in a directory of their own ([`Draft`]), and asked what a directory shows below its uppermost layer
//! ([`Below`]); where there are more layers than the kernel takes, or nothing may be mounted, they become one ([`flatten`]).
//! Mounts are detached: no place in the file system shows them, and nothing has to be unmounted. Where the kernel makes no
//! overlay to be written to, fuse-overlayfs does, or everything is copied ([`Writable`]).
//!
//! Not here: where the directories come from (`store`), and what becomes of the changes (`layer`).

mod below;
mod changes;
mod duplicate;
mod flatten;
mod fuse;
mod merged;
mod metadata;
mod opened;
mod whiteout;
mod writable;

use std::path::{Path, PathBuf};

pub use below::{Below, Level, Lower, is_opaque, is_whiteout_at};
pub use duplicate::copy_content;
pub use flatten::flatten;
pub use merged::Merged;
pub use opened::Opened;
pub use whiteout::make_whiteout;
pub use writable::{Place, Writable};

use crate::sys::disk::Refusal;
use crate::sys::mount::{self, MountError, Overlay};
use crate::sys::rooted::Root;
use crate::sys::{At, IoError};

/// The extended attribute with which an overlay says that nothing below a directory shows through.
const OPAQUE: &str = "user.overlay.opaque";
/// The one with which an empty file stands for a deletion. Its directory has the mark above, with the value `x`, so that
/// overlays look for it.
const WHITEOUT: &str = "user.overlay.whiteout";

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    Io(#[from] IoError),
}

impl SnapshotError {
    /// Why the file system has refused, if that is it.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Mount(error) => Refusal::of(&error.source),
            Self::Io(error) => error.refusal(),
        }
    }
}

/// The merged tree of a chain, for reading. `empty` is an empty directory.
pub fn view(chain: &[PathBuf], empty: &Path) -> Result<Root, SnapshotError> {
    if chain.is_empty() {
        return Ok(Root::open(empty)?);
    }
    // An overlay for reading wants two directories; the lowest may be an empty one.
    let lowers = [chain, &[empty.to_owned()]].concat();
    let tree = mount::overlay(Overlay { lowers: &lowers, changes: None, devices: false })?;
    Ok(Root::from_fd(tree, PathBuf::from("/")))
}

/// Changes in the making: directories side by side in a workspace.
#[derive(Debug)]
pub struct Draft {
    directory: PathBuf,
}

impl Draft {
    pub fn create(workspace: &Path) -> Result<Self, SnapshotError> {
        let draft = Self { directory: workspace.to_owned() };
        for directory in [draft.upper(), draft.work(), draft.staging(), draft.stubs()] {
            std::fs::create_dir(&directory).at("create directory", &directory)?;
        }
        // The upper directory is the root of what a step sees, when nothing is below it.
        set_mode(&draft.upper(), 0o755)?;
        set_mode(&draft.stubs(), 0o755)?;
        Ok(draft)
    }

    /// Receives the changes; becomes the layer.
    pub fn upper(&self) -> PathBuf {
        self.directory.join("diff")
    }

    pub fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    /// Where a sandbox attaches its root.
    pub fn staging(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// For mount points that the chain lacks.
    pub fn stubs(&self) -> PathBuf {
        self.directory.join("stubs")
    }

    /// The tree of `chain` and the changes, for adding to it.
    pub fn merged(&self, chain: &[PathBuf]) -> Result<Merged, SnapshotError> {
        Ok(Merged::open(&self.upper(), chain)?)
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), IoError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).at("change mode of", path)
}
