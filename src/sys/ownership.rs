//! What an entry would be if this process were allowed to make it so: owner and device numbers, recorded in an extended
//! attribute that travels with the entry when it is copied up, renamed or linked.
//!
//! Only files and directories can carry one; for links and pipes see [`super::link_owners`]. A device is an empty file
//! whose record says what it stands for.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::str::FromStr;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use super::attribute_at;
use super::here::Here;
use super::namespace;

/// What the names of all attributes begin with that stay in the store and never get into a layer.
pub const PREFIX: &str = "user.rbuild.";
/// Owner and device.
pub const ATTRIBUTE: &str = "user.rbuild.owner";
/// Permissions that would lock this process out itself.
pub(super) const MODE: &str = "user.rbuild.mode";
/// File capabilities that this process may not give: what [`REAL_CAPABILITY`] would be.
pub const CAPABILITY: &str = "user.rbuild.capability";
pub const REAL_CAPABILITY: &str = "security.capability";

/// The own id where nothing is isolated and this process is no root with all its rights: then it stands for root's, because
/// what is root's in an image can belong to nobody else, and permissions hold. On every other rung there is none.
fn plain_user() -> Option<u32> {
    static PLAIN: Here<Option<u32>> = Here::unknown();
    let own = || (!namespace::may_own_files()).then(|| rustix::process::geteuid().as_raw());
    PLAIN.get_or(own)
}

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

/// Whose on the disk is what belongs to ids that this process's namespace lacks, if it has others: its last user's and
/// group's. A record says whom they stand for, and nobody else's entries are looked at for one, so an owner given by the
/// kernel counts. With a single id everything is root's instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandIns {
    pub user: u32,
    pub group: u32,
}

/// See [`StandIns`]; none also where no id is missing.
pub fn stand_ins() -> Option<StandIns> {
    static STAND_INS: Here<Option<StandIns>> = Here::unknown();
    STAND_INS.get_or(|| {
        let user = namespace::last_id("/proc/self/uid_map");
        let group = namespace::last_id("/proc/self/gid_map");
        let alone = is_plain() || user == Some(0) || group == Some(0) || (user, group) == (None, None);
        let (user, group) = (user.unwrap_or(MOST), group.unwrap_or(MOST));
        (!alone).then_some(StandIns { user, group })
    })
}

/// The last id that there can be.
const MOST: u32 = u32::MAX - 1;

impl StandIns {
    /// Who stands on the disk for a user and a group.
    pub fn of(self, uid: u32, gid: u32) -> (u32, u32) {
        (uid.min(self.user), gid.min(self.group))
    }

    /// Whether any of them is missing.
    pub fn are_needed(self, uid: u32, gid: u32) -> bool {
        self.of(uid, gid) != (uid, gid)
    }

    fn own(self, stat: &Stat) -> bool {
        stat.st_uid == self.user || stat.st_gid == self.group
    }
}

impl Recorded {
    /// Makes the owner that stat gave agree with the record. What the kernel knows of an owner is right: a record is for
    /// what could not be given.
    pub fn apply_owner(&self, stat: &mut Stat) {
        let stand_ins = stand_ins();
        if stand_ins.is_none_or(|stand_ins| stat.st_uid == stand_ins.user) {
            stat.st_uid = self.uid;
        }
        if stand_ins.is_none_or(|stand_ins| stat.st_gid == stand_ins.group) {
            stat.st_gid = self.gid;
        }
    }

    /// Makes what stat said agree with the record.
    pub fn apply(&self, stat: &mut Stat) {
        if stand_ins().is_some() || is_roots(stat) {
            self.apply_owner(stat);
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
    as_inside(&mut stat);
    if may_have_record(&stat) {
        let mut value = [0; 64];
        let length = attribute_at::get(&directory, name, ATTRIBUTE, &mut value);
        if let Some(recorded) = length.ok().and_then(|length| parse(&value[..length])) {
            recorded.apply(&mut stat);
        }
        if is_plain() {
            let length = attribute_at::get(&directory, name, MODE, &mut value);
            apply_mode(length.map(|length| &value[..length]), &mut stat);
        }
    }
    Ok(stat)
}

/// What stat says of an open file or directory, its record taken into account.
pub fn stat(fd: impl AsFd) -> rustix::io::Result<Stat> {
    let mut stat = rustix::fs::fstat(&fd)?;
    as_inside(&mut stat);
    if let Some(recorded) = read(&fd) {
        recorded.apply(&mut stat);
    }
    if is_plain() {
        let mut value = [0; 16];
        apply_mode(rustix::fs::fgetxattr(&fd, MODE, &mut value).map(|length| &value[..length]), &mut stat);
    }
    Ok(stat)
}

/// What belongs to whoever stands for root here is root's.
fn as_inside(stat: &mut Stat) {
    if plain_user() == Some(stat.st_uid) {
        (stat.st_uid, stat.st_gid) = (0, 0);
    }
}

fn apply_mode(recorded: rustix::io::Result<&[u8]>, stat: &mut Stat) {
    let text = recorded.ok().and_then(|value| std::str::from_utf8(value).ok());
    if let Some(mode) = text.and_then(|text| u32::from_str_radix(text, 8).ok()) {
        stat.st_mode = (stat.st_mode & !0o7777) | (mode & 0o7777);
    }
}

/// Gives an open file or directory its permissions, last of all: they may forbid any further change. Those that would keep
/// this process from reading its own files, or from making entries in a directory, are recorded.
pub fn chmod(fd: impl AsFd, mode: u32) -> io::Result<()> {
    let wanted = Mode::from_raw_mode(mode & 0o7777);
    if !is_plain() {
        return Ok(rustix::fs::fchmod(fd, wanted)?);
    }
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    let needed = if kind == FileType::Directory { Mode::RWXU } else { Mode::RUSR };
    if wanted.contains(needed) {
        match rustix::fs::fremovexattr(&fd, MODE) {
            // One that may not be changed has none.
            Err(Errno::ACCESS) => {}
            answer => forgiving(answer)?,
        }
    } else {
        let text = format!("{:o}", wanted.as_raw_mode());
        forgiving(rustix::fs::fsetxattr(&fd, MODE, text.as_bytes(), XattrFlags::empty()))?;
    }
    Ok(rustix::fs::fchmod(fd, wanted | needed)?)
}

/// As [`chmod`] for an entry that is no link and may be no file.
pub fn chmod_at(directory: impl AsFd, name: &OsStr, mode: u32) -> io::Result<()> {
    if is_plain() {
        let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        // A device is a file here.
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            return chmod(rustix::fs::openat(&directory, name, flags, Mode::empty())?, mode);
        }
    }
    let mode = Mode::from_raw_mode(mode & 0o7777);
    Ok(rustix::fs::chmodat(directory, name, mode, AtFlags::empty())?)
}

/// Whether a look for a record is worth it: what belongs to root or a stand-in may belong to somebody else, and an empty
/// file may stand for a device.
fn may_have_record(stat: &Stat) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => may_be_unreal(stat) || stat.st_size == 0,
        FileType::Directory => may_be_unreal(stat),
        FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => false,
    }
}

fn may_be_unreal(stat: &Stat) -> bool {
    stand_ins().map_or_else(|| is_roots(stat), |stand_ins| stand_ins.own(stat))
}

fn is_roots(stat: &Stat) -> bool {
    stat.st_uid == 0 && stat.st_gid == 0
}

/// Gives an open file or directory an owner: for real where this process may, by a record where it may not.
pub fn chown(fd: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    // Even the own id is somebody else's in an image.
    if is_plain() {
        let device = read(&fd).and_then(|before| before.device);
        return write(fd, Recorded { uid, gid, device });
    }
    let give = |(uid, gid)| rustix::fs::fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    match give((uid, gid)) {
        // The namespace does not map the id, or the process is nobody who may give files away.
        Err(Errno::INVAL | Errno::PERM) => {
            if let Some(stand_ins) = stand_ins() {
                give(stand_ins.of(uid, gid))?;
            }
            let device = read(&fd).and_then(|before| before.device);
            write(fd, Recorded { uid, gid, device })
        }
        // What was recorded of the owner before does not hold any more; a device stays one.
        Ok(()) => match read(&fd) {
            Some(before) => write(fd, Recorded { device: before.device, ..Recorded::default() }),
            None => Ok(()),
        },
        answer => Ok(answer?),
    }
}

/// Whether a file that was made just now has an owner and permissions already, so that neither [`chown`] nor [`chmod`] would change
/// anything.
pub fn is_made_so(fd: impl AsFd, uid: u32, gid: u32, mode: u32) -> io::Result<bool> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(!is_plain() && (stat.st_uid, stat.st_gid) == (uid, gid) && stat.st_mode & 0o7777 == mode & 0o7777)
}

/// Makes a device node: for real where this process may, else as an empty file with a record.
pub fn make_device(directory: impl AsFd, name: &OsStr, device: Device, uid: u32, gid: u32) -> io::Result<()> {
    let make =
        || rustix::fs::mknodat(&directory, name, device.kind, Mode::from_raw_mode(0o600), device.number);
    // One that is made in spite of everything could not be given away.
    match if is_plain() { Err(Errno::PERM) } else { make() } {
        Err(Errno::PERM) => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&directory, name, flags, Mode::from_raw_mode(0o600))?;
            write(&file, Recorded { device: Some(device), ..Recorded::default() })?;
            chown(file, uid, gid)
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
    let length = read_attribute(path, follow, &mut buffer).ok()?;
    parse(&buffer[..length])
}

/// Whether it is certain that a path has no record: there is nothing, or something that has none.
pub fn has_no_record(path: &Path, follow: bool) -> bool {
    let read = read_attribute(path, follow, &mut [0; 64]);
    matches!(read, Err(Errno::NODATA | Errno::NOTSUP | Errno::NOENT))
}

fn read_attribute(path: &Path, follow: bool, buffer: &mut [u8; 64]) -> rustix::io::Result<usize> {
    match follow {
        true => rustix::fs::getxattr(path, ATTRIBUTE, buffer),
        false => rustix::fs::lgetxattr(path, ATTRIBUTE, buffer),
    }
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

/// Whether nothing can be given away for real, and permissions hold.
pub fn is_plain() -> bool {
    plain_user().is_some()
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
