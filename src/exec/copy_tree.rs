//! Making copies of entries, with their metadata.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, futimens, linkat, mkdirat, mknodat, openat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::copy_file::{Desk, FileCopier, FileCopy};
use super::directory::set_owner;
use super::error::ExecError;
use super::mode::ModeChange;
use super::owner::Owner;
use super::sharing::Wanted;
use super::source_tree::SourceTree;
use crate::context::{Entry, Instant, Metadata, Walk};
use crate::snapshot::{Merged, Opened};
use crate::sys::link_owners::LinkOwners;
use crate::sys::ownership::{self, Device};
use crate::sys::{At, Work as _, attributes, with_crew};

/// Copies entries into a root file system, below places that have been resolved already: nothing is followed.
pub(super) struct Copier {
    /// Who everything is given to; none leaves it as it was.
    owner: Option<Owner>,
    mode: ModeChange,
    /// Where a file with several names was copied first.
    links: HashMap<(u64, u64), PathBuf>,
    /// Their times are set last, because making entries changes them.
    directories: Vec<(PathBuf, Timestamps)>,
    /// Directories that the walk going on has made: nothing was in them.
    new: HashSet<PathBuf>,
    /// Of what could not be given away.
    link_owners: LinkOwners,
    pub(super) files: Arc<FileCopier>,
    /// What the files are of.
    pub(super) from: Option<Arc<SourceTree>>,
}

impl Copier {
    pub(super) fn new(owner: Option<Owner>, mode: ModeChange) -> Self {
        Self::with_files(owner, mode, FileCopier::default())
    }

    pub(super) fn with_files(owner: Option<Owner>, mode: ModeChange, files: FileCopier) -> Self {
        let (links, directories, new, link_owners) = Default::default();
        Self { owner, mode, links, directories, new, link_owners, files: Arc::new(files), from: None }
    }

    /// Has what follows be no further name of what was copied before.
    pub(super) fn forget_links(&mut self) {
        self.links.clear();
    }

    /// Writes down whose the links and pipes are that now lie in a layer's directory. Nothing more is copied.
    pub(super) fn record_link_owners(mut self, layer: &Path) -> Result<FileCopier, ExecError> {
        self.link_owners.retain_those_in(layer)?;
        self.link_owners.write(layer)?;
        Arc::into_inner(self.files).ok_or(ExecError::Unexpected("nobody copies files any more"))
    }

    /// Copies all entries of a directory to below a place, files by several threads. `note` hears of each before it is copied.
    pub(super) fn entries(
        &mut self,
        root: &Merged,
        entries: Walk<'_>,
        place: &Path,
        mut note: impl FnMut(&Entry),
    ) -> Result<(), ExecError> {
        let files = Arc::clone(&self.files);
        with_crew(&*files, |crew| {
            for entry in entries {
                let entry = entry?;
                note(&entry);
                let target = place.join(&entry.path);
                if let Some(file) = self.prepare(root, entry, target)? {
                    crew.add(file);
                }
                if crew.failed() {
                    break;
                }
            }
            Ok::<_, ExecError>(())
        })?;
        self.new.clear();
        self.set_directory_times(root)
    }

    pub(super) fn entry(&mut self, root: &Merged, entry: &Entry, target: &Path) -> Result<(), ExecError> {
        match self.prepare(root, entry.clone(), target.to_owned())? {
            Some(file) => self.files.work(file, &mut Desk::default()),
            None => Ok(()),
        }
    }

    /// Copies an entry, unless it is a file that still has to be.
    fn prepare(
        &mut self,
        root: &Merged,
        entry: Entry,
        target: PathBuf,
    ) -> Result<Option<FileCopy>, ExecError> {
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(ExecError::Unexpected("what is copied has a name"));
        };
        let metadata = &entry.metadata;
        if metadata.kind == FileType::Directory {
            return self.directory(root, &entry, &target).map(|()| None);
        }
        let opened = root.opened(parent)?;
        if !self.new.contains(parent) && remove_existing(&opened, &target)? {
            // What was copied there before is gone, and no other name can be a link to it.
            self.links.retain(|_, first| *first != target);
            if let Some(sharing) = &self.files.sharing {
                sharing.forget(&target);
            }
        }
        let parent = opened.fd();
        if metadata.links > 1 {
            if let Some(first) = self.links.get(&(metadata.device, metadata.inode)) {
                link(root, first, parent, &target)?;
                let owner = self.link_owners.get(first).unwrap_or_default();
                self.link_owners.set(&target, owner);
                return Ok(None);
            }
            self.links.insert((metadata.device, metadata.inode), target.clone());
        }
        match metadata.kind {
            FileType::RegularFile => {
                let wanted = Wanted { owner: self.owner_of(metadata), mode: self.mode_of(metadata) };
                let has_other_names = metadata.links > 1;
                let tree = self.from.clone();
                let file = FileCopy { source: entry, parent: opened, target, wanted, tree };
                if !has_other_names {
                    return Ok(Some(file));
                }
                // Its other names are made of it.
                self.files.work(file, &mut Desk::default())?;
            }
            // A socket means something only to who listens: what is copied is its name.
            FileType::Socket => {
                let empty = create(parent, &target)?;
                self.finish(&empty, metadata, &target)?;
            }
            FileType::Symlink => {
                let destination = entry.target.as_deref().unwrap_or(Path::new(""));
                symlinkat(destination, parent, name).at("create link", &target)?;
                self.finish_special(parent, metadata, &target)?;
            }
            FileType::Fifo => {
                mknodat(parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
                    .at("create pipe", &target)?;
                self.finish_special(parent, metadata, &target)?;
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let (owner, device) =
                    (self.owner_of(metadata), Device { kind: metadata.kind, number: metadata.special });
                ownership::make_device(parent, name, device, owner.uid, owner.gid)
                    .at("create device", &target)?;
                self.finish_special(parent, metadata, &target)?;
            }
            FileType::Directory | FileType::Unknown => {
                return Err(ExecError::Unexpected("a kind that is handled before"));
            }
        }
        Ok(None)
    }

    /// Lets go of what was copied to a place: something else is there now, and no other name can be a link to it.
    pub(super) fn forget(&mut self, place: &Path) {
        self.links.retain(|_, first| !first.starts_with(place));
        if let Some(sharing) = &self.files.sharing {
            sharing.forget_below(place);
        }
    }

    pub(super) fn link_owners(&mut self) -> &mut LinkOwners {
        &mut self.link_owners
    }

    /// Sets what was put off until everything was made.
    fn set_directory_times(&mut self, root: &Merged) -> Result<(), ExecError> {
        for (path, times) in self.directories.drain(..).rev() {
            futimens(root.open_directory(&path)?, &times).at("set times of", &path)?;
        }
        Ok(())
    }

    pub(super) fn set_times(&self, fd: &OwnedFd, entry: &Entry, path: &Path) -> Result<(), ExecError> {
        Ok(futimens(fd, &times(&entry.metadata)).at("set times of", path)?)
    }

    fn directory(&mut self, root: &Merged, entry: &Entry, target: &Path) -> Result<(), ExecError> {
        let kind = root.try_stat(target)?.map(|stat| FileType::from_raw_mode(stat.st_mode));
        match (kind, target.parent(), target.file_name()) {
            (Some(FileType::Directory), ..) => {}
            (Some(_), ..) => {
                let path = target.display().to_string();
                let reason = "a directory cannot take the place of what is no directory there";
                return Err(ExecError::Destination { path, reason });
            }
            (None, Some(parent), Some(name)) => {
                let parent = root.open_directory(parent)?;
                mkdirat(&parent, name, Mode::from_raw_mode(0o700)).at("create directory", target)?;
                self.new.insert(target.to_owned());
            }
            (None, ..) => return Err(ExecError::Unexpected("what is copied has a name")),
        }
        let fd = root.open_directory(target)?;
        attributes::copy(entry.open_directory()?, &fd);
        self.directories.push((target.to_owned(), times(&entry.metadata)));
        self.set_owner_and_mode(&fd, &entry.metadata, target)
    }

    fn finish(&self, fd: &OwnedFd, metadata: &Metadata, target: &Path) -> Result<(), ExecError> {
        self.set_owner_and_mode(fd, metadata, target)?;
        Ok(futimens(fd, &times(metadata)).at("set times of", target)?)
    }

    fn set_owner_and_mode(&self, fd: &OwnedFd, metadata: &Metadata, target: &Path) -> Result<(), ExecError> {
        set_owner(fd, self.owner_of(metadata), target)?;
        self.set_mode(fd, metadata, target)
    }

    fn set_mode(&self, fd: &OwnedFd, metadata: &Metadata, target: &Path) -> Result<(), ExecError> {
        Ok(ownership::chmod(fd, self.mode_of(metadata)).at("change mode of", target)?)
    }

    /// As `finish`, for what cannot be opened.
    fn finish_special(
        &mut self,
        parent: &OwnedFd,
        metadata: &Metadata,
        target: &Path,
    ) -> Result<(), ExecError> {
        let name = target.file_name().unwrap_or_default();
        let owner = self.owner_of(metadata);
        let given = self.link_owners.chown(parent, name, target, (owner.uid, owner.gid));
        given.at("change owner of", target)?;
        if metadata.kind != FileType::Symlink {
            ownership::chmod_at(parent, name, self.mode_of(metadata)).at("change mode of", target)?;
        }
        Ok(utimensat(parent, name, &times(metadata), AtFlags::SYMLINK_NOFOLLOW).at("set times of", target)?)
    }

    fn mode_of(&self, metadata: &Metadata) -> u32 {
        self.mode.apply(metadata.mode, metadata.kind == FileType::Directory)
    }

    fn owner_of(&self, metadata: &Metadata) -> Owner {
        self.owner.unwrap_or(Owner { uid: metadata.uid, gid: metadata.gid })
    }
}

fn create(parent: &OwnedFd, target: &Path) -> Result<OwnedFd, ExecError> {
    let name = target.file_name().unwrap_or_default();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::from_raw_mode(0o600)).at("create", target)?)
}

/// Makes room for a file; says whether there was one. What layers below have at the place is hidden by the new file.
fn remove_existing(parent: &Opened, target: &Path) -> Result<bool, ExecError> {
    let name = target.file_name().unwrap_or_default();
    match parent.try_stat(name)? {
        None => return Ok(false),
        Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            let path = target.display().to_string();
            return Err(ExecError::Destination {
                path,
                reason: "a file cannot take the place of the directory there",
            });
        }
        Some(_) => {}
    }
    match unlinkat(parent.fd(), name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(error) => Err(error).at("replace", target)?,
    }
}

fn link(root: &Merged, first: &Path, parent: &OwnedFd, target: &Path) -> Result<(), ExecError> {
    let (Some(first_parent), Some(first_name)) = (first.parent(), first.file_name()) else {
        return Err(ExecError::Unexpected("what was copied has a name"));
    };
    let from = root.open_directory(first_parent)?;
    linkat(&from, first_name, parent, target.file_name().unwrap_or_default(), AtFlags::empty())
        .at("create link", target)?;
    Ok(())
}

pub(super) fn times(metadata: &Metadata) -> Timestamps {
    let time = timespec(metadata.modified);
    Timestamps { last_access: time, last_modification: time }
}

fn timespec(instant: Instant) -> Timespec {
    const SECOND: i128 = 1_000_000_000;
    let seconds = i64::try_from(instant.div_euclid(SECOND)).unwrap_or(0);
    let nanoseconds = i64::try_from(instant.rem_euclid(SECOND)).unwrap_or(0);
    Timespec { tv_sec: seconds, tv_nsec: nanoseconds }
}
