//! What a directory is besides its entries.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Stat, Timespec, Timestamps, futimens};

use crate::sys::{At, IoError, attributes, ownership};

/// Gives a directory the owner, mode, attributes and times of another one.
pub(super) fn copy(from: impl AsFd, to: impl AsFd, shown: &Path) -> Result<(), IoError> {
    let stat = ownership::stat(&from).at("stat", shown)?;
    ownership::chown(&to, stat.st_uid, stat.st_gid).at("change owner of", shown)?;
    attributes::copy(&from, &to);
    ownership::chmod(&to, stat.st_mode).at("change mode of", shown)?;
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
