//! The process between rbuild and a sandbox: makes the namespaces, starts `init`, and stays to pass signals on and to
//! report the end. One thread; started by `parent` as `rbuild __sandbox`.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::descendants;
use super::emulate::{Emulator, Links, Roots};
use super::group::Group;
use super::init::{self, Child};
use super::message::{self, Failure, Job, Joining, Order, Outcome, Report};
use super::processes::Processes;
use super::spec::Emulated;
use super::steps::Step;
use crate::sys::IoError;
use crate::sys::namespace::{self, Namespaces};
use crate::sys::ownership;
use crate::sys::process::{self, Ended, Fork};
use crate::sys::seccomp::Listener;
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
            let failure = Failure::of_step("start", &error);
            // When the parent is gone nobody is left to be told.
            let _ = message::write(&mut &socket, &Report::Failed(failure));
            let ended = Report::Ended { outcome: Outcome::Exited(125), out_of_memory: None };
            let _ = message::write(&mut &socket, &ended);
            125
        }
    }
}

fn serve(socket: &UnixStream) -> io::Result<()> {
    let mut stdio = receive_descriptors(socket)?;
    let netns = if stdio.len() > 3 { stdio.pop() } else { None };
    let stdio = stdio.try_into().map_err(|_| io::Error::other("expected three descriptors"))?;
    let Some(job) = message::read::<Job>(&mut &*socket)? else {
        return Ok(());
    };
    // Keys pressed at a shared terminal are for the program; this process ends when the program does.
    process::ignore_terminal_signals();
    let mut namespaces = Namespaces::NEWNS | Namespaces::NEWIPC | Namespaces::NEWUTS;
    match (job.network, netns) {
        (Joining::Stay, _) => {}
        (Joining::New, _) => namespaces |= Namespaces::NEWNET,
        (Joining::Given, Some(netns)) => namespace::join_network(&netns)?,
        (Joining::Given, None) => return Err(io::Error::other("expected a network namespace")),
    }
    // Before the root changes, which it does for this process, too.
    let group = match job.group.as_ref().map(Group::create).transpose() {
        Ok(group) => Removed(group),
        Err(error) => return Err(io::Error::other(error)),
    };
    // Opened while it is still the one that this process's numbers are in.
    let proc = File::open("/proc")?;
    let links = links(&job).map_err(io::Error::other)?;
    namespace::unshare(namespaces)?;
    let mut processes = job.processes;
    if processes == Processes::Shared {
        process::adopt_orphans()?;
    }
    let (init, to_init) = loop {
        let (to_init, from_init) = UnixStream::pair()?;
        match processes.fork()? {
            Fork::Child => {
                drop((proc, to_init));
                let child = Child { socket: from_init, links };
                become_init(job, processes, group.0.as_ref(), socket, child, stdio)
            }
            Fork::Parent(init) => {
                drop(from_init);
                if Processes::goes_on(&to_init) {
                    break (init, to_init);
                }
                process::wait(init)?;
                message::write(&mut &*socket, &Report::ProcessesAreShared)?;
                processes = Processes::Shared;
                process::adopt_orphans()?;
            }
        }
    };
    drop(stdio);
    let inside = Inside { init, pidfd: pidfd_open(init, PidfdFlags::empty())?, group: group.0.as_ref() };
    // Kept until nobody is left who could call: what nobody answers fails in strange ways.
    let mut answering = None;
    let outcome = emulator(&job, &to_init, &proc, init, links).and_then(|emulator| {
        answering = emulator;
        watch(&inside, socket, answering.as_mut())
    });
    if processes == Processes::Shared {
        rustix::process::fchdir(&proc)?;
        descendants::kill_all()?;
    }
    let outcome = outcome?;
    answering.map_or(Ok(()), Emulator::finish)?;
    let out_of_memory = group.0.as_ref().map(Group::ran_out_of_memory);
    // Nothing is left when the end is told.
    drop(group);
    message::write(&mut &*socket, &Report::Ended { outcome, out_of_memory })
}

/// What is known of links below, if somebody is going to ask. Read as long as the host's paths mean something, and before the
/// first process inside is forked, which has to know the same ids.
fn links(job: &Job) -> Result<Option<Links>, IoError> {
    let emulated = |step: &Step| matches!(step, Step::Emulate { .. });
    let root = job.steps.iter().find_map(|step| match step {
        Step::MountRoot { root, .. } => Some(root),
        _ => None,
    });
    match root {
        Some(root) if job.steps.iter().any(emulated) => {
            ownership::stand_ins();
            Links::open(root).map(Some)
        }
        Some(_) | None => Ok(None),
    }
}

/// Waits for the calls that the first process hands over, if it is going to. It is about to, or to fail.
fn emulator(
    job: &Job,
    to_init: &UnixStream,
    proc: &File,
    init: Pid,
    links: Option<Links>,
) -> io::Result<Option<Emulator>> {
    let Some(links) = links else { return Ok(None) };
    let gaps = Step::Emulate { what: Emulated::Gaps };
    let what = if job.steps.contains(&gaps) { Emulated::Gaps } else { Emulated::Owners };
    // Where calls are refused that make and enter namespaces, all that is left is chroot, of which the emulator hears.
    let stays =
        |step: &Step| matches!(step, Step::RefuseCalls { capabilities } if !capabilities.may_administer());
    let roots = if job.steps.iter().any(stays) { Roots::AllOne } else { Roots::Various };
    match receive_descriptors(to_init)?.pop() {
        Some(listener) => {
            Emulator::new(Listener::from_fd(listener), (proc, roots), init, links, what).map(Some)
        }
        None => Ok(None),
    }
}

/// A group that goes when this process is done with it, however that comes.
struct Removed(Option<Group>);

impl Drop for Removed {
    fn drop(&mut self) {
        self.0.iter().for_each(Group::remove);
    }
}

/// Everything in the sandbox.
struct Inside<'a> {
    init: Pid,
    pidfd: OwnedFd,
    group: Option<&'a Group>,
}

impl Inside<'_> {
    /// Kills it all: with the first process of a namespace the kernel kills the others.
    fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        self.group.into_iter().for_each(Group::kill);
    }
}

fn become_init(
    job: Job,
    processes: Processes,
    group: Option<&Group>,
    socket: &UnixStream,
    child: Child,
    stdio: [OwnedFd; 3],
) -> ! {
    process::default_signals();
    let failure = match processes.make_proc(&child.socket) {
        Ok(proc) => init::run(job, proc, group, socket, child, stdio),
        Err(error) => Failure::of_step("mount-proc", &error.source),
    };
    let code = failure.code();
    let _ = message::write(&mut &*socket, &Report::Failed(failure));
    process::exit_now(code)
}

/// Waits for the first process inside to end; kills it when the parent is gone. Meanwhile answers the calls that were
/// handed over.
fn watch(
    inside: &Inside<'_>,
    socket: &UnixStream,
    mut emulator: Option<&mut Emulator>,
) -> io::Result<Outcome> {
    let (mut parent_is_there, mut calls) = (true, true);
    loop {
        let listener = emulator.as_deref().filter(|_| calls).map(Emulator::listener);
        let mut watched = vec![PollFd::new(&inside.pidfd, PollFlags::IN)];
        // One that is not watched is polled for nothing, so that each keeps its place.
        let unless = |wanted: bool| if wanted { PollFlags::IN } else { PollFlags::empty() };
        watched.push(PollFd::new(socket, unless(parent_is_there)));
        if let Some(listener) = &listener {
            watched.push(PollFd::new(listener, PollFlags::IN));
        }
        match poll(&mut watched, None) {
            Err(rustix::io::Errno::INTR) => continue,
            answer => answer?,
        };
        let ended = !watched[0].revents().is_empty();
        let spoken = parent_is_there && !watched[1].revents().is_empty();
        let called = watched.get(2).map_or(PollFlags::empty(), PollFd::revents);
        drop(watched);
        if ended {
            return Ok(match process::wait(inside.init)? {
                Ended::Exited(code) => Outcome::Exited(code),
                Ended::Signaled(signal) => Outcome::Signaled(signal),
            });
        }
        match &mut emulator {
            Some(emulator) if called.contains(PollFlags::IN) => emulator.serve()?,
            // Nobody is left who could call.
            Some(_) if !called.is_empty() => calls = false,
            Some(_) | None => {}
        }
        if spoken {
            match message::read::<Order>(&mut &*socket) {
                // The program may have ended just now; the next round sees it.
                Ok(Some(Order::Signal(signal))) => {
                    if let Some(signal) = Signal::from_named_raw(signal) {
                        let _ = pidfd_send_signal(&inside.pidfd, signal);
                    }
                }
                Ok(Some(Order::Kill)) => inside.kill(),
                Ok(None) | Err(_) => {
                    parent_is_there = false;
                    inside.kill();
                }
            }
        }
    }
}
