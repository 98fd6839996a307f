//! COPY and ADD: which files go where.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode};

use super::archive::Archive;
use super::copy_file::FileCopier;
use super::copy_tree::Copier;
use super::directory::{make_directories, place_of};
use super::error::ExecError;
use super::known::KnownInput;
use super::looks::AsRead;
use super::made::{Changes, Reading};
use super::mode::ModeChange;
use super::owner::{Owner, owner_named};
use super::sharing::Sharing;
use super::source_tree::SourceTree;
use super::{Executor, Output, layers_of, selector};
use crate::context::{Entry, Ignore, Owner as TreeOwner, Source, State, Tree, all_states};
use crate::graph::{CopyOp, CopySource, Slot, SourcePath, VertexId};
use crate::image::Digest;
use crate::snapshot::{Draft, Merged, SnapshotError, flatten, view};
use crate::store::{Store, Workspace};
use crate::sys::blocking;
use crate::sys::link_owners::ChainLinkOwners;
use crate::sys::rooted::Root;

impl Executor {
    pub(super) async fn copy(
        &self,
        vertex: VertexId,
        op: &CopyOp,
        inputs: &[KnownInput],
    ) -> Result<Changes, ExecError> {
        let below = self.layers.directories(&layers_of(inputs, op.base)).await?;
        let mut origins = Vec::new();
        for input in inputs {
            origins.push(match &input.output {
                Some(Output::Context(context)) => Origin::Context(Arc::clone(&context.tree)),
                Some(Output::Files(files)) => {
                    Origin::Files(self.layers.directories(&files.layers.to_vec()).await?)
                }
                None => return Err(ExecError::Unexpected("inputs are there")),
            });
        }
        let may_overlay = self.sandboxing.may_overlay();
        // What comes out of archives takes the place of files without being asked.
        let context = origins.iter().filter(|_| !op.unpack).find_map(Origin::shared);
        let (store, op) = (Arc::clone(&self.store), op.clone());
        let (anew, to_look_at) = (self.graph.get(vertex).forced, self.not_looked_at(vertex, inputs));
        blocking(move || {
            let workspace = store.workspace()?;
            let draft = Draft::create(workspace.path())?;
            let root = draft.merged(&below)?;
            let sharing =
                context.as_ref().map(|context| Sharing::find(&store, &op, context, anew)).transpose()?;
            let mut copying = Copying::new(&op, &root, FileCopier::new(sharing, context))?;
            let nothing = Root::open(&store.empty())?;
            let nothing = Arc::new(SourceTree::new(Arc::new(tree_of(&nothing, &[])?), Vec::new(), false));
            let mut trees: HashMap<Slot, Arc<SourceTree>> = HashMap::new();
            for source in &op.sources {
                let tree = match source.input {
                    // Of nothing there is nothing to be copied, and a look says what is missing.
                    None => &nothing,
                    Some(slot) => match trees.entry(slot) {
                        Occupied(tree) => tree.into_mut(),
                        Vacant(unopened) => {
                            let (tree, chain) = origins[slot].open(
                                &store,
                                &workspace,
                                &format!("source-{slot}"),
                                may_overlay,
                            )?;
                            let is_hashed = to_look_at.contains(&slot);
                            unopened.insert(Arc::new(SourceTree::new(tree, chain, is_hashed)))
                        }
                    },
                };
                copying.source(source, tree)?;
            }
            let to_be_hashed = trees.into_iter().filter(|(_, from)| from.is_hashed);
            let trees = to_be_hashed.map(|(slot, from)| (slot, Arc::clone(&from.tree))).collect();
            let upper = draft.upper();
            let as_read = copying.as_read();
            let FileCopier { sharing, taken, .. } = copying.copier.record_link_owners(&upper)?;
            drop(root);
            if let Some(sharing) = &sharing {
                sharing.begin_to_count(&store)?;
            }
            let reading = Reading { as_read, trees, taken, sharing, workspace: None };
            Ok(Changes { workspace, upper, reading })
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
    /// A directory that the next copy may find as this one has: what was unpacked lies somewhere else each time.
    fn shared(&self) -> Option<Arc<Tree>> {
        match self {
            Self::Context(tree) if tree.owner() == TreeOwner::Zeroed => Some(Arc::clone(tree)),
            Self::Context(_) | Self::Files(_) => None,
        }
    }

    /// The files as one tree, and the layers that they lie in.
    fn open(
        &self,
        store: &Store,
        workspace: &Workspace,
        name: &str,
        may_overlay: bool,
    ) -> Result<(Arc<Tree>, Vec<PathBuf>), ExecError> {
        match self {
            Self::Context(tree) => Ok((Arc::clone(tree), Vec::new())),
            Self::Files(chain) => {
                let root = look_into(store, workspace, name, chain, may_overlay)?;
                Ok((Arc::new(tree_of(&root, chain)?), chain.clone()))
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

/// A copy being made.
struct Copying<'a> {
    op: &'a CopyOp,
    root: &'a Merged,
    /// Whose everything is to be; as it was if none.
    owner: Option<Owner>,
    /// Of directories that have to be made.
    parents: Mode,
    copier: Copier,
    /// How what was selected was when it was copied, by input, source by source; none where that is not what counts.
    states: HashMap<Slot, Vec<Option<Digest>>>,
}

impl<'a> Copying<'a> {
    fn new(op: &'a CopyOp, root: &'a Merged, files: FileCopier) -> Result<Self, ExecError> {
        let owner = op.owner.as_deref().map(|text| owner_named(text, root)).transpose()?;
        let mode = ModeChange::new(op.mode.as_ref());
        let parents = Mode::from_raw_mode(mode.of_parents());
        let copier = Copier::with_files(owner, mode, files);
        Ok(Self { op, root, owner, parents, copier, states: HashMap::new() })
    }

    fn source(&mut self, source: &CopySource, from: &Arc<SourceTree>) -> Result<(), ExecError> {
        let tree = &*from.tree;
        let selector = selector(&self.op.selection(source))?;
        let unpacks = match source.path {
            SourcePath::File(_) | SourcePath::Everything => false,
            SourcePath::Archive(_) => true,
            SourcePath::Pattern(_) | SourcePath::WithParents(_) => self.op.unpack,
        };
        let mut state = State::begin();
        let mut is_as_hashed = !unpacks && self.copier.files.watches(tree);
        let are_matches_apart = matches!(source.path, SourcePath::Pattern(_));
        self.copier.forget_links();
        self.copier.from = Some(Arc::clone(from));
        for found in selector.select(tree)? {
            state.source(&found);
            // Only what is taken as one stays linked.
            if are_matches_apart {
                self.copier.forget_links();
            }
            is_as_hashed &= found.is_copied_as_hashed();
            if found.is_directory() {
                self.directory(&found, &mut state)?;
                continue;
            }
            match unpacks.then(|| Archive::of(&found.entry)).flatten() {
                Some(archive) => self.archive(archive)?,
                None => self.file(&found)?,
            }
        }
        if let Some(slot) = source.input {
            self.states.entry(slot).or_default().push(is_as_hashed.then(|| state.finish()));
        }
        Ok(())
    }

    /// How files outside the graph were, from when they were found until they had been copied.
    fn as_read(&self) -> AsRead {
        let were_still = self.copier.files.all_were_still();
        let known = self.states.iter().filter_map(|(slot, states)| {
            let states: Option<Vec<Digest>> = states.iter().copied().collect();
            Some((*slot, were_still.then_some(all_states(states?))))
        });
        known.collect()
    }

    /// Copies what is in a directory. A destination that exists keeps its owner and mode.
    fn directory(&mut self, source: &Source<'_>, state: &mut State) -> Result<(), ExecError> {
        let place = self.make_directories(Path::new(&self.op.destination))?;
        let Some(entries) = source.entries()? else { return Ok(()) };
        let note = |entry: &Entry| state.entry(&entry.path, &entry.metadata);
        self.copier.entries(self.root, entries, &place, note)?;
        // After the entries: making them has changed it.
        self.copier.set_times(&self.root.open_directory(&place)?, &source.entry, &place)
    }

    fn file(&mut self, source: &Source<'_>) -> Result<(), ExecError> {
        let destination = Path::new(&self.op.destination);
        let name = source.path.file_name().ok_or(ExecError::Unexpected("a file has a name"))?;
        let target = if self.op.destination.ends_with('/') || is_directory(self.root, destination)? {
            self.make_directories(destination)?.join(name)
        } else {
            // A link at the destination itself is followed: what it leads to is replaced.
            let place = place_of(self.root, destination)?;
            self.make_directories(place.parent().unwrap_or(Path::new("/")))?;
            place
        };
        self.copier.entry(self.root, &source.entry, &target)
    }

    /// What is in an archive comes into the destination, which is a directory whatever it looks like.
    fn archive(&mut self, archive: Archive) -> Result<(), ExecError> {
        let owner = self.owner.unwrap_or_default();
        let mode = Mode::from_raw_mode(0o755);
        let place = make_directories(self.root, Path::new(&self.op.destination), owner, mode, None)?;
        archive.unpack(self.root, &place, self.owner, &mut self.copier)
    }

    fn make_directories(&self, path: &Path) -> Result<PathBuf, ExecError> {
        make_directories(self.root, path, self.owner.unwrap_or_default(), self.parents, None)
    }
}

fn is_directory(root: &Merged, path: &Path) -> Result<bool, ExecError> {
    let stat = root.try_stat(&place_of(root, path)?)?;
    Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
}
