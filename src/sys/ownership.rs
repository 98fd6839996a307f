//! What an entry would be if this process were allowed to make it so: owner and device numbers, recorded in an extended
//! attribute that travels with the entry when it is copied up, renamed or linked.
//!
//! Only files and directories can carry one; for links and pipes see [`super::link_owners`]. A device is an empty file
//! whose record says what it stands for.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::str::FromStr;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

/// The attribute's name; it stays in the store and never gets into a layer.
pub const ATTRIBUTE: &str = "user.rbuild.owner";

/// A recorded owner, and the device an empty file stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recorded {
    pub uid: u32,
    pub gid: u32,
    pub device: Option<Device>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Character or block device.
    pub kind: FileType,
    pub number: u64,
}

impl Recorded {
    /// Makes what stat said agree with the record.
    pub fn apply(&self, stat: &mut Stat) {
        // Where the kernel knows of an owner, that one is right: a record is for what had to stay root's.
        if is_roots(stat) {
            (stat.st_uid, stat.st_gid) = (self.uid, self.gid);
        }
        if let Some(device) = self.device {
            stat.st_mode = device.kind.as_raw_mode() | (stat.st_mode & 0o7777);
            stat.st_rdev = device.number;
            stat.st_size = 0;
        }
    }
}

/// What stat says of an entry of a directory, links not followed, its record taken into account.
pub fn stat_at(directory: impl AsFd, name: impl AsRef<Path>) -> rustix::io::Result<Stat> {
    let name = name.as_ref();
    let mut stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if may_have_record(&stat) {
        let path = Path::new("/proc/self/fd").join(directory.as_fd().as_raw_fd().to_string()).join(name);
        if let Some(recorded) = read_path(&path, false) {
            recorded.apply(&mut stat);
        }
    }
    Ok(stat)
}

/// Whether a look for a record is worth it: what belongs to root may belong to somebody else, and an empty file may
/// stand for a device.
fn may_have_record(stat: &Stat) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => is_roots(stat) || stat.st_size == 0,
        FileType::Directory => is_roots(stat),
        FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => false,
    }
}

fn is_roots(stat: &Stat) -> bool {
    stat.st_uid == 0 && stat.st_gid == 0
}

/// Gives an open file or directory an owner: for real where this process may, by a record where it may not.
pub fn chown(fd: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    match rustix::fs::fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
        // The namespace does not map the id, or the process is nobody who may give files away.
        Err(Errno::INVAL | Errno::PERM) => write(fd, Recorded { uid, gid, device: None }),
        // What was recorded of the owner before does not hold any more; a device stays one.
        Ok(()) => match read(&fd) {
            Some(before) => write(fd, Recorded { device: before.device, ..Recorded::default() }),
            None => Ok(()),
        },
        answer => Ok(answer?),
    }
}

/// Makes a device node: for real where this process may, else as an empty file with a record.
pub fn make_device(directory: impl AsFd, name: &OsStr, device: Device, uid: u32, gid: u32) -> io::Result<()> {
    match rustix::fs::mknodat(&directory, name, device.kind, Mode::from_raw_mode(0o600), device.number) {
        Err(Errno::PERM) => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600))?;
            write(file, Recorded { uid, gid, device: Some(device) })
        }
        answer => Ok(answer?),
    }
}

/// Reads the record of an open file or directory.
pub fn read(fd: impl AsFd) -> Option<Recorded> {
    let mut buffer = [0; 64];
    let length = rustix::fs::fgetxattr(fd, ATTRIBUTE, &mut buffer).ok()?;
    parse(&buffer[..length])
}

/// Reads the record of a path.
pub fn read_path(path: &Path, follow: bool) -> Option<Recorded> {
    let mut buffer = [0; 64];
    let length = if follow {
        rustix::fs::getxattr(path, ATTRIBUTE, &mut buffer)
    } else {
        rustix::fs::lgetxattr(path, ATTRIBUTE, &mut buffer)
    };
    parse(&buffer[..length.ok()?])
}

/// Records an open file's or directory's owner. Root's own entries need no record.
pub fn write(fd: impl AsFd, recorded: Recorded) -> io::Result<()> {
    let answer = if recorded == Recorded::default() {
        rustix::fs::fremovexattr(fd, ATTRIBUTE)
    } else {
        rustix::fs::fsetxattr(fd, ATTRIBUTE, recorded.to_string().as_bytes(), XattrFlags::empty())
    };
    forgiving(answer)
}

/// As [`write()`] for a path.
pub fn write_path(path: &Path, follow: bool, recorded: Recorded) -> io::Result<()> {
    let (text, flags) = (recorded.to_string(), XattrFlags::empty());
    forgiving(match (recorded == Recorded::default(), follow) {
        (true, true) => rustix::fs::removexattr(path, ATTRIBUTE),
        (true, false) => rustix::fs::lremovexattr(path, ATTRIBUTE),
        (false, true) => rustix::fs::setxattr(path, ATTRIBUTE, text.as_bytes(), flags),
        (false, false) => rustix::fs::lsetxattr(path, ATTRIBUTE, text.as_bytes(), flags),
    })
}

/// Where no attribute can be kept (links, pipes, some file systems) the owner is root's after all.
fn forgiving(answer: Result<(), Errno>) -> io::Result<()> {
    match answer {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn parse(bytes: &[u8]) -> Option<Recorded> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// `uid:gid`, then for a device `:c:` or `:b:` and its number.
impl fmt::Display for Recorded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.uid, self.gid)?;
        match self.device {
            None => Ok(()),
            Some(Device { kind: FileType::BlockDevice, number }) => write!(out, ":b:{number}"),
            Some(Device { number, .. }) => write!(out, ":c:{number}"),
        }
    }
}

impl FromStr for Recorded {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = text.split(':');
        let mut next = || fields.next().unwrap_or_default();
        let (uid, gid) = (next().parse()?, next().parse()?);
        let device = match next() {
            "c" => Some(Device { kind: FileType::CharacterDevice, number: next().parse()? }),
            "b" => Some(Device { kind: FileType::BlockDevice, number: next().parse()? }),
            _ => None,
        };
        Ok(Self { uid, gid, device })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        for device in [
            None,
            Some(Device { kind: FileType::CharacterDevice, number: 259 }),
            Some(Device { kind: FileType::BlockDevice, number: 7 << 8 }),
        ] {
            let recorded = Recorded { uid: 1000, gid: 4_294_967_294, device };
            assert_eq!(recorded.to_string().parse(), Ok(recorded));
        }
        assert!("".parse::<Recorded>().is_err());
        assert!("1:x".parse::<Recorded>().is_err());
    }

    #[test]
    fn a_record_stays_with_its_file() {
        let dir = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "").unwrap();
        let recorded = Recorded { uid: 7, gid: 8, device: None };
        write_path(&path, false, recorded).unwrap();
        let renamed = dir.path().join("renamed");
        std::fs::rename(&path, &renamed).unwrap();
        // A file system without attributes keeps none, and that is no error.
        let read = read_path(&renamed, false);
        assert!(read == Some(recorded) || read.is_none());
        write_path(&renamed, true, Recorded::default()).unwrap();
        assert_eq!(read_path(&renamed, true), None);
    }
}
