//! Making copies of entries, with their metadata.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, futimens, linkat, mkdirat, mknodat, openat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::directory::set_owner;
use super::error::ExecError;
use super::mode::ModeChange;
use super::owner::Owner;
use super::sharing::{Sharing, Wanted};
use crate::context::{Entry, Instant, Metadata};
use crate::snapshot::{Merged, Opened};
use crate::sys::link_owners::LinkOwners;
use crate::sys::ownership::{self, Device};
use crate::sys::{At, attributes};

/// Copies entries into a root file system, below places that have been resolved already: nothing is followed.
pub(super) struct Copier {
    /// Who everything is given to; none leaves it as it was.
    owner: Option<Owner>,
    mode: ModeChange,
    /// Where a file with several names was copied first.
    links: HashMap<(u64, u64), PathBuf>,
    /// Their times are set last, because making entries changes them.
    directories: Vec<(PathBuf, Timestamps)>,
    /// Of what could not be given away.
    link_owners: LinkOwners,
    /// What an earlier copy has made already.
    pub(super) sharing: Option<Sharing>,
}

impl Copier {
    pub(super) fn new(owner: Option<Owner>, mode: ModeChange) -> Self {
        let link_owners = LinkOwners::default();
        Self { owner, mode, links: HashMap::new(), directories: Vec::new(), link_owners, sharing: None }
    }

    /// Writes down whose the links and pipes are that now lie in a layer's directory.
    pub(super) fn record_link_owners(mut self, layer: &Path) -> Result<(), ExecError> {
        self.link_owners.retain_those_in(layer)?;
        Ok(self.link_owners.write(layer)?)
    }

    pub(super) fn entry(&mut self, root: &Merged, entry: &Entry, target: &Path) -> Result<(), ExecError> {
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(ExecError::Unexpected("what is copied has a name"));
        };
        let metadata = &entry.metadata;
        if metadata.kind == FileType::Directory {
            return self.directory(root, entry, target);
        }
        let opened = root.opened(parent)?;
        let parent = opened.fd();
        if remove_existing(&opened, target)? {
            // What was copied there before is gone, and no other name can be a link to it.
            self.links.retain(|_, first| first != target);
            if let Some(sharing) = &mut self.sharing {
                sharing.forget(target);
            }
        }
        if metadata.links > 1 {
            if let Some(first) = self.links.get(&(metadata.device, metadata.inode)) {
                link(root, first, parent, target)?;
                let owner = self.link_owners.get(first).unwrap_or_default();
                self.link_owners.set(target, owner);
                return Ok(());
            }
            self.links.insert((metadata.device, metadata.inode), target.to_owned());
        }
        match metadata.kind {
            FileType::RegularFile => self.file(entry, parent, target),
            // A socket means something only to who listens: what is copied is its name.
            FileType::Socket => {
                let empty = create(parent, target)?;
                self.finish(&empty, metadata, target)
            }
            FileType::Symlink => {
                let destination = entry.target.as_deref().unwrap_or(Path::new(""));
                symlinkat(destination, parent, name).at("create link", target)?;
                self.finish_special(parent, metadata, target)
            }
            FileType::Fifo => {
                mknodat(parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
                    .at("create pipe", target)?;
                self.finish_special(parent, metadata, target)
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let (owner, device) =
                    (self.owner_of(metadata), Device { kind: metadata.kind, number: metadata.special });
                ownership::make_device(parent, name, device, owner.uid, owner.gid)
                    .at("create device", target)?;
                self.finish_special(parent, metadata, target)
            }
            FileType::Directory | FileType::Unknown => {
                Err(ExecError::Unexpected("a kind that is handled before"))
            }
        }
    }

    /// Lets go of what was copied to a place: something else is there now, and no other name can be a link to it.
    pub(super) fn forget(&mut self, place: &Path) {
        self.links.retain(|_, first| !first.starts_with(place));
        if let Some(sharing) = &mut self.sharing {
            sharing.forget_below(place);
        }
    }

    pub(super) fn link_owners(&mut self) -> &mut LinkOwners {
        &mut self.link_owners
    }

    /// Sets what was put off until everything was made.
    pub(super) fn set_directory_times(&mut self, root: &Merged) -> Result<(), ExecError> {
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
            }
            (None, ..) => return Err(ExecError::Unexpected("what is copied has a name")),
        }
        let fd = root.open_directory(target)?;
        attributes::copy(entry.open_directory()?, &fd);
        self.directories.push((target.to_owned(), times(&entry.metadata)));
        self.set_owner_and_mode(&fd, &entry.metadata, target)
    }

    fn file(&mut self, entry: &Entry, parent: &OwnedFd, target: &Path) -> Result<(), ExecError> {
        let (owner, mode) = (self.owner_of(&entry.metadata), self.mode_of(&entry.metadata));
        if let Some(sharing) = &mut self.sharing
            && sharing.take(entry, Wanted { owner, mode }, parent, target)
        {
            return Ok(());
        }
        let mut from = entry.open()?;
        let mut to = File::from(create(parent, target)?);
        // Inside the kernel where it can be done, by reflink where the file system has it.
        std::io::copy(&mut from, &mut to).at("copy to", target)?;
        let to = OwnedFd::from(to);
        set_owner(&to, owner, target)?;
        // After the owner, a change of which clears capabilities, and before the mode, which may forbid it.
        attributes::copy(&from, &to);
        self.set_mode(&to, &entry.metadata, target)?;
        futimens(&to, &times(&entry.metadata)).at("set times of", target)?;
        if let Some(sharing) = &mut self.sharing {
            sharing.copied(entry, &from, target);
        }
        Ok(())
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

fn times(metadata: &Metadata) -> Timestamps {
    let time = timespec(metadata.modified);
    Timestamps { last_access: time, last_modification: time }
}

fn timespec(instant: Instant) -> Timespec {
    const SECOND: i128 = 1_000_000_000;
    let seconds = i64::try_from(instant.div_euclid(SECOND)).unwrap_or(0);
    let nanoseconds = i64::try_from(instant.rem_euclid(SECOND)).unwrap_or(0);
    Timespec { tv_sec: seconds, tv_nsec: nanoseconds }
}
