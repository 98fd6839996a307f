//! A directory of changes as a tar.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::error::LayerError;
use super::tar_writer::{Entry, Kind, TarWriter};
use super::{OPAQUE_XATTR, WHITEOUT_PREFIX};
use crate::snapshot::{Below, is_whiteout_at};
use crate::sys::link_owners::{self, LinkOwners, is_special};
use crate::sys::rooted::{Root, read_entries};
use crate::sys::{At, IoError, attributes, ownership};

/// Writes the tar of `directory`, whose changes apply to the chain `below`; nothing in it is newer than `latest`, in seconds
/// since 1970. Returns how many sockets were left out.
pub fn pack(
    directory: &Path,
    below: &[PathBuf],
    latest: Option<i64>,
    to: impl Write,
) -> Result<u64, LayerError> {
    let root = Root::open(directory)?;
    let below = Below::open(below)?;
    let writer = TarWriter::new(to);
    let link_owners = LinkOwners::read(directory)?;
    let mut packer = Packer {
        root_path: directory,
        below,
        latest,
        writer,
        link_owners,
        links: HashMap::new(),
        sockets: 0,
    };
    let top = root.open_at(Path::new("/"), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    packer.directory_content(&top, Path::new(""), BelowShows::Through)?;
    packer.writer.finish().map_err(|error| packer_io(directory, error))?;
    Ok(packer.sockets)
}

struct Packer<'a, W> {
    root_path: &'a Path,
    below: Below,
    latest: Option<i64>,
    writer: TarWriter<W>,
    /// Whose the links and pipes are that could not be given away.
    link_owners: LinkOwners,
    /// Where a file with several names was written first.
    links: HashMap<(u64, u64), Vec<u8>>,
    sockets: u64,
}

/// As long as paths can be; it also bounds how deep directories are gone into.
const LONGEST_PATH: usize = 4096;

/// Whether what lower layers have in a directory would show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BelowShows {
    Through,
    /// The directory, or one that it is in, took the place of a deleted one; only the uppermost of them has the mark.
    Not,
}

/// What became of a name.
enum Change {
    There,
    Gone,
}

impl<W: Write> Packer<'_, W> {
    /// The entries of an open directory, and whiteouts for what it replaces, in the order of their names in the tar.
    fn directory_content(
        &mut self,
        directory: &OwnedFd,
        path: &Path,
        below: BelowShows,
    ) -> Result<(), LayerError> {
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(LayerError::Unrepresentable {
                path: path.iter().take(3).collect::<PathBuf>().join("…"),
                reason: "its path is longer than 4096 bytes, which nobody could unpack",
            });
        }
        let entries = read_entries(directory).at("read directory", self.shown(path))?;
        let mut names: BTreeMap<OsString, Change> =
            entries.into_iter().map(|entry| (entry.name, Change::There)).collect();
        let below = if is_opaque(directory) { BelowShows::Not } else { below };
        if below == BelowShows::Not {
            // Said one by one: everybody understands that, and it says what is gone.
            for name in self.below.names(path)? {
                names.entry(name).or_insert(Change::Gone);
            }
        }
        for (name, change) in names {
            match change {
                Change::There => self.entry(directory, &name, &path.join(&name), below)?,
                Change::Gone => self.whiteout(path, &name)?,
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: &OwnedFd,
        name: &OsStr,
        path: &Path,
        below: BelowShows,
    ) -> Result<(), LayerError> {
        let mut stat = ownership::stat_at(directory, name).at("stat", self.shown(path))?;
        if is_special(FileType::from_raw_mode(stat.st_mode))
            && let Some(ids) = self.link_owners.get(path)
        {
            link_owners::apply(ids, &mut stat);
        }
        if is_whiteout_at(directory, name, &stat) {
            let parent = path.parent().unwrap_or(Path::new(""));
            return self.whiteout(parent, name);
        }
        if name.as_bytes().starts_with(WHITEOUT_PREFIX) {
            let reason = "names that start with .wh. mean a deletion there";
            return Err(LayerError::Unrepresentable { path: Path::new("/").join(path), reason });
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.directory(directory, name, path, &stat, below),
            FileType::RegularFile => self.file(directory, name, path, &stat),
            FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(directory, name, Vec::new()).at("read link", self.shown(path))?;
                let kind = Kind::Symlink { target: target.as_bytes() };
                self.header(path.as_os_str().as_bytes(), kind, &stat, &[])
            }
            FileType::Fifo => self.linkable(path, Kind::Fifo, &stat),
            FileType::CharacterDevice => {
                let (major, minor) = device(&stat);
                self.linkable(path, Kind::CharacterDevice { major, minor }, &stat)
            }
            FileType::BlockDevice => {
                let (major, minor) = device(&stat);
                self.linkable(path, Kind::BlockDevice { major, minor }, &stat)
            }
            FileType::Socket | FileType::Unknown => {
                self.sockets += 1;
                Ok(())
            }
        }
    }

    fn directory(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
        stat: &Stat,
        below: BelowShows,
    ) -> Result<(), LayerError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty()).at("open", self.shown(path))?;
        let xattrs = read_xattrs(&fd).at("read attributes of", self.shown(path))?;
        let tar_path = [path.as_os_str().as_bytes(), b"/"].concat();
        self.header(&tar_path, Kind::Directory, stat, &xattrs)?;
        self.directory_content(&fd, path, below)
    }

    fn file(&mut self, parent: &OwnedFd, name: &OsStr, path: &Path, stat: &Stat) -> Result<(), LayerError> {
        if self.first_name(path, stat)?.is_some() {
            return Ok(());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty()).at("open", self.shown(path))?;
        let xattrs = read_xattrs(&fd).at("read attributes of", self.shown(path))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.header(path.as_os_str().as_bytes(), Kind::File { size }, stat, &xattrs)?;
        let mut file = std::fs::File::from(fd);
        let shown = self.shown(path);
        self.writer.content(&mut file, size).map_err(|error| packer_io(&shown, error))
    }

    fn linkable(&mut self, path: &Path, kind: Kind<'_>, stat: &Stat) -> Result<(), LayerError> {
        match self.first_name(path, stat)? {
            Some(()) => Ok(()),
            None => self.header(path.as_os_str().as_bytes(), kind, stat, &[]),
        }
    }

    /// Writes a hard link, if the file was written under another name already.
    fn first_name(&mut self, path: &Path, stat: &Stat) -> Result<Option<()>, LayerError> {
        if stat.st_nlink < 2 {
            return Ok(None);
        }
        let bytes = path.as_os_str().as_bytes();
        match self.links.entry((stat.st_dev, stat.st_ino)) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(bytes.to_owned());
                Ok(None)
            }
            std::collections::hash_map::Entry::Occupied(first) => {
                let target = first.get().clone();
                self.header(bytes, Kind::HardLink { target: &target }, stat, &[]).map(Some)
            }
        }
    }

    fn whiteout(&mut self, parent: &Path, name: &OsStr) -> Result<(), LayerError> {
        let mut path = parent.as_os_str().as_bytes().to_owned();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(WHITEOUT_PREFIX);
        path.extend_from_slice(name.as_bytes());
        let entry = Entry {
            path: &path,
            kind: Kind::File { size: 0 },
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: &[],
        };
        self.writer.entry(&entry).map_err(|error| packer_io(&self.shown(parent), error))
    }

    fn header(
        &mut self,
        path: &[u8],
        kind: Kind<'_>,
        stat: &Stat,
        xattrs: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), LayerError> {
        let mtime = self.latest.map_or(stat.st_mtime, |latest| stat.st_mtime.min(latest));
        let mode = stat.st_mode & 0o7777;
        let entry = Entry { path, kind, mode, uid: stat.st_uid, gid: stat.st_gid, mtime, xattrs };
        self.writer.entry(&entry).map_err(|error| packer_io(self.root_path, error))
    }

    fn shown(&self, path: &Path) -> PathBuf {
        self.root_path.join(path)
    }
}

fn packer_io(path: &Path, source: io::Error) -> LayerError {
    LayerError::Io(IoError { operation: "pack", path: path.to_owned(), source })
}

fn device(stat: &Stat) -> (u32, u32) {
    (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))
}

fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0; 1];
    rustix::fs::fgetxattr(directory, OPAQUE_XATTR, &mut value).is_ok_and(|length| value[..length] == *b"y")
}

/// The extended attributes that belong to a layer, sorted: capabilities, users' own, and access lists. Those of the
/// overlay and of the host's security modules stay behind.
fn read_xattrs(fd: impl AsFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut list = Vec::with_capacity(64 << 10);
    match rustix::fs::flistxattr(&fd, rustix::buffer::spare_capacity(&mut list)) {
        Ok(_) => {}
        Err(rustix::io::Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let mut xattrs = Vec::new();
    for name in list.split(|byte| *byte == 0).filter(|name| belongs_to_layer(name)) {
        let mut value = Vec::with_capacity(64 << 10);
        match rustix::fs::fgetxattr(&fd, name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => {
                let real = real_name(name);
                let is_capability = real == ownership::REAL_CAPABILITY.as_bytes();
                let value =
                    if is_capability { attributes::without_namespace(&value).into_owned() } else { value };
                xattrs.push((real.to_owned(), value));
            }
            // Gone since it was listed.
            Err(rustix::io::Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    xattrs.sort_unstable();
    Ok(xattrs)
}

/// What a record says stands in the header.
const OWN: &[u8] = ownership::PREFIX.as_bytes();
const CAPABILITY: &[u8] = ownership::CAPABILITY.as_bytes();

/// What an attribute is called in a layer.
fn real_name(name: &[u8]) -> &[u8] {
    if name == CAPABILITY { ownership::REAL_CAPABILITY.as_bytes() } else { name }
}

fn belongs_to_layer(name: &[u8]) -> bool {
    match name {
        b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default" => true,
        CAPABILITY => true,
        name => name.starts_with(b"user.") && !name.starts_with(b"user.overlay.") && !name.starts_with(OWN),
    }
}
