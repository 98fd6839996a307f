//! A tar that nobody has to trust, as a directory of changes.

mod finish;

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, futimens, linkat, mkdirat, mknodat,
    openat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use self::finish::{DEFAULT_ACCESS, Late};
use super::content::{ContentError, write_content};
use super::error::LayerError;
use super::tar_reader::{Entry, Kind, TarReader};
use super::{OPAQUE_MARK, OPAQUE_XATTR, WHITEOUT_PREFIX};
use crate::snapshot::{is_whiteout_at, make_whiteout};
use crate::sys::link_owners::LinkOwners;
use crate::sys::ownership::{self, Device};
use crate::sys::rooted::Root;
use crate::sys::{At, IoError, attributes};

/// Unpacks into `directory`, which is empty. Owners of links that cannot be had are recorded beside it.
pub fn unpack(from: impl Read, directory: &Path) -> Result<(), LayerError> {
    let root = Root::open(directory)?;
    let link_owners = LinkOwners::default();
    let mut unpacker =
        Unpacker { root, parent: None, directories: Vec::new(), late_links: Vec::new(), link_owners };
    let mut archive = TarReader::new(from);
    while let Some(entry) = archive.next().map_err(LayerError::Tar)? {
        unpacker.entry(&entry, &mut archive)?;
    }
    unpacker.finish_all()?;
    unpacker.link_owners.retain_those_in(directory)?;
    Ok(unpacker.link_owners.write(directory)?)
}

struct Unpacker {
    root: Root,
    /// The directory that the last entry went to: entries mostly come directory by directory.
    parent: Option<(PathBuf, OwnedFd)>,
    /// What they get when everything is in them.
    directories: Vec<Late>,
    /// Names of files that were not there yet.
    late_links: Vec<(PathBuf, PathBuf)>,
    link_owners: LinkOwners,
}

impl Unpacker {
    fn entry(&mut self, entry: &Entry, content: &mut impl Read) -> Result<(), LayerError> {
        let path = clean(&entry.path)?;
        let Some(name) = path.file_name() else {
            // The root directory itself.
            return if entry.kind == Kind::Directory { self.directory(&path, entry) } else { Ok(()) };
        };
        let above = path.parent().unwrap_or(Path::new(""));
        if above.iter().skip(1).any(|name| name.as_bytes().starts_with(WHITEOUT_PREFIX)) {
            // Inside something that means a deletion: nothing that anybody could see.
            return Ok(());
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT_PREFIX) {
            return self.whiteout(&path, name, OsStr::from_bytes(hidden));
        }
        match &entry.kind {
            Kind::Directory => self.directory(&path, entry),
            Kind::File { size, sparse } => {
                let parent = self.free_place(&path)?;
                let flags =
                    OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(parent, name, flags, Mode::from_raw_mode(0o600)).at("create", &path)?;
                let mut file = File::from(file);
                write_content(content, &mut file, *size, sparse.as_deref()).map_err(|error| match error {
                    ContentError::Read(error) => LayerError::Tar(error),
                    ContentError::Write(source) => {
                        IoError { operation: "write", path: path.clone(), source }.into()
                    }
                })?;
                let fd = OwnedFd::from(file);
                self.finish(&fd, &path, entry)?;
                Ok(futimens(&fd, &times(entry)).at("set times of", &path)?)
            }
            Kind::Symlink(target) => {
                let parent = self.free_place(&path)?;
                symlinkat(target, parent, name).at("create link", &path)?;
                self.finish_special(&path, name, entry)
            }
            Kind::HardLink(target) => match self.hard_link(&path, name, target) {
                Err(LayerError::DeadLink { path, target }) => {
                    self.late_links.push((path, target));
                    Ok(())
                }
                answer => answer,
            },
            Kind::Fifo => self.fifo(&path, name, entry),
            Kind::CharacterDevice { major, minor } => {
                let number = rustix::fs::makedev(*major, *minor);
                self.device(&path, name, Device { kind: FileType::CharacterDevice, number }, entry)
            }
            Kind::BlockDevice { major, minor } => {
                let number = rustix::fs::makedev(*major, *minor);
                self.device(&path, name, Device { kind: FileType::BlockDevice, number }, entry)
            }
            Kind::Unknown => Ok(()),
        }
    }

    fn directory(&mut self, path: &Path, entry: &Entry) -> Result<(), LayerError> {
        if let Some(name) = path.file_name() {
            let parent = self.parent_of(path)?;
            match mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
                Ok(()) => {}
                Err(Errno::EXIST) => {
                    let stat =
                        rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).at("stat", path)?;
                    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                        let was_whiteout = is_whiteout_at(parent, name, &stat);
                        unlinkat(parent, name, AtFlags::empty()).at("replace", path)?;
                        mkdirat(parent, name, Mode::from_raw_mode(0o700)).at("create directory", path)?;
                        // A whiteout of the same name meant what is below.
                        if was_whiteout {
                            hide_below(parent, name).at("mark", path)?;
                        }
                    }
                }
                Err(error) => Err(error).at("create directory", path)?,
            }
        }
        let fd =
            self.root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        self.finish(&fd, path, entry)?;
        let default_access = entry.xattrs.iter().find(|(name, _)| name == DEFAULT_ACCESS);
        self.directories.push(Late {
            path: path.to_owned(),
            times: times(entry),
            default_access: default_access.map(|(_, value)| value.clone()),
        });
        Ok(())
    }

    fn hard_link(&mut self, path: &Path, name: &OsStr, target: &Path) -> Result<(), LayerError> {
        let target = clean(target)?;
        let dead = || LayerError::DeadLink { path: path.to_owned(), target: target.clone() };
        let target_name = target.file_name().ok_or_else(dead)?;
        let target_parent = target.parent().unwrap_or(Path::new(""));
        let from = match self.root.open_at(target_parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
            Err(error) if error.errno() == Some(Errno::NOENT) => return Err(dead()),
            answer => answer?,
        };
        if target == path {
            return Ok(());
        }
        let parent = self.free_place(path)?;
        match linkat(from, target_name, parent, name, AtFlags::empty()) {
            Err(Errno::NOENT) => return Err(dead()),
            answer => answer.at("create link", path)?,
        }
        if let Some(ids) = self.link_owners.get(&target) {
            self.link_owners.set(path, ids);
        }
        Ok(())
    }

    fn fifo(&mut self, path: &Path, name: &OsStr, entry: &Entry) -> Result<(), LayerError> {
        let parent = self.free_place(path)?;
        mknodat(parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0).at("create pipe", path)?;
        self.finish_special(path, name, entry)
    }

    fn device(&mut self, path: &Path, name: &OsStr, device: Device, entry: &Entry) -> Result<(), LayerError> {
        let parent = self.free_place(path)?;
        ownership::make_device(parent, name, device, entry.uid, entry.gid).at("create device", path)?;
        self.finish_special(path, name, entry)
    }

    fn whiteout(&mut self, path: &Path, name: &OsStr, hidden: &OsStr) -> Result<(), LayerError> {
        if name.as_bytes() == OPAQUE_MARK {
            let directory = path.parent().unwrap_or(Path::new(""));
            self.parent_of(path)?;
            let fd = self.root.open_at(
                directory,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW,
                Mode::empty(),
            )?;
            return Ok(
                rustix::fs::fsetxattr(&fd, OPAQUE_XATTR, b"y", XattrFlags::empty()).at("mark", directory)?
            );
        }
        if hidden.is_empty() || hidden == "." || hidden == ".." || hidden.as_bytes().starts_with(b".wh.") {
            // Left-overs of old storage drivers that mean nothing.
            return Ok(());
        }
        let place = path.with_file_name(hidden);
        let parent = match self.parent_of(&place) {
            // Something inside a directory that this layer replaces by a file: gone with it.
            Err(LayerError::Io(error)) if error.errno() == Some(Errno::NOTDIR) => return Ok(()),
            answer => answer?,
        };
        match make_whiteout(parent, hidden) {
            // The same layer has an entry of that name. It replaces what is below; a directory has to be told to.
            Err(Errno::EXIST) => Ok(hide_below(parent, hidden).at("mark", &place)?),
            answer => Ok(answer.at("create whiteout", &place)?),
        }
    }

    /// The parent directory, with whatever this layer put at the place of `path` before removed.
    fn free_place(&mut self, path: &Path) -> Result<&OwnedFd, LayerError> {
        let name = path.file_name().expect("the root is handled before");
        let parent = self.parent_of(path)?;
        match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                // A directory that a later entry of the same layer replaces. Named through the descriptor: the whole
                // path could lead through links that the layer brought along.
                let inner = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
                std::fs::remove_dir_all(&inner).at("replace", path)?;
            }
            Err(error) => Err(error).at("replace", path)?,
        }
        Ok(parent)
    }

    /// Opens the parent of `path`, making directories that the tar left out.
    fn parent_of(&mut self, path: &Path) -> Result<&OwnedFd, LayerError> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.parent.as_ref().is_none_or(|(known, _)| known != parent) {
            let fd = self.open_directory(parent)?;
            self.parent = Some((parent.to_owned(), fd));
        }
        Ok(self.parent.as_ref().map(|(_, fd)| fd).expect("set above"))
    }

    /// A loop, because foreign paths have as many names as they like.
    fn open_directory(&self, path: &Path) -> Result<OwnedFd, LayerError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let (mut place, mut missing) = (path, Vec::new());
        let mut directory = loop {
            match (self.root.open_at(place, flags, Mode::empty()), place.parent(), place.file_name()) {
                (Err(error), Some(parent), Some(name)) if error.errno() == Some(Errno::NOENT) => {
                    missing.push(name);
                    place = parent;
                }
                (answer, _, _) => break answer?,
            }
        };
        while let Some(name) = missing.pop() {
            match mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
                // A link to nowhere, which is not followed.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => Err(error).at("create directory", path)?,
            }
            directory = openat(&directory, name, flags | OFlags::NOFOLLOW, Mode::empty()).at("open", path)?;
        }
        Ok(directory)
    }

    /// Owner, then attributes, then mode: a change of owner clears both later ones, and a mode may forbid the others.
    fn finish(&mut self, fd: &OwnedFd, path: &Path, entry: &Entry) -> Result<(), LayerError> {
        ownership::chown(fd, entry.uid, entry.gid).at("change owner of", path)?;
        let foreign = |name: &[u8]| {
            name.starts_with(b"user.overlay.")
                || name.starts_with(b"trusted.")
                || name.starts_with(OWN)
                || name == DEFAULT_ACCESS
        };
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| !foreign(name)) {
            attributes::set(fd, name, value).at("set attribute of", path)?;
        }
        Ok(ownership::chmod(fd, entry.mode).at("change mode of", path)?)
    }

    /// As `finish`, for what cannot be opened.
    fn finish_special(&mut self, path: &Path, name: &OsStr, entry: &Entry) -> Result<(), LayerError> {
        // Mostly known already; and afterwards the owners can be written to.
        self.parent_of(path)?;
        let (_, parent) = self.parent.as_ref().expect("looked up before");
        let owner = self.link_owners.chown(parent, name, path, (entry.uid, entry.gid));
        owner.at("change owner of", path)?;
        if !matches!(entry.kind, Kind::Symlink(_)) {
            // Made just now and no link, so there is nothing to be followed.
            ownership::chmod_at(parent, name, entry.mode).at("change mode of", path)?;
        }
        Ok(utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW).at("set times of", path)?)
    }
}

/// Makes a directory hide what is below it.
fn hide_below(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(parent, name, flags, Mode::empty()) {
        Ok(directory) => rustix::fs::fsetxattr(&directory, OPAQUE_XATTR, b"y", XattrFlags::empty()),
        // A file or a link hides it by being there.
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What an owner is recorded in is for this program alone to say.
const OWN: &[u8] = ownership::PREFIX.as_bytes();

/// A path as it is inside the layer: relative, without `.`; one with `..` is refused.
fn clean(path: &Path) -> Result<PathBuf, LayerError> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(LayerError::Escape(path.to_owned())),
        }
    }
    Ok(clean)
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1 };
    Timestamps { last_access: time, last_modification: time }
}
