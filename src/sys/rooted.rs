//! Paths inside a directory that is somebody else's: resolved by the kernel as if that directory were `/`.
//!
//! Absolute symlinks and `..` lead back to the root and never out of it, however the tree changes meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, AtFlags, Mode, OFlags, RawDir, ResolveFlags, Stat};

use super::error::{At, IoError};

/// A directory in which foreign paths are resolved.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// For messages only.
    path: PathBuf,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: OsString,
    pub kind: fs::FileType,
}

/// Why something is not read as a file.
#[derive(Debug, thiserror::Error)]
#[error("it {}", self.is_what())]
pub struct Irregular(pub fs::FileType);

impl Irregular {
    /// None if an error is about something else.
    pub fn of(error: &IoError) -> Option<&Self> {
        error.source.get_ref()?.downcast_ref()
    }

    /// For a sentence that begins with its name.
    pub fn is_what(&self) -> String {
        format!("is {}, and no regular file", kind_in_words(self.0))
    }
}

fn kind_in_words(kind: fs::FileType) -> &'static str {
    match kind {
        fs::FileType::RegularFile => "a file",
        fs::FileType::Directory => "a directory",
        fs::FileType::Symlink => "a link",
        fs::FileType::Fifo => "a pipe",
        fs::FileType::Socket => "a socket",
        fs::FileType::CharacterDevice | fs::FileType::BlockDevice => "a device",
        fs::FileType::Unknown => "of an unknown kind",
    }
}

impl From<Irregular> for io::Error {
    fn from(error: Irregular) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

impl Root {
    pub fn open(path: &Path) -> Result<Self, IoError> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        let fd = fs::open(path, flags, Mode::empty()).at("open directory", path)?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Wraps a descriptor of a directory, such as one of a detached mount.
    pub fn from_fd(fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd, path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same with another name in messages.
    pub fn called(self, name: impl Into<PathBuf>) -> Self {
        Self { path: name.into(), ..self }
    }

    /// Opens `path` below this root; symlinks are followed inside it. `flags` decide about the last component.
    pub fn open_at(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, IoError> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match fs::openat2(&self.fd, relative(path), flags | OFlags::CLOEXEC, mode, resolve) {
                // The kernel asks for another try when a rename raced with `..`.
                Err(rustix::io::Errno::AGAIN) => {}
                answer => return answer.at("open", self.shown(path)),
            }
        }
    }

    /// The entry itself, not what a final symlink leads to.
    pub fn lstat(&self, path: &Path) -> Result<Stat, IoError> {
        let fd = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        fs::statat(&fd, "", AtFlags::EMPTY_PATH).at("stat", self.shown(path))
    }

    /// What the path leads to.
    pub fn stat(&self, path: &Path) -> Result<Stat, IoError> {
        let fd = self.open_at(path, OFlags::PATH, Mode::empty())?;
        fs::statat(&fd, "", AtFlags::EMPTY_PATH).at("stat", self.shown(path))
    }

    /// As [`Root::lstat`], with a missing entry as none.
    pub fn try_lstat(&self, path: &Path) -> Result<Option<Stat>, IoError> {
        missing_as_none(self.lstat(path))
    }

    /// As [`Root::stat`], with a missing entry as none.
    pub fn try_stat(&self, path: &Path) -> Result<Option<Stat>, IoError> {
        missing_as_none(self.stat(path))
    }

    /// A regular file for reading. A fifo or device put in its place neither blocks nor is read.
    pub fn open_file(&self, path: &Path) -> Result<File, IoError> {
        let fd = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?;
        let stat = fs::fstat(&fd).at("stat", self.shown(path))?;
        match fs::FileType::from_raw_mode(stat.st_mode) {
            fs::FileType::RegularFile => Ok(File::from(fd)),
            kind => Err(Irregular(kind)).at("read", self.shown(path)),
        }
    }

    /// A directory below this root, as a root of its own: links inside lead no further than it.
    pub fn subroot(&self, path: &Path) -> Result<Self, IoError> {
        let fd = self.open_at(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self { fd, path: self.shown(path) })
    }

    /// The entries of a directory, sorted by name as bytes, without `.` and `..`.
    pub fn entries(&self, path: &Path) -> Result<Vec<Entry>, IoError> {
        let fd = self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        read_entries(&fd).at("read directory", self.shown(path))
    }

    /// The target text of a symlink.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf, IoError> {
        let fd = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        let target = fs::readlinkat(&fd, "", Vec::new()).at("read link", self.shown(path))?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Where a path leads although its last parts may be missing, without a symlink in it: `/etc/resolv.conf` is often a
    /// link to nowhere.
    pub fn final_place(&self, path: &Path) -> Result<PathBuf, IoError> {
        final_place(self, path)
    }

    fn shown(&self, path: &Path) -> PathBuf {
        self.path.join(relative(path))
    }
}

impl Links for Root {
    fn link_at(&self, place: &Path) -> Result<Option<PathBuf>, IoError> {
        match self.try_lstat(place)? {
            Some(stat) if fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::Symlink => {
                self.read_link(place).map(Some)
            }
            Some(_) | None => Ok(None),
        }
    }
}

/// A tree whose symlinks can be read.
pub trait Links {
    /// The target of the symlink at a place that has no other links in it; none if there is something else, or nothing.
    fn link_at(&self, place: &Path) -> Result<Option<PathBuf>, IoError>;
}

/// Resolves a path name by name, as far as there is something; see [`Root::final_place`].
pub fn final_place(tree: &impl Links, path: &Path) -> Result<PathBuf, IoError> {
    let mut place = PathBuf::from("/");
    let mut ahead = components_backwards(path);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            place.pop();
            continue;
        }
        let next = place.join(name);
        match tree.link_at(&next)? {
            Some(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(rustix::io::Errno::LOOP).at("resolve", path);
                }
                if target.is_absolute() {
                    place = PathBuf::from("/");
                }
                ahead.extend(components_backwards(&target));
            }
            None => place = next,
        }
    }
    Ok(place)
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The entries of an open directory, sorted by name as bytes.
pub fn read_entries(directory: impl AsFd) -> rustix::io::Result<Vec<Entry>> {
    read_wanted_entries(directory, |_, _| true)
}

/// As [`read_entries`], of those that somebody wants. What nobody wants costs hardly more than the kernel takes to tell of it.
pub fn read_wanted_entries(
    directory: impl AsFd,
    mut is_wanted: impl FnMut(&[u8], fs::FileType) -> bool,
) -> rustix::io::Result<Vec<Entry>> {
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut entries = Vec::new();
    let mut reader = RawDir::new(&directory, buffer.spare_capacity_mut());
    while let Some(entry) = reader.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems leave the type out of the listing.
            fs::FileType::Unknown => {
                let stat = fs::statat(&directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                fs::FileType::from_raw_mode(stat.st_mode)
            }
            known => known,
        };
        if !is_wanted(name, kind) {
            continue;
        }
        entries.push(Entry { name: OsString::from_vec(name.to_vec()), kind });
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// As many symlinks as the kernel follows.
const MAX_LINKS: usize = 40;

/// The names of a path, to be popped in order; `.` and the root are left out.
fn components_backwards(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.rev().collect()
}

/// A path as openat wants it: the root itself is `.`.
fn relative(path: &Path) -> &Path {
    let inside = path.strip_prefix("/").unwrap_or(path);
    if inside.as_os_str() == OsStr::new("") { Path::new(".") } else { inside }
}

fn missing_as_none<T>(answer: Result<T, IoError>) -> Result<Option<T>, IoError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(error) => match error.errno() {
            Some(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_dots_stay_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(root.join("etc/passwd"), "inside").unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../etc/passwd", root.join("dots")).unwrap();
        std::os::unix::fs::symlink("../secret", root.join("escape")).unwrap();
        let root = Root::open(&root).unwrap();
        for path in ["/absolute", "dots", "../../absolute", "/etc/../etc/passwd"] {
            let text = io::read_to_string(root.open_file(Path::new(path)).unwrap()).unwrap();
            assert_eq!(text, "inside", "{path}");
        }
        assert!(root.try_stat(Path::new("escape")).unwrap().is_none());
        assert_eq!(root.read_link(Path::new("escape")).unwrap(), Path::new("../secret"));
    }

    #[test]
    fn links_to_nowhere_have_a_final_place() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("../run/resolve/stub", dir.path().join("etc/resolv.conf")).unwrap();
        std::os::unix::fs::symlink("/loop", dir.path().join("loop")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let place = |path: &str| root.final_place(Path::new(path));
        assert_eq!(place("/etc/resolv.conf").unwrap(), Path::new("/run/resolve/stub"));
        assert_eq!(place("/etc/../../x/./y").unwrap(), Path::new("/x/y"));
        assert_eq!(place("/loop").unwrap_err().errno(), Some(rustix::io::Errno::LOOP));
    }

    #[test]
    fn a_fifo_is_not_opened_as_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        fs::mkfifoat(&root, "pipe", Mode::from_raw_mode(0o600)).unwrap();
        assert!(root.open_file(Path::new("pipe")).is_err());
    }

    #[test]
    fn entries_are_sorted_bytes() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b", "a", "C", ".d"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let names: Vec<_> =
            root.entries(Path::new("/")).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, [".d", "C", "a", "b"]);
    }
}
