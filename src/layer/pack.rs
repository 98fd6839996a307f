//! A directory of changes as a tar.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::error::LayerError;
use super::hard_links::HardLinks;
use super::tar_writer::{Entry, Kind, TarWriter};
use super::unchanged::{Upper, cut, is_unchanged};
use super::xattrs::read_xattrs;
use super::{OPAQUE_XATTR, WHITEOUT_PREFIX};
use crate::snapshot::{Below, Level, is_whiteout_at};
use crate::sys::link_owners::{self, LinkOwners, is_special};
use crate::sys::rooted::{Root, read_entries};
use crate::sys::{At, IoError, ownership};

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
        links: HardLinks::default(),
        unchanged: Vec::new(),
        sockets: 0,
    };
    let top = root.open_at(Path::new("/"), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let level = packer.below.top();
    let ground = Ground { level: &level, shows: BelowShows::Through };
    packer.directory_content(&top, Path::new(""), ground)?;
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
    links: HardLinks,
    /// The directories that the current entry is in and that are as they were: written when something inside is.
    unchanged: Vec<Unchanged>,
    sockets: u64,
}

/// As long as paths can be; it also bounds how deep directories are gone into.
pub(super) const LONGEST_PATH: usize = 4096;

/// What lies below a directory.
#[derive(Debug, Clone, Copy)]
struct Ground<'a> {
    level: &'a Level,
    shows: BelowShows,
}

/// Whether what lower layers have in a directory would show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BelowShows {
    Through,
    /// The directory, or one that it is in, took the place of a deleted one; only the uppermost of them has the mark.
    Not,
}

/// A directory that has no changes of its own.
struct Unchanged {
    tar_path: Vec<u8>,
    stat: Stat,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
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
        below: Ground<'_>,
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
        let shows = if is_opaque(directory) { BelowShows::Not } else { below.shows };
        let below = Ground { shows, ..below };
        if shows == BelowShows::Not {
            // Said one by one: everybody understands that, and it says what is gone.
            for name in self.below.names(below.level, path)? {
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
        below: Ground<'_>,
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
        let kind = FileType::from_raw_mode(stat.st_mode);
        let lower = self.below.find(below.level, path)?;
        let is_unchanged = match &lower {
            None => false,
            Some(lower) => {
                let shown = self.shown(path);
                let upper = Upper { directory, name, stat: &stat, path: &shown };
                is_unchanged(&upper, lower, self.latest)?
                    && (kind == FileType::Directory || !self.links.has_other_names(self.root_path, &stat)?)
            }
        };
        let is_replaced = lower.is_some();
        if is_unchanged && kind != FileType::Directory {
            return Ok(());
        }
        match kind {
            FileType::Directory => {
                let level = self.below.inside(below.level, path)?;
                let inside = Ground { level: &level, ..below };
                self.directory(directory, name, path, &stat, is_unchanged, inside)
            }
            FileType::RegularFile => self.file(directory, name, path, &stat),
            FileType::Symlink => {
                let target =
                    rustix::fs::readlinkat(directory, name, Vec::new()).at("read link", self.shown(path))?;
                self.linkable(path, Kind::Symlink { target: target.as_bytes() }, &stat)
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
                // What it took the place of is gone all the same.
                let parent = path.parent().unwrap_or(Path::new(""));
                if is_replaced { self.whiteout(parent, name) } else { Ok(()) }
            }
        }
    }

    fn directory(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
        stat: &Stat,
        is_unchanged: bool,
        below: Ground<'_>,
    ) -> Result<(), LayerError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty()).at("open", self.shown(path))?;
        let xattrs = read_xattrs(&fd).at("read attributes of", self.shown(path))?;
        let tar_path = [path.as_os_str().as_bytes(), b"/"].concat();
        let depth = self.unchanged.len();
        if is_unchanged {
            self.unchanged.push(Unchanged { tar_path, stat: *stat, xattrs });
        } else {
            self.header(&tar_path, Kind::Directory, stat, &xattrs)?;
        }
        self.directory_content(&fd, path, below)?;
        self.unchanged.truncate(depth);
        Ok(())
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
        let bytes = path.as_os_str().as_bytes();
        match self.links.first_name(bytes, stat) {
            None => Ok(None),
            Some(target) => self.header(bytes, Kind::HardLink { target: &target }, stat, &[]).map(Some),
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
        self.write(&entry)
    }

    fn header(
        &mut self,
        path: &[u8],
        kind: Kind<'_>,
        stat: &Stat,
        xattrs: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), LayerError> {
        let mtime = cut(stat.st_mtime, self.latest);
        let mode = stat.st_mode & 0o7777;
        self.write(&Entry { path, kind, mode, uid: stat.st_uid, gid: stat.st_gid, mtime, xattrs })
    }

    /// Writes an entry, and before it the directories that it is in.
    fn write(&mut self, entry: &Entry<'_>) -> Result<(), LayerError> {
        for Unchanged { tar_path, stat, xattrs } in std::mem::take(&mut self.unchanged) {
            self.header(&tar_path, Kind::Directory, &stat, &xattrs)?;
        }
        self.writer.entry(entry).map_err(|error| packer_io(self.root_path, error))
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
