//! The tree that layers make together, entry by entry, without a mount and without a copy.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use super::hard_links::HardLinks;
use super::xattrs::{Attributes, read_xattrs};
use crate::snapshot::{Below, Level, Lower};
use crate::sys::{At, IoError};

/// An entry that the layers show.
#[derive(Debug)]
pub struct Shown<'a> {
    /// From the root on, without a slash at its beginning.
    pub path: &'a Path,
    /// With what is recorded of it: as a process in the tree would see it.
    pub stat: Stat,
    /// Where the same file was shown before, if it has another name there.
    pub first: Option<PathBuf>,
    lower: Lower<'a>,
}

/// Shows every entry of a chain, uppermost layer first, but not the root itself: sorted by name, a directory before what is
/// in it.
pub fn walk<E: From<IoError>>(
    chain: &[PathBuf],
    mut show: impl FnMut(&Shown<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let below = Below::open(chain)?;
    let top = below.top();
    Walk { below: &below, links: HardLinks::default(), show: &mut show }.directory(&top, Path::new(""))
}

struct Walk<'a, S> {
    below: &'a Below,
    links: HardLinks,
    show: &'a mut S,
}

impl<S> Walk<'_, S> {
    fn directory<E: From<IoError>>(&mut self, level: &Level, path: &Path) -> Result<(), E>
    where
        S: FnMut(&Shown<'_>) -> Result<(), E>,
    {
        for name in self.below.names(level, path)? {
            let path = path.join(name);
            let Some(lower) = self.below.find(level, &path)? else { continue };
            let stat = lower.stat()?;
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let first = match is_directory {
                true => None,
                false => self.links.first_name(path.as_os_str().as_bytes(), &stat),
            };
            let first = first.map(|first| PathBuf::from(std::ffi::OsStr::from_bytes(&first)));
            (self.show)(&Shown { path: &path, stat, first, lower })?;
            if is_directory {
                self.directory(&self.below.inside(level, &path)?, &path)?;
            }
        }
        Ok(())
    }
}

impl Shown<'_> {
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// The permissions.
    pub fn mode(&self) -> u32 {
        self.stat.st_mode & 0o7777
    }

    /// In bytes, of a file.
    pub fn size(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    /// What is in a regular file.
    pub fn open(&self) -> Result<File, IoError> {
        self.lower.open_file()
    }

    /// Where a symlink leads.
    pub fn link_target(&self) -> Result<PathBuf, IoError> {
        self.lower.link_target()
    }

    /// The extended attributes of a file or directory, sorted. Other kinds have none.
    pub fn attributes(&self) -> Result<Attributes, IoError> {
        match self.kind() {
            FileType::RegularFile | FileType::Directory => self.attributes_of(&self.lower.open()?),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Ok(Vec::new()),
        }
    }

    fn attributes_of(&self, fd: &OwnedFd) -> Result<Attributes, IoError> {
        read_xattrs(fd).at("read attributes of", self.path)
    }
}
