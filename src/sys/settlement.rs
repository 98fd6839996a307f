//! Who understands a finished tree: two kinds of process share what they make, those that are alone in a user namespace and
//! those that are in none. What lies on the disk is the same for both, files of one user with records; but root in a
//! namespace is held up by no permissions, and whoever is in none understands records that the kernel contradicts.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, fchmod, fgetxattr, fremovexattr, lgetxattr, openat, statat,
};
use rustix::io::Errno;

use super::error::{At, IoError};
use super::here::Here;
use super::namespace;
use super::ownership::{CAPABILITY, MODE, is_plain};
use super::rooted::read_entries;

/// Which of the two kinds may take a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Understood {
    ByBoth,
    /// There is a mode that would forbid its owner to read, or a capability, and it is just a record.
    InNoNamespace,
    /// There is something that its owner may not read.
    InANamespace,
}

/// The two kinds of process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Maker {
    InNoNamespace,
    AloneInANamespace,
}

/// None for every other process: what that one makes it shares with its like alone.
fn maker() -> Option<Maker> {
    static MAKER: Here<Option<Maker>> = Here::unknown();
    MAKER.get_or(|| match (is_plain(), namespace::has_single_id()) {
        (true, _) => Some(Maker::InNoNamespace),
        (false, true) => Some(Maker::AloneInANamespace),
        (false, false) => None,
    })
}

/// Whether this process takes what is understood like this and was made under its own id map.
pub fn understands(understood: Understood) -> bool {
    match understood {
        Understood::ByBoth => true,
        Understood::InNoNamespace => maker() == Some(Maker::InNoNamespace),
        Understood::InANamespace => maker() == Some(Maker::AloneInANamespace),
    }
}

/// Whether a directory can be read with these permissions.
fn is_readable(mode: Mode) -> bool {
    mode.contains(Mode::RUSR | Mode::XUSR)
}

/// Finds out who understands a finished tree. While a process in no namespace makes one, its directories have to be writable, and
/// their permissions are recorded; now those below the top that can be read get them for real.
pub fn settle(top: &Path) -> Result<Understood, IoError> {
    match maker() {
        None => Ok(Understood::ByBoth),
        Some(Maker::InNoNamespace) => settle_below(top),
        // What cannot be told is not shared.
        Some(Maker::AloneInANamespace) => match owner_can_read(top) {
            Ok(true) => Ok(Understood::ByBoth),
            Ok(false) | Err(_) => Ok(Understood::InANamespace),
        },
    }
}

/// Gives the top itself its permissions, after it has been moved to where it stays: who may not write to a directory cannot
/// move it either.
pub fn settle_top(top: &Path) -> Result<(), IoError> {
    if !is_plain() {
        return Ok(());
    }
    let directory = rustix::fs::open(top, DIRECTORY, Mode::empty()).at("open directory", top)?;
    settle_directory(&directory, top).map(|_| ())
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A directory to be looked at, by its parent and its name.
type Ahead = (Rc<OwnedFd>, OsString);

fn settle_below(top: &Path) -> Result<Understood, IoError> {
    let opened = rustix::fs::open(top, DIRECTORY, Mode::empty()).at("open directory", top)?;
    let mut special = !recorded_mode(&opened).is_none_or(is_readable);
    let mut ahead: Vec<Ahead> = Vec::new();
    special |= list(opened, &mut ahead).at("read directory", top)?;
    while let Some((parent, name)) = ahead.pop() {
        let directory = openat(&parent, &name, DIRECTORY, Mode::empty()).at("open directory", &name)?;
        special |= !settle_directory(&directory, Path::new(&name))?;
        special |= list(directory, &mut ahead).at("read directory", &name)?;
    }
    Ok(if special { Understood::InNoNamespace } else { Understood::ByBoth })
}

/// Whether any file in a directory has a record that the kernel contradicts.
fn list(directory: OwnedFd, ahead: &mut Vec<Ahead>) -> rustix::io::Result<bool> {
    let directory = Rc::new(directory);
    let mut special = false;
    for entry in read_entries(&directory)? {
        match entry.kind {
            FileType::Directory => ahead.push((Rc::clone(&directory), entry.name)),
            FileType::RegularFile => special |= is_special(&directory, &entry.name),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {}
        }
    }
    Ok(special)
}

fn is_special(directory: &OwnedFd, name: &OsStr) -> bool {
    let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    let has =
        |attribute| !matches!(lgetxattr(&path, attribute, &mut [0; 64]), Err(Errno::NODATA | Errno::NOTSUP));
    has(MODE) || has(CAPABILITY)
}

/// Whether the directory now is what it should be.
fn settle_directory(directory: &OwnedFd, shown: &Path) -> Result<bool, IoError> {
    match recorded_mode(directory) {
        None => Ok(true),
        Some(mode) if is_readable(mode) => {
            let settled = fremovexattr(directory, MODE).and_then(|()| fchmod(directory, mode));
            settled.at("change mode of", shown).map(|()| true)
        }
        Some(_) => Ok(false),
    }
}

fn recorded_mode(directory: &OwnedFd) -> Option<Mode> {
    let mut buffer = [0; 16];
    let length = fgetxattr(directory, MODE, &mut buffer).ok()?;
    let text = std::str::from_utf8(&buffer[..length]).ok()?;
    u32::from_str_radix(text, 8).ok().map(|mode| Mode::from_raw_mode(mode & 0o7777))
}

/// Whether permissions let the owner of a tree read all of it.
fn owner_can_read(top: &Path) -> rustix::io::Result<bool> {
    let mut ahead: Vec<Ahead> = Vec::new();
    let mut next = openat(CWD, top, DIRECTORY, Mode::empty())?;
    if !is_readable(Mode::from_raw_mode(rustix::fs::fstat(&next)?.st_mode)) {
        return Ok(false);
    }
    loop {
        let directory = Rc::new(next);
        for entry in read_entries(&directory)? {
            let needed = match entry.kind {
                FileType::Directory => Mode::RUSR | Mode::XUSR,
                FileType::RegularFile => Mode::RUSR,
                FileType::Symlink
                | FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Unknown => continue,
            };
            let stat = statat(&directory, &entry.name, AtFlags::SYMLINK_NOFOLLOW)?;
            if !Mode::from_raw_mode(stat.st_mode).contains(needed) {
                return Ok(false);
            }
            if entry.kind == FileType::Directory {
                ahead.push((Rc::clone(&directory), entry.name));
            }
        }
        match ahead.pop() {
            Some((parent, name)) => next = openat(&parent, &name, DIRECTORY, Mode::empty())?,
            None => return Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_its_owner_may_not_read_is_found_at_any_depth() {
        let world = tempfile::tempdir().unwrap();
        let top = world.path().join("top");
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/b/file"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", top.join("a/link")).unwrap();
        let set = |path: &str, mode| {
            fs::set_permissions(top.join(path), PermissionsExt::from_mode(mode)).unwrap();
        };
        set("a", 0o555);
        assert_eq!(owner_can_read(&top), Ok(true));
        for (path, locked, usual) in [("a/b/file", 0o200, 0o400), ("a/b", 0o300, 0o700), ("", 0o600, 0o755)] {
            set(path, locked);
            // Root opens it all the same, others do not.
            assert_ne!(owner_can_read(&top), Ok(true), "{path}");
            set(path, usual);
        }
        set("a", 0o755);
    }
}
