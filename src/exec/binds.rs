//! Files of inputs, as a command is shown them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;
use tokio::sync::Mutex;

use super::contexts::Context;
use super::copy::tree_of;
use super::error::ExecError;
use super::known::KnownInput;
use super::subtree::{Part, copy_subtree};
use super::{Executor, Output};
use crate::context::SelectError;
use crate::graph::Slot;
use crate::sandbox::{Layering, MountPointKind, Mounted, MountedLayers, Tree};
use crate::snapshot::{Merged, flatten};
use crate::store::{Store, Workspace};
use crate::sys::blocking;
use crate::sys::rooted::Root;

/// The files of an input that is mounted.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Nothing,
    /// Directories of layers, uppermost first.
    Layers(Vec<PathBuf>),
}

/// Parts of contexts as directories of their own, by context and by what leads to them in it: each is made once in a build,
/// and what steps write there goes elsewhere.
#[derive(Debug, Default)]
pub(super) struct ContextParts(Mutex<HashMap<Place, Arc<ContextPart>>>);

type Place = (Arc<str>, String);

#[derive(Debug)]
struct ContextPart {
    /// Until the build is over.
    _workspace: Workspace,
    directory: PathBuf,
    inside: String,
}

/// What takes part in making trees.
pub(super) struct Making {
    pub store: Arc<Store>,
    pub workspace: PathBuf,
    pub layering: Layering,
    pub trees: usize,
}

impl Executor {
    /// Where the files of an input are, and what of them is meant.
    pub(super) async fn origin(
        &self,
        inputs: &[KnownInput],
        slot: Option<Slot>,
        source: &str,
    ) -> Result<(Origin, String), ExecError> {
        let Some(slot) = slot else { return Ok((Origin::Nothing, source.to_owned())) };
        match inputs.get(slot).and_then(|input| input.output.as_ref()) {
            Some(Output::Context(context)) => {
                let part = self.context_part(context, source).await?;
                Ok((Origin::Layers(vec![part.directory.clone()]), part.inside.clone()))
            }
            Some(Output::Files(files)) => {
                let chain = self.layers.directories(&files.layers.to_vec()).await?;
                Ok((Origin::Layers(chain), source.to_owned()))
            }
            None => Err(ExecError::Unexpected("inputs are there")),
        }
    }

    /// A copy: it has the owners that the context says, and just what the ignore file lets through.
    async fn context_part(&self, context: &Context, source: &str) -> Result<Arc<ContextPart>, ExecError> {
        let mut parts = self.mounts.context_parts.0.lock().await;
        let key = (Arc::clone(&context.name), source.to_owned());
        if let Some(part) = parts.get(&key) {
            return Ok(Arc::clone(part));
        }
        let (store, tree, path) = (Arc::clone(&self.store), Arc::clone(&context.tree), source.to_owned());
        let part = blocking(move || {
            let workspace = store.workspace()?;
            let directory = workspace.directory("context")?;
            let Part { inside, kind: _ } = copy_subtree(&tree, &path, &directory)?;
            Ok::<_, ExecError>(Arc::new(ContextPart { _workspace: workspace, directory, inside }))
        });
        let part = part.await?;
        parts.insert(key, Arc::clone(&part));
        Ok(part)
    }
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

    pub(super) fn bind(
        &mut self,
        origin: &Origin,
        source: &str,
        read_only: bool,
    ) -> Result<Mounted, ExecError> {
        match origin {
            Origin::Nothing if source != "/" => Err(not_found(source)),
            Origin::Nothing => {
                let tree = Tree::Directory(if read_only { self.store.empty() } else { self.directory()? });
                Ok(Mounted::Tree { tree, inside: "/".to_owned(), kind: MountPointKind::Directory, read_only })
            }
            Origin::Layers(chain) => {
                let files = Merged::open(&self.store.empty(), chain)?;
                let place = files.final_place(Path::new(source)).map_err(SelectError::from)?;
                let Some(stat) = files.try_stat(&place)? else { return Err(not_found(source)) };
                let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                let kind = if is_directory { MountPointKind::Directory } else { MountPointKind::File };
                let inside = place.to_string_lossy().into_owned();
                let at_once = match self.layering {
                    Layering::Kernel => false,
                    Layering::Mount => true,
                    Layering::Fuse | Layering::Copy => {
                        return self.without_overlay(chain, inside, kind, read_only);
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

    fn without_overlay(
        &mut self,
        chain: &[PathBuf],
        inside: String,
        kind: MountPointKind,
        read_only: bool,
    ) -> Result<Mounted, ExecError> {
        let directory = self.directory()?;
        flatten(chain, &directory)?;
        if read_only {
            return Ok(Mounted::Tree { tree: Tree::Directory(directory), inside, kind, read_only });
        }
        // What has just been made are further names of files that others have, too.
        let files = tree_of(&Root::open(&directory)?, chain)?;
        let own = self.directory()?;
        let Part { inside, kind } = copy_subtree(&files, &inside, &own)?;
        Ok(Mounted::Tree { tree: Tree::Directory(own), inside, kind, read_only })
    }
}

fn not_found(source: &str) -> ExecError {
    let path = PathBuf::from(source.trim_start_matches('/'));
    ExecError::Select(SelectError::NotFound { path, hidden_by: None, nearest: Vec::new() })
}
