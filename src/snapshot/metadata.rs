//! What a directory is besides its entries.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, Stat, Timespec, Timestamps, fchmod, fstat, futimens};

use crate::sys::{At, IoError, attributes, ownership};

/// Gives a directory the owner, mode, attributes and times of another one.
pub(super) fn copy(from: impl AsFd, to: impl AsFd, shown: &Path) -> Result<(), IoError> {
    let mut stat = fstat(&from).at("stat", shown)?;
    if let Some(recorded) = ownership::read(&from) {
        recorded.apply(&mut stat);
    }
    ownership::chown(&to, stat.st_uid, stat.st_gid).at("change owner of", shown)?;
    fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777)).at("change mode of", shown)?;
    attributes::copy(&from, &to);
    futimens(&to, &times(&stat)).at("set times of", shown)
}

pub(super) fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}
