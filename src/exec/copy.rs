//! COPY and ADD: which files go where.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode};

use super::copy_tree::Copier;
use super::directory::make_directories;
use super::error::ExecError;
use super::known::KnownInput;
use super::owner::{Owner, chown_owner};
use super::{Executor, Output, layers_of, selectors};
use crate::context::{Ignore, Owner as TreeOwner, Source, Tree};
use crate::graph::{CopyMode, CopyOp, CopySource, Selection};
use crate::snapshot::{Draft, Merged, SnapshotError, flatten, view};
use crate::store::{Store, Workspace};
use crate::sys::blocking;
use crate::sys::link_owners::ChainLinkOwners;
use crate::sys::rooted::Root;

impl Executor {
    pub(super) async fn copy(
        &self,
        op: &CopyOp,
        inputs: &[KnownInput],
    ) -> Result<(Workspace, PathBuf), ExecError> {
        let below = self.layers.directories(&layers_of(inputs, op.base)).await?;
        let mut origins = Vec::new();
        for input in inputs {
            origins.push(match &input.output {
                Some(Output::Context) => Origin::Context(Arc::clone(&self.context)),
                Some(Output::Files(files)) => {
                    Origin::Files(self.layers.directories(&files.layers.to_vec()).await?)
                }
                None => return Err(ExecError::Unexpected("inputs are there")),
            });
        }
        let may_overlay = self.sandboxing.may_overlay();
        let (store, op) = (Arc::clone(&self.store), op.clone());
        blocking(move || {
            let workspace = store.workspace()?;
            let draft = Draft::create(workspace.path())?;
            let root = draft.merged(&below)?;
            let owner = op.owner.as_deref().map(|text| chown_owner(text, &root)).transpose()?;
            let mut copier = Copier::new(owner, mode_of(&op));
            let nothing = Root::open(&store.empty())?;
            let nothing = tree_of(&nothing, &[])?;
            let mut trees: Vec<Option<Arc<Tree>>> = vec![None; origins.len()];
            for source in &op.sources {
                let tree = match source.input {
                    // Of nothing there is nothing to be copied, and a look says what is missing.
                    None => &nothing,
                    Some(slot) => match &mut trees[slot] {
                        Some(tree) => tree,
                        unopened => {
                            let name = format!("source-{slot}");
                            unopened.insert(origins[slot].open(&store, &workspace, &name, may_overlay)?)
                        }
                    },
                };
                copy_source(&root, &op, source, tree, &mut copier)?;
            }
            copier.record_link_owners(&draft.upper())?;
            drop(root);
            Ok((workspace, draft.upper()))
        })
        .await
    }
}

/// Where files are copied from.
enum Origin {
    Context(Arc<Tree>),
    /// Directories of layers, uppermost first.
    Files(Vec<PathBuf>),
}

impl Origin {
    fn open(
        &self,
        store: &Store,
        workspace: &Workspace,
        name: &str,
        may_overlay: bool,
    ) -> Result<Arc<Tree>, ExecError> {
        match self {
            Self::Context(tree) => Ok(Arc::clone(tree)),
            Self::Files(chain) => {
                let root = look_into(store, workspace, name, chain, may_overlay)?;
                Ok(Arc::new(tree_of(&root, chain)?))
            }
        }
    }
}

/// The files of a stage or an image.
pub(super) fn tree_of(root: &Root, chain: &[PathBuf]) -> Result<Tree, ExecError> {
    let tree = Tree::new(root, Ignore::nothing(), TreeOwner::Kept)?;
    Ok(tree.with_link_owners(ChainLinkOwners::of_layers(chain)?))
}

/// All layers of a chain as one tree: mounted, which costs nothing, or put together of further names in
/// a directory of the workspace.
pub(super) fn look_into(
    store: &Store,
    workspace: &Workspace,
    name: &str,
    chain: &[PathBuf],
    may_overlay: bool,
) -> Result<Root, ExecError> {
    if may_overlay {
        match view(chain, &store.empty()) {
            // What this kernel does not do can be done without it.
            Err(SnapshotError::Mount(_)) => {}
            answer => return Ok(answer?),
        }
    }
    let directory = workspace.directory(name)?;
    flatten(chain, &directory)?;
    Ok(Root::open(&directory)?)
}

fn copy_source(
    root: &Merged,
    op: &CopyOp,
    source: &CopySource,
    tree: &Tree,
    copier: &mut Copier,
) -> Result<(), ExecError> {
    let owner = copier.owner();
    let selection = Selection { path: source.path.clone(), excludes: op.excludes.clone() };
    for selector in selectors(&[selection])? {
        for found in selector.select(tree)? {
            if found.is_directory() {
                copy_directory(root, op, owner, &found, copier)?;
            } else {
                copy_file(root, op, owner, &found, copier)?;
            }
        }
    }
    Ok(())
}

/// Copies what is in a directory. A destination that exists keeps its owner and mode.
fn copy_directory(
    root: &Merged,
    op: &CopyOp,
    owner: Option<Owner>,
    source: &Source<'_>,
    copier: &mut Copier,
) -> Result<(), ExecError> {
    let place =
        make_directories(root, Path::new(&op.destination), owner.unwrap_or_default(), parent_mode(op), None)?;
    let Some(entries) = source.entries()? else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let target = place.join(&entry.path);
        copier.entry(root, &entry, &target)?;
    }
    copier.set_directory_times(root)?;
    // After the entries: making them has changed it.
    copier.set_times(&root.open_directory(&place)?, &source.entry, &place)
}

fn copy_file(
    root: &Merged,
    op: &CopyOp,
    owner: Option<Owner>,
    source: &Source<'_>,
    copier: &mut Copier,
) -> Result<(), ExecError> {
    let destination = Path::new(&op.destination);
    let name = source.path.file_name().ok_or(ExecError::Unexpected("a file has a name"))?;
    let target = if op.destination.ends_with('/') || is_directory(root, destination)? {
        let place = make_directories(root, destination, owner.unwrap_or_default(), parent_mode(op), None)?;
        place.join(name)
    } else {
        // A link at the destination itself is followed: what it leads to is replaced.
        let place = root.final_place(destination)?;
        let parent = place.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
        make_directories(root, &parent, owner.unwrap_or_default(), parent_mode(op), None)?;
        place
    };
    copier.entry(root, &source.entry, &target)
}

fn is_directory(root: &Merged, path: &Path) -> Result<bool, ExecError> {
    let stat = root.try_stat(&root.final_place(path)?)?;
    Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
}

/// Parents that are missing get the mode of `--chmod`, too.
fn parent_mode(op: &CopyOp) -> Mode {
    Mode::from_raw_mode(mode_of(op).unwrap_or(0o755))
}

fn mode_of(op: &CopyOp) -> Option<u32> {
    match op.mode {
        Some(CopyMode::Octal(mode)) => Some(mode),
        Some(CopyMode::Symbolic(_)) | None => None,
    }
}
