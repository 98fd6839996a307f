//! The entries of an archive, each where it belongs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, futimens, linkat, mknodat, openat,
    symlinkat, utimensat,
};

use super::{ArchiveError, Below, Failure, clean};
use crate::exec::copy_tree::Copier;
use crate::exec::directory::{make_directories, set_owner};
use crate::exec::error::ExecError;
use crate::exec::owner::Owner;
use crate::layer::content::{ContentError, write_content};
use crate::layer::tar_reader::{Entry, Kind};
use crate::sys::ownership::{self, Device};
use crate::sys::{At, IoError, attributes};

/// An archive being unpacked.
pub(super) struct Unpacking<'a> {
    below: Below<'a>,
    /// Whose everything is to be; as in the archive if none.
    owner: Option<Owner>,
    copier: &'a mut Copier,
    /// The directory that the last entry went to, by its path in the archive: entries mostly come directory by directory.
    parent: Option<(PathBuf, PathBuf)>,
    /// Names of files that have several of the archive's own.
    linked: BTreeSet<PathBuf>,
    /// What they get when everything is in them.
    directories: Vec<Late>,
}

/// Making entries changes a directory's times, and they would inherit its default access list.
struct Late {
    place: PathBuf,
    times: Timestamps,
    default_access: Option<Vec<u8>>,
}

const DEFAULT_ACCESS: &[u8] = b"system.posix_acl_default";

impl<'a> Unpacking<'a> {
    pub(super) fn new(below: Below<'a>, owner: Option<Owner>, copier: &'a mut Copier) -> Self {
        Self { below, owner, copier, parent: None, linked: BTreeSet::new(), directories: Vec::new() }
    }

    pub(super) fn entry(&mut self, entry: &Entry, content: &mut impl io::Read) -> Result<(), Failure> {
        let path = clean(&entry.path)?;
        // The destination itself stays as it is.
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        if entry.kind == Kind::Directory {
            return self.directory(&path, entry);
        }
        let place = self.place_of(&path)?;
        // Looked at first: it may be the very thing that makes room.
        let linked = if let Kind::HardLink(target) = &entry.kind {
            Some(self.link_target(&path, target, &place)?)
        } else {
            None
        };
        if linked.as_ref() == Some(&place) {
            return Ok(());
        }
        let (Some(above), Some(name)) = (place.parent(), place.file_name()) else {
            return Err(ExecError::Unexpected("a place below the destination has a name").into());
        };
        let opened = self.below.root.opened(above)?;
        if opened.try_stat(name)?.is_some() {
            self.make_room(&place)?;
        }
        let parent = opened.fd();
        match &entry.kind {
            Kind::File { size, sparse } => {
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(parent, name, flags, Mode::from_raw_mode(0o600)).at("create", &place)?;
                let mut file = File::from(file);
                write_content(content, &mut file, *size, sparse.as_deref()).map_err(|error| match error {
                    ContentError::Read(error) => Failure::Archive(ArchiveError::Damaged(error)),
                    ContentError::Write(source) => {
                        IoError { operation: "write", path: place.clone(), source }.into()
                    }
                })?;
                self.finish(&OwnedFd::from(file), &place, entry)
            }
            Kind::Symlink(target) => {
                if target.as_os_str().is_empty() || target.as_os_str().as_bytes().contains(&0) {
                    let problem = "a link whose target no link can have";
                    return Err(Failure::Archive(ArchiveError::Impossible { path, problem }));
                }
                symlinkat(target, parent, name).at("create link", &place)?;
                self.finish_special(parent, name, &place, entry)
            }
            Kind::HardLink(_) => match linked {
                Some(target) => self.hard_link(parent, &place, &target, entry),
                None => Err(ExecError::Unexpected("a link's target was looked for").into()),
            },
            Kind::Fifo => {
                let mode = Mode::from_raw_mode(0o600);
                mknodat(parent, name, FileType::Fifo, mode, 0).at("create pipe", &place)?;
                self.finish_special(parent, name, &place, entry)
            }
            Kind::CharacterDevice { major, minor } => {
                let number = rustix::fs::makedev(*major, *minor);
                let device = Device { kind: FileType::CharacterDevice, number };
                self.device(parent, &place, device, entry)
            }
            Kind::BlockDevice { major, minor } => {
                let device =
                    Device { kind: FileType::BlockDevice, number: rustix::fs::makedev(*major, *minor) };
                self.device(parent, &place, device, entry)
            }
            Kind::Directory => Err(ExecError::Unexpected("directories are handled before").into()),
            Kind::Unknown => Err(Failure::Archive(ArchiveError::Kind(entry.path.clone()))),
        }
    }

    /// A directory that is there stays and is told what it is now; so is one that a link leads to.
    fn directory(&mut self, path: &Path, entry: &Entry) -> Result<(), Failure> {
        let place = self.below.resolve(path, true)?;
        // A link may lead to the destination itself.
        if place == self.below.base {
            return Ok(());
        }
        self.make_parents(&place)?;
        let root = self.below.root;
        let fd = match root.try_stat(&place)? {
            Some(stat) if is_directory(&stat) => root.open_directory(&place)?,
            Some(_) => {
                self.make_room(&place)?;
                root.make_directory(&place)?
            }
            None => root.make_directory(&place)?,
        };
        self.set_owner_and_mode(&fd, &place, entry)?;
        let default_access = entry.xattrs.iter().find(|(name, _)| name == DEFAULT_ACCESS);
        let default_access = default_access.map(|(_, value)| value.clone());
        self.directories.push(Late { place, times: times(entry), default_access });
        Ok(())
    }

    /// Where something that is no directory goes, with the directories above it.
    fn place_of(&mut self, path: &Path) -> Result<PathBuf, Failure> {
        let written = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or_default();
        if let Some((known, parent)) = &self.parent
            && known == written
        {
            return Ok(parent.join(name));
        }
        let place = self.below.resolve(path, false)?;
        let parent = self.make_parents(&place)?;
        self.parent = Some((written.to_owned(), parent));
        Ok(place)
    }

    /// Directories that the archive left out are root's.
    fn make_parents(&self, place: &Path) -> Result<PathBuf, ExecError> {
        let parent = place.parent().unwrap_or(Path::new("/"));
        make_directories(self.below.root, parent, Owner::default(), Mode::from_raw_mode(0o755), None)
    }

    /// Removes what is at a place.
    fn make_room(&mut self, place: &Path) -> Result<(), Failure> {
        // What was known of a directory may have been about this.
        self.parent = None;
        self.copier.forget(place);
        let gone = self.linked.range(place.to_owned()..).take_while(|linked| linked.starts_with(place));
        let gone: Vec<PathBuf> = gone.cloned().collect();
        for linked in gone {
            self.linked.remove(&linked);
        }
        Ok(self.below.root.remove_new(place)?)
    }

    /// The file that a hard link means, which may have been there before the archive.
    fn link_target(&self, path: &Path, target: &Path, place: &Path) -> Result<PathBuf, Failure> {
        let dead = || {
            let (path, target) = (path.to_owned(), target.to_owned());
            Failure::Archive(ArchiveError::DeadLink { path, target })
        };
        let cleaned = clean(target)?;
        if cleaned.as_os_str().is_empty() {
            return Err(dead());
        }
        let found = self.below.resolve(&cleaned, false)?;
        let root = self.below.root;
        match root.try_stat(&found)? {
            // The file would be gone when room is made.
            Some(_) if found != place && found.starts_with(place) => Err(dead()),
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                if !self.linked.contains(&found) {
                    root.bring_up(&found)?;
                }
                Ok(found)
            }
            Some(stat) if !is_directory(&stat) && root.is_new(&found)? => Ok(found),
            Some(_) | None => Err(dead()),
        }
    }

    /// The archive says of each name what the file is; the last word counts for all of them.
    fn hard_link(
        &mut self,
        parent: &OwnedFd,
        place: &Path,
        target: &Path,
        entry: &Entry,
    ) -> Result<(), Failure> {
        let above = self.below.root.open_directory(target.parent().unwrap_or(Path::new("/")))?;
        let (name, target_name) =
            (place.file_name().unwrap_or_default(), target.file_name().unwrap_or_default());
        linkat(above, target_name, parent, name, AtFlags::empty()).at("create link", place)?;
        self.linked.extend([place.to_owned(), target.to_owned()]);
        let is_file = self.below.root.try_stat(place)?;
        if is_file.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile) {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = openat(parent, name, flags, Mode::empty()).at("open", place)?;
            // Who has to record owners could not do it where the first name's mode forbids writing.
            ownership::chmod(&file, 0o600).at("change mode of", place)?;
            return self.finish(&file, place, entry);
        }
        if let Some(ids) = self.copier.link_owners().get(target) {
            self.copier.link_owners().set(place, ids);
        }
        Ok(())
    }

    fn device(
        &mut self,
        parent: &OwnedFd,
        place: &Path,
        device: Device,
        entry: &Entry,
    ) -> Result<(), Failure> {
        let (name, owner) = (place.file_name().unwrap_or_default(), self.owner_of(entry));
        ownership::make_device(parent, name, device, owner.uid, owner.gid).at("create device", place)?;
        self.finish_special(parent, name, place, entry)
    }

    fn finish(&self, fd: &OwnedFd, place: &Path, entry: &Entry) -> Result<(), Failure> {
        self.set_owner_and_mode(fd, place, entry)?;
        Ok(futimens(fd, &times(entry)).at("set times of", place)?)
    }

    /// Owner, then attributes, then mode: a change of owner clears both later ones, and a mode may forbid the others.
    fn set_owner_and_mode(&self, fd: &OwnedFd, place: &Path, entry: &Entry) -> Result<(), Failure> {
        set_owner(fd, self.owner_of(entry), place)?;
        let foreign = |name: &[u8]| {
            name.starts_with(b"user.overlay.")
                || name.starts_with(b"trusted.")
                || name.starts_with(ownership::PREFIX.as_bytes())
                || name == DEFAULT_ACCESS
        };
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| !foreign(name)) {
            // As good as it goes: an archive may be from quite another system.
            let _ = attributes::set(fd, name, value);
        }
        Ok(ownership::chmod(fd, entry.mode).at("change mode of", place)?)
    }

    /// As `finish`, for what cannot be opened.
    fn finish_special(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        place: &Path,
        entry: &Entry,
    ) -> Result<(), Failure> {
        let owner = self.owner_of(entry);
        let given = self.copier.link_owners().chown(parent, name, place, (owner.uid, owner.gid));
        given.at("change owner of", place)?;
        if !matches!(entry.kind, Kind::Symlink(_)) {
            ownership::chmod_at(parent, name, entry.mode).at("change mode of", place)?;
        }
        let set = utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW);
        Ok(set.at("set times of", place)?)
    }

    fn owner_of(&self, entry: &Entry) -> Owner {
        self.owner.unwrap_or(Owner { uid: entry.uid, gid: entry.gid })
    }

    /// Of several entries for a directory the last one counts.
    pub(super) fn finish_directories(self) -> Result<(), ExecError> {
        let root = self.below.root;
        for Late { place, times, default_access } in self.directories {
            // A later entry may have taken its place.
            if !root.try_stat(&place)?.is_some_and(|stat| is_directory(&stat)) {
                continue;
            }
            let fd = root.open_directory(&place)?;
            if let Some(value) = default_access {
                let _ = attributes::set(&fd, DEFAULT_ACCESS, &value);
            }
            futimens(&fd, &times).at("set times of", &place)?;
        }
        Ok(())
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// What is said to be from before 1970 is from then.
fn times(entry: &Entry) -> Timestamps {
    let (seconds, nanoseconds) = entry.mtime;
    let time = Timespec { tv_sec: seconds.max(0), tv_nsec: if seconds < 0 { 0 } else { nanoseconds } };
    Timestamps { last_access: time, last_modification: time }
}
