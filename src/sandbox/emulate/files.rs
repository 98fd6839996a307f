//! Owners and devices: chown and mknod are recorded, and what stat says agrees with the record.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawMode, Stat, StatxFlags};
use rustix::io::Errno;

use super::calls::FileCall;
use super::ids::Ids;
use crate::sys::ownership::{self, Device, Recorded};
use crate::sys::seccomp::{Answer, Call, Listener, bytes_of, read_string, write_memory};

/// Something a call names, as this process reaches it: below the caller's number in /proc.
struct Target {
    path: PathBuf,
    follow: bool,
}

pub(super) fn answer(kind: FileCall, call: &Call, ids: &mut Ids, listener: &Listener) -> io::Result<Answer> {
    let [a, b, c, d, e, _] = call.arguments;
    let named = |call: &Call, directory, address, flags| {
        let target = named(call, directory, address, flags)?;
        // What was read belongs to the caller only if the caller is still there, and so does what is done next.
        Ok::<_, io::Error>(target.filter(|_| listener.is_waiting(call)))
    };
    match kind {
        FileCall::Chown => chown(call, named(call, AT_FDCWD, a, 0)?, b, c, ids),
        FileCall::Lchown => chown(call, named(call, AT_FDCWD, a, NOFOLLOW)?, b, c, ids),
        FileCall::Fchown => chown(call, descriptor(call, a), b, c, ids),
        FileCall::Fchownat => chown(call, named(call, a, b, e)?, c, d, ids),
        FileCall::Mknod => mknod(call, named(call, AT_FDCWD, a, NOFOLLOW)?, b, c, ids),
        FileCall::Mknodat => mknod(call, named(call, a, b, NOFOLLOW)?, c, d, ids),
        // What root makes is root's: nothing has to be looked at.
        FileCall::Open | FileCall::Openat | FileCall::Creat | FileCall::Mkdir | FileCall::Mkdirat
            if ids.new_files_of(call.thread) == (0, 0) =>
        {
            Ok(Answer::Continue)
        }
        FileCall::Open => create(call, AT_FDCWD, a, b, c, ids),
        FileCall::Openat => create(call, a, b, c, d, ids),
        FileCall::Creat => create(call, AT_FDCWD, a, CREATE, b, ids),
        FileCall::Mkdir => mkdir(call, named(call, AT_FDCWD, a, NOFOLLOW)?, b, ids),
        FileCall::Mkdirat => mkdir(call, named(call, a, b, NOFOLLOW)?, c, ids),
        FileCall::Stat => stat(call, named(call, AT_FDCWD, a, 0)?, b),
        FileCall::Lstat => stat(call, named(call, AT_FDCWD, a, NOFOLLOW)?, b),
        FileCall::Fstat => stat(call, descriptor(call, a), b),
        FileCall::Newfstatat => stat(call, named(call, a, b, d)?, c),
        FileCall::Statx => statx(call, named(call, a, b, c)?, c, d, e),
    }
}

const AT_FDCWD: u64 = libc::AT_FDCWD as u32 as u64;
const NOFOLLOW: u64 = libc::AT_SYMLINK_NOFOLLOW as u64;
/// What creat(2) means.
const CREATE: u64 = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u64;
const EMPTY_PATH: u64 = libc::AT_EMPTY_PATH as u64;

/// What a directory descriptor, a path and flags mean to the caller. None for what the kernel refuses itself.
fn named(call: &Call, directory: u64, address: u64, flags: u64) -> io::Result<Option<Target>> {
    if address == 0 {
        // Newer kernels take no path at all for the descriptor itself.
        return Ok((flags & EMPTY_PATH != 0).then(|| descriptor(call, directory)).flatten());
    }
    let Some(text) = read_string(call.thread, address)? else { return Ok(None) };
    if text.is_empty() {
        return Ok((flags & EMPTY_PATH != 0).then(|| descriptor(call, directory)).flatten());
    }
    // What a process calls itself means something else here, and nobody's ownership is kept there.
    if text.starts_with(b"/proc/") || text.starts_with(b"/dev/") {
        return Ok(None);
    }
    let text = PathBuf::from(OsString::from_vec(text));
    // As the caller's registers have it: only the lower half of a descriptor counts.
    let start = match (text.strip_prefix("/"), directory & 0xffff_ffff) {
        (Ok(_), _) => format!("{}/root", call.thread),
        (Err(_), AT_FDCWD) => format!("{}/cwd", call.thread),
        (Err(_), descriptor) => format!("{}/fd/{descriptor}", call.thread),
    };
    let inside = text.strip_prefix("/").unwrap_or(&text);
    // A trailing slash or dot follows a link whatever the flags say, and joining keeps both.
    let path =
        if inside.as_os_str().is_empty() { PathBuf::from(start) } else { Path::new(&start).join(inside) };
    let follow = flags & NOFOLLOW == 0 || path.file_name() == Some("root".as_ref());
    Ok(Some(Target { path, follow }))
}

fn descriptor(call: &Call, descriptor: u64) -> Option<Target> {
    let number = i32::try_from(descriptor & 0xffff_ffff).ok()?;
    Some(Target { path: PathBuf::from(format!("{}/fd/{number}", call.thread)), follow: true })
}

impl Target {
    fn stat(&self) -> io::Result<Stat> {
        let flags = if self.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        Ok(rustix::fs::statat(CWD, &self.path, flags)?)
    }

    fn recorded(&self) -> Option<Recorded> {
        ownership::read_path(&self.path, self.follow)
    }

    fn record(&self, recorded: Recorded) -> io::Result<()> {
        ownership::write_path(&self.path, self.follow, recorded)
    }
}

fn chown(call: &Call, target: Option<Target>, uid: u64, gid: u64, ids: &mut Ids) -> io::Result<Answer> {
    let Some(target) = target else { return Ok(Answer::Continue) };
    let stat = target.stat()?;
    let before = target.recorded().unwrap_or_default();
    let wanted = |id: u64, before: u32| match id & 0xffff_ffff {
        0xffff_ffff => before,
        id => u32::try_from(id).expect("masked to 32 bits"),
    };
    let after = Recorded { uid: wanted(uid, before.uid), gid: wanted(gid, before.gid), ..before };
    if !ids.may_chown(call.thread, &before, &after) {
        return Ok(Answer::Error(libc::EPERM));
    }
    target.record(after)?;
    clear_privileges(&target, &stat)?;
    Ok(Answer::Value(0))
}

/// A change of owner takes setuid and setgid away from programs, as in the kernel.
fn clear_privileges(target: &Target, stat: &Stat) -> io::Result<()> {
    let program = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o111 != 0;
    let kept = if stat.st_mode & 0o010 != 0 { stat.st_mode & !0o6000 } else { stat.st_mode & !0o4000 };
    if program && kept != stat.st_mode {
        rustix::fs::chmodat(CWD, &target.path, Mode::from_raw_mode(kept & 0o7777), AtFlags::empty())?;
    }
    Ok(())
}

/// A device becomes an empty file that knows what it stands for.
fn mknod(call: &Call, target: Option<Target>, mode: u64, number: u64, ids: &mut Ids) -> io::Result<Answer> {
    let Some(target) = target else { return Ok(Answer::Continue) };
    if !ids.is_privileged(call.thread) {
        return Ok(Answer::Error(libc::EPERM));
    }
    let kind = FileType::from_raw_mode(RawMode::try_from(mode & 0xffff).expect("masked to 16 bits"));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&target.path, flags, Mode::empty())?;
    rustix::fs::fchmod(&file, permissions(call, mode))?;
    let device = Some(Device { kind, number: number & 0xffff_ffff });
    let (uid, gid) = owner_of_new(call, &target, ids);
    ownership::write(&file, Recorded { uid, gid, device })?;
    Ok(Answer::Value(0))
}

/// A file made by somebody who is not root is theirs. It is made here, so that it never is without its owner.
fn create(
    call: &Call,
    directory: u64,
    path: u64,
    flags: u64,
    mode: u64,
    ids: &mut Ids,
) -> io::Result<Answer> {
    let wanted = OFlags::from_bits_retain(u32::try_from(flags & 0xffff_ffff).expect("masked to 32 bits"));
    let unfollowed = if wanted.intersects(OFlags::EXCL | OFlags::NOFOLLOW) { NOFOLLOW } else { 0 };
    let Some(target) = named(call, directory, path, unfollowed)? else { return Ok(Answer::Continue) };
    match target.stat() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // It is there, and opening it changes nobody's ownership; or the kernel knows better what is wrong.
        Ok(_) | Err(_) => return Ok(Answer::Continue),
    }
    let fd = rustix::fs::open(&target.path, wanted | OFlags::CLOEXEC, permissions(call, mode))?;
    let (uid, gid) = owner_of_new(call, &target, ids);
    ownership::write(&fd, Recorded { uid, gid, device: None })?;
    Ok(Answer::Descriptor { fd, close_on_exec: wanted.contains(OFlags::CLOEXEC) })
}

fn mkdir(call: &Call, target: Option<Target>, mode: u64, ids: &mut Ids) -> io::Result<Answer> {
    let Some(target) = target else { return Ok(Answer::Continue) };
    rustix::fs::mkdirat(CWD, &target.path, permissions(call, mode))?;
    let (uid, gid) = owner_of_new(call, &target, ids);
    target.record(Recorded { uid, gid, device: None })?;
    Ok(Answer::Value(0))
}

/// In a directory with the setgid bit the group is the directory's.
fn owner_of_new(call: &Call, target: &Target, ids: &mut Ids) -> (u32, u32) {
    let (uid, gid) = ids.new_files_of(call.thread);
    let parent = target.path.parent().unwrap_or(Path::new("."));
    match rustix::fs::stat(parent) {
        Ok(stat) if stat.st_mode & 0o2000 != 0 => {
            (uid, ownership::read_path(parent, true).map_or(0, |recorded| recorded.gid))
        }
        Ok(_) | Err(_) => (uid, gid),
    }
}

fn permissions(call: &Call, mode: u64) -> Mode {
    let mode = RawMode::try_from(mode & 0o7777).expect("masked to 12 bits");
    Mode::from_raw_mode(mode & !umask(call.thread))
}

fn umask(thread: i32) -> RawMode {
    let status = std::fs::read_to_string(format!("{thread}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| RawMode::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o022)
}

fn stat(call: &Call, target: Option<Target>, buffer: u64) -> io::Result<Answer> {
    let Some((target, recorded)) = with_record(target) else { return Ok(Answer::Continue) };
    let mut stat = target.stat()?;
    recorded.apply(&mut stat);
    write_memory(call.thread, buffer, bytes_of(&stat))?;
    Ok(Answer::Value(0))
}

fn statx(call: &Call, target: Option<Target>, flags: u64, mask: u64, buffer: u64) -> io::Result<Answer> {
    let Some((target, recorded)) = with_record(target) else { return Ok(Answer::Continue) };
    let low = |bits: u64| u32::try_from(bits & 0xffff_ffff).expect("masked to 32 bits");
    let mut at = AtFlags::from_bits_retain(low(flags)) - AtFlags::EMPTY_PATH - AtFlags::SYMLINK_NOFOLLOW;
    if !target.follow {
        at |= AtFlags::SYMLINK_NOFOLLOW;
    }
    let mut statx = rustix::fs::statx(CWD, &target.path, at, StatxFlags::from_bits_retain(low(mask)))?;
    (statx.stx_uid, statx.stx_gid) = (recorded.uid, recorded.gid);
    if let Some(device) = recorded.device {
        let kind = u16::try_from(device.kind.as_raw_mode()).map_err(|_| io::Error::from(Errno::OVERFLOW))?;
        statx.stx_mode = kind | (statx.stx_mode & 0o7777);
        statx.stx_rdev_major = rustix::fs::major(device.number);
        statx.stx_rdev_minor = rustix::fs::minor(device.number);
    }
    write_memory(call.thread, buffer, bytes_of(&statx))?;
    Ok(Answer::Value(0))
}

/// Most files have no record, and the kernel's answer about them is right: that is found out by one look.
fn with_record(target: Option<Target>) -> Option<(Target, Recorded)> {
    let target = target?;
    let recorded = target.recorded()?;
    Some((target, recorded))
}
