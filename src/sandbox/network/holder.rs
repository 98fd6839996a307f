//! The process that holds a private network: makes the namespaces, starts the connector program, and ends it all when rbuild
//! is gone. One thread; started by `connect` as `rbuild __network`. Its fork is the first process of a process namespace.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use serde::{Deserialize, Serialize};

use super::connector::{Connector, ConnectorKind};
use crate::sandbox::message;
use crate::sys::namespace::{self, Namespaces};
use crate::sys::process::{self, Fork};
use crate::sys::{network, socket};

/// The hidden first argument that makes this program a holder.
pub const ARGUMENT: &str = "__network";

/// What is asked of a holder, in one frame.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub connector: Connector,
    /// Whether to become nobody, in a user namespace, before anything else.
    pub as_nobody: bool,
}

/// What it answers; the network namespace follows as a descriptor if there is one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Connected {
        addresses: Vec<IpAddr>,
    },
    /// In a sentence for the user.
    Failed(String),
}

/// A connector that takes longer does not come.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Holds one network until the socket on standard input closes. Nobody looks at the exit code.
pub fn main() -> i32 {
    let Ok(socket) = process::take_stdin().map(UnixStream::from) else { return 125 };
    match hold(&socket) {
        Ok(()) => 0,
        Err(error) => {
            // When the other side is gone nobody is left to be told.
            let _ = message::write(&mut &socket, &Report::Failed(error.to_string()));
            1
        }
    }
}

fn hold(socket: &UnixStream) -> io::Result<()> {
    // What is typed at a terminal is for rbuild, which closes the socket when it ends.
    rustix::process::setsid()?;
    let Some(order) = message::read::<Order>(&mut &*socket)? else { return Ok(()) };
    if order.as_nobody {
        process::become_nobody()?;
        namespace::unshare(Namespaces::NEWUSER)?;
        namespace::map_single_ids(process::NOBODY, process::NOBODY).map_err(io::Error::other)?;
    }
    // Everything from here on is in this namespace, so that one death is everybody's.
    namespace::unshare(Namespaces::NEWPID)?;
    let (to_first, from_first) = UnixStream::pair()?;
    let first = match process::fork()? {
        Fork::Child => {
            drop(to_first);
            let code = i32::from(stay(&from_first).is_err());
            process::exit_now(code);
        }
        Fork::Parent(first) => first,
    };
    drop(from_first);
    let first = First { pid: first, pidfd: pidfd_open(first, PidfdFlags::empty())?, socket: to_first };
    let mut started = None;
    let held =
        connect(&order.connector, &first, socket, &mut started).and_then(|connected| match connected {
            Some((addresses, netns)) => {
                message::write(&mut &*socket, &Report::Connected { addresses })?;
                socket::send_descriptors(socket, &[netns.as_fd()])?;
                wait_for_either(socket, &first.pidfd)
            }
            None => Ok(()),
        });
    // With it goes whatever the connector has become; and if this process is killed before, the kernel does the same.
    let _ = pidfd_send_signal(&first.pidfd, Signal::KILL);
    // Nothing is left for others to bury. In this order: the first process ends after everything else in its namespace is
    // buried, and the connector is to be buried here.
    let _ = started.map(|mut child| child.wait());
    let _ = process::wait(first.pid);
    held
}

/// The first process of the process namespace, which is also the one that is in the network namespace.
struct First {
    pid: Pid,
    pidfd: OwnedFd,
    socket: UnixStream,
}

/// Connects the network; none when the socket was closed meanwhile.
fn connect(
    connector: &Connector,
    first: &First,
    socket: &UnixStream,
    started: &mut Option<Child>,
) -> io::Result<Option<(Vec<IpAddr>, File)>> {
    (&first.socket).read_exact(&mut [0]).map_err(|_| io::Error::other("no network namespace can be made"))?;
    // By the name that podman and buildah have used all along, which profiles of security modules allow.
    let netns = format!("/proc/{}/ns/net", first.pid.as_raw_nonzero());
    let opened = File::open(&netns)?;
    if !start(connector, &netns, socket, started)? {
        return Ok(None);
    }
    (&first.socket).write_all(b"!")?;
    let addresses = message::read::<Vec<IpAddr>>(&mut &first.socket)?.unwrap_or_default();
    if addresses.is_empty() {
        return Err(io::Error::other("it gives no way out"));
    }
    Ok(Some((addresses, opened)))
}

/// The life of the first process: it is in the network namespace, says what it sees there, and stays.
fn stay(holder: &UnixStream) -> io::Result<()> {
    process::die_with_parent()?;
    namespace::unshare(Namespaces::NEWNET)?;
    network::loopback_up()?;
    // A process with fewer capabilities than this one may not look at its namespaces, and helpers give up most of theirs.
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    process::stay_visible()?;
    let mut holder = holder;
    holder.write_all(b"!")?;
    holder.read_exact(&mut [0])?;
    // Connected, it has been looked at for the last time. Where a sandbox sees the processes around it, this one, which can
    // do nothing, would be a way to everything that it sees.
    process::stay_hidden()?;
    message::write(&mut holder, &network::own_addresses())?;
    // Until the holder is gone, if the kernel has not told yet.
    holder.read(&mut [0]).map(drop)
}

/// Starts the connector and waits until the network is ready; false when nobody waits for it any more.
fn start(
    connector: &Connector,
    netns: &str,
    socket: &UnixStream,
    started: &mut Option<Child>,
) -> io::Result<bool> {
    let (mut said, saying) = io::pipe()?;
    let mut command = Command::new(&connector.program);
    command.args(connector.arguments(netns)).env_clear().stdout(Stdio::null()).stderr(saying);
    let (mut ready, is_ready) = io::pipe()?;
    command.stdin(match connector.kind {
        ConnectorKind::Pasta => Stdio::null(),
        ConnectorKind::Slirp4netns => Stdio::from(is_ready),
    });
    let child = started.insert(command.spawn()?);
    drop(command);
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let words = |said: &mut io::PipeReader| io::Error::other(last_words(said));
    match connector.kind {
        ConnectorKind::Pasta => match wait_for(&pidfd, socket)? {
            Awaited::Came if child.wait()?.success() => Ok(true),
            Awaited::Came => Err(words(&mut said)),
            Awaited::NobodyWaits => Ok(false),
        },
        ConnectorKind::Slirp4netns => match wait_for(&ready, socket)? {
            // It ended if there is nothing to be read.
            Awaited::Came if ready.read(&mut [0])? == 1 => Ok(true),
            Awaited::Came => {
                child.wait()?;
                Err(words(&mut said))
            }
            Awaited::NobodyWaits => Ok(false),
        },
    }
}

enum Awaited {
    Came,
    /// The socket was closed.
    NobodyWaits,
}

fn wait_for(event: &impl AsFd, socket: &UnixStream) -> io::Result<Awaited> {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut watched = [PollFd::new(event, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).unwrap_or_default();
        match poll(&mut watched, Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) => return Err(io::Error::other(format!("not ready after {} s", PATIENCE.as_secs()))),
            Ok(_) if !watched[0].revents().is_empty() => return Ok(Awaited::Came),
            Ok(_) => return Ok(Awaited::NobodyWaits),
            Err(error) => return Err(error.into()),
        }
    }
}

fn wait_for_either(socket: &UnixStream, first: &OwnedFd) -> io::Result<()> {
    loop {
        let mut watched = [PollFd::new(socket, PollFlags::IN), PollFd::new(first, PollFlags::IN)];
        match poll(&mut watched, None) {
            Err(rustix::io::Errno::INTR) => {}
            answer => return Ok(answer.map(drop)?),
        }
    }
}

/// The last line that a program has written, as far as it is about the matter. Others may hold the pipe, so it is read
/// without waiting.
fn last_words(said: &mut io::PipeReader) -> String {
    let mut text = vec![0; 16 << 10];
    let length = match rustix::io::ioctl_fionbio(&*said, true) {
        Ok(()) => said.read(&mut text).unwrap_or(0),
        Err(_) => 0,
    };
    let text = String::from_utf8_lossy(&text[..length]).into_owned();
    let is_about_it = |line: &&str| !line.is_empty() && !line.contains("to syslog");
    let last = text.lines().map(str::trim).rfind(is_about_it);
    last.map_or_else(|| "it ended without a word".to_owned(), str::to_owned)
}
