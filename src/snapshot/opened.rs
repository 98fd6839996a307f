//! One directory of a tree of layers, open in each of them: whoever makes many entries in it looks for it once.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, statat};
use rustix::io::Errno;

use super::below::{has_opaque_mark, is_whiteout_at};
use crate::sys::rooted::Root;
use crate::sys::{At, IoError};

/// A directory that is there in the upper layer, which gets what is made in it.
#[derive(Debug)]
pub struct Opened {
    upper: OwnedFd,
    /// What of the layers below shows, uppermost first.
    below: Vec<OwnedFd>,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Opened {
    pub(super) fn open(upper: &Root, lowers: &[Root], place: &Path) -> Result<Self, IoError> {
        let (top, mut covers) = match descend(upper, place)? {
            Layer::Directory { fd, covers } => (fd, covers),
            Layer::Nothing | Layer::Covered => return Err(Errno::NOENT).at("open", place),
        };
        let mut below = Vec::new();
        for lower in lowers {
            if covers {
                break;
            }
            match descend(lower, place)? {
                Layer::Nothing => {}
                Layer::Covered => covers = true,
                Layer::Directory { fd, covers: hides } => {
                    below.push(fd);
                    covers = hides;
                }
            }
        }
        Ok(Self { upper: top, below })
    }

    /// For making entries.
    pub fn fd(&self) -> &OwnedFd {
        &self.upper
    }

    /// What is under a name, links not followed.
    pub fn try_stat(&self, name: &OsStr) -> Result<Option<Stat>, IoError> {
        for directory in std::iter::once(&self.upper).chain(&self.below) {
            match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => {}
                Ok(stat) if is_whiteout_at(directory, name, &stat) => return Ok(None),
                answer => return answer.map(Some).at("stat", name),
            }
        }
        Ok(None)
    }
}

/// What one layer says about a directory.
enum Layer {
    Nothing,
    /// It is not there, and what is further down does not show.
    Covered,
    Directory {
        fd: OwnedFd,
        /// Whether what is further down shows in it.
        covers: bool,
    },
}

fn descend(layer: &Root, place: &Path) -> Result<Layer, IoError> {
    let mut fd = layer.open_at(Path::new("/"), DIRECTORY, Mode::empty())?;
    let mut covers = false;
    for component in place.components() {
        let Component::Normal(name) = component else { continue };
        let stat = match statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(if covers { Layer::Covered } else { Layer::Nothing }),
            answer => answer.at("stat", place)?,
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(Layer::Covered);
        }
        fd = rustix::fs::openat(&fd, name, DIRECTORY, Mode::empty()).at("open", place)?;
        covers |= has_opaque_mark(&fd);
    }
    Ok(Layer::Directory { fd, covers })
}
