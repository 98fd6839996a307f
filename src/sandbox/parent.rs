//! rbuild's side of a sandbox: starts the child, hands it its job, and hears how it went. Runs in the threaded process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::pin::pin;
use std::process::Stdio as ProcessStdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::child::ARGUMENT;
use super::endings::Counted;
use super::group::GroupSpec;
use super::message::{self, Failure, Job, Joining, Order, Outcome, Report};
use super::processes::{KnownProcesses, SHARED_NOTICE};
use super::settings::Sandboxing;
use super::spec::{Network, Spec};
use super::steps::plan;
use crate::sys::socket::send_descriptors;
use crate::sys::{At, IoError};

/// Where the program's standard streams lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// Nothing to read; what it writes is read from [`Running::output`].
    Piped,
    /// The caller's own.
    Inherited,
    /// The caller's own to write to; nothing to read.
    OutputInherited,
}

/// A sandboxed process. Dropping it kills the process and all it started; the end is waited for elsewhere
/// ([`super::Endings`]), and what is `kept` for it is dropped then.
#[derive(Debug)]
pub struct Running<K: Send + 'static> {
    /// Standard output and standard error, when piped; take them out to read them.
    pub output: Option<(pipe::Receiver, pipe::Receiver)>,
    processes: KnownProcesses,
    deadline: Option<Deadline>,
    /// None once it has ended.
    sandbox: Option<Living<K>>,
}

/// How it ended, or why it never began.
#[derive(Debug)]
pub struct Finished<K> {
    pub outcome: Outcome,
    pub failure: Option<Failure>,
    pub notices: Vec<String>,
    /// Whether memory was used up, where a control group tells.
    pub out_of_memory: Option<bool>,
    /// The limit that it ran into, if it was killed for that.
    pub timed_out: Option<Duration>,
    pub kept: K,
}

#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    limit: Duration,
}

/// Starts a sandboxed process. What it works on, such as its directories, is kept until it is gone.
pub async fn spawn<K: Send + 'static>(
    sandboxing: &Sandboxing,
    spec: &Spec,
    stdio: Stdio,
    kept: K,
) -> Result<Running<K>, IoError> {
    let count = sandboxing.endings.begin();
    let (ours, theirs) = StdStream::pair().at("create", "socket pair")?;
    // The path is looked up by the new process, which shares the descriptor until it executes.
    let child = Command::new(format!("/proc/self/fd/{}", sandboxing.entered.program.as_raw_fd()))
        .arg0("rbuild")
        .arg(ARGUMENT)
        .stdin(ProcessStdio::from(OwnedFd::from(theirs)))
        .stdout(ProcessStdio::null())
        .spawn()
        .at("start", "sandbox process")?;
    let netns = match &spec.network {
        Network::Shared(connection) => Some(connection.netns()),
        Network::Host | Network::None => None,
    };
    let output = hand_over(&ours, stdio, netns)?;
    ours.set_nonblocking(true).at("configure", "socket")?;
    let socket = UnixStream::from_std(ours).at("watch", "socket")?;
    let limit = sandboxing.settings.limits.timeout;
    let deadline = limit.map(|limit| Deadline { at: Instant::now() + limit, limit });
    let group = sandboxing.groups.as_ref().map(|groups| groups.spec(group_name(), &spec.limits.resources));
    let sandbox = Some(Living { socket, child, group: group.clone(), kept, _count: count });
    let processes = sandboxing.entered.processes.clone();
    let job_processes = processes.expected();
    let mut running = Running { processes, output, deadline, sandbox };
    let job = Job {
        processes: job_processes,
        open_files: sandboxing.entered.open_files,
        network: Joining::from(&spec.network),
        steps: plan(spec),
        process: spec.process.clone(),
        group,
    };
    let socket = &mut running.sandbox.as_mut().expect("it has just begun").socket;
    socket.write_all(&message::encode(&job)).await.at("write", "sandbox socket")?;
    Ok(running)
}

/// A name that no other group has.
fn group_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("rbuild-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Sends the child what it has to have as descriptors.
fn hand_over(
    socket: &StdStream,
    stdio: Stdio,
    netns: Option<BorrowedFd<'_>>,
) -> Result<Option<(pipe::Receiver, pipe::Receiver)>, IoError> {
    let send = |streams: [BorrowedFd<'_>; 3]| {
        let descriptors: Vec<BorrowedFd<'_>> = streams.into_iter().chain(netns).collect();
        send_descriptors(socket, &descriptors).at("send", "standard streams")
    };
    match stdio {
        Stdio::Inherited => {
            send([io::stdin().as_fd(), io::stdout().as_fd(), io::stderr().as_fd()])?;
            Ok(None)
        }
        Stdio::OutputInherited => {
            send([nothing()?.as_fd(), io::stdout().as_fd(), io::stderr().as_fd()])?;
            Ok(None)
        }
        Stdio::Piped => {
            let (output, their_output) = io::pipe().at("create", "pipe")?;
            let (error, their_error) = io::pipe().at("create", "pipe")?;
            send([nothing()?.as_fd(), their_output.as_fd(), their_error.as_fd()])?;
            let receiver =
                |end: io::PipeReader| pipe::Receiver::from_owned_fd(end.into()).at("watch", "pipe");
            Ok(Some((receiver(output)?, receiver(error)?)))
        }
    }
}

fn nothing() -> Result<File, IoError> {
    File::open("/dev/null").at("open", "/dev/null")
}

impl<K: Send + 'static> Running<K> {
    /// Waits for the end; meanwhile passes signals on to the program, and kills it when its time is over.
    pub async fn finish(
        mut self,
        mut signals: Option<&mut mpsc::UnboundedReceiver<i32>>,
    ) -> Result<Finished<K>, IoError> {
        let deadline = self.deadline;
        let sandbox = self.sandbox.as_mut().expect("it ends once");
        let (mut reports, mut orders) = sandbox.socket.split();
        let (mut failure, mut notices) = (None, Vec::new());
        let mut time_is_over = pin!(sleep_until(deadline));
        let mut timed_out = None;
        let (outcome, out_of_memory) = loop {
            // A frame is read to its end even when a signal comes between its parts.
            let mut next = pin!(next_report(&mut reports));
            let report = loop {
                let order = tokio::select! {
                    report = &mut next => break report,
                    Some(signal) = receive(&mut signals) => Order::Signal(signal),
                    limit = &mut time_is_over, if timed_out.is_none() => {
                        timed_out = Some(limit);
                        Order::Kill
                    }
                };
                // The program may have ended just now; its report is on the way.
                let _ = orders.write_all(&message::encode(&order)).await;
            };
            match report.at("read", "sandbox socket")? {
                Some(Report::ProcessesAreShared) => {
                    if self.processes.found_shared() {
                        notices.push(SHARED_NOTICE.to_owned());
                    }
                }
                Some(Report::Notice(text)) => notices.push(text),
                Some(Report::Failed(reason)) => failure = Some(reason),
                Some(Report::Ended { outcome, out_of_memory }) => break (outcome, out_of_memory),
                None => {
                    let error = io::Error::other("it ended without a report; was it killed?");
                    return Err(error).at("hear from", "sandbox process");
                }
            }
        };
        // Reap it; how it ended was said.
        let _ = sandbox.child.wait().await;
        let Living { kept, .. } = self.sandbox.take().expect("it ends once");
        // It may have come to its own end in the moment in which its time was over.
        let timed_out = timed_out.filter(|_| outcome == Outcome::Signaled(Signal::KILL.as_raw()));
        Ok(Finished { outcome, failure, notices, out_of_memory, timed_out, kept })
    }
}

impl<K: Send + 'static> Drop for Running<K> {
    fn drop(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            // Waiting and removing take their time, and this may be a thread that others wait for.
            std::thread::spawn(move || sandbox.end());
        }
    }
}

/// What is there as long as the sandbox is.
#[derive(Debug)]
struct Living<K> {
    socket: UnixStream,
    child: Child,
    /// The child removes it, if it can.
    group: Option<GroupSpec>,
    kept: K,
    /// Last: who waits for the end waits for all of it.
    _count: Counted,
}

/// How long the child may take to kill what is inside; it is killed itself then, and what is inside with it.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

impl<K> Living<K> {
    /// Has everything killed and waits until it is gone.
    fn end(self) {
        let Self { socket, child, group, kept, _count } = self;
        let pidfd = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let pidfd = pidfd.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // The child kills what is inside when this side of the socket is gone.
        drop(socket);
        if let Some(pidfd) = &pidfd {
            for _ in 0..2 {
                let ended = poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&PATIENCE));
                if ended.is_ok_and(|ended| ended > 0) {
                    break;
                }
                let _ = pidfd_send_signal(pidfd, Signal::KILL);
            }
        }
        drop(child);
        group.iter().for_each(GroupSpec::remove);
        drop(kept);
    }
}

/// Ends at the deadline, with the limit; never without one.
async fn sleep_until(deadline: Option<Deadline>) -> Duration {
    match deadline {
        Some(Deadline { at, limit }) => {
            tokio::time::sleep_until(at).await;
            limit
        }
        None => std::future::pending().await,
    }
}

async fn receive(signals: &mut Option<&mut mpsc::UnboundedReceiver<i32>>) -> Option<i32> {
    match signals {
        Some(signals) => signals.recv().await,
        None => None,
    }
}

async fn next_report(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Report>> {
    let mut header = [0; 4];
    match from.read_exact(&mut header).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        answer => answer?,
    };
    let mut body = vec![0; message::frame_length(header)?];
    from.read_exact(&mut body).await?;
    message::decode(&body).map(Some)
}
