//! What lies below an upper directory, found by looking into the layers without mounting them.
//!
//! Whoever walks through the upper directory walks through the layers along with it ([`Level`]): at each place one look
//! at each layer that has the directory is enough, and a directory that none has costs nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, statat};
use rustix::io::Errno;

use super::{OPAQUE, WHITEOUT};
use crate::sys::link_owners::{self, LinkOwners, is_special};
use crate::sys::rooted::Root;
use crate::sys::{At, IoError, ownership};

/// A chain of layers to look into, uppermost first.
#[derive(Debug)]
pub struct Below {
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    root: Root,
    /// Read when the first link or pipe is looked at, which is seldom.
    link_owners: OnceLock<LinkOwners>,
}

/// Which layers have a directory that shows, uppermost first.
#[derive(Debug, Clone)]
pub struct Level(Vec<usize>);

/// An entry that shows. Paths are relative, and lead through the directories of a [`Level`] alone.
#[derive(Debug)]
pub struct Lower<'a> {
    layer: &'a Layer,
    place: &'a Path,
    /// As the file system has it, records not taken into account.
    pub raw: Stat,
}

impl Below {
    pub fn open(chain: &[PathBuf]) -> Result<Self, IoError> {
        let layer = |path: &PathBuf| Ok(Layer { root: Root::open(path)?, link_owners: OnceLock::new() });
        Ok(Self { layers: chain.iter().map(layer).collect::<Result<_, _>>()? })
    }

    /// The root directory, which every layer has.
    pub fn top(&self) -> Level {
        Level((0..self.layers.len()).collect())
    }

    /// The directory `place` in the directory of a level.
    pub fn inside(&self, level: &Level, place: &Path) -> Result<Level, IoError> {
        let mut layers = Vec::new();
        for index in &level.0 {
            let layer = &self.layers[*index];
            match layer.stat(place)? {
                None => {}
                Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                    layers.push(*index);
                    if is_opaque(&layer.root, place)? {
                        break;
                    }
                }
                // It hides what is further down, be it for a whiteout.
                Some(_) => break,
            }
        }
        Ok(Level(layers))
    }

    /// What shows at a place in the directory of a level.
    pub fn find<'a>(&'a self, level: &Level, place: &'a Path) -> Result<Option<Lower<'a>>, IoError> {
        for index in &level.0 {
            let layer = &self.layers[*index];
            if let Some(raw) = layer.stat(place)? {
                let is_gone = is_whiteout_in(&layer.root, place, &raw)?;
                return Ok((!is_gone).then_some(Lower { layer, place, raw }));
            }
        }
        Ok(None)
    }

    /// The names that the directory of a level shows.
    pub fn names(&self, level: &Level, directory: &Path) -> Result<Vec<OsString>, IoError> {
        // Some(true): there; Some(false): a whiteout hides it from here down.
        let mut seen: BTreeMap<OsString, bool> = BTreeMap::new();
        for index in &level.0 {
            let layer = &self.layers[*index].root;
            for entry in layer.entries(directory)? {
                if seen.contains_key(&entry.name) {
                    continue;
                }
                let there = match entry.kind {
                    FileType::CharacterDevice | FileType::RegularFile => {
                        let place = directory.join(&entry.name);
                        !is_whiteout_in(layer, &place, &layer.lstat(&place)?)?
                    }
                    _ => true,
                };
                seen.insert(entry.name, there);
            }
        }
        Ok(seen.into_iter().filter_map(|(name, there)| there.then_some(name)).collect())
    }
}

impl Layer {
    fn stat(&self, place: &Path) -> Result<Option<Stat>, IoError> {
        match statat(&self.root, place, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            // What has no path that anybody could use has not been unpacked either.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => Ok(None),
            Err(error) => Err(error).at("stat", self.root.path().join(place)),
        }
    }

    fn link_owners(&self) -> Result<&LinkOwners, IoError> {
        if let Some(owners) = self.link_owners.get() {
            return Ok(owners);
        }
        let owners = LinkOwners::read(self.root.path())?;
        Ok(self.link_owners.get_or_init(|| owners))
    }
}

impl Lower<'_> {
    /// What it is, with what is recorded of it.
    pub fn stat(&self) -> Result<Stat, IoError> {
        let mut stat = ownership::stat_at(&self.layer.root, self.place).at("stat", self.shown())?;
        if is_special(FileType::from_raw_mode(stat.st_mode))
            && let Some(ids) = self.layer.link_owners()?.get(self.place)
        {
            link_owners::apply(ids, &mut stat);
        }
        Ok(stat)
    }

    /// A directory or a file for reading.
    pub fn open(&self) -> Result<OwnedFd, IoError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(&self.layer.root, self.place, flags, Mode::empty()).at("open", self.shown())
    }

    pub fn open_file(&self) -> Result<File, IoError> {
        self.open().map(File::from)
    }

    /// The target of what is a symlink.
    pub fn link_target(&self) -> Result<PathBuf, IoError> {
        self.layer.root.read_link(self.place)
    }

    fn shown(&self) -> PathBuf {
        self.layer.root.path().join(self.place)
    }
}

/// Whether an entry stands for a deletion: a character device 0/0, as overlays write it.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether an entry stands for a deletion: a device 0/0 or, where no such device can be made, an empty file with a mark.
pub fn is_whiteout_at(directory: impl AsFd, name: impl AsRef<Path>, stat: &Stat) -> bool {
    is_whiteout(stat) || may_have_mark(stat) && has_whiteout_mark(directory, name.as_ref())
}

/// As `is_whiteout_at` for a place in a layer.
pub(super) fn is_whiteout_in(layer: &Root, place: &Path, stat: &Stat) -> Result<bool, IoError> {
    if !may_have_mark(stat) {
        return Ok(is_whiteout(stat));
    }
    let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else { return Ok(false) };
    let parent = layer.open_at(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    Ok(has_whiteout_mark(parent, Path::new(name)))
}

fn may_have_mark(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0
}

fn has_whiteout_mark(directory: impl AsFd, name: &Path) -> bool {
    let directory = directory.as_fd().as_raw_fd().to_string();
    let path = Path::new("/proc/self/fd").join(directory).join(name);
    rustix::fs::lgetxattr(path, WHITEOUT, &mut [0; 1]).is_ok()
}

/// Whether a directory of a layer hides what is below it.
pub fn is_opaque(layer: &Root, directory: &Path) -> Result<bool, IoError> {
    let fd =
        layer.open_at(directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    Ok(has_opaque_mark(&fd))
}

/// As [`is_opaque`] for an open directory.
pub(super) fn has_opaque_mark(directory: impl AsFd) -> bool {
    let mut value = [0; 1];
    rustix::fs::fgetxattr(directory, OPAQUE, &mut value).is_ok_and(|length| value[..length] == *b"y")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Layers uppermost first; a name that ends in `/` is a directory, one that starts with `!` an opaque one.
    fn chain(layers: &[&[&str]]) -> (tempfile::TempDir, Below) {
        let dir = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for (index, names) in layers.iter().enumerate() {
            let layer = dir.path().join(index.to_string());
            fs::create_dir(&layer).unwrap();
            for name in *names {
                match (name.strip_prefix('!'), name.strip_suffix('/')) {
                    (Some(opaque), _) => {
                        fs::create_dir_all(layer.join(opaque)).unwrap();
                        let flags = rustix::fs::XattrFlags::empty();
                        rustix::fs::setxattr(layer.join(opaque), OPAQUE, b"y", flags).unwrap();
                    }
                    (None, Some(directory)) => fs::create_dir_all(layer.join(directory)).unwrap(),
                    (None, None) => fs::write(layer.join(name), index.to_string()).unwrap(),
                }
            }
            paths.push(layer);
        }
        let below = Below::open(&paths).unwrap();
        (dir, below)
    }

    fn level(below: &Below, directory: &str) -> Level {
        let places = Path::new(directory).ancestors().filter(|place| !place.as_os_str().is_empty());
        let places: Vec<_> = places.collect();
        let walk = |level: Level, place: &&Path| below.inside(&level, place).unwrap();
        places.iter().rev().fold(below.top(), walk)
    }

    fn names(below: &Below, directory: &str) -> Vec<OsString> {
        below.names(&level(below, directory), Path::new(directory)).unwrap()
    }

    #[test]
    fn names_of_all_layers_are_merged() {
        let (_dir, below) = chain(&[&["d/", "d/a"], &["e/"], &["d/", "d/b"]]);
        assert_eq!(names(&below, "d"), ["a", "b"]);
        assert_eq!(names(&below, ""), ["d", "e"]);
        assert!(names(&below, "missing").is_empty());
    }

    #[test]
    fn an_opaque_directory_or_a_file_hides_what_is_below() {
        let (_dir, below) = chain(&[&["!d", "d/a"], &["d/", "d/b"]]);
        assert_eq!(names(&below, "d"), ["a"]);
        let (_dir, below) = chain(&[&["!d", "d/a"], &["d/s/", "d/s/b"]]);
        assert!(names(&below, "d/s").is_empty());
        let (_dir, below) = chain(&[&["d"], &["d/", "d/b"]]);
        assert!(names(&below, "d").is_empty());
    }

    #[test]
    fn the_uppermost_entry_is_found() {
        let (dir, below) =
            chain(&[&["d/", "d/gone", "!o"], &["d/", "d/a", "d/gone"], &["d/", "d/a", "o/", "o/x"]]);
        let gone = dir.path().join("0/d");
        fs::remove_file(gone.join("gone")).unwrap();
        crate::snapshot::make_whiteout(File::open(gone).unwrap(), "gone".as_ref()).unwrap();
        let find = |directory: &str, name: &str| {
            let place = Path::new(directory).join(name);
            let found = below.find(&level(&below, directory), &place).unwrap();
            found.map(|lower| std::io::read_to_string(lower.open_file().unwrap()).unwrap())
        };
        assert_eq!(find("d", "a").as_deref(), Some("1"));
        assert_eq!(find("d", "gone"), None);
        assert_eq!(find("o", "x"), None);
        assert_eq!(find("d", "missing"), None);
    }
}
