//! rbuild's side of a private network: starts the holder and hears whether it is connected. Blocking; runs in the
//! threaded process, or in one that looks at what a host can do.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::connector::{Connector, ConnectorKind};
use super::holder::{self, Order, PATIENCE, Report};
use crate::sandbox::isolation::Rung;
use crate::sandbox::lent::find_program;
use crate::sandbox::message;
use crate::sandbox::obstacles::Remedy;
use crate::sandbox::probe::{Device, device};
use crate::sys::socket::receive_descriptors;

/// A private network that is connected. Dropping it ends everything that belongs to it.
#[derive(Debug)]
pub struct Connection {
    netns: OwnedFd,
    /// The network's own, IPv4 first.
    pub(super) addresses: Vec<IpAddr>,
    /// Where the host's resolver answers.
    pub(super) forwarder: Option<IpAddr>,
    /// The program that connects it.
    connector: String,
    _holder: Holder,
}

/// The process that holds a network. Dropping it ends the network.
#[derive(Debug)]
struct Holder {
    child: Child,
    /// Its other end tells the holder that this process lives.
    socket: UnixStream,
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It ends what it has started, and itself. Nobody waits for that: the kernel takes tens of milliseconds to let go of
        // a network interface.
        let _ = self.socket.shutdown(Shutdown::Both);
        let _ = self.child.try_wait();
    }
}

impl Connection {
    /// What a process has to move into to share the network.
    pub(in crate::sandbox) fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }

    pub(in crate::sandbox) fn connector(&self) -> &str {
        &self.connector
    }

    pub(super) fn has_ipv6(&self) -> bool {
        self.addresses.iter().any(IpAddr::is_ipv6)
    }

    pub(super) fn has_ipv4(&self) -> bool {
        self.addresses.iter().any(IpAddr::is_ipv4)
    }
}

/// Why there is no private network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disconnected {
    NotInstalled,
    NoTunnel { is_there: bool },
    Failed { attempts: Vec<(String, String)> },
}

impl fmt::Display for Disconnected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled => out.write_str("neither pasta nor slirp4netns is installed"),
            Self::NoTunnel { is_there: false } => out.write_str("there is no /dev/net/tun"),
            Self::NoTunnel { is_there: true } => out.write_str("/dev/net/tun cannot be opened"),
            Self::Failed { attempts } => {
                let told: Vec<String> =
                    attempts.iter().map(|(program, why)| format!("{program}: {why}")).collect();
                out.write_str(&told.join("; "))
            }
        }
    }
}

impl std::error::Error for Disconnected {}

impl Disconnected {
    /// What would help, as far as it is known.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::NotInstalled => Some(Remedy::install("passt")),
            Self::NoTunnel { is_there } => Some(Remedy::open_device("/dev/net/tun", "tun", *is_there)),
            Self::Failed { .. } => None,
        }
    }
}

/// As whom a network is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Identity {
    /// Root without a user namespace: what faces the network had better be somebody else.
    Root,
    /// Root of a user namespace, which is an ordinary user outside.
    Mapped,
}

impl From<Rung> for Identity {
    fn from(rung: Rung) -> Self {
        match rung {
            Rung::Root => Self::Root,
            Rung::Range | Rung::Single | Rung::Bare => Self::Mapped,
        }
    }
}

/// Connects a private network by the first program that can. `program` is this program.
pub(in crate::sandbox) fn connect(
    program: BorrowedFd<'_>,
    identity: Identity,
    search_path: &OsStr,
) -> Result<Connection, Disconnected> {
    let mut installed: Vec<Connector> = ConnectorKind::ALL
        .into_iter()
        .filter_map(|kind| {
            let program = find_program(search_path, kind.name())?;
            Some(Connector { kind, program, unknown: Vec::new(), stays_root: false })
        })
        .collect();
    if installed.is_empty() {
        return Err(Disconnected::NotInstalled);
    }
    match device("/dev/net/tun") {
        Device::Usable => {}
        Device::Missing => return Err(Disconnected::NoTunnel { is_there: false }),
        Device::Closed => return Err(Disconnected::NoTunnel { is_there: true }),
    }
    // Asked only where there is a choice: it takes as long as starting a program.
    if let [pasta, _] = installed.as_slice()
        && !pasta.is_mature(&help_of(&pasta.program))
    {
        installed.reverse();
    }
    let mut attempts = Vec::new();
    for connector in installed {
        match connect_by(program, identity, &connector) {
            Ok(connection) => return Ok(connection),
            Err(error) => attempts.push((connector.kind.name().to_owned(), error.to_string())),
        }
    }
    Err(Disconnected::Failed { attempts })
}

fn connect_by(program: BorrowedFd<'_>, identity: Identity, connector: &Connector) -> io::Result<Connection> {
    let attempt = |connector: &Connector| match identity {
        Identity::Mapped => attempt(program, connector, false),
        // Where nobody may make no user namespace or open the tunnel's device, root has to do it itself.
        Identity::Root => attempt(program, connector, true)
            .or_else(|_| attempt(program, &Connector { stays_root: true, ..connector.clone() }, false)),
    };
    attempt(connector).or_else(|error| match connector.reduced_to(&help_of(&connector.program)) {
        Some(reduced) => attempt(&reduced),
        None => Err(error),
    })
}

/// What a program says about its options; nothing if it says nothing.
fn help_of(program: &Path) -> String {
    let output = Command::new(program).arg("--help").env_clear().stdin(Stdio::null()).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
    )
}

fn attempt(program: BorrowedFd<'_>, connector: &Connector, as_nobody: bool) -> io::Result<Connection> {
    let (ours, theirs) = UnixStream::pair()?;
    // The path is looked up by the new process, which shares the descriptor until it executes.
    let child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .arg0("rbuild")
        .arg(holder::ARGUMENT)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let holder = Holder { child, socket: ours };
    let (addresses, netns) = ask(&holder.socket, &Order { connector: connector.clone(), as_nobody })?;
    Ok(Connection {
        netns,
        addresses,
        forwarder: connector.forwarder(),
        connector: connector.program.display().to_string(),
        _holder: holder,
    })
}

fn ask(holder: &UnixStream, order: &Order) -> io::Result<(Vec<IpAddr>, OwnedFd)> {
    let silent = || io::Error::other("the process that holds the network ended without a word");
    // It is patient itself; this is for one that was stopped.
    holder.set_read_timeout(Some(PATIENCE * 2))?;
    message::write(&mut &*holder, order)?;
    match message::read::<Report>(&mut &*holder)? {
        Some(Report::Connected { addresses }) => {
            let netns = receive_descriptors(holder)?.pop().ok_or_else(silent)?;
            Ok((addresses, netns))
        }
        Some(Report::Failed(why)) => Err(io::Error::other(why)),
        None => Err(silent()),
    }
}

/// The address by which a private network reaches this machine: that of its way out.
pub(super) fn host_address() -> Option<Ipv4Addr> {
    crate::sys::network::own_addresses().into_iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}
