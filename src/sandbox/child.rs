//! The process between rbuild and a sandbox: makes the namespaces, starts `init`, and stays to pass signals on and to
//! report the end. One thread; started by `parent` as `rbuild __sandbox`.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::init;
use super::message::{self, Failure, Job, Order, Outcome, Report};
use super::spec::Network;
use crate::sys::namespace::{self, Namespaces};
use crate::sys::process::{self, Ended, Fork};
use crate::sys::socket::receive_descriptors;

/// The hidden first argument that makes this program a sandbox child.
pub const ARGUMENT: &str = "__sandbox";

/// Runs one job from the socket on standard input. The exit code matters to nobody: reports say everything.
pub fn main() -> i32 {
    let socket = match process::take_stdin() {
        Ok(socket) => UnixStream::from(socket),
        Err(_) => return 125,
    };
    match serve(&socket) {
        Ok(()) => 0,
        Err(error) => {
            let failure = Failure::Step { step: "start".to_owned(), error: error.to_string() };
            // When the parent is gone nobody is left to be told.
            let _ = message::write(&mut &socket, &Report::Failed(failure));
            let _ = message::write(&mut &socket, &Report::Ended(Outcome::Exited(125)));
            125
        }
    }
}

fn serve(socket: &UnixStream) -> io::Result<()> {
    let stdio = receive_descriptors(socket)?;
    let Some(job) = message::read::<Job>(&mut &*socket)? else {
        return Ok(());
    };
    // Keys pressed at a shared terminal are for the program; this process ends when the program does.
    process::ignore_terminal_signals(true);
    let mut namespaces = Namespaces::NEWNS | Namespaces::NEWPID | Namespaces::NEWIPC | Namespaces::NEWUTS;
    if job.network == Network::None {
        namespaces |= Namespaces::NEWNET;
    }
    namespace::unshare(namespaces)?;
    match process::fork()? {
        Fork::Child => become_init(job, socket, stdio),
        Fork::Parent(init) => {
            drop(stdio);
            let outcome = watch(init, socket)?;
            message::write(&mut &*socket, &Report::Ended(outcome))
        }
    }
}

fn become_init(job: Job, socket: &UnixStream, stdio: [OwnedFd; 3]) -> ! {
    process::ignore_terminal_signals(false);
    let failure = init::run(job, socket, stdio);
    let code = failure.code();
    let _ = message::write(&mut &*socket, &Report::Failed(failure));
    process::exit_now(code)
}

/// Waits for the first process inside to end; kills it when the parent is gone.
fn watch(init: Pid, socket: &UnixStream) -> io::Result<Outcome> {
    let pidfd = pidfd_open(init, PidfdFlags::empty())?;
    let mut parent_is_there = true;
    loop {
        let mut watched = vec![PollFd::new(&pidfd, PollFlags::IN)];
        if parent_is_there {
            watched.push(PollFd::new(socket, PollFlags::IN));
        }
        match poll(&mut watched, None) {
            Err(rustix::io::Errno::INTR) => continue,
            answer => answer?,
        };
        let ended = !watched[0].revents().is_empty();
        let spoken = watched.get(1).is_some_and(|socket| !socket.revents().is_empty());
        if ended {
            return Ok(match process::wait(init)? {
                Ended::Exited(code) => Outcome::Exited(code),
                Ended::Signaled(signal) => Outcome::Signaled(signal),
            });
        }
        if spoken {
            match message::read::<Order>(&mut &*socket) {
                // The program may have ended just now; the next round sees it.
                Ok(Some(Order::Signal(signal))) => {
                    if let Some(signal) = Signal::from_named_raw(signal) {
                        let _ = pidfd_send_signal(&pidfd, signal);
                    }
                }
                Ok(None) | Err(_) => {
                    parent_is_there = false;
                    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                }
            }
        }
    }
}
