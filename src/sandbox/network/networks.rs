//! The networks of one build or one container, each made when it is first wanted. Runs in the threaded process.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

use super::connect::{Connection, Disconnected, Identity, connect, host_address};
use super::names::{HostAddress, HostFiles, HostResolver, hosts};
use super::{NetworkSettings, Reach};
use crate::sandbox::settings::Sandboxing;
use crate::sandbox::spec::Network;
use crate::sys::{IoError, blocking};

/// What sandboxes of one build or one container are connected to.
#[derive(Debug)]
pub struct Networks {
    sandboxing: Arc<Sandboxing>,
    /// Lives as long as the sandboxes; receives the files with names.
    directory: PathBuf,
    hostname: String,
    /// Whether the machine's name stands for its address in its network, and not for loopback.
    is_machine: bool,
    private: OnceLock<Connecting>,
    has_warned: AtomicBool,
    /// By the kind of network. Written once, because sandboxes look at them.
    files: Mutex<BTreeMap<&'static str, HostFiles>>,
}

/// A network for one sandbox.
#[derive(Debug)]
pub struct Provided {
    pub network: Network,
    pub files: HostFiles,
    /// What the user should know of it, once.
    pub warning: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("a private network cannot be made here: {0}")]
    Disconnected(Disconnected),
    #[error("host-gateway means nothing here: this machine has no IPv4 address that leads out")]
    NoGateway,
    #[error(transparent)]
    Io(#[from] IoError),
}

type Connecting = Shared<BoxFuture<'static, Result<Arc<Connection>, Disconnected>>>;

impl Networks {
    /// For steps: their machine has a name, and nothing that would tell it from others.
    pub fn of_steps(sandboxing: Arc<Sandboxing>, directory: PathBuf, hostname: &str) -> Self {
        Self::new(sandboxing, directory, hostname, false)
    }

    /// For a container, which is a machine with a name and an address.
    pub fn of_container(sandboxing: Arc<Sandboxing>, directory: PathBuf, hostname: &str) -> Self {
        Self::new(sandboxing, directory, hostname, true)
    }

    fn new(sandboxing: Arc<Sandboxing>, directory: PathBuf, hostname: &str, is_machine: bool) -> Self {
        let (private, has_warned) = (OnceLock::new(), AtomicBool::new(false));
        let (hostname, files) = (hostname.to_owned(), Mutex::default());
        Self { sandboxing, directory, hostname, is_machine, private, has_warned, files }
    }

    /// Begins to make what will be wanted, beside whatever else is done.
    pub fn begin(&self, reach: Reach) {
        match reach {
            // Where nothing can be run, nobody is there to be connected.
            Reach::Private | Reach::PrivateOrHost if self.sandboxing.may_run() => drop(self.connecting()),
            Reach::Private | Reach::PrivateOrHost | Reach::Host | Reach::None => {}
        }
    }

    /// The network for a sandbox, when it is there.
    pub async fn provide(&self, reach: Reach) -> Result<Provided, NetworkError> {
        let connected = match reach {
            Reach::Private | Reach::PrivateOrHost => self.connecting().await,
            Reach::Host => return self.of_host(None),
            Reach::None => return self.nowhere(),
        };
        match (connected, reach) {
            (Ok(connection), _) => self.of_private(connection),
            (Err(why), Reach::Private) => Err(NetworkError::Disconnected(why)),
            (Err(why), Reach::PrivateOrHost | Reach::Host | Reach::None) => {
                let is_first = !self.has_warned.swap(true, Ordering::Relaxed);
                self.of_host(is_first.then(|| warning(&why)))
            }
        }
    }

    fn connecting(&self) -> Connecting {
        let begin = || {
            let sandboxing = Arc::clone(&self.sandboxing);
            // A task of its own, so that it goes on while nobody waits for it.
            let connecting = tokio::spawn(blocking(move || {
                let Sandboxing { entered, settings, .. } = &*sandboxing;
                let identity = Identity::from(entered.rung);
                connect(entered.program.as_fd(), identity, &settings.network.search_path).map(Arc::new)
            }));
            let lost =
                |_| Disconnected::Failed { attempts: vec![("rbuild".to_owned(), "canceled".to_owned())] };
            connecting
                .map(move |connected| connected.map_err(lost).and_then(|connected| connected))
                .boxed()
                .shared()
        };
        self.private.get_or_init(begin).clone()
    }

    fn of_private(&self, connection: Arc<Connection>) -> Result<Provided, NetworkError> {
        let files = self.files("private", || {
            let gateway = connection.has_ipv4().then(host_address).flatten();
            let address = connection.addresses.first().copied().filter(|_| self.is_machine);
            let resolver = &self.settings().resolver;
            let resolv_conf =
                HostResolver::read().seen_from_within(resolver, connection.forwarder, connection.has_ipv6());
            Ok((self.hosts(address, gateway)?, resolv_conf))
        })?;
        Ok(Provided { network: Network::Shared(connection), files, warning: None })
    }

    fn of_host(&self, warning: Option<String>) -> Result<Provided, NetworkError> {
        let files = self.files("host", || {
            let hosts = self.hosts(None, Some(Ipv4Addr::LOCALHOST))?;
            Ok((hosts, HostResolver::read().as_it_stands(&self.settings().resolver)))
        })?;
        Ok(Provided { network: Network::Host, files, warning })
    }

    fn nowhere(&self) -> Result<Provided, NetworkError> {
        let files = self.files("none", || {
            // Names resolve as ever; nobody answers.
            let hosts = self.hosts(None, host_address().or(Some(Ipv4Addr::LOCALHOST)))?;
            Ok((hosts, HostResolver::read().as_it_stands(&self.settings().resolver)))
        })?;
        Ok(Provided { network: Network::None, files, warning: None })
    }

    fn files(
        &self,
        kind: &'static str,
        texts: impl FnOnce() -> Result<(String, Vec<u8>), NetworkError>,
    ) -> Result<HostFiles, NetworkError> {
        let mut written = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(files) = written.get(kind) {
            return Ok(files.clone());
        }
        let (hosts, resolv_conf) = texts()?;
        let files = HostFiles::write(&self.directory, kind, &hosts, &resolv_conf)?;
        Ok(written.entry(kind).or_insert(files).clone())
    }

    fn hosts(&self, address: Option<IpAddr>, gateway: Option<Ipv4Addr>) -> Result<String, NetworkError> {
        let extra = &self.settings().extra_hosts;
        if gateway.is_none() && extra.iter().any(|host| host.address == HostAddress::Gateway) {
            return Err(NetworkError::NoGateway);
        }
        Ok(hosts(&self.hostname, address, extra, gateway.map(IpAddr::V4)))
    }

    fn settings(&self) -> &NetworkSettings {
        &self.sandboxing.settings.network
    }
}

/// Said once: what is different, why, and what would help.
fn warning(why: &Disconnected) -> String {
    let help = why.remedy().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
    format!(
        "there is no private network, so the host's is used, and its loopback can be reached: {why}{help}"
    )
}
