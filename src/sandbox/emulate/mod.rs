//! What the namespace has no ids or rights for: calls that would need them are answered as root would be answered, and
//! what they asked for is remembered. Runs in the child, beside the sandboxed processes.
//!
//! With a range of ids only devices are missing and ids beyond the range, and only calls that ask for some are handed over
//! ([`gaps`]). With a single id it is
//! every owner and every user: owners and devices are recorded in an attribute of the files themselves
//! ([`crate::sys::ownership`]), from where layers are packed, those of links and pipes beside the layer ([`links`]);
//! user and group ids of processes live as long as the sandbox ([`processes`]). A call on something that has no record
//! is left to the kernel, whose answer is right then.
//!
//! What stays different: all users are one to the kernel, so permission checks between them do not bite; sockets are
//! made as root's; and with a range of ids a step sees what stands for what is missing: empty files, and the last id.

mod calls;
mod exec;
mod files;
mod gaps;
mod ids;
mod links;
mod place;
mod processes;
mod procfs;
mod stat;
mod umask;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;

use rustix::fs::Mode;
use rustix::process::Pid;

pub(super) use calls::{pretended, traps};
pub(super) use links::Links;
pub(super) use place::Roots;

use self::calls::{Kind, TouchCall};
use self::ids::State;
use self::place::{AT_FDCWD, NOFOLLOW, Place, Places};
use self::processes::Processes;
use self::procfs::Proc;
use self::umask::Umasks;
use crate::sandbox::spec::Emulated;
use crate::sys::seccomp::{Answer, Call, Listener};

/// Answers calls for one sandbox.
#[derive(Debug)]
pub(super) struct Emulator {
    owners: Owners,
    what: Emulated,
}

/// What is known of a sandbox's owners and users.
#[derive(Debug)]
struct Owners {
    listener: Listener,
    places: Places,
    processes: Processes,
    links: Links,
    umasks: Umasks,
}

impl Emulator {
    /// `proc` is the /proc of this process's own pid namespace, opened before the root changed.
    pub(super) fn new(
        listener: Listener,
        (proc, roots): (&File, Roots),
        init: Pid,
        links: Links,
        what: Emulated,
    ) -> io::Result<Self> {
        // What is made here for others has exactly the mode that they would have got.
        rustix::process::umask(Mode::empty());
        let (places, processes) =
            (Places::new(Proc::new(proc)?, roots), Processes::new(init.as_raw_nonzero().get()));
        Ok(Self { owners: Owners { listener, places, processes, links, umasks: Umasks::default() }, what })
    }

    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.owners.listener.as_fd()
    }

    /// Answers the call that is waiting.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        let Some(call) = self.owners.listener.receive()? else { return Ok(()) };
        let answer = self.answer(&call).unwrap_or_else(|error| match error.raw_os_error() {
            Some(errno) => Answer::Error(errno),
            None => Answer::Continue,
        });
        self.owners.listener.answer(&call, answer)
    }

    /// When all calls have been answered: what does not lie in the files is written beside the layer.
    pub(super) fn finish(self) -> io::Result<()> {
        self.owners.links.finish().map_err(io::Error::other)
    }

    fn answer(&mut self, call: &Call) -> io::Result<Answer> {
        let owners = &mut self.owners;
        let Some(kind) = calls::kind(call.interface, call.number) else { return Ok(Answer::Continue) };
        match kind {
            Kind::File(kind) if self.what == Emulated::Gaps => owners.fill_gap(kind, call),
            Kind::File(kind) => owners.file(kind, call),
            Kind::Stat(kind) => owners.stat(kind, call),
            Kind::Ids(kind) => ids::answer(kind, call, &mut owners.processes, &owners.places.proc),
            Kind::Exec(kind) => owners.execute(kind, call),
            Kind::Touch(kind) => owners.touch(kind, call),
            Kind::Exit => {
                owners.processes.ends(&owners.places.proc, call.thread);
                owners.umasks.ends(call.thread);
                Ok(Answer::Continue)
            }
            Kind::Umask => {
                owners.umasks.changes(call.thread);
                Ok(Answer::Continue)
            }
            Kind::Chroot => {
                owners.places.roots_differ();
                Ok(Answer::Continue)
            }
            Kind::Signal => {
                owners.processes.may_be_killed(&owners.places.proc);
                Ok(Answer::Continue)
            }
        }
    }
}

impl Owners {
    /// What a call names; none where it is for the kernel to say why there is nothing.
    fn named(&mut self, call: &Call, names: [u64; 3]) -> Option<Place> {
        self.places.named(call, &self.listener, names).ok().flatten()
    }

    fn descriptor(&mut self, call: &Call, number: u64) -> Option<Place> {
        self.places.descriptor(call, &self.listener, number).ok().flatten()
    }

    fn state(&mut self, thread: i32) -> Rc<State> {
        self.processes.state(&self.places.proc, thread)
    }

    fn touch(&mut self, kind: TouchCall, call: &Call) -> io::Result<Answer> {
        let [a, b, ..] = call.arguments;
        let names = match kind {
            TouchCall::Path => [AT_FDCWD, a, NOFOLLOW],
            TouchCall::At => [a, b, NOFOLLOW],
        };
        if !self.links.is_empty()
            && let Some(place) = self.named(call, names)
            && let Ok(place) = self.places.hold(place)
        {
            self.links.touch(place, &mut self.places)?;
        }
        Ok(Answer::Continue)
    }
}
