//! Owners of what cannot carry a record itself: symlinks and pipes, to which the kernel gives no user attributes.
//!
//! A layer that has such owners has a file beside its directory that names them by their paths. By path, because a layer
//! does not change any more once it is made, and because the store may be copied, which changes every inode; beside it,
//! because inside a container would see it, and because attributes of directories are too small for a thousand links.
//! Layers without such owners have no such file.
//!
//! Where a tree is looked at through an overlay, which does not say what layer an entry comes from, entries are told by
//! [`Identity`] instead.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Stat, Statx, StatxFlags, Uid, chownat};
use rustix::io::Errno;

use super::ownership::{self, Recorded};
use super::rooted::Root;
use super::{At, IoError};

/// User and group.
pub type Ids = (u32, u32);

/// The owners of one layer's links and pipes, by their paths in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkOwners {
    owners: BTreeMap<PathBuf, Ids>,
}

impl LinkOwners {
    /// What the file's name has after that of the layer.
    pub const SUFFIX: &str = ".links";

    /// Those of a layer's directory; most layers have none.
    pub fn read(layer: &Path) -> Result<Self, IoError> {
        let file = Self::file(layer);
        match std::fs::read(&file) {
            Ok(bytes) => Self::parse(&bytes).at("understand", &file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).at("read", &file),
        }
    }

    /// Keeps them beside a layer's directory, if there are any.
    pub fn write(&self, layer: &Path) -> Result<(), IoError> {
        if self.owners.is_empty() {
            return Ok(());
        }
        let file = Self::file(layer);
        std::fs::write(&file, self.bytes()).at("write", &file)
    }

    /// Where they are kept.
    pub fn file(layer: &Path) -> PathBuf {
        let mut name = layer.as_os_str().to_owned();
        name.push(Self::SUFFIX);
        PathBuf::from(name)
    }

    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// What is recorded of a path inside the layer.
    pub fn get(&self, path: &Path) -> Option<Ids> {
        if self.owners.is_empty() { None } else { self.owners.get(inside(path)).copied() }
    }

    /// Records an owner; root needs none.
    pub fn set(&mut self, path: &Path, ids: Ids) {
        match ids {
            (0, 0) => self.owners.remove(inside(path)),
            ids => self.owners.insert(inside(path).to_owned(), ids),
        };
    }

    /// Gives an entry of a directory, which is no file and no directory, its owner: for real where this process may, by
    /// a record where it may not.
    pub fn chown(&mut self, directory: impl AsFd, name: &OsStr, path: &Path, ids: Ids) -> io::Result<()> {
        if ownership::is_plain() {
            self.set(path, ids);
            return Ok(());
        }
        let give = |(uid, gid)| {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            chownat(&directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        };
        match give(ids) {
            // The namespace does not map the id, or the process is nobody who may give files away.
            Err(Errno::INVAL | Errno::PERM) => {
                self.set(path, ids);
                match ownership::stand_ins() {
                    Some(stand_ins) => Ok(give(stand_ins.of(ids.0, ids.1))?),
                    None => Ok(()),
                }
            }
            answer => {
                self.set(path, (0, 0));
                Ok(answer?)
            }
        }
    }

    /// Forgets what is no link or pipe in the layer: it was replaced after its owner had been recorded.
    pub fn retain_those_in(&mut self, layer: &Path) -> Result<(), IoError> {
        if self.owners.is_empty() {
            return Ok(());
        }
        let root = Root::open(layer)?;
        self.owners.retain(|path, _| {
            root.lstat(path).is_ok_and(|stat| is_special(FileType::from_raw_mode(stat.st_mode)))
        });
        Ok(())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (path, (uid, gid)) in &self.owners {
            bytes.extend_from_slice(format!("{uid}:{gid} ").as_bytes());
            bytes.extend_from_slice(path.as_os_str().as_bytes());
            bytes.push(0);
        }
        bytes
    }

    /// `uid:gid path`, each ended by a zero byte, which no path contains.
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let mut owners = BTreeMap::new();
        for line in bytes.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
            let (ids, path) = parse_line(line).ok_or(io::ErrorKind::InvalidData)?;
            owners.insert(path, ids);
        }
        Ok(Self { owners })
    }
}

fn parse_line(line: &[u8]) -> Option<(Ids, PathBuf)> {
    let space = memchr::memchr(b' ', line)?;
    let (uid, gid) = std::str::from_utf8(&line[..space]).ok()?.split_once(':')?;
    let path = PathBuf::from(OsString::from_vec(line[space + 1..].to_vec()));
    Some(((uid.parse().ok()?, gid.parse().ok()?), path))
}

fn inside(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// Makes what stat said of an entry agree with its record.
pub fn apply((uid, gid): Ids, stat: &mut Stat) {
    Recorded { uid, gid, device: None }.apply_owner(stat);
}

/// Whether an entry of this kind can have its owner kept here.
pub fn is_special(kind: FileType) -> bool {
    matches!(kind, FileType::Symlink | FileType::Fifo | FileType::Socket)
}

/// What an entry is known by, seen through an overlay or in its layer: its inode, and when that was made. A number
/// that is used again comes with another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    inode: u64,
    born: (i64, u32),
}

impl Identity {
    /// What [`Identity::of`] has to be asked for.
    pub const ASKED: StatxFlags =
        StatxFlags::INO.union(StatxFlags::BTIME).union(StatxFlags::TYPE).union(StatxFlags::MODE);

    pub fn of(statx: &Statx) -> Self {
        Self { inode: statx.stx_ino, born: (statx.stx_btime.tv_sec, statx.stx_btime.tv_nsec) }
    }
}

/// The recorded owners of all layers of a chain.
#[derive(Debug, Default)]
pub struct ChainLinkOwners {
    owners: HashMap<Identity, Ids>,
}

impl ChainLinkOwners {
    /// It takes a look at each layer, and at each entry that has such an owner.
    pub fn of_layers(layers: &[PathBuf]) -> Result<Self, IoError> {
        let mut owners = HashMap::new();
        for layer in layers {
            let recorded = LinkOwners::read(layer)?;
            if recorded.is_empty() {
                continue;
            }
            let root = Root::open(layer)?;
            for (path, ids) in &recorded.owners {
                let parent = root.subroot(path.parent().unwrap_or(Path::new("")))?;
                let name = path.file_name().unwrap_or_default();
                // What is not there needs no owner.
                if let Ok(statx) = look(&parent, Path::new(name)) {
                    owners.insert(Identity::of(&statx), *ids);
                }
            }
        }
        Ok(Self { owners })
    }

    pub fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    pub fn into_map(self) -> HashMap<Identity, Ids> {
        self.owners
    }

    /// What is recorded of an entry of a directory.
    pub fn get(&self, directory: impl AsFd, name: &Path) -> Option<Ids> {
        if self.owners.is_empty() {
            return None;
        }
        look(directory, name).ok().and_then(|statx| self.owners.get(&Identity::of(&statx)).copied())
    }
}

fn look(directory: impl AsFd, name: &Path) -> rustix::io::Result<Statx> {
    rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, Identity::ASKED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_kept_beside_the_layer() {
        let dir = tempfile::tempdir().unwrap();
        let layer = dir.path().join("diff");
        std::fs::create_dir(&layer).unwrap();
        assert_eq!(LinkOwners::read(&layer).unwrap(), LinkOwners::default());
        LinkOwners::default().write(&layer).unwrap();
        assert!(!LinkOwners::file(&layer).exists(), "a layer without such owners has no file for them");
        let odd = Path::new(OsStr::from_bytes(b"d/with space:\n\xff"));
        let mut owners = LinkOwners::default();
        owners.set(Path::new("/link"), (1000, 50));
        owners.set(odd, (7, 4_294_967_294));
        owners.set(Path::new("gone"), (1, 1));
        owners.set(Path::new("gone"), (0, 0));
        owners.write(&layer).unwrap();
        let read = LinkOwners::read(&layer).unwrap();
        assert_eq!(read, owners);
        assert_eq!(
            (read.get(Path::new("link")), read.get(odd), read.get(Path::new("gone"))),
            (Some((1000, 50)), Some((7, 4_294_967_294)), None)
        );
        std::fs::write(LinkOwners::file(&layer), "nonsense").unwrap();
        assert!(LinkOwners::read(&layer).is_err());
    }

    #[test]
    fn what_was_replaced_is_forgotten_and_what_is_there_is_found_by_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let layer = dir.path().join("diff");
        std::fs::create_dir_all(layer.join("d")).unwrap();
        std::os::unix::fs::symlink("target", layer.join("d/link")).unwrap();
        std::fs::write(layer.join("file"), "").unwrap();
        let mut owners = LinkOwners::default();
        for path in ["d/link", "file", "missing"] {
            owners.set(Path::new(path), (3, 4));
        }
        owners.retain_those_in(&layer).unwrap();
        assert_eq!(owners.owners.keys().collect::<Vec<_>>(), [Path::new("d/link")]);
        owners.write(&layer).unwrap();
        let chain = ChainLinkOwners::of_layers(&[dir.path().join("other"), layer.clone()]).unwrap();
        std::fs::rename(layer.join("d/link"), layer.join("renamed")).unwrap();
        let root = Root::open(&layer).unwrap();
        assert_eq!(chain.get(&root, Path::new("renamed")), Some((3, 4)));
        assert_eq!(chain.get(&root, Path::new("file")), None);
    }
}
