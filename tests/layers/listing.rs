//! What a tree is, to be compared: all that a layer keeps of it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rbuild::image::Digest;
use rbuild::sys::ownership;
use rustix::fs::{CWD, FileType};

/// By path; the root itself is no part of a layer.
pub(crate) type Listing = BTreeMap<PathBuf, Entry>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) what: String,
    /// The first name of a file that has several.
    pub(crate) first: Option<PathBuf>,
}

/// Lists a tree. Sockets are in no layer.
pub(crate) fn list(root: &Path) -> Listing {
    let (mut listing, mut first) = (Listing::new(), HashMap::new());
    list_directory(root, Path::new(""), &mut listing, &mut first);
    // A first name that stayed the only one is none.
    let shared: Vec<PathBuf> = listing.values().filter_map(|entry| entry.first.clone()).collect();
    for (path, entry) in &mut listing {
        if entry.first.is_none() && shared.contains(path) {
            entry.first = Some(path.clone());
        }
    }
    listing
}

fn list_directory(
    root: &Path,
    directory: &Path,
    listing: &mut Listing,
    first: &mut HashMap<(u64, u64), PathBuf>,
) {
    let mut names: Vec<_> =
        fs::read_dir(root.join(directory)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names {
        let (path, place) = (directory.join(&name), root.join(directory).join(&name));
        let stat = ownership::stat_at(CWD, &place).unwrap();
        let kind = FileType::from_raw_mode(stat.st_mode);
        let detail = match kind {
            FileType::Socket => continue,
            FileType::RegularFile => {
                format!("{} bytes {}", stat.st_size, Digest::of(&fs::read(&place).unwrap()))
            }
            FileType::Symlink => format!("{:?}", fs::read_link(&place).unwrap()),
            FileType::CharacterDevice | FileType::BlockDevice => format!("{:x}", stat.st_rdev),
            _ => String::new(),
        };
        let what = format!(
            "{kind:?} {:o} {}:{} {} {detail} {}",
            stat.st_mode & 0o7777,
            stat.st_uid,
            stat.st_gid,
            stat.st_mtime,
            attributes(&place, kind)
        );
        let mut entry = Entry { what, first: None };
        if kind != FileType::Directory && stat.st_nlink > 1 {
            match first.get(&(stat.st_dev, stat.st_ino)) {
                Some(first) => entry.first = Some(first.clone()),
                None => drop(first.insert((stat.st_dev, stat.st_ino), path.clone())),
            }
        }
        listing.insert(path.clone(), entry);
        if kind == FileType::Directory {
            list_directory(root, &path, listing, first);
        }
    }
}

fn attributes(place: &Path, kind: FileType) -> String {
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return String::new();
    }
    let mut names = Vec::with_capacity(64 << 10);
    rustix::fs::llistxattr(place, rustix::buffer::spare_capacity(&mut names)).unwrap();
    let own = [&b"user.overlay."[..], b"user.rbuild.", b"security.selinux", b"trusted."];
    let mut shown = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if own.iter().any(|own| name.starts_with(own)) {
            continue;
        }
        let mut value = Vec::with_capacity(64 << 10);
        rustix::fs::lgetxattr(place, name, rustix::buffer::spare_capacity(&mut value)).unwrap();
        shown.push(format!("{}={}", name.escape_ascii(), value.escape_ascii()));
    }
    shown.sort();
    shown.join(" ")
}

/// Asserts that two trees are the same.
#[track_caller]
pub(crate) fn assert_same(found: &Listing, expected: &Listing) {
    assert_alike(found, expected);
    for (path, entry) in expected {
        assert_eq!(found[path].first, entry.first, "names of {}", path.as_os_str().as_bytes().escape_ascii());
    }
}

/// The same but for names of one file that are no longer names of one: an overlay separates them when it copies one of them,
/// and no layer says so.
#[track_caller]
pub(crate) fn assert_alike(found: &Listing, expected: &Listing) {
    let differ =
        |path: &&PathBuf| found.get(*path).map(|it| &it.what) != expected.get(*path).map(|it| &it.what);
    if let Some(path) = found.keys().chain(expected.keys()).find(differ) {
        panic!("{path:?}:\nfound    {:?}\nexpected {:?}", found.get(path), expected.get(path));
    }
    for (path, entry) in expected {
        if let Some(first) = &entry.first {
            let (one, other) = (&found[path].first, &found[first].first);
            assert!(one.is_some() && one == other, "{path:?} and {first:?} are no longer one file");
        }
    }
}
