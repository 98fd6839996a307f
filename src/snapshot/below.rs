//! What lies below an upper directory, found by looking into the layers without mounting them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::{OPAQUE, WHITEOUT};
use crate::sys::IoError;
use crate::sys::rooted::Root;

/// A chain of layers to look into, uppermost first.
#[derive(Debug)]
pub struct Below {
    layers: Vec<Root>,
}

impl Below {
    pub fn open(chain: &[PathBuf]) -> Result<Self, IoError> {
        Ok(Self { layers: chain.iter().map(|layer| Root::open(layer)).collect::<Result<_, _>>()? })
    }

    /// The names that a directory of the chain shows. A path that is no directory shows none.
    pub fn names(&self, directory: &Path) -> Result<Vec<OsString>, IoError> {
        // Some(true): there; Some(false): a whiteout hides it from here down.
        let mut seen: BTreeMap<OsString, bool> = BTreeMap::new();
        for layer in &self.layers {
            match look(layer, directory)? {
                Found::Nothing => {}
                Found::Hidden => break,
                Found::Directory { opaque } => {
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
                    if opaque {
                        break;
                    }
                }
            }
        }
        Ok(seen.into_iter().filter_map(|(name, there)| there.then_some(name)).collect())
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

enum Found {
    /// The layer says nothing about the path.
    Nothing,
    /// The layer hides whatever is at the path further down.
    Hidden,
    Directory {
        opaque: bool,
    },
}

fn look(layer: &Root, path: &Path) -> Result<Found, IoError> {
    let mut opaque = false;
    let mut place = PathBuf::new();
    for component in path.components() {
        let std::path::Component::Normal(name) = component else { continue };
        place.push(name);
        match layer.try_lstat(&place)? {
            None if opaque => return Ok(Found::Hidden),
            None => return Ok(Found::Nothing),
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                opaque |= is_opaque(layer, &place)?;
            }
            Some(_) => return Ok(Found::Hidden),
        }
    }
    Ok(Found::Directory { opaque })
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

    /// Layers uppermost first; a name that ends in `/` is a directory, one that starts with `!` an opaque one, one
    /// that starts with `-` a plain file in place of a directory.
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
                    (None, None) => fs::write(layer.join(name), "").unwrap(),
                }
            }
            paths.push(layer);
        }
        let below = Below::open(&paths).unwrap();
        (dir, below)
    }

    #[test]
    fn names_of_all_layers_are_merged() {
        let (_dir, below) = chain(&[&["d/", "d/a"], &["e/"], &["d/", "d/b"]]);
        assert_eq!(below.names(Path::new("d")).unwrap(), ["a", "b"]);
        assert_eq!(below.names(Path::new("/")).unwrap(), ["d", "e"]);
        assert!(below.names(Path::new("missing")).unwrap().is_empty());
    }

    #[test]
    fn an_opaque_directory_or_a_file_hides_what_is_below() {
        let (_dir, below) = chain(&[&["!d", "d/a"], &["d/", "d/b"]]);
        assert_eq!(below.names(Path::new("d")).unwrap(), ["a"]);
        let (_dir, below) = chain(&[&["!d", "d/a"], &["d/s/", "d/s/b"]]);
        assert!(below.names(Path::new("d/s")).unwrap().is_empty());
        let (_dir, below) = chain(&[&["d"], &["d/", "d/b"]]);
        assert!(below.names(Path::new("d")).unwrap().is_empty());
    }
}
