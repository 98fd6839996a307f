//! What a step asks to be shown below its root, beside what every sandbox has there. Plain data, made by `parent`'s callers.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::steps::{MountPoint, MountPointKind};

/// All that is asked for, in the order in which it is mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts {
    /// An empty directory, where trees are put together.
    pub staging: PathBuf,
    pub mounts: Vec<Mount>,
}

/// Something shown at a place of the root file system that is no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute and clean.
    pub at: String,
    pub what: Mounted,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mounted {
    /// What lies at a place of a tree; links on the way lead inside the tree.
    Tree { tree: Tree, inside: String, kind: MountPointKind, read_only: bool },
    /// An empty file system in memory.
    Tmpfs { size: Option<u64>, read_only: bool },
    /// A file that lies on no disk, for reading.
    Secret(SecretFile),
    /// Something that listens.
    Socket(PathBuf),
    /// A device of the host, or files that belong to it.
    Host(HostMount),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMount {
    pub path: PathBuf,
    pub kind: MountPointKind,
    pub options: Vec<HostOption>,
}

/// What is kept from who uses files of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostOption {
    ReadOnly,
    NoDevices,
    NoExecution,
    NoSetuid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tree {
    Directory(PathBuf),
    /// Layers that the kernel puts on top of each other.
    Layers(MountedLayers),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountedLayers {
    /// Uppermost first; at least two if nothing may be changed.
    pub lowers: Vec<PathBuf>,
    /// Where changes go, and a work directory beside it.
    pub changes: Option<(PathBuf, PathBuf)>,
    /// Whether they are given to the kernel all in one call.
    pub at_once: bool,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFile {
    #[serde(with = "in_letters")]
    pub content: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Bytes as a message has them: a list of numbers would be three times as long.
mod in_letters {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl Mount {
    pub(super) fn kind(&self) -> MountPointKind {
        match &self.what {
            Mounted::Tree { kind, .. } => *kind,
            Mounted::Tmpfs { .. } => MountPointKind::Directory,
            Mounted::Secret(_) | Mounted::Socket(_) => MountPointKind::File,
            Mounted::Host(host) => host.kind,
        }
    }
}

impl Mounts {
    /// The places that the root file system has to have: not those inside of something that is mounted before.
    pub(super) fn points<'a>(&'a self, own: &'a [&str]) -> impl Iterator<Item = MountPoint> + 'a {
        self.mounts.iter().enumerate().filter_map(move |(index, mount)| {
            let above = self.mounts[..index].iter().map(|earlier| &*earlier.at).chain(own.iter().copied());
            let mut above = above.filter(|place| is_within(&mount.at, place));
            let is_new = above.next().is_none();
            is_new.then(|| MountPoint { path: mount.at.clone(), kind: mount.kind(), is_asked_for: true })
        })
    }
}

fn is_within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Display for Mount {
    /// One line, which says nothing of what is secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {:?}", self.at, self.what)
    }
}

impl fmt::Debug for Mounted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree { tree, inside, kind: _, read_only } => {
                write!(out, "tree {tree:?} from {inside} read-only={read_only}")
            }
            Self::Tmpfs { size, read_only } => write!(out, "tmpfs size={size:?} read-only={read_only}"),
            Self::Secret(file) => write!(out, "{file:?}"),
            Self::Socket(path) => write!(out, "socket {}", path.display()),
            Self::Host(HostMount { path, kind: _, options }) => {
                write!(out, "host {} options={options:?}", path.display())
            }
        }
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "secret mode={:o} owner={}:{}", self.mode, self.uid, self.gid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_inside_another_mount_needs_no_place_in_the_root() {
        let mount =
            |at: &str| Mount { at: at.to_owned(), what: Mounted::Tmpfs { size: None, read_only: false } };
        let mounts = ["/a", "/a/b", "/ab", "/dev/shm", "/x/y", "/x/y"].map(mount).into();
        let mounts = Mounts { staging: PathBuf::new(), mounts };
        let points: Vec<String> = mounts.points(&["/dev"]).map(|point| point.path).collect();
        assert_eq!(points, ["/a", "/ab", "/x/y"]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let file = SecretFile { content: b"hunter2".to_vec(), mode: 0o400, uid: 0, gid: 0 };
        let mount = Mount { at: "/s".to_owned(), what: Mounted::Secret(file) };
        assert_eq!(format!("{mount}"), "/s secret mode=400 owner=0:0");
        assert!(!format!("{mount:?}").contains("hunter2"));
    }
}
