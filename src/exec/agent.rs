//! An agent of the caller's, reached through a socket of its own: with the owner and mode that the step asked for, and as the
//! caller, whom alone agents answer.

use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};

use super::error::ExecError;
use crate::graph::SshMount;
use crate::store::Workspace;
use crate::sys::At;

/// Forwards until it is dropped.
#[derive(Debug)]
pub(super) struct Agent {
    path: PathBuf,
    forwarding: AbortHandle,
}

impl Agent {
    pub(super) fn forward(
        agent: &Path,
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
        let forwarding = tokio::spawn(forward(listener, agent.to_owned())).abort_handle();
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

async fn forward(listener: UnixListener, agent: PathBuf) {
    let mut connections = JoinSet::new();
    while let Ok((mut ours, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let agent = agent.clone();
        connections.spawn(async move {
            // Whoever asked sees the connection end, as if the agent had ended it.
            if let Ok(mut theirs) = UnixStream::connect(agent).await {
                let _ = copy_bidirectional(&mut ours, &mut theirs).await;
            }
        });
    }
}
