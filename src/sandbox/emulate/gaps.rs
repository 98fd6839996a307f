//! What a range of ids lacks: devices, and ids beyond it. Runs in the child. Everything else about the caller, its
//! ids and its rights, is the kernel's.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid};

use super::Owners;
use super::calls::FileCall;
use super::files::{bits, is_nameless, kind_of, make_device};
use super::place::{AT_FDCWD, NOFOLLOW, Place, low};
use super::procfs::Status;
use crate::sys::link_owners::is_special;
use crate::sys::ownership::{self, Device, Recorded, StandIns};
use crate::sys::seccomp::{Answer, Call};

/// CAP_CHOWN and CAP_MKNOD, as /proc tells capabilities.
const CHOWN: u64 = 1 << 0;
const MKNOD: u64 = 1 << 27;
/// "Leave as it is."
const KEEP: u32 = u32::MAX;

impl Owners {
    pub(super) fn fill_gap(&mut self, kind: FileCall, call: &Call) -> io::Result<Answer> {
        let proc = &self.places.proc;
        // In a namespace further inside, ids and rights mean something else, and the kernel is right.
        let (Some(status), true) = (proc.status(call.thread), proc.shares_users(call.thread)) else {
            return Ok(Answer::Continue);
        };
        let [a, b, c, d, e, _] = call.arguments;
        match kind {
            FileCall::Mknodat => self.mknod_device(call, &status, [a, b, NOFOLLOW], (c, d)),
            FileCall::Mknod => self.mknod_device(call, &status, [AT_FDCWD, a, NOFOLLOW], (b, c)),
            FileCall::Fchown => {
                let place = self.descriptor(call, a);
                self.give_away(&status, place, (b, c))
            }
            FileCall::Chown | FileCall::Lchown | FileCall::Fchownat => {
                let (names, ids) = match kind {
                    FileCall::Chown => ([AT_FDCWD, a, 0], (b, c)),
                    FileCall::Lchown => ([AT_FDCWD, a, NOFOLLOW], (b, c)),
                    _ => ([a, b, e], (c, d)),
                };
                let place = self.named(call, names);
                self.give_away(&status, place, ids)
            }
            // Not handed over.
            FileCall::Open
            | FileCall::Openat
            | FileCall::Openat2
            | FileCall::Creat
            | FileCall::Mkdir
            | FileCall::Mkdirat
            | FileCall::Symlink
            | FileCall::Symlinkat => Ok(Answer::Continue),
        }
    }

    fn mknod_device(
        &mut self,
        call: &Call,
        status: &Status,
        names: [u64; 3],
        (mode, number): (u64, u64),
    ) -> io::Result<Answer> {
        let Some(place) = self.named(call, names) else { return Ok(Answer::Continue) };
        // A device 0/0 means a deletion, and everybody may make it; what else may not be made the kernel says.
        if status.capabilities & MKNOD == 0 || low(number) == 0 {
            return Ok(Answer::Continue);
        }
        let device = Some(Device { kind: kind_of(mode), number: number & 0xffff_ffff });
        let mode = Mode::from_raw_mode(bits(mode) & !status.umask);
        let file = make_device(&place, mode, Recorded { uid: 0, gid: 0, device })?;
        let (uid, gid) = status.file_ids;
        // As /proc tells ids: those of this process's namespace, which is the caller's.
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        rustix::fs::fchmod(&file, mode)?;
        Ok(Answer::Value(0))
    }

    /// A stand-in becomes the owner, and whom it stands for is recorded.
    fn give_away(
        &mut self,
        status: &Status,
        place: Option<Place>,
        (uid, gid): (u64, u64),
    ) -> io::Result<Answer> {
        let (Some(place), Some(stand_ins)) = (place, ownership::stand_ins()) else {
            return Ok(Answer::Continue);
        };
        // Where it cannot be had the kernel says why.
        let Ok(place) = self.places.hold(place) else { return Ok(Answer::Continue) };
        let wanted = (low(uid), low(gid));
        let mut stat = rustix::fs::statat(CWD, &place.path, AtFlags::empty())?;
        let special = is_special(FileType::from_raw_mode(stat.st_mode));
        let recorded = match special {
            true => self.links.owner(&place).map(|(uid, gid)| Recorded { uid, gid, device: None }),
            false => place.recorded(),
        };
        recorded.iter().for_each(|recorded| recorded.apply_owner(&mut stat));
        let pick = |wanted: u32, before: u32| if wanted == KEEP { before } else { wanted };
        let (uid, gid) = (pick(wanted.0, stat.st_uid), pick(wanted.1, stat.st_gid));
        if status.capabilities & CHOWN == 0 {
            // Owners may say what is so already, and nobody is in a group that is missing.
            let is_so = (uid, gid) == (stat.st_uid, stat.st_gid) && uid == status.file_ids.0;
            return Ok(if is_so { Answer::Value(0) } else { Answer::Error(libc::EPERM) });
        }
        if !special {
            place.chown(wanted, stand_ins)?;
            if recorded.is_some() || stand_ins.are_needed(uid, gid) {
                place.record(Recorded { uid, gid, device: recorded.and_then(|it| it.device) })?;
            }
        } else if is_nameless(&place)? {
            place.chown(wanted, stand_ins)?;
        } else {
            // First: it has to be known from before it is copied up.
            let opened = place.opened().map(OwnedFd::try_clone).transpose()?;
            self.links.set(place, &mut self.places, (uid, gid))?;
            if let Some(opened) = opened {
                Place::of(&opened).chown(wanted, stand_ins)?;
            }
        }
        Ok(Answer::Value(0))
    }
}

impl Place {
    /// A name for a descriptor of this process, as long as nothing else is looked up.
    fn of(opened: &OwnedFd) -> Self {
        Self::named(format!("self/fd/{}", opened.as_raw_fd()).into())
    }

    fn chown(&self, (uid, gid): (u32, u32), stand_ins: StandIns) -> io::Result<()> {
        let (user, group) = stand_ins.of(uid, gid);
        let given = |wanted: u32| wanted != KEEP;
        let (user, group) =
            (given(uid).then(|| Uid::from_raw(user)), given(gid).then(|| Gid::from_raw(group)));
        Ok(rustix::fs::chownat(CWD, &self.path, user, group, AtFlags::empty())?)
    }
}
