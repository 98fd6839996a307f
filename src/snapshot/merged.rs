//! A chain of layers and the changes on top of it as one tree, without a mount: what a COPY or WORKDIR needs, also where
//! nothing may be mounted.
//!
//! Entries are only ever added or replaced, never just removed, so no whiteout has to be written: what is new in the
//! upper directory hides what is below, and directories merge.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, XattrFlags, unlinkat};
use rustix::io::Errno;

use super::below::{is_opaque, is_whiteout_in};
use super::{OPAQUE, Opened, metadata};
use crate::sys::rooted::{Links, Root};
use crate::sys::{At, IoError};

/// A tree to be changed.
#[derive(Debug)]
pub struct Merged {
    upper: Root,
    /// Uppermost first.
    lowers: Vec<Root>,
    /// The directory that was asked for last: files are made one directory after the other.
    last: Mutex<Option<(PathBuf, Arc<Opened>)>>,
}

/// An entry, and the layer that shows it.
struct Shown<'a> {
    stat: Stat,
    layer: &'a Root,
}

impl Merged {
    pub fn open(upper: &Path, lowers: &[PathBuf]) -> Result<Self, IoError> {
        let lowers = lowers.iter().map(|lower| Root::open(lower)).collect::<Result<_, _>>()?;
        Ok(Self { upper: Root::open(upper)?, lowers, last: Mutex::default() })
    }

    /// What is at a place that has no links in it; see [`Merged::final_place`].
    pub fn try_stat(&self, place: &Path) -> Result<Option<Stat>, IoError> {
        Ok(self.find(place)?.map(|shown| shown.stat))
    }

    /// Where a path leads although its last parts may be missing, without a symlink in it.
    pub fn final_place(&self, path: &Path) -> Result<PathBuf, IoError> {
        crate::sys::rooted::final_place(self, path)
    }

    /// A regular file, links followed; none if there is none.
    pub fn open_file(&self, path: &Path) -> Result<Option<File>, IoError> {
        let place = self.final_place(path)?;
        match self.find(&place)? {
            Some(shown) if kind(&shown.stat) == FileType::RegularFile => {
                shown.layer.open_file(&place).map(Some)
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Opens a directory for making entries in it. If only layers below have it, it is first made in the upper one, with
    /// the same owner, mode, attributes and times.
    pub fn open_directory(&self, place: &Path) -> Result<OwnedFd, IoError> {
        if self.upper.try_lstat(place)?.is_none_or(|stat| kind(&stat) != FileType::Directory) {
            self.copy_up(place)?;
        }
        self.upper.open_at(place, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
    }

    /// As [`Merged::open_directory`], for making several entries there and looking for what there is already.
    pub fn opened(&self, place: &Path) -> Result<Arc<Opened>, IoError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, opened)) = last.as_ref().filter(|(known, _)| known == place) {
            return Ok(Arc::clone(opened));
        }
        drop(self.open_directory(place)?);
        let opened = Arc::new(Opened::open(&self.upper, &self.lowers, place)?);
        *last = Some((place.to_owned(), Arc::clone(&opened)));
        Ok(opened)
    }

    /// What was asked for last may be something else soon.
    fn close_last(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Makes a directory where there is none, or where something else is only below. Nothing below shows through.
    pub fn make_directory(&self, place: &Path) -> Result<OwnedFd, IoError> {
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else {
            return self.open_directory(place);
        };
        self.close_last();
        let is_below = self.find(place)?.is_some_and(|shown| kind(&shown.stat) == FileType::Directory);
        let above = self.open_directory(parent)?;
        rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o700)).at("create directory", place)?;
        let made = self.open_directory(place)?;
        if is_below {
            rustix::fs::fsetxattr(&made, OPAQUE, b"y", XattrFlags::empty()).at("mark", place)?;
        }
        Ok(made)
    }

    /// Removes what the upper directory has at a place, with all that is in it. Something below may show again.
    pub fn remove_new(&self, place: &Path) -> Result<(), IoError> {
        self.close_last();
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else { return Ok(()) };
        let above = self.open_directory(parent)?;
        match unlinkat(&above, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {
                // Named through the descriptor: nothing on the way can be a link.
                let inner = Path::new("/proc/self/fd").join(above.as_raw_fd().to_string()).join(name);
                std::fs::remove_dir_all(&inner).at("replace", place)
            }
            Err(error) => Err(error).at("replace", place),
        }
    }

    /// Makes a regular file one of the upper directory that has no other name, so that it may be changed and given one: as an
    /// overlay would, and also for files that share their bytes with those of other layers.
    pub fn bring_up(&self, place: &Path) -> Result<(), IoError> {
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else { return Ok(()) };
        let shown = match self.find(place)? {
            Some(shown) if kind(&shown.stat) == FileType::RegularFile => shown,
            Some(_) | None => return Ok(()),
        };
        let is_new = std::ptr::eq(shown.layer, &raw const self.upper);
        if is_new && shown.stat.st_nlink < 2 {
            return Ok(());
        }
        let mut from = shown.layer.open_file(place)?;
        let above = self.open_directory(parent)?;
        if is_new {
            unlinkat(&above, name, AtFlags::empty()).at("replace", place)?;
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = rustix::fs::openat(&above, name, flags, Mode::from_raw_mode(0o600)).at("create", place)?;
        let mut to = File::from(to);
        std::io::copy(&mut from, &mut to).at("copy to", place)?;
        metadata::copy(&from, &to, place)
    }

    /// Whether the upper directory has what is at a place.
    pub fn is_new(&self, place: &Path) -> Result<bool, IoError> {
        Ok(matches!(look(&self.upper, place)?, Look::There(_)))
    }

    /// The mode of what only the layers below show at a place.
    pub(super) fn mode_below(&self, place: &Path) -> Result<Option<u32>, IoError> {
        Ok(self.find_below(place)?.map(|shown| shown.stat.st_mode & 0o7777))
    }

    /// Makes a directory or an empty file where there is nothing, and the directories above it. What was there before looks as
    /// it did.
    pub(super) fn make_place(&self, path: &Path, is_directory: bool) -> Result<(), IoError> {
        let place = match self.final_place(path) {
            // Nothing can be mounted there, and whoever tries says so.
            Err(error) if error.errno() == Some(Errno::LOOP) => return Ok(()),
            answer => answer?,
        };
        let mut missing: Vec<&Path> = Vec::new();
        for place in place.ancestors() {
            match self.find(place)? {
                Some(shown) if kind(&shown.stat) == FileType::Directory || missing.is_empty() => break,
                Some(_) => return Ok(()),
                None => {}
            }
            missing.push(place);
        }
        while let Some(next) = missing.pop() {
            let (Some(parent), Some(name)) = (next.parent(), next.file_name()) else { continue };
            let before = self.find(parent)?.map(|shown| metadata::times(&shown.stat));
            let above = self.open_directory(parent)?;
            if is_directory || !missing.is_empty() {
                rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755)).at("create directory", next)?;
            } else {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(&above, name, flags, Mode::from_raw_mode(0o644)).at("create", next)?;
            }
            if let Some(times) = before {
                rustix::fs::futimens(&above, &times).at("set times of", parent)?;
            }
        }
        Ok(())
    }

    fn copy_up(&self, place: &Path) -> Result<(), IoError> {
        let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else { return Ok(()) };
        let above = self.open_directory(parent)?;
        let shown = self.find(place)?.ok_or(Errno::NOENT).at("find", place)?;
        rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o700)).at("create directory", place)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let (from, to) = (
            shown.layer.open_at(place, flags, Mode::empty())?,
            self.upper.open_at(place, flags, Mode::empty())?,
        );
        metadata::copy(&from, &to, place)?;
        // Making it has changed its parent, which was there before as far as anybody can see.
        if let Some(parent) = self.find_below(parent)? {
            rustix::fs::futimens(&above, &metadata::times(&parent.stat)).at("set times of", place)?;
        }
        Ok(())
    }

    /// What is at a place, from the uppermost layer that says something about it.
    fn find(&self, place: &Path) -> Result<Option<Shown<'_>>, IoError> {
        self.find_in(std::iter::once(&self.upper).chain(&self.lowers), place)
    }

    fn find_below(&self, place: &Path) -> Result<Option<Shown<'_>>, IoError> {
        self.find_in(self.lowers.iter(), place)
    }

    fn find_in<'a>(
        &self,
        layers: impl Iterator<Item = &'a Root>,
        place: &Path,
    ) -> Result<Option<Shown<'a>>, IoError> {
        for layer in layers {
            match look(layer, place)? {
                Look::Nothing => {}
                Look::Hidden => return Ok(None),
                Look::There(stat) => return Ok(Some(Shown { stat, layer })),
            }
        }
        Ok(None)
    }
}

impl Links for Merged {
    fn link_at(&self, place: &Path) -> Result<Option<PathBuf>, IoError> {
        match self.find(place)? {
            Some(shown) if kind(&shown.stat) == FileType::Symlink => shown.layer.read_link(place).map(Some),
            Some(_) | None => Ok(None),
        }
    }
}

/// What one layer says about a place.
enum Look {
    Nothing,
    /// Whatever is further down does not show.
    Hidden,
    There(Stat),
}

fn look(layer: &Root, place: &Path) -> Result<Look, IoError> {
    let mut reached = PathBuf::new();
    let mut stat = layer.lstat(Path::new("/"))?;
    let mut opaque = false;
    for component in place.components() {
        let Component::Normal(name) = component else { continue };
        if kind(&stat) != FileType::Directory {
            return Ok(Look::Hidden);
        }
        reached.push(name);
        match layer.try_lstat(&reached)? {
            None if opaque => return Ok(Look::Hidden),
            None => return Ok(Look::Nothing),
            Some(next) if is_whiteout_in(layer, &reached, &next)? => return Ok(Look::Hidden),
            Some(next) => stat = next,
        }
        if kind(&stat) == FileType::Directory {
            opaque |= is_opaque(layer, &reached)?;
        }
    }
    Ok(Look::There(stat))
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
