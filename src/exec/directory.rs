//! WORKDIR, and files that the Dockerfile itself contains.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, Timespec, Timestamps, futimens};
use rustix::io::Errno;

use super::error::ExecError;
use super::known::KnownInput;
use super::owner::{Owner, owner_named};
use super::{Executor, layers_of};
use crate::graph::{MakeDirectoryOp, MakeFileOp};
use crate::snapshot::{Draft, Merged};
use crate::store::Workspace;
use crate::sys::rooted::Root;
use crate::sys::{At, IoError, blocking, ownership};

impl Executor {
    pub(super) async fn make_directory(
        &self,
        op: &MakeDirectoryOp,
        inputs: &[KnownInput],
    ) -> Result<(Workspace, PathBuf), ExecError> {
        let directories = self.layers.directories(&layers_of(inputs, op.base)).await?;
        let (store, op) = (Arc::clone(&self.store), op.clone());
        blocking(move || {
            let workspace = store.workspace()?;
            let draft = Draft::create(workspace.path())?;
            let root = draft.merged(&directories)?;
            let owner = owner_named(&op.owner, &root)?;
            let mode = Mode::from_raw_mode(op.mode);
            let made = make_directories(&root, Path::new(&op.path), owner, mode, op.made);
            if let Err(ExecError::Destination { path, reason }) = made {
                return Err(ExecError::WorkingDirectory { path, reason });
            }
            made?;
            Ok((workspace, draft.upper()))
        })
        .await
    }

    pub(super) async fn make_file(&self, op: &MakeFileOp) -> Result<(Workspace, PathBuf), ExecError> {
        let (store, op) = (Arc::clone(&self.store), op.clone());
        blocking(move || {
            let workspace = store.workspace()?;
            let draft = Draft::create(workspace.path())?;
            let root = Root::open(&draft.upper())?;
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
            let file = root.open_at(Path::new(&op.path), flags, Mode::from_raw_mode(op.mode))?;
            std::io::Write::write_all(&mut std::fs::File::from(file), &op.content).at("write", &op.path)?;
            Ok((workspace, draft.upper()))
        })
        .await
    }
}

/// Where what is copied to a path really comes to lie, links followed inside the root.
pub(super) fn place_of(root: &Merged, path: &Path) -> Result<PathBuf, ExecError> {
    match root.final_place(path) {
        Err(error) if error.errno() == Some(Errno::LOOP) => {
            let path = path.display().to_string();
            Err(ExecError::Destination { path, reason: "it leads through links without end" })
        }
        answer => Ok(answer?),
    }
}

/// Makes a directory and its parents, symlinks followed inside the root; what is there stays as it is.
/// New ones are of the given time, else of now. Returns where it really lies.
pub(super) fn make_directories(
    root: &Merged,
    path: &Path,
    owner: Owner,
    mode: Mode,
    made_at: Option<i64>,
) -> Result<PathBuf, ExecError> {
    let place = place_of(root, path)?;
    let mut reached = PathBuf::from("/");
    let mut new = Vec::new();
    for component in place.components() {
        let Component::Normal(name) = component else { continue };
        let next = reached.join(name);
        match root.try_stat(&next)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
            Some(_) => {
                let path = next.display().to_string();
                return Err(ExecError::Destination { path, reason: "it is not a directory" });
            }
            None => {
                let parent = root.open_directory(&reached)?;
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))
                    .at("create directory", &next)?;
                let made = root.open_directory(&next)?;
                set_owner(&made, owner, &next)?;
                ownership::chmod(&made, mode.as_raw_mode()).at("change mode of", &next)?;
                new.push(made);
            }
        }
        reached = next;
    }
    if let Some(seconds) = made_at {
        // When all are there: making one changes the time of its parent.
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        new.iter().try_for_each(|directory| futimens(directory, &times).at("set times of", &reached))?;
    }
    Ok(reached)
}

/// Gives an entry its owner.
pub(super) fn set_owner(fd: &OwnedFd, owner: Owner, path: &Path) -> Result<(), IoError> {
    ownership::chown(fd, owner.uid, owner.gid).at("change owner of", path)
}
