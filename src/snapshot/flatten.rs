//! Many layers as one directory: what an overlay of them would show. The kernel puts only so many on top of each other.
//!
//! Mostly nothing is copied: files become further names of the same inodes. That is safe because layers are only ever read, and an
//! overlay copies a file before it is changed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, linkat, mkdirat, openat, statat};

use super::below::{has_opaque_mark, is_whiteout_at};
use super::duplicate::duplicate;
use super::metadata;
use crate::sys::link_owners::{ChainLinkOwners, LinkOwners};
use crate::sys::rooted::read_entries;
use crate::sys::{At, IoError};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// A further name of it, for reading.
    Named,
    /// A file of its own, which may be changed.
    Copied,
}

/// Makes `into`, which is empty, show what the lowest layers of a chain show together, uppermost first. Nothing is below
/// them, so that no deletion has to be written down.
pub fn flatten(layers: &[PathBuf], into: &Path) -> Result<(), IoError> {
    flatten_files(layers, into, Files::Named)
}

pub(super) fn flatten_files(layers: &[PathBuf], into: &Path, files: Files) -> Result<(), IoError> {
    let open = |path: &PathBuf| rustix::fs::open(path, DIRECTORY, Mode::empty()).at("open directory", path);
    let directories = layers.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let target = open(&into.to_owned())?;
    let mut links =
        Links { into, files, of_layers: ChainLinkOwners::of_layers(layers)?, kept: LinkOwners::default() };
    merge(&directories, &target, into, &mut links)?;
    links.kept.write(into)
}

/// What is made of files, and whose the links and pipes are that are recorded beside the layers.
struct Links<'a> {
    into: &'a Path,
    files: Files,
    of_layers: ChainLinkOwners,
    kept: LinkOwners,
}

/// What the layers that have been looked at say about a name.
enum Seen {
    /// A file, a deletion, or directories that nothing further down adds to.
    Decided(Vec<OwnedFd>),
    /// Directories so far; further ones merge.
    Open(Vec<OwnedFd>),
}

/// Fills a directory from those of the layers, uppermost first. `shown` is for messages.
fn merge(
    directories: &[OwnedFd],
    target: &OwnedFd,
    shown: &Path,
    links: &mut Links<'_>,
) -> Result<(), IoError> {
    let mut names: BTreeMap<OsString, Seen> = BTreeMap::new();
    for directory in directories {
        for entry in read_entries(directory).at("read directory", shown)? {
            let path = shown.join(&entry.name);
            let above = match names.remove(&entry.name) {
                Some(Seen::Decided(directories)) => {
                    names.insert(entry.name, Seen::Decided(directories));
                    continue;
                }
                Some(Seen::Open(directories)) => directories,
                None => Vec::new(),
            };
            let seen = if entry.kind == FileType::Directory {
                let inner =
                    openat(directory, &entry.name, DIRECTORY, Mode::empty()).at("open directory", &path)?;
                let hides = has_opaque_mark(&inner);
                let all = above.into_iter().chain([inner]).collect();
                if hides { Seen::Decided(all) } else { Seen::Open(all) }
            } else {
                if above.is_empty() {
                    take(directory, &entry.name, target, &path, links)?;
                }
                Seen::Decided(above)
            };
            names.insert(entry.name, seen);
        }
    }
    for (name, seen) in names {
        let (Seen::Decided(inner) | Seen::Open(inner)) = seen;
        let path = shown.join(&name);
        if !inner.is_empty() {
            mkdirat(target, &name, Mode::from_raw_mode(0o700)).at("create directory", &path)?;
            let made = openat(target, &name, DIRECTORY, Mode::empty()).at("open directory", &path)?;
            merge(&inner, &made, &path, links)?;
        }
    }
    // Last: making entries changes the times. The uppermost one decides.
    match directories.first() {
        Some(uppermost) => metadata::copy(uppermost, target, shown),
        None => Ok(()),
    }
}

/// Gives an entry that is no directory a further name, unless it stands for a deletion.
fn take(
    directory: &OwnedFd,
    name: &OsStr,
    target: &OwnedFd,
    shown: &Path,
    links: &mut Links<'_>,
) -> Result<(), IoError> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).at("stat", shown)?;
    if is_whiteout_at(directory, name, &stat) {
        return Ok(());
    }
    if let Some(ids) = links.of_layers.get(directory, Path::new(name)) {
        links.kept.set(shown.strip_prefix(links.into).unwrap_or(shown), ids);
    }
    match links.files {
        Files::Named => linkat(directory, name, target, name, AtFlags::empty()).at("link", shown),
        Files::Copied => duplicate(directory, name, target, shown),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    /// Layers uppermost first: a directory ends in `/`, `!` marks one that hides what is below, `-` a deletion.
    fn flattened(layers: &[&[&str]]) -> (tempfile::TempDir, PathBuf) {
        let world = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        for (index, names) in layers.iter().enumerate() {
            let layer = world.path().join(index.to_string());
            fs::create_dir(&layer).unwrap();
            for name in *names {
                let (mark, name) = match name.as_bytes()[0] {
                    b'!' | b'-' => name.split_at(1),
                    _ => ("", *name),
                };
                let path = layer.join(name);
                match (mark, name.strip_suffix('/')) {
                    ("-", _) => {
                        let root = fs::File::open(path.parent().unwrap()).unwrap();
                        let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
                        rustix::fs::mknodat(&root, path.file_name().unwrap(), kind, mode, 0).unwrap();
                    }
                    (_, None) => fs::write(&path, index.to_string()).unwrap(),
                    (_, Some(_)) => fs::create_dir_all(&path).unwrap(),
                }
                if mark == "!" {
                    let flags = rustix::fs::XattrFlags::empty();
                    rustix::fs::setxattr(&path, crate::snapshot::OPAQUE, b"y", flags).unwrap();
                }
            }
            paths.push(layer);
        }
        let into = world.path().join("into");
        fs::create_dir(&into).unwrap();
        fs::set_permissions(world.path().join("0"), PermissionsExt::from_mode(0o751)).unwrap();
        flatten(&paths, &into).unwrap();
        (world, into)
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_uppermost_layer_decides_and_directories_merge() {
        let (world, into) = flattened(&[
            &["d/", "d/a", "-gone", "file", "!o/", "o/new", "dir-over-file/", "dir-over-file/x"],
            &["d/", "d/a", "d/b", "gone", "file", "dir-over-file"],
            &["d/", "d/c", "-d/b", "o/", "o/old", "gone", "dir-over-file/", "dir-over-file/hidden"],
        ]);
        assert_eq!(names(&into), ["d", "dir-over-file", "file", "o"]);
        assert_eq!(names(&into.join("d")), ["a", "b", "c"]);
        assert_eq!(names(&into.join("o")), ["new"]);
        assert_eq!(names(&into.join("dir-over-file")), ["x"]);
        assert_eq!(fs::read_to_string(into.join("d/a")).unwrap(), "0");
        assert_eq!(fs::read_to_string(into.join("d/b")).unwrap(), "1");
        let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(into.join("file")), inode(world.path().join("0/file")), "nothing is copied");
        assert_eq!(fs::metadata(&into).unwrap().mode() & 0o7777, 0o751);
    }

    #[test]
    fn recorded_owners_of_links_stay() {
        let world = tempfile::tempdir().unwrap();
        let paths = ["upper", "lower"].map(|name| world.path().join(name));
        for (path, owner) in paths.iter().zip([(1, 1), (2, 2)]) {
            fs::create_dir_all(path.join("d")).unwrap();
            let mut owners = LinkOwners::default();
            for name in ["both", path.file_name().unwrap().to_str().unwrap()] {
                std::os::unix::fs::symlink("nowhere", path.join("d").join(name)).unwrap();
                owners.set(&Path::new("d").join(name), owner);
            }
            owners.write(path).unwrap();
        }
        let into = world.path().join("into");
        fs::create_dir(&into).unwrap();
        flatten(&paths, &into).unwrap();
        let kept = LinkOwners::read(&into).unwrap();
        let owners = ["d/both", "d/upper", "d/lower"].map(|path| kept.get(Path::new(path)));
        assert_eq!(owners, [Some((1, 1)), Some((1, 1)), Some((2, 2))]);
    }
}
