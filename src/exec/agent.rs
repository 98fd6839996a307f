//! An agent of the caller's or of the build's own, which a step reaches through a socket of its own: with the owner and mode that the
//! step asked for, and as the caller, whom alone agents answer.

mod own;
mod read_only;

use std::collections::BTreeMap;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, JoinSet};

use self::own::OwnAgent;
pub use self::own::OwnAgentError;
use super::Executor;
use super::error::ExecError;
use super::given::AgentSource;
use crate::graph::SshMount;
use crate::store::Workspace;
use crate::sys::At;

/// Agents of the build's own, by id: those that somebody has asked for.
#[derive(Debug, Default)]
pub(super) struct OwnAgents(Mutex<BTreeMap<String, Arc<OwnAgent>>>);

/// Who answers for an id.
#[derive(Debug, Clone)]
pub(super) enum Answering {
    /// At a socket of the caller's.
    Theirs(PathBuf),
    Ours(Arc<OwnAgent>),
}

impl Answering {
    /// Where programs of the host reach it, as long as the value is there.
    pub(super) fn address(&self) -> &Path {
        match self {
            Self::Theirs(socket) => socket,
            Self::Ours(agent) => agent.address(),
        }
    }
}

impl Executor {
    /// Who answers for an id; for keys an agent is started if none of the build's runs yet.
    pub(super) async fn agent(&self, id: &str, required: bool) -> Result<Option<Answering>, ExecError> {
        let given = &self.mounts.given;
        let keys = match given.agent(id, required)? {
            None => return Ok(None),
            Some(AgentSource::Socket(socket)) => return Ok(Some(Answering::Theirs(socket.clone()))),
            Some(AgentSource::Keys(keys)) => keys,
        };
        let mut running = self.mounts.own_agents.0.lock().await;
        if let Some(agent) = running.get(id) {
            return Ok(Some(Answering::Ours(Arc::clone(agent))));
        }
        let agent = OwnAgent::start(id, keys, &given.surroundings, self.store.workspace()?).await?;
        let agent = Arc::new(agent);
        running.insert(id.to_owned(), Arc::clone(&agent));
        Ok(Some(Answering::Ours(agent)))
    }
}

/// Forwards until it is dropped.
#[derive(Debug)]
pub(super) struct Agent {
    path: PathBuf,
    forwarding: AbortHandle,
}

impl Agent {
    pub(super) fn forward(
        agent: Answering,
        workspace: &Workspace,
        name: &str,
        ssh: &SshMount,
    ) -> Result<Self, ExecError> {
        let path = workspace.path().join(name);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            rustix::fs::open(workspace.path(), flags, Mode::empty()).at("open", workspace.path())?;
        // A socket's address is short, and a workspace's path may not be.
        let address = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
        let listener = StdListener::bind(address).at("listen at", &path)?;
        listener.set_nonblocking(true).at("configure", &path)?;
        let mode = std::fs::Permissions::from_mode(ssh.mode & 0o777);
        std::fs::set_permissions(&path, mode).at("change mode of", &path)?;
        match rustix::fs::chown(&path, Some(Uid::from_raw(ssh.uid)), Some(Gid::from_raw(ssh.gid))) {
            // Where there is one id, whoever the step runs as is that one.
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(error) => Err(error).at("change owner of", &path)?,
        }
        let listener = UnixListener::from_std(listener).at("watch", &path)?;
        let forwarding = tokio::spawn(forward(listener, agent)).abort_handle();
        Ok(Self { path, forwarding })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.forwarding.abort();
    }
}

async fn forward(listener: UnixListener, agent: Answering) {
    let mut connections = JoinSet::new();
    while let Ok((ours, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(connect(ours, agent.clone()));
    }
}

/// Whoever asked sees the connection end, as if the agent had ended it.
async fn connect(mut ours: UnixStream, agent: Answering) {
    let Ok(mut theirs) = UnixStream::connect(agent.address()).await else { return };
    let _ = match agent {
        Answering::Theirs(_) => copy_bidirectional(&mut ours, &mut theirs).await.map(drop),
        Answering::Ours(_) => read_only::pass_on(ours, theirs).await,
    };
}
