//! Which calls are handed over, by their numbers on each interface.
//!
//! Interfaces have more calls for one thing than others; what is the same to the answerer is one kind here. The 16-bit
//! id calls of i386, which no C library of this century makes, are left to the kernel.

use crate::sandbox::spec::Emulated;
use crate::sys::ownership;
use crate::sys::seccomp::{Interface, Trap, When};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File(FileCall),
    Stat(StatCall),
    Ids(IdCall),
    Exec(ExecCall),
    /// Something that makes an overlay copy a link or pipe up.
    Touch(TouchCall),
    /// Of a thread, or of all of a process.
    Exit,
    /// A signal to another process, which may end it without its being asked.
    Signal,
    /// mask
    Umask,
    /// path
    Chroot,
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
    /// directory, path, how, its size
    Openat2,
    /// path, mode
    Creat,
    Mkdir,
    /// directory, path, mode
    Mkdirat,
    /// target, path
    Symlink,
    /// target, directory, path
    Symlinkat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatCall {
    /// path, buffer
    Stat,
    Lstat,
    /// descriptor, buffer
    Fstat,
    /// directory, path, buffer, flags
    Fstatat,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExecCall {
    /// path, …
    Execve,
    /// directory, path, arguments, environment, flags
    Execveat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TouchCall {
    /// path, …
    Path,
    /// directory, path, …
    At,
}

const NATIVE: &[(i64, Kind)] = &[
    (libc::SYS_fchown, Kind::File(FileCall::Fchown)),
    (libc::SYS_fchownat, Kind::File(FileCall::Fchownat)),
    (libc::SYS_mknodat, Kind::File(FileCall::Mknodat)),
    (libc::SYS_openat, Kind::File(FileCall::Openat)),
    (libc::SYS_openat2, Kind::File(FileCall::Openat2)),
    (libc::SYS_mkdirat, Kind::File(FileCall::Mkdirat)),
    (libc::SYS_symlinkat, Kind::File(FileCall::Symlinkat)),
    (libc::SYS_fstat, Kind::Stat(StatCall::Fstat)),
    (libc::SYS_newfstatat, Kind::Stat(StatCall::Fstatat)),
    (libc::SYS_statx, Kind::Stat(StatCall::Statx)),
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
    (libc::SYS_symlink, Kind::File(FileCall::Symlink)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_stat, Kind::Stat(StatCall::Stat)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lstat, Kind::Stat(StatCall::Lstat)),
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
    (libc::SYS_execve, Kind::Exec(ExecCall::Execve)),
    (libc::SYS_execveat, Kind::Exec(ExecCall::Execveat)),
    (libc::SYS_exit, Kind::Exit),
    (libc::SYS_exit_group, Kind::Exit),
    (libc::SYS_umask, Kind::Umask),
    (libc::SYS_chroot, Kind::Chroot),
    (libc::SYS_kill, Kind::Signal),
    (libc::SYS_tkill, Kind::Signal),
    (libc::SYS_tgkill, Kind::Signal),
    (libc::SYS_pidfd_send_signal, Kind::Signal),
    (libc::SYS_renameat, Kind::Touch(TouchCall::At)),
    (libc::SYS_renameat2, Kind::Touch(TouchCall::At)),
    (libc::SYS_linkat, Kind::Touch(TouchCall::At)),
    (libc::SYS_utimensat, Kind::Touch(TouchCall::At)),
    (libc::SYS_fchmodat, Kind::Touch(TouchCall::At)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, Kind::Touch(TouchCall::Path)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, Kind::Touch(TouchCall::Path)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, Kind::Touch(TouchCall::Path)),
];

/// The 32-bit interface of x86-64.
#[cfg(not(target_arch = "x86_64"))]
const I386: &[(i64, Kind)] = &[];
#[cfg(target_arch = "x86_64")]
const I386: &[(i64, Kind)] = &[
    (207, Kind::File(FileCall::Fchown)),
    (298, Kind::File(FileCall::Fchownat)),
    (297, Kind::File(FileCall::Mknodat)),
    (295, Kind::File(FileCall::Openat)),
    (437, Kind::File(FileCall::Openat2)),
    (296, Kind::File(FileCall::Mkdirat)),
    (304, Kind::File(FileCall::Symlinkat)),
    (212, Kind::File(FileCall::Chown)),
    (198, Kind::File(FileCall::Lchown)),
    (14, Kind::File(FileCall::Mknod)),
    (5, Kind::File(FileCall::Open)),
    (8, Kind::File(FileCall::Creat)),
    (39, Kind::File(FileCall::Mkdir)),
    (83, Kind::File(FileCall::Symlink)),
    (195, Kind::Stat(StatCall::Stat)),
    (196, Kind::Stat(StatCall::Lstat)),
    (197, Kind::Stat(StatCall::Fstat)),
    (300, Kind::Stat(StatCall::Fstatat)),
    (383, Kind::Stat(StatCall::Statx)),
    (199, Kind::Ids(IdCall::Getuid)),
    (201, Kind::Ids(IdCall::Geteuid)),
    (200, Kind::Ids(IdCall::Getgid)),
    (202, Kind::Ids(IdCall::Getegid)),
    (209, Kind::Ids(IdCall::Getresuid)),
    (211, Kind::Ids(IdCall::Getresgid)),
    (205, Kind::Ids(IdCall::Getgroups)),
    (213, Kind::Ids(IdCall::Setuid)),
    (214, Kind::Ids(IdCall::Setgid)),
    (203, Kind::Ids(IdCall::Setreuid)),
    (204, Kind::Ids(IdCall::Setregid)),
    (208, Kind::Ids(IdCall::Setresuid)),
    (210, Kind::Ids(IdCall::Setresgid)),
    (215, Kind::Ids(IdCall::Setfsuid)),
    (216, Kind::Ids(IdCall::Setfsgid)),
    (206, Kind::Ids(IdCall::Setgroups)),
    (11, Kind::Exec(ExecCall::Execve)),
    (358, Kind::Exec(ExecCall::Execveat)),
    (1, Kind::Exit),
    (252, Kind::Exit),
    (60, Kind::Umask),
    (61, Kind::Chroot),
    (37, Kind::Signal),
    (238, Kind::Signal),
    (270, Kind::Signal),
    (424, Kind::Signal),
    (302, Kind::Touch(TouchCall::At)),
    (353, Kind::Touch(TouchCall::At)),
    (303, Kind::Touch(TouchCall::At)),
    (320, Kind::Touch(TouchCall::At)),
    (412, Kind::Touch(TouchCall::At)),
    (306, Kind::Touch(TouchCall::At)),
    (38, Kind::Touch(TouchCall::Path)),
    (9, Kind::Touch(TouchCall::Path)),
    (15, Kind::Touch(TouchCall::Path)),
];

fn table(interface: Interface) -> &'static [(i64, Kind)] {
    match interface {
        Interface::Native => NATIVE,
        Interface::I386 => I386,
    }
}

pub(super) fn kind(interface: Interface, number: i64) -> Option<Kind> {
    table(interface).iter().find(|(known, _)| *known == number).map(|(_, kind)| *kind)
}

/// The filter's table for what is to be emulated. Opening what is there makes nothing and is not handed over; what
/// copies a link up matters only where layers below have links with owners.
pub(in crate::sandbox) fn traps(emulated: Emulated, link_owners_below: bool) -> Vec<Trap> {
    let stand_ins = ownership::stand_ins();
    let wanted = |kind: &Kind| match (emulated, kind) {
        (Emulated::Nothing, _) => false,
        (Emulated::Gaps, Kind::File(FileCall::Mknod | FileCall::Mknodat) | Kind::Chroot) => true,
        (
            Emulated::Gaps,
            Kind::File(FileCall::Chown | FileCall::Lchown | FileCall::Fchown | FileCall::Fchownat),
        ) => stand_ins.is_some(),
        (Emulated::Gaps | Emulated::Owners, Kind::Touch(_)) => link_owners_below,
        (
            Emulated::Gaps,
            Kind::File(_)
            | Kind::Stat(_)
            | Kind::Ids(_)
            | Kind::Exec(_)
            | Kind::Exit
            | Kind::Signal
            | Kind::Umask,
        ) => false,
        (
            Emulated::Owners,
            Kind::File(_)
            | Kind::Stat(_)
            | Kind::Ids(_)
            | Kind::Exec(_)
            | Kind::Exit
            | Kind::Signal
            | Kind::Umask
            | Kind::Chroot,
        ) => true,
    };
    let create = libc::O_CREAT.cast_unsigned();
    let nameless = (libc::O_TMPFILE & !libc::O_DIRECTORY).cast_unsigned();
    let making = |argument| When::Is { argument, mask: create | nameless, values: [create, nameless] };
    // From the last id on: that one stands for those beyond, so who asks for it is told apart.
    let beyond = |user, group| {
        let lasts = stand_ins.filter(|_| emulated == Emulated::Gaps);
        lasts.map(|last| When::AnyFrom([(user, last.user), (group, last.group)]))
    };
    let when = |kind| match kind {
        // Pipes need nobody else, unless somebody else makes them.
        Kind::File(FileCall::Mknod) if emulated == Emulated::Gaps => Some(devices(1)),
        Kind::File(FileCall::Mknodat) if emulated == Emulated::Gaps => Some(devices(2)),
        Kind::File(FileCall::Chown | FileCall::Lchown | FileCall::Fchown) => beyond(1, 2),
        Kind::File(FileCall::Fchownat) => beyond(2, 3),
        Kind::File(FileCall::Open) => Some(making(1)),
        Kind::File(FileCall::Openat) => Some(making(2)),
        Kind::File(_)
        | Kind::Stat(_)
        | Kind::Ids(_)
        | Kind::Exec(_)
        | Kind::Touch(_)
        | Kind::Exit
        | Kind::Signal
        | Kind::Umask
        | Kind::Chroot => None,
    };
    all(wanted, when)
}

/// What succeeds without being done, where nobody can be asked.
pub(in crate::sandbox) fn pretended() -> Vec<Trap> {
    let wanted = |kind: &Kind| match kind {
        Kind::File(call) => matches!(
            call,
            FileCall::Chown
                | FileCall::Lchown
                | FileCall::Fchown
                | FileCall::Fchownat
                | FileCall::Mknod
                | FileCall::Mknodat
        ),
        Kind::Ids(call) => matches!(
            call,
            IdCall::Setuid
                | IdCall::Setgid
                | IdCall::Setreuid
                | IdCall::Setregid
                | IdCall::Setresuid
                | IdCall::Setresgid
                | IdCall::Setfsuid
                | IdCall::Setfsgid
                | IdCall::Setgroups
        ),
        Kind::Stat(_)
        | Kind::Exec(_)
        | Kind::Touch(_)
        | Kind::Exit
        | Kind::Signal
        | Kind::Umask
        | Kind::Chroot => false,
    };
    let when = |kind| match kind {
        Kind::File(FileCall::Mknod) => Some(devices(1)),
        Kind::File(FileCall::Mknodat) => Some(devices(2)),
        Kind::File(_)
        | Kind::Stat(_)
        | Kind::Ids(_)
        | Kind::Exec(_)
        | Kind::Touch(_)
        | Kind::Exit
        | Kind::Signal
        | Kind::Umask
        | Kind::Chroot => None,
    };
    all(wanted, when)
}

fn devices(argument: u32) -> When {
    When::Is { argument, mask: libc::S_IFMT, values: [libc::S_IFCHR, libc::S_IFBLK] }
}

fn all(wanted: impl Fn(&Kind) -> bool, when: impl Fn(Kind) -> Option<When>) -> Vec<Trap> {
    let of = |interface| {
        let calls = table(interface).iter().filter(|(_, kind)| wanted(kind));
        calls.map(|(number, kind)| Trap { interface, number: *number, when: when(*kind) }).collect::<Vec<_>>()
    };
    [of(Interface::Native), of(Interface::I386)].concat()
}
