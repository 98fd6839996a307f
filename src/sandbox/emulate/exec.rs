//! Programs that run as their owner: setuid and setgid.
//!
//! The kernel executes the program and knows of one user only. What the process believes to be from then on is noted
//! before, and counts once the program runs.

use std::io;

use rustix::fs::{FileType, Mode, OFlags, StatVfsMountFlags, StatxFlags};

use super::place::{AT_FDCWD, Place};
use super::processes::Next;
use super::{Owners, calls::ExecCall};
use crate::sys::seccomp::{Answer, Call};

impl Owners {
    pub(super) fn execute(&mut self, kind: ExecCall, call: &Call) -> io::Result<Answer> {
        let [a, b, _, _, e, _] = call.arguments;
        let named = match kind {
            ExecCall::Execve => [AT_FDCWD, a, 0],
            ExecCall::Execveat => [a, b, e],
        };
        let state = self.state(call.thread);
        let brought = match self.named(call, named) {
            Some(place) => brought(&place)?,
            None => Brought::default(),
        };
        let brought =
            if brought.is_nothing() || self.is_restrained(call) { Brought::default() } else { brought };
        let after = state.executing(brought.user, brought.group);
        if after != *state {
            let next =
                Next { state: after, before: self.places.proc.program(call.thread), file: brought.file };
            self.processes.executes(&self.places.proc, call.thread, next);
        }
        Ok(Answer::Continue)
    }

    /// Whether the process has given up gaining anything by executing.
    fn is_restrained(&self, call: &Call) -> bool {
        self.places.proc.status(call.thread).is_none_or(|status| status.no_new_privileges)
    }
}

/// The ids that a program brings along.
#[derive(Debug, Default)]
struct Brought {
    user: Option<u32>,
    group: Option<u32>,
    file: Option<(u64, u64)>,
}

impl Brought {
    fn is_nothing(&self) -> bool {
        self.user.is_none() && self.group.is_none()
    }
}

fn brought(place: &Place) -> io::Result<Brought> {
    // What is not there the kernel will say.
    let Ok(statx) = place.statx(StatxFlags::MODE | StatxFlags::TYPE | StatxFlags::INO) else {
        return Ok(Brought::default());
    };
    let mode = u32::from(statx.stx_mode);
    if mode & 0o6000 == 0 || FileType::from_raw_mode(mode) != FileType::RegularFile {
        return Ok(Brought::default());
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(rustix::fs::CWD, &place.path, flags, Mode::empty())?;
    if rustix::fs::fstatvfs(&opened)?.f_flag.contains(StatVfsMountFlags::NOSUID) {
        return Ok(Brought::default());
    }
    let stat = rustix::fs::fstat(&opened)?;
    let owner = place.recorded().unwrap_or_default();
    Ok(Brought {
        user: (mode & 0o4000 != 0).then_some(owner.uid),
        // Without the right to execute the bit means something else.
        group: (mode & 0o2010 == 0o2010).then_some(owner.gid),
        file: Some((stat.st_dev, stat.st_ino)),
    })
}
