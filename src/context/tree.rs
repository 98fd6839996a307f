//! A tree that can be read: a directory, what of it counts as absent, and whose the files are.
//!
//! Every step from a directory to an entry goes through the directory's descriptor and follows no link by itself, so a
//! tree that changes underneath can give stale answers but never one from outside.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::file_system::{FileSystem, FileSystems};
use super::ignore::{Ignore, Inherited};
use super::lexical::{as_path, join, last};
use super::remembered::{Forgetful, Remembered, StatKey};
use super::walk::Walk;
use crate::sys::link_owners::{self, ChainLinkOwners, is_special};
use crate::sys::rooted::{Root, read_entries};
use crate::sys::{At, IoError, ownership};

/// A root directory seen through an ignore file.
#[derive(Debug)]
pub struct Tree {
    root: Arc<OwnedFd>,
    /// For messages only.
    path: Arc<Path>,
    ignore: Ignore,
    owner: Owner,
    link_owners: ChainLinkOwners,
    /// What is known of its files.
    memory: Arc<dyn Remembered>,
    file_systems: FileSystems,
}

/// Whose the files of a tree are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Everything counts as root's: the tree is a checkout of whoever runs the build.
    Zeroed,
    /// As the file system says: the tree is a stage or an image.
    Kept,
}

/// What an entry is, apart from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    pub kind: FileType,
    /// The twelve permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// The device a device node stands for.
    pub special: u64,
    /// Where it lies: two entries with equal device and inode are hard links of one file.
    pub device: u64,
    pub inode: u64,
    pub links: u64,
    pub modified: Instant,
    pub changed: Instant,
}

/// Nanoseconds since 1970.
pub type Instant = i128;

/// An entry, and the directory it was found in. Holds a descriptor of that directory: use it up, do not collect it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Relative to where the walk began or, for a single entry, to the tree's root.
    pub path: PathBuf,
    pub metadata: Metadata,
    /// Where a symlink leads.
    pub target: Option<PathBuf>,
    pub(super) place: Place,
}

/// Where an entry can be opened.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The directory it lies in, or one further up.
    directory: Arc<OwnedFd>,
    /// Its path from the tree's root, without symlinks.
    pub(super) inside: Vec<u8>,
    /// Where in that path the part below `directory` begins.
    name_at: usize,
    /// The tree's path, for messages only.
    root: Arc<Path>,
}

/// Links followed on the way to one entry; what BuildKit and, nearly, the kernel allow.
const MAX_LINKS: usize = 255;

impl Tree {
    pub fn new(root: &Root, ignore: Ignore, owner: Owner) -> Result<Self, IoError> {
        let fd = root.open_at(Path::new("."), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self {
            root: Arc::new(fd),
            path: Arc::from(root.path()),
            ignore,
            owner,
            link_owners: ChainLinkOwners::default(),
            memory: Arc::new(Forgetful),
            file_systems: FileSystems::default(),
        })
    }

    /// With what is recorded of links beside the layers that the tree is made of.
    pub fn with_link_owners(self, link_owners: ChainLinkOwners) -> Self {
        Self { link_owners, ..self }
    }

    /// With a memory of the digests of its files.
    pub fn with_memory(self, memory: Arc<dyn Remembered>) -> Self {
        Self { memory, ..self }
    }

    pub fn memory(&self) -> &dyn Remembered {
        &*self.memory
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an entry was found in this tree.
    pub fn has(&self, entry: &Entry) -> bool {
        Arc::ptr_eq(&self.path, &entry.place.root)
    }

    /// By what a regular file is known as unchanged; none if a file there may change without looking changed.
    pub fn key(&self, entry: &Entry) -> Option<StatKey> {
        Some(StatKey::new(&entry.metadata, self.file_system(entry)?))
    }

    /// Whether an open file is what the entry was when it was looked at.
    pub fn is_still(&self, entry: &Entry, file: &File) -> bool {
        entry.place.metadata(file, self.owner).is_ok_and(|now| now == entry.metadata)
    }

    /// The file system of a regular file; none if a file there may change without looking changed.
    pub(super) fn file_system(&self, entry: &Entry) -> Option<FileSystem> {
        let open =
            || open_below(&entry.place.directory, entry.place.name(), OFlags::PATH | OFlags::CLOEXEC).ok();
        self.file_systems.of(entry.metadata.device, open)
    }

    pub fn ignore(&self) -> &Ignore {
        &self.ignore
    }

    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// The entry a path leads to, every symlink on the way followed inside the root, the last one too. None if there is
    /// none, or if it is ignored. The entry's path is the one without symlinks.
    pub fn find(&self, path: &Path) -> Result<Option<Entry>, IoError> {
        Ok(self.follow(path)?.map(|found| found.entry))
    }

    /// As [`Tree::find`] if nothing were ignored: to tell what is absent from what is hidden.
    pub fn find_hidden(&self, path: &Path) -> Result<Option<Entry>, IoError> {
        Ok(self.resolve(path, &Ignore::nothing())?.map(|found| found.entry))
    }

    pub(super) fn follow(&self, path: &Path) -> Result<Option<Found>, IoError> {
        let Some(found) = self.resolve(path, &self.ignore)? else { return Ok(None) };
        Ok(self.is_there(&found.entry)?.then_some(found))
    }

    /// Whether an entry is not ignored, or is a directory with something below it that is not.
    pub(super) fn is_there(&self, entry: &Entry) -> Result<bool, IoError> {
        let hidden = self.ignore.matches(as_path(&entry.place.inside));
        let directory = entry.metadata.kind == FileType::Directory;
        Ok(!hidden || (directory && self.walk(entry)?.next().transpose()?.is_some()))
    }

    /// Whether a directory is ignored with all that could lie below it.
    pub(super) fn prunes(&self, entry: &Entry) -> bool {
        let inside = &entry.place.inside;
        self.ignore.prunes(&self.ignore.enter_along(inside), inside)
    }

    /// The entry, held by the tree's root alone: safe to collect, and opened by its path from there.
    pub(super) fn detach(&self, mut entry: Entry) -> Entry {
        entry.place.directory = self.root.clone();
        entry.place.name_at = 0;
        entry
    }

    /// All that lies below a directory of this tree, sorted by name, parents first; the directory itself is left out.
    pub fn walk(&self, directory: &Entry) -> Result<Walk<'_>, IoError> {
        Walk::new(self, directory, None, None)
    }

    /// The entries of a directory that have a wanted name, sorted; ignored ones too.
    pub(super) fn list(
        &self,
        directory: &Entry,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<Entry>, IoError> {
        let file = directory.open_directory()?;
        let names = read_entries(&file).at("read directory", directory.place.shown())?;
        let fd = Arc::new(OwnedFd::from(file));
        let names =
            names.into_iter().map(|entry| entry.name.into_encoded_bytes()).filter(|name| wanted(name));
        let inside = names.map(|name| join(&directory.place.inside, &name));
        inside.filter_map(|inside| self.entry(&fd, inside).transpose()).collect()
    }

    fn resolve(&self, path: &Path, ignore: &Ignore) -> Result<Option<Found>, IoError> {
        let mut levels = vec![self.top()?];
        let mut linked = false;
        let mut todo: VecDeque<Vec<u8>> = components(path.as_os_str().as_bytes()).collect();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                levels.truncate((levels.len() - 1).max(1));
                continue;
            }
            let level = levels.last().expect("the root is never popped");
            let inside = join(&level.entry.place.inside, &name);
            let hidden = ignore.hides(&level.inherited, &inside);
            let Some(entry) = self.entry(&level.fd, inside)? else { return Ok(None) };
            match entry.metadata.kind {
                FileType::Symlink if hidden => return Ok(None),
                FileType::Symlink => {
                    links += 1;
                    linked |= todo.is_empty();
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP).at("resolve", entry.place.shown());
                    }
                    let target = entry.target.unwrap_or_default().into_os_string().into_vec();
                    if target.first() == Some(&b'/') {
                        levels.truncate(1);
                    }
                    let rest = std::mem::take(&mut todo);
                    todo = components(&target).chain(rest).collect();
                }
                FileType::Directory => {
                    let inherited = ignore.enter(&level.inherited, &entry.place.inside);
                    let Some(fd) = entry.place.pin()? else { return Ok(None) };
                    levels.push(Level { fd: Arc::new(fd), entry, inherited });
                }
                // A file, and the path goes on as if it were a directory.
                _ if !todo.is_empty() => return Ok(None),
                _ if hidden => return Ok(None),
                _ => return Ok(Some(Found { entry, linked })),
            }
        }
        Ok(levels.pop().map(|level| Found { entry: level.entry, linked }))
    }

    fn top(&self) -> Result<Level, IoError> {
        let entry = self.entry(&self.root, Vec::new())?;
        let entry = entry.ok_or(Errno::NOENT).at("stat", &*self.path)?;
        Ok(Level { fd: self.root.clone(), entry, inherited: Inherited::default() })
    }

    /// Looks at an entry of a directory; none if it is not there.
    pub(super) fn entry(&self, directory: &Arc<OwnedFd>, inside: Vec<u8>) -> Result<Option<Entry>, IoError> {
        let name_at = inside.len() - last(&inside).len();
        let place = Place { directory: directory.clone(), inside, name_at, root: self.path.clone() };
        let stat = match self.owner {
            // Whatever is recorded of a checkout's files was not said by the build.
            Owner::Zeroed => fs::statat(directory, place.name(), AtFlags::SYMLINK_NOFOLLOW),
            Owner::Kept => self.stat_kept(directory, place.name()),
        };
        let stat = match stat {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NAMETOOLONG) => return Ok(None),
            Err(error) => return Err(error).at("stat", place.shown()),
        };
        let metadata = Metadata::new(&stat, self.owner);
        let target = match metadata.kind {
            FileType::Symlink => match fs::readlinkat(directory, place.name(), Vec::new()) {
                Ok(target) => Some(as_path(target.as_bytes()).to_owned()),
                Err(error) => return Err(error).at("read link", place.shown()),
            },
            _ => None,
        };
        Ok(Some(Entry { path: as_path(&place.inside).to_owned(), metadata, target, place }))
    }

    fn stat_kept(&self, directory: &OwnedFd, name: &Path) -> rustix::io::Result<Stat> {
        let mut stat = ownership::stat_at(directory, name)?;
        if is_special(FileType::from_raw_mode(stat.st_mode))
            && let Some(ids) = self.link_owners.get(directory, name)
        {
            link_owners::apply(ids, &mut stat);
        }
        Ok(stat)
    }

    /// A descriptor of a directory by its path, for a walk that had to give up the one it had.
    pub(super) fn reopen(&self, inside: &[u8]) -> Result<OwnedFd, IoError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open_below(&self.root, as_path(inside), flags).at("open", self.path.join(as_path(inside)))
    }
}

impl Metadata {
    fn new(stat: &Stat, owner: Owner) -> Self {
        let (uid, gid) = match owner {
            Owner::Zeroed => (0, 0),
            Owner::Kept => (stat.st_uid, stat.st_gid),
        };
        let instant = |seconds: i64, nanos: u64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            uid,
            gid,
            size: stat.st_size.cast_unsigned(),
            special: stat.st_rdev,
            device: stat.st_dev,
            inode: stat.st_ino,
            links: stat.st_nlink,
            modified: instant(stat.st_mtime, stat.st_mtime_nsec),
            changed: instant(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

impl Entry {
    /// The path from the tree's root, without symlinks.
    pub fn inside(&self) -> &Path {
        as_path(&self.place.inside)
    }

    /// Whether an open file, perhaps of another mount, has the inode that the entry had when it was looked at.
    pub fn is_same_inode(&self, file: &File) -> bool {
        let Metadata { inode, size, modified, changed, .. } = self.metadata;
        fs::fstat(file).is_ok_and(|stat| {
            let now = Metadata::new(&stat, Owner::Kept);
            (now.inode, now.size, now.modified, now.changed) == (inode, size, modified, changed)
        })
    }

    /// Opens a regular file for reading. What became a link, fifo or device since it was looked at is an error.
    pub fn open(&self) -> Result<File, IoError> {
        self.place.open(FileType::RegularFile)
    }

    /// Opens a directory for reading its names and attributes.
    pub fn open_directory(&self) -> Result<File, IoError> {
        self.place.open(FileType::Directory)
    }
}

impl Place {
    fn name(&self) -> &Path {
        let name = &self.inside[self.name_at..];
        if name.is_empty() { Path::new(".") } else { as_path(name) }
    }

    pub(super) fn shown(&self) -> PathBuf {
        self.root.join(as_path(&self.inside))
    }

    pub(super) fn open(&self, kind: FileType) -> Result<File, IoError> {
        // Non-blocking, because a fifo may have taken the place of the file.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = open_below(&self.directory, self.name(), flags).at("open", self.shown())?;
        let stat = fs::fstat(&fd).at("stat", self.shown())?;
        if FileType::from_raw_mode(stat.st_mode) == kind {
            Ok(File::from(fd))
        } else {
            Err(Errno::STALE).at("open", self.shown())
        }
    }

    /// What an opened file is now.
    pub(super) fn metadata(&self, file: &File, owner: Owner) -> Result<Metadata, IoError> {
        let stat = match owner {
            Owner::Zeroed => fs::fstat(file),
            Owner::Kept => ownership::stat(file),
        };
        let stat = stat.at("stat", self.shown())?;
        Ok(Metadata::new(&stat, owner))
    }

    /// A descriptor to find entries of this directory by; none if it is a directory no more.
    fn pin(&self) -> Result<Option<OwnedFd>, IoError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match open_below(&self.directory, self.name(), flags) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error).at("open", self.shown()),
        }
    }
}

/// What a path leads to.
pub(super) struct Found {
    pub(super) entry: Entry,
    /// Whether the path names a symlink, which was followed.
    pub(super) linked: bool,
}

/// A directory on the way to an entry.
struct Level {
    fd: Arc<OwnedFd>,
    entry: Entry,
    inherited: Inherited,
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec)
}

/// Opens what lies below a directory, following no link at all.
fn open_below(directory: &OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match fs::openat2(directory, path, flags, Mode::empty(), resolve) {
            // The kernel asks for another try when a rename raced with it.
            Err(Errno::AGAIN) => {}
            answer => return answer,
        }
    }
}
