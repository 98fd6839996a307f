//! Owners of links and pipes while a step runs, and what becomes of them when it ends.
//!
//! They are known by inode and kept in memory; each one given here is held open, so that its inode cannot be another
//! one's meanwhile. When the step ends, whatever of them is in its layer is written beside the layer.
//!
//! Layers below are looked at through the overlay, which passes their inodes through until it copies an entry up. So
//! what copies up is handed over where layers below have such owners, and done here first.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

use super::place::{Place, Places};
use crate::sandbox::spec::{Assembly, RootFs};
use crate::sys::link_owners::{ChainLinkOwners, Identity, Ids, LinkOwners, is_special};
use crate::sys::rooted::{Root, read_entries};
use crate::sys::{At, IoError};

#[derive(Debug)]
pub(in crate::sandbox) struct Links {
    known: HashMap<Identity, Ids>,
    /// Those of layers below that have not been copied up; none in most steps.
    below: bool,
    /// Whether an entry is known by something else in the root than in the layer, always.
    served: bool,
    /// The layer to be, and the directory it lies in: this process's root changes.
    upper: Root,
    beside: OwnedFd,
    name: PathBuf,
    held: Vec<OwnedFd>,
    changed: bool,
}

/// How many links are held at most: descriptors are needed for other things, too.
const MOST_HELD: usize = 32_768;

const ROOT: Ids = (0, 0);

impl Links {
    /// Runs before the root changes.
    pub(in crate::sandbox) fn open(root: &RootFs) -> Result<Self, IoError> {
        let known = ChainLinkOwners::of_layers(&root.lowers)?.into_map();
        let beside = Root::open(root.upper.parent().unwrap_or(Path::new("/")))?;
        let name = root.upper.file_name().unwrap_or_default().into();
        let below = !known.is_empty();
        let beside = beside.open_at(Path::new("."), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let upper = Root::open(&root.upper)?;
        let served = matches!(root.assembly, Assembly::Ready(_));
        Ok(Self { known, below, served, upper, beside, name, held: Vec::new(), changed: false })
    }

    /// Whether layers below have links with owners.
    pub(in crate::sandbox) fn are_below(&self) -> bool {
        self.below
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Whose a link or pipe is; none for what is neither, or root's.
    pub(super) fn owner(&self, place: &Place) -> Option<Ids> {
        if self.known.is_empty() {
            return None;
        }
        let (identity, kind) = place.identity().ok()?;
        if is_special(kind) { self.known.get(&identity).copied() } else { None }
    }

    /// Gives a link or pipe, held open, an owner.
    pub(super) fn set(&mut self, place: Place, places: &mut Places, ids: Ids) -> io::Result<()> {
        let identities = self.copy_up(&place, places)?;
        for identity in identities {
            match ids {
                ROOT => self.known.remove(&identity),
                ids => self.known.insert(identity, ids),
            };
        }
        self.changed = true;
        if ids != ROOT && self.held.len() < MOST_HELD {
            self.held.extend(place.into_opened());
        }
        Ok(())
    }

    /// Before something that copies a link up: does it first, and remembers what it is from then on.
    pub(super) fn touch(&mut self, place: Place, places: &mut Places) -> io::Result<()> {
        match self.owner(&place) {
            Some(ids) => self.set(place, places, ids),
            None => Ok(()),
        }
    }

    /// What an entry is known by, in the overlay and in its upper directory.
    fn copy_up(&self, place: &Place, places: &mut Places) -> io::Result<Vec<Identity>> {
        let (before, _) = place.identity()?;
        // A change of nothing, which an overlay makes in the upper directory all the same. Elsewhere it may be refused.
        let _ = rustix::fs::chownat(CWD, &place.path, None, None, AtFlags::empty());
        let (after, _) = place.identity()?;
        let mut identities = vec![after];
        // An entry just copied up still has its number from below.
        if (self.served || before != after)
            && let Ok(Some(real)) = self.in_upper(place, places)
        {
            identities.push(real);
        }
        Ok(identities)
    }

    fn in_upper(&self, place: &Place, places: &mut Places) -> io::Result<Option<Identity>> {
        let Some(opened) = place.opened() else { return Ok(None) };
        let name = format!("self/fd/{}", opened.as_raw_fd());
        // Names are told from the root of whoever asks.
        places.take_first_root()?;
        let path = rustix::fs::readlinkat(&places.proc, name, Vec::new())?;
        let path = PathBuf::from(std::ffi::OsString::from_vec(path.into_bytes()));
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        let Ok(parent) = self.upper.subroot(parent) else { return Ok(None) };
        let found = rustix::fs::statx(&parent, name, AtFlags::SYMLINK_NOFOLLOW, Identity::ASKED);
        Ok(found.ok().map(|statx| Identity::of(&statx)))
    }

    /// Writes down what of it all is in the layer. Steps that gave no link away look at nothing.
    pub(super) fn finish(&self) -> Result<(), IoError> {
        if !self.changed {
            return Ok(());
        }
        let top = self.upper.open_at(Path::new("."), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let mut owners = LinkOwners::default();
        let mut ahead = vec![(PathBuf::new(), top)];
        while let Some((path, directory)) = ahead.pop() {
            self.collect(&path, &directory, &mut owners, &mut ahead).at("read directory", &path)?;
        }
        rustix::process::fchdir(&self.beside).at("enter", &self.name)?;
        owners.write(&self.name)
    }

    fn collect(
        &self,
        path: &Path,
        directory: &OwnedFd,
        owners: &mut LinkOwners,
        ahead: &mut Vec<(PathBuf, OwnedFd)>,
    ) -> io::Result<()> {
        for entry in read_entries(directory)? {
            let inner = path.join(&entry.name);
            if entry.kind == FileType::Directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(directory, &entry.name, flags, Mode::empty())?;
                ahead.push((inner, fd));
            } else if matches!(entry.kind, FileType::Symlink | FileType::Fifo) {
                let name = &entry.name;
                let statx = rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, Identity::ASKED)?;
                if let Some(ids) = self.known.get(&Identity::of(&statx)) {
                    owners.set(&inner, *ids);
                }
            }
        }
        Ok(())
    }
}
