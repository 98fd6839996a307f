//! Which calls are handed over. What older architectures have beside newer calls stands behind a condition.

use crate::sys::seccomp::{Trap, When};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File(FileCall),
    Ids(IdCall),
}

/// Arguments in the order of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileCall {
    /// path, uid, gid
    Chown,
    Lchown,
    /// descriptor, uid, gid
    Fchown,
    /// directory, path, uid, gid, flags
    Fchownat,
    /// path, mode, device
    Mknod,
    /// directory, path, mode, device
    Mknodat,
    /// path, flags, mode
    Open,
    /// directory, path, flags, mode
    Openat,
    /// path, mode
    Creat,
    Mkdir,
    /// directory, path, mode
    Mkdirat,
    /// path, buffer
    Stat,
    Lstat,
    /// descriptor, buffer
    Fstat,
    /// directory, path, buffer, flags
    Newfstatat,
    /// directory, path, flags, mask, buffer
    Statx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdCall {
    Getuid,
    Geteuid,
    Getgid,
    Getegid,
    Getresuid,
    Getresgid,
    Getgroups,
    Setuid,
    Setgid,
    Setreuid,
    Setregid,
    Setresuid,
    Setresgid,
    Setfsuid,
    Setfsgid,
    Setgroups,
}

const TABLE: &[(i64, Kind)] = &[
    (libc::SYS_fchown, Kind::File(FileCall::Fchown)),
    (libc::SYS_fchownat, Kind::File(FileCall::Fchownat)),
    (libc::SYS_mknodat, Kind::File(FileCall::Mknodat)),
    (libc::SYS_openat, Kind::File(FileCall::Openat)),
    (libc::SYS_mkdirat, Kind::File(FileCall::Mkdirat)),
    (libc::SYS_fstat, Kind::File(FileCall::Fstat)),
    (libc::SYS_newfstatat, Kind::File(FileCall::Newfstatat)),
    (libc::SYS_statx, Kind::File(FileCall::Statx)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chown, Kind::File(FileCall::Chown)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lchown, Kind::File(FileCall::Lchown)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, Kind::File(FileCall::Mknod)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, Kind::File(FileCall::Open)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, Kind::File(FileCall::Creat)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, Kind::File(FileCall::Mkdir)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_stat, Kind::File(FileCall::Stat)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lstat, Kind::File(FileCall::Lstat)),
    (libc::SYS_getuid, Kind::Ids(IdCall::Getuid)),
    (libc::SYS_geteuid, Kind::Ids(IdCall::Geteuid)),
    (libc::SYS_getgid, Kind::Ids(IdCall::Getgid)),
    (libc::SYS_getegid, Kind::Ids(IdCall::Getegid)),
    (libc::SYS_getresuid, Kind::Ids(IdCall::Getresuid)),
    (libc::SYS_getresgid, Kind::Ids(IdCall::Getresgid)),
    (libc::SYS_getgroups, Kind::Ids(IdCall::Getgroups)),
    (libc::SYS_setuid, Kind::Ids(IdCall::Setuid)),
    (libc::SYS_setgid, Kind::Ids(IdCall::Setgid)),
    (libc::SYS_setreuid, Kind::Ids(IdCall::Setreuid)),
    (libc::SYS_setregid, Kind::Ids(IdCall::Setregid)),
    (libc::SYS_setresuid, Kind::Ids(IdCall::Setresuid)),
    (libc::SYS_setresgid, Kind::Ids(IdCall::Setresgid)),
    (libc::SYS_setfsuid, Kind::Ids(IdCall::Setfsuid)),
    (libc::SYS_setfsgid, Kind::Ids(IdCall::Setfsgid)),
    (libc::SYS_setgroups, Kind::Ids(IdCall::Setgroups)),
];

pub(super) fn kind(number: i64) -> Option<Kind> {
    TABLE.iter().find(|(known, _)| *known == number).map(|(_, kind)| *kind)
}

/// The filter's table. Nodes that are no devices need nobody else, and opening what is there makes nothing: neither is
/// handed over.
pub(in crate::sandbox) fn traps() -> Vec<Trap> {
    let device = |argument| When { argument, mask: libc::S_IFMT, values: [libc::S_IFCHR, libc::S_IFBLK] };
    let create = libc::O_CREAT.cast_unsigned();
    let making = |argument| When { argument, mask: create, values: [create, create] };
    let when = |kind| match kind {
        Kind::File(FileCall::Mknod) => Some(device(1)),
        Kind::File(FileCall::Mknodat) => Some(device(2)),
        Kind::File(FileCall::Open) => Some(making(1)),
        Kind::File(FileCall::Openat) => Some(making(2)),
        Kind::File(_) | Kind::Ids(_) => None,
    };
    TABLE.iter().map(|(number, kind)| Trap { number: *number, when: when(*kind) }).collect()
}
