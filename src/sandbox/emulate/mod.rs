//! Other users where the namespace has just one: calls that would need them are answered as root would be answered, and
//! what they asked for is remembered. Runs in the child, beside the sandboxed processes.
//!
//! Owners and devices are recorded in an attribute of the files themselves ([`crate::sys::ownership`]), from where
//! layers are packed; user and group ids of processes live as long as the sandbox ([`ids`]). A call on something that
//! has no record is left to the kernel, whose answer is right then.
//!
//! What stays different: all users are one to the kernel, so permission checks between them do not bite; setuid programs
//! do not change whoever starts them; symlinks and pipes stay root's; and programs of other architectures (i386, x32) see
//! the one id that there is.

mod calls;
mod files;
mod ids;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::Mode;
use rustix::process::Pid;

pub(super) use calls::traps;

use self::ids::Ids;
use crate::sys::seccomp::{Answer, Call, Listener};

/// Answers calls for one sandbox.
#[derive(Debug)]
pub(super) struct Emulator {
    listener: Listener,
    ids: Ids,
}

impl Emulator {
    /// `proc` is the /proc of this process's own pid namespace, opened before the root changed. It becomes the working
    /// directory, from where other processes' directories and files are reached by their numbers.
    pub(super) fn new(listener: Listener, proc: &File, init: Pid) -> io::Result<Self> {
        rustix::process::fchdir(proc)?;
        // What is made here for others has exactly the mode that they would have got.
        rustix::process::umask(Mode::empty());
        Ok(Self { listener, ids: Ids::new(init.as_raw_nonzero().get()) })
    }

    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Answers the call that is waiting.
    pub(super) fn serve(&mut self) -> io::Result<()> {
        let Some(call) = self.listener.receive()? else { return Ok(()) };
        let answer = self.answer(&call).unwrap_or_else(|error| match error.raw_os_error() {
            Some(errno) => Answer::Error(errno),
            None => Answer::Continue,
        });
        self.listener.answer(&call, answer)
    }

    fn answer(&mut self, call: &Call) -> io::Result<Answer> {
        match calls::kind(call.number) {
            Some(calls::Kind::File(kind)) => files::answer(kind, call, &mut self.ids, &self.listener),
            Some(calls::Kind::Ids(kind)) => self.ids.answer(kind, call),
            None => Ok(Answer::Continue),
        }
    }
}
