//! COPY and ADD: which files go where.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode};

use super::copy_tree::Copier;
use super::directory::make_directories;
use super::error::ExecError;
use super::owner::{Owner, chown_owner};
use super::{Executor, Output};
use crate::context::{Ignore, Owner as TreeOwner, Parents, Selector, Source, Tree};
use crate::graph::{CopyOp, CopySource, VertexId};
use crate::snapshot::{Draft, Merged, SnapshotError, flatten, view};
use crate::solve::StepKey;
use crate::store::{Store, Workspace};
use crate::sys::blocking;
use crate::sys::link_owners::ChainLinkOwners;
use crate::sys::rooted::Root;

impl Executor {
    pub(super) async fn copy(
        &self,
        vertex: VertexId,
        op: &CopyOp,
        key: &StepKey,
        base: Option<&Output>,
        source: Option<&Output>,
    ) -> Result<Output, ExecError> {
        let chain = base.map(|base| base.chain.as_slice()).unwrap_or_default();
        let below = self.layers.directories(chain).await?;
        let from = match (op.from, source) {
            (CopySource::Input, Some(source)) => Some(self.layers.directories(&source.chain).await?),
            (CopySource::Nothing, _) => Some(Vec::new()),
            (CopySource::Context, _) | (CopySource::Input, None) => None,
        };
        let may_overlay = self.sandboxing.may_overlay();
        let (store, op, context) = (Arc::clone(&self.store), op.clone(), Arc::clone(&self.context));
        let (workspace, upper) = blocking(move || -> Result<_, ExecError> {
            let workspace = store.workspace()?;
            let draft = Draft::create(workspace.path())?;
            let root = draft.merged(&below)?;
            match from {
                None => copy_into(&root, &op, &context, &draft)?,
                Some(chain) => {
                    let root_of_source = look_into(&store, &workspace, &chain, may_overlay)?;
                    let tree = Tree::new(&root_of_source, Ignore::nothing(), TreeOwner::Kept)?;
                    let tree = tree.with_link_owners(ChainLinkOwners::of_layers(&chain)?);
                    copy_into(&root, &op, &tree, &draft)?;
                }
            }
            drop(root);
            Ok((workspace, draft.upper()))
        })
        .await?;
        self.finish(vertex, key, base, workspace, upper).await
    }
}

/// All layers of a chain as one tree: mounted, which costs nothing, or put together of further names.
fn look_into(
    store: &Store,
    workspace: &Workspace,
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
    let directory = workspace.directory("source")?;
    flatten(chain, &directory)?;
    Ok(Root::open(&directory)?)
}

fn copy_into(root: &Merged, op: &CopyOp, tree: &Tree, draft: &Draft) -> Result<(), ExecError> {
    let owner = op.owner.as_deref().map(|text| chown_owner(text, root)).transpose()?;
    let mut copier = Copier::new(owner, op.mode);
    for source in &op.sources {
        let selector = Selector::parse(source, None, Parents::Drop)?;
        for found in selector.select(tree)? {
            if found.is_directory() {
                copy_directory(root, op, owner, &found, &mut copier)?;
            } else {
                copy_file(root, op, owner, &found, &mut copier)?;
            }
        }
    }
    copier.record_link_owners(&draft.upper())
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
    Mode::from_raw_mode(op.mode.unwrap_or(0o755))
}
