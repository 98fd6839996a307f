//! What stat says agrees with the records. Most entries have none, and the kernel's answer about them is right: that is
//! found out by one look.

use std::io;

use rustix::fs::{AtFlags, CWD, Stat, Statx, StatxFlags};
use rustix::io::Errno;

use super::Owners;
use super::calls::StatCall;
use super::place::{AT_FDCWD, EMPTY_PATH, NOFOLLOW, Place, low};
use crate::sys::ownership::Recorded;
use crate::sys::seccomp::{Answer, Call, Interface, bytes_of, write_memory};

impl Owners {
    pub(super) fn stat(&mut self, kind: StatCall, call: &Call) -> io::Result<Answer> {
        let [a, b, c, d, e, _] = call.arguments;
        let (names, buffer) = match kind {
            StatCall::Stat => ([AT_FDCWD, a, 0], b),
            StatCall::Lstat => ([AT_FDCWD, a, NOFOLLOW], b),
            StatCall::Fstat => ([a, 0, EMPTY_PATH], b),
            StatCall::Fstatat => ([a, b, d], c),
            StatCall::Statx => ([a, b, c], e),
        };
        if self.links.is_empty() && self.places.has_no_record(call, names).unwrap_or(false) {
            return Ok(Answer::Continue);
        }
        let place = match kind {
            StatCall::Fstat => self.descriptor(call, a),
            StatCall::Stat | StatCall::Lstat | StatCall::Fstatat | StatCall::Statx => self.named(call, names),
        };
        let Some((place, recorded)) = place.and_then(|place| self.with_record(place)) else {
            return Ok(Answer::Continue);
        };
        let bytes = match (kind, call.interface) {
            (StatCall::Statx, _) => bytes_of(&statx(&place, &recorded, c, d)?).to_vec(),
            (_, Interface::Native) => bytes_of(&plain(&place, &recorded)?).to_vec(),
            (_, Interface::I386) => stat64(&plain(&place, &recorded)?),
        };
        write_memory(call.thread, buffer, &bytes)?;
        Ok(Answer::Value(0))
    }

    fn with_record(&self, place: Place) -> Option<(Place, Recorded)> {
        let recorded = place.recorded().or_else(|| {
            let (uid, gid) = self.links.owner(&place)?;
            Some(Recorded { uid, gid, device: None })
        })?;
        Some((place, recorded))
    }
}

fn plain(place: &Place, recorded: &Recorded) -> io::Result<Stat> {
    let flags = if place.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let mut stat = rustix::fs::statat(CWD, &place.path, flags)?;
    recorded.apply(&mut stat);
    Ok(stat)
}

fn statx(place: &Place, recorded: &Recorded, flags: u64, mask: u64) -> io::Result<Statx> {
    let mut at = AtFlags::from_bits_retain(low(flags)) - AtFlags::EMPTY_PATH - AtFlags::SYMLINK_NOFOLLOW;
    if !place.follow {
        at |= AtFlags::SYMLINK_NOFOLLOW;
    }
    let mut statx = rustix::fs::statx(CWD, &place.path, at, StatxFlags::from_bits_retain(low(mask)))?;
    (statx.stx_uid, statx.stx_gid) = (recorded.uid, recorded.gid);
    if let Some(device) = recorded.device {
        let kind = u16::try_from(device.kind.as_raw_mode()).map_err(|_| io::Error::from(Errno::OVERFLOW))?;
        statx.stx_mode = kind | (statx.stx_mode & 0o7777);
        statx.stx_rdev_major = rustix::fs::major(device.number);
        statx.stx_rdev_minor = rustix::fs::minor(device.number);
    }
    Ok(statx)
}

/// `struct stat64` of i386, whose 64-bit fields are aligned to four bytes.
fn stat64(stat: &Stat) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96);
    let wide = |bytes: &mut Vec<u8>, value: u64| bytes.extend_from_slice(&value.to_ne_bytes());
    let narrow = |bytes: &mut Vec<u8>, value: u32| bytes.extend_from_slice(&value.to_ne_bytes());
    wide(&mut bytes, stat.st_dev);
    narrow(&mut bytes, 0);
    narrow(&mut bytes, low(stat.st_ino));
    narrow(&mut bytes, stat.st_mode);
    narrow(&mut bytes, u32::try_from(stat.st_nlink).unwrap_or(u32::MAX));
    narrow(&mut bytes, stat.st_uid);
    narrow(&mut bytes, stat.st_gid);
    wide(&mut bytes, stat.st_rdev);
    narrow(&mut bytes, 0);
    wide(&mut bytes, stat.st_size.cast_unsigned());
    narrow(&mut bytes, u32::try_from(stat.st_blksize).unwrap_or(0));
    wide(&mut bytes, stat.st_blocks.cast_unsigned());
    for (seconds, nanoseconds) in [
        (stat.st_atime, stat.st_atime_nsec),
        (stat.st_mtime, stat.st_mtime_nsec),
        (stat.st_ctime, stat.st_ctime_nsec),
    ] {
        narrow(&mut bytes, low(seconds.cast_unsigned()));
        narrow(&mut bytes, low(nanoseconds));
    }
    wide(&mut bytes, stat.st_ino);
    bytes
}

#[cfg(test)]
mod tests {
    use rustix::fs::FileType;

    use super::*;

    #[test]
    fn the_layout_of_32_bit_programs_is_theirs() {
        let mut stat = rustix::fs::stat("/").unwrap();
        (stat.st_uid, stat.st_gid, stat.st_rdev) = (1000, 50, 0x0103);
        let bytes = stat64(&stat);
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(bytes.len(), 96);
        assert_eq!([word(16), word(24), word(28), word(32)], [stat.st_mode, 1000, 50, 0x0103]);
        assert_eq!(bytes[88..], stat.st_ino.to_ne_bytes());
        assert_eq!(FileType::from_raw_mode(word(16)), FileType::Directory);
    }
}
