//! Owners and devices: chown and mknod are recorded, and what somebody else than root makes is theirs.

use std::io;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawMode, ResolveFlags, Stat};
use rustix::io::Errno;

use super::Owners;
use super::calls::FileCall;
use super::place::{AT_FDCWD, NOFOLLOW, Place, low};
use crate::sys::link_owners::is_special;
use crate::sys::ownership::{self, Device, Recorded};
use crate::sys::seccomp::{Answer, Call, read_wide_numbers};

/// What creat(2) means.
const CREATE: u64 = (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u64;

/// How a file is to be opened.
#[derive(Clone, Copy)]
struct How {
    flags: OFlags,
    mode: u64,
    resolve: ResolveFlags,
}

impl How {
    fn new(flags: u64, mode: u64) -> Self {
        Self { flags: OFlags::from_bits_retain(low(flags)), mode, resolve: ResolveFlags::empty() }
    }
}

impl Owners {
    pub(super) fn file(&mut self, kind: FileCall, call: &Call) -> io::Result<Answer> {
        let [a, b, c, d, e, _] = call.arguments;
        let place = match kind {
            FileCall::Chown => self.named(call, [AT_FDCWD, a, 0]),
            FileCall::Fchown => self.descriptor(call, a),
            FileCall::Fchownat => self.named(call, [a, b, e]),
            FileCall::Lchown | FileCall::Mknod => self.named(call, [AT_FDCWD, a, NOFOLLOW]),
            FileCall::Mknodat => self.named(call, [a, b, NOFOLLOW]),
            // What root makes is root's: nothing has to be looked at.
            FileCall::Open
            | FileCall::Openat
            | FileCall::Openat2
            | FileCall::Creat
            | FileCall::Mkdir
            | FileCall::Mkdirat
            | FileCall::Symlink
            | FileCall::Symlinkat
                if self.state(call.thread).new_files() == (0, 0) =>
            {
                None
            }
            FileCall::Open | FileCall::Creat => self.named(call, [AT_FDCWD, a, 0]),
            FileCall::Openat | FileCall::Openat2 => self.named(call, [a, b, 0]),
            FileCall::Mkdir => self.named(call, [AT_FDCWD, a, NOFOLLOW]),
            FileCall::Mkdirat => self.named(call, [a, b, NOFOLLOW]),
            FileCall::Symlink => self.named(call, [AT_FDCWD, b, NOFOLLOW]),
            FileCall::Symlinkat => self.named(call, [b, c, NOFOLLOW]),
        };
        let Some(place) = place else { return Ok(Answer::Continue) };
        match kind {
            FileCall::Chown | FileCall::Lchown | FileCall::Fchown => self.chown(call, place, b, c),
            FileCall::Fchownat => self.chown(call, place, c, d),
            FileCall::Mknod => self.mknod(call, place, b, c),
            FileCall::Mknodat => self.mknod(call, place, c, d),
            FileCall::Open => self.create(call, &place, How::new(b, c)),
            FileCall::Openat => self.create(call, &place, How::new(c, d)),
            FileCall::Openat2 => {
                let [flags, mode, resolve] = read_wide_numbers(call.thread, c)?;
                let resolve = ResolveFlags::from_bits_retain(resolve);
                self.create(call, &place, How { resolve, ..How::new(flags, mode) })
            }
            FileCall::Creat => self.create(call, &place, How::new(CREATE, b)),
            FileCall::Mkdir => self.mkdir(call, &place, b),
            FileCall::Mkdirat => self.mkdir(call, &place, c),
            FileCall::Symlink | FileCall::Symlinkat => self.symlink(call, place, a),
        }
    }

    fn chown(&mut self, call: &Call, place: Place, uid: u64, gid: u64) -> io::Result<Answer> {
        // Where it cannot be had the kernel says why.
        let Ok(place) = self.places.hold(place) else { return Ok(Answer::Continue) };
        let stat = rustix::fs::statat(CWD, &place.path, AtFlags::empty())?;
        let special = is_special(FileType::from_raw_mode(stat.st_mode));
        let before = if special {
            let (uid, gid) = self.links.owner(&place).unwrap_or_default();
            Recorded { uid, gid, device: None }
        } else {
            place.recorded().unwrap_or_default()
        };
        let wanted = |id: u64, before: u32| if low(id) == u32::MAX { before } else { low(id) };
        let after = Recorded { uid: wanted(uid, before.uid), gid: wanted(gid, before.gid), ..before };
        if !self.state(call.thread).may_chown(&before, &after) {
            return Ok(Answer::Error(libc::EPERM));
        }
        if !special {
            place.record(after)?;
            clear_privileges(&place, &stat)?;
        } else if after != before && !is_nameless(&place)? {
            self.links.set(place, &mut self.places, (after.uid, after.gid))?;
        }
        Ok(Answer::Value(0))
    }

    fn mknod(&mut self, call: &Call, place: Place, mode: u64, number: u64) -> io::Result<Answer> {
        let kind = kind_of(mode);
        let state = self.state(call.thread);
        match kind {
            FileType::CharacterDevice | FileType::BlockDevice if !state.is_privileged() => {
                Ok(Answer::Error(libc::EPERM))
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                let (uid, gid) = owner_of_new(&place, state.new_files());
                let device = Device { kind, number: number & 0xffff_ffff };
                let recorded = Recorded { uid, gid, device: Some(device) };
                make_device(&place, self.permissions(call, mode), recorded)?;
                Ok(Answer::Value(0))
            }
            FileType::Fifo | FileType::Socket if state.new_files() != (0, 0) => {
                let owner = owner_of_new(&place, state.new_files());
                let mode = self.permissions(call, mode);
                rustix::fs::mknodat(CWD, &place.path, kind, mode, 0)?;
                let made = self.places.hold(place)?;
                self.links.set(made, &mut self.places, owner)?;
                Ok(Answer::Value(0))
            }
            FileType::RegularFile if state.new_files() != (0, 0) => {
                let (uid, gid) = owner_of_new(&place, state.new_files());
                let recorded = Recorded { uid, gid, device: None };
                make_device(&place, self.permissions(call, mode), recorded)?;
                Ok(Answer::Value(0))
            }
            FileType::RegularFile
            | FileType::Fifo
            | FileType::Socket
            | FileType::Directory
            | FileType::Symlink
            | FileType::Unknown => Ok(Answer::Continue),
        }
    }

    /// A file made by somebody who is not root is theirs. It is made here, so that it never is without its owner.
    fn create(&mut self, call: &Call, place: &Place, how: How) -> io::Result<Answer> {
        let nameless = how.flags.contains(OFlags::TMPFILE);
        if !nameless && !how.flags.contains(OFlags::CREATE) {
            return Ok(Answer::Continue);
        }
        let owner = match nameless {
            true => owner_of_new_in(&place.path, self.state(call.thread).new_files()),
            false => owner_of_new(place, self.state(call.thread).new_files()),
        };
        let mode = self.permissions(call, how.mode);
        let open = |more: OFlags| {
            let flags = how.flags | more | OFlags::CLOEXEC;
            match how.resolve {
                // Not every kernel has the newer call, and some filters forbid it.
                resolve if resolve.is_empty() => rustix::fs::openat(CWD, &place.path, flags, mode),
                resolve => rustix::fs::openat2(CWD, &place.path, flags, mode, resolve),
            }
        };
        let opened = match open(if nameless { OFlags::empty() } else { OFlags::EXCL }) {
            // It is there, and opening it changes nobody's ownership. But a link may lead to what is not.
            Err(Errno::EXIST) if !how.flags.contains(OFlags::EXCL) => {
                match rustix::fs::statat(CWD, &place.path, AtFlags::empty()) {
                    Err(Errno::NOENT) => open(OFlags::empty()),
                    Ok(_) | Err(_) => return Ok(Answer::Continue),
                }
            }
            answer => answer,
        };
        let fd = opened?;
        ownership::write(&fd, Recorded { uid: owner.0, gid: owner.1, device: None })?;
        Ok(Answer::Descriptor { fd, close_on_exec: how.flags.contains(OFlags::CLOEXEC) })
    }

    /// Those of something new, without what the caller's umask takes away.
    fn permissions(&mut self, call: &Call, mode: u64) -> Mode {
        Mode::from_raw_mode(bits(mode) & !self.umasks.of(&self.places.proc, call.thread))
    }

    fn mkdir(&mut self, call: &Call, place: &Place, mode: u64) -> io::Result<Answer> {
        let (uid, gid) = owner_of_new(place, self.state(call.thread).new_files());
        rustix::fs::mkdirat(CWD, &place.path, self.permissions(call, mode))?;
        place.record(Recorded { uid, gid, device: None })?;
        Ok(Answer::Value(0))
    }

    fn symlink(&mut self, call: &Call, place: Place, target: u64) -> io::Result<Answer> {
        let Some(target) = crate::sys::seccomp::read_string(call.thread, target)? else {
            return Ok(Answer::Continue);
        };
        let owner = owner_of_new(&place, self.state(call.thread).new_files());
        rustix::fs::symlinkat(target, CWD, &place.path)?;
        let made = self.places.hold(place)?;
        self.links.set(made, &mut self.places, owner)?;
        Ok(Answer::Value(0))
    }
}

/// A device becomes an empty file that knows what it stands for.
pub(super) fn make_device(place: &Place, mode: Mode, recorded: Recorded) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, &place.path, flags, Mode::empty())?;
    rustix::fs::fchmod(&file, mode)?;
    ownership::write(&file, recorded)?;
    Ok(file)
}

/// A change of owner takes setuid, setgid and capabilities away from programs, as in the kernel.
fn clear_privileges(place: &Place, stat: &Stat) -> io::Result<()> {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(());
    }
    let kept = if stat.st_mode & 0o010 != 0 { stat.st_mode & !0o6000 } else { stat.st_mode & !0o4000 };
    if stat.st_mode & 0o111 != 0 && kept != stat.st_mode {
        rustix::fs::chmodat(CWD, &place.path, Mode::from_raw_mode(kept & 0o7777), AtFlags::empty())?;
    }
    match rustix::fs::removexattr(&place.path, "security.capability") {
        Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether it is a pipe or socket that no directory has: nobody will look for its owner.
pub(super) fn is_nameless(place: &Place) -> io::Result<bool> {
    const PIPES: u64 = 0x5049_5045;
    const SOCKETS: u64 = 0x534f_434b;
    let Some(opened) = place.opened() else { return Ok(false) };
    Ok([PIPES, SOCKETS].contains(&rustix::fs::fstatfs(opened)?.f_type.cast_unsigned()))
}

/// In a directory with the setgid bit the group is the directory's.
fn owner_of_new(place: &Place, ids: (u32, u32)) -> (u32, u32) {
    owner_of_new_in(place.parent(), ids)
}

fn owner_of_new_in(directory: &std::path::Path, (uid, gid): (u32, u32)) -> (u32, u32) {
    match rustix::fs::stat(directory) {
        Ok(stat) if stat.st_mode & 0o2000 != 0 => {
            (uid, ownership::read_path(directory, true).map_or(0, |recorded| recorded.gid))
        }
        Ok(_) | Err(_) => (uid, gid),
    }
}

pub(super) fn bits(mode: u64) -> RawMode {
    RawMode::try_from(mode & 0o7777).expect("masked to 12 bits")
}

pub(super) fn kind_of(mode: u64) -> FileType {
    match RawMode::try_from(mode & 0o170_000).expect("masked to 16 bits") {
        // No kind at all means a file.
        0 => FileType::RegularFile,
        kind => FileType::from_raw_mode(kind),
    }
}
