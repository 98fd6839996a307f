//! Files in a directory, which may have others. All belongs to the caller, whoever it is in the image.
//!
//! Everything is first written into a directory inside that one. What is there already changes only when all of it is
//! written, and then by renames: what fails or is killed before leaves things as they were.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags, chmodat, fchmod, fchown,
    fsetxattr, futimens, linkat, mkdirat, mknodat, openat, renameat, renameat_with, statat, symlinkat,
    utimensat,
};
use rustix::io::Errno;

use super::{LeftOut, Tree};
use crate::export::{ExportError, Pending};
use crate::layer::{Attributes, Shown};
use crate::snapshot::copy_content;
use crate::sys::rooted::{Root, read_entries};
use crate::sys::{At, IoError, remove_tree};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What the directory is called, with more, in which everything is written first.
const STAGING: &str = "rbuild-output";

/// A directory that files are to be written into, made if it was not there. When it is dropped, it is as it was before.
#[derive(Debug)]
pub struct Target {
    // First, so that a directory that was made is empty when it is removed.
    pending: Pending,
    made: MadeDirectories,
    path: PathBuf,
    /// Locked as long as somebody writes.
    _alive: fs::File,
}

impl Target {
    pub fn prepare(path: &Path) -> Result<Self, IoError> {
        let made = MadeDirectories::make(path)?;
        sweep(path);
        let pending = Pending::directory(&path.join(STAGING))?;
        let alive = fs::File::open(pending.path()).at("open", pending.path())?;
        alive.lock().at("lock", pending.path())?;
        Ok(Self { pending, made, path: path.to_owned(), _alive: alive })
    }

    /// Writes all files, and then moves them to their places. What fails before it moves them leaves the directory as it was.
    pub fn write(self, tree: &Tree) -> Result<LeftOut, ExportError> {
        let mut writing = Writing::into(self.pending.path(), &self.path)?;
        tree.each(|shown| writing.entry(tree, shown))?;
        tree.check_waiting()?;
        writing.merge(&writing.staging, &open_directory(&self.path)?, Path::new(""))?;
        writing.finish_directories()?;
        self.made.stay();
        Ok(writing.left_out)
    }
}

/// Removes what killed processes have left in a directory. What it does not manage does no harm.
fn sweep(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_staging = name.starts_with(&format!(".{STAGING}.")) && name.ends_with(".tmp");
        if is_staging && fs::File::open(entry.path()).is_ok_and(|left| left.try_lock().is_ok()) {
            let _ = remove_tree(&entry.path());
        }
    }
}

/// A directory and those above it that were not there before; gone again with the value, unless they are to stay.
#[derive(Debug)]
struct MadeDirectories(Vec<PathBuf>);

impl MadeDirectories {
    fn make(path: &Path) -> Result<Self, IoError> {
        let missing = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let made = Self(missing.map(Path::to_owned).collect());
        fs::create_dir_all(path).at("create directory", path)?;
        Ok(made)
    }

    fn stay(mut self) {
        self.0.clear();
    }
}

impl Drop for MadeDirectories {
    fn drop(&mut self) {
        for path in &self.0 {
            // One that somebody else uses by now is not empty.
            let _ = fs::remove_dir(path);
        }
    }
}

struct Writing<'a> {
    to: &'a Path,
    /// Where everything is written first.
    staging: OwnedFd,
    /// What directories are given last: modes may forbid to make entries, and making them changes times.
    directories: Vec<Directory>,
    left_out: LeftOut,
}

struct Directory {
    path: PathBuf,
    mode: u32,
    times: Timestamps,
    attributes: Attributes,
}

impl<'a> Writing<'a> {
    fn into(place: &Path, to: &'a Path) -> Result<Self, IoError> {
        let staging = rustix::fs::open(place, DIRECTORY, Mode::empty()).at("open", place)?;
        // A directory that hands its group on does not do so to what is the caller's.
        own(&staging, to)?;
        fchmod(&staging, Mode::RWXU).at("change mode of", place)?;
        Ok(Self { to, staging, directories: Vec::new(), left_out: LeftOut::default() })
    }

    fn entry(&mut self, tree: &Tree, shown: &Shown<'_>) -> Result<(), ExportError> {
        let path = shown.path;
        if let Some(first) = &shown.first {
            match linkat(&self.staging, first, &self.staging, path, AtFlags::empty()) {
                Ok(()) => return Ok(()),
                // A device that could not be made.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error).at("link", self.to.join(path))?,
            }
        }
        let times = times(tree.time_of(shown));
        match shown.kind() {
            FileType::Directory => {
                let attributes = shown.attributes()?;
                self.directories.push(Directory {
                    path: path.to_owned(),
                    mode: shown.mode(),
                    times,
                    attributes,
                });
                mkdirat(&self.staging, path, Mode::RWXU).at("create directory", self.to.join(path))?;
                return Ok(());
            }
            FileType::RegularFile => return self.file(tree, shown, &times),
            FileType::Symlink => {
                let target = shown.link_target()?;
                symlinkat(target, &self.staging, path).at("create link", self.to.join(path))?;
            }
            FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
                match mknodat(&self.staging, path, shown.kind(), Mode::RUSR, shown.stat.st_rdev) {
                    Ok(()) => {}
                    Err(Errno::PERM) if shown.kind() != FileType::Fifo => {
                        self.left_out.devices += 1;
                        return Ok(());
                    }
                    Err(error) => return Err(error).at("create", self.to.join(path))?,
                }
                let mode = Mode::from_raw_mode(shown.mode());
                chmodat(&self.staging, path, mode, AtFlags::empty())
                    .at("change mode of", self.to.join(path))?;
            }
            FileType::Socket | FileType::Unknown => {
                self.left_out.sockets += 1;
                return Ok(());
            }
        }
        utimensat(&self.staging, path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .at("set times of", self.to.join(path))?;
        Ok(())
    }

    fn file(&self, tree: &Tree, shown: &Shown<'_>, times: &Timestamps) -> Result<(), ExportError> {
        let target = self.to.join(shown.path);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.staging, shown.path, flags, Mode::RUSR | Mode::WUSR).at("create", &target)?;
        let mut file = fs::File::from(file);
        let waiting = || tree.check_waiting().map_err(|_| io::ErrorKind::Interrupted.into());
        copy_content(&mut shown.open()?, &mut file, waiting).at("write", &target)?;
        set_attributes(&file, &shown.attributes()?).at("set attributes of", &target)?;
        fchmod(&file, Mode::from_raw_mode(shown.mode())).at("change mode of", &target)?;
        Ok(futimens(&file, times).at("set times of", &target)?)
    }

    /// Moves what is in a staged directory to its place. Directories merge; anything else takes the place of what was there,
    /// which is removed with the staging.
    fn merge(&self, from: &OwnedFd, to: &OwnedFd, path: &Path) -> Result<(), ExportError> {
        for entry in read_entries(from).at("read directory", self.to.join(path))? {
            let path = path.join(&entry.name);
            let target = self.to.join(&path);
            let there = match statat(to, &entry.name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
                Err(Errno::NOENT) => None,
                Err(error) => return Err(error).at("stat", target)?,
            };
            if there == Some(FileType::Directory) {
                // Its own mode may forbid what is to be done now; who is not its owner is told so at the end.
                let _ = chmodat(to, &entry.name, Mode::RWXU, AtFlags::empty());
            }
            match (entry.kind, there) {
                (_, None) => renameat(from, &entry.name, to, &entry.name).at("rename to", &target)?,
                (FileType::Directory, Some(FileType::Directory)) => {
                    let inner = openat(from, &entry.name, DIRECTORY, Mode::empty()).at("open", &target)?;
                    let below = openat(to, &entry.name, DIRECTORY, Mode::empty()).at("open", &target)?;
                    self.merge(&inner, &below, &path)?;
                }
                (_, Some(_)) => replace(from, to, &entry.name).at("replace", &target)?,
            }
        }
        Ok(())
    }

    fn finish_directories(&self) -> Result<(), ExportError> {
        let root = Root::open(self.to)?;
        for Directory { path, mode, times, attributes } in self.directories.iter().rev() {
            let (fd, shown) = (root.open_at(path, DIRECTORY, Mode::empty())?, self.to.join(path));
            own(&fd, &shown)?;
            set_attributes(&fd, attributes).at("set attributes of", &shown)?;
            fchmod(&fd, Mode::from_raw_mode(*mode)).at("change mode of", &shown)?;
            futimens(&fd, times).at("set times of", &shown)?;
        }
        Ok(())
    }
}

/// Lets an entry take the place of another one. They change places where they can: a file system such as ext4 writes out at once
/// what is renamed over another file.
fn replace(from: &OwnedFd, to: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match renameat_with(from, name, to, name, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS) => {}
        answer => return Ok(answer?),
    }
    // Named through the descriptor: nothing on the way can be a link.
    let directory = Path::new("/proc/self/fd").join(to.as_raw_fd().to_string());
    remove_tree(&directory.join(name)).map_err(|error| error.source)?;
    Ok(renameat(from, name, to, name)?)
}

/// Gives something to the caller, who stands for root in a namespace.
fn own(fd: impl AsFd, shown: &Path) -> Result<(), IoError> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    fchown(fd, Some(user), Some(group)).at("change owner of", shown)
}

/// What the file system, or the caller's rights, have no place for is left out.
fn set_attributes(fd: impl AsFd, attributes: &[(Vec<u8>, Vec<u8>)]) -> rustix::io::Result<()> {
    for (name, value) in attributes {
        match fsetxattr(&fd, &name[..], value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS | Errno::INVAL) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn open_directory(path: &Path) -> Result<OwnedFd, IoError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).at("open", path)
}

fn times((seconds, nanoseconds): (i64, i64)) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    Timestamps { last_access: time, last_modification: time }
}
