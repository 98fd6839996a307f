//! An agent of the build's own, for keys that the command line names: the host's `ssh-agent`, started when the first step
//! asks for it. Keys come to it through a pipe, so that they lie in no file but the user's.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::super::error::ExecError;
use super::super::given::{PrivateKey, Surroundings};
use crate::event::harmless_lines;
use crate::store::Workspace;
use crate::sys::{At, Beside, process};

const AGENT: &str = "ssh-agent";
const LOADER: &str = "ssh-add";
const SOCKET: &str = "agent";
/// What the agent complains about.
const COMPLAINTS: &str = "complaints";
/// A socket's address has room for 108 bytes, of which the last one ends it.
const LONGEST_ADDRESS: usize = 107;
/// How long the agent may take to begin, and to take a key.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum OwnAgentError {
    #[error("the keys of --ssh {id} cannot be served: the program {program} is not installed")]
    Missing { id: String, program: &'static str },
    #[error("the keys of --ssh {id} cannot be served: ssh-agent does not answer: {said}")]
    Silent { id: String, said: String },
    #[error("the key {} of --ssh {id} cannot be loaded: {said}", .file.display())]
    Refused { id: String, file: PathBuf, said: String },
}

impl OwnAgentError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { id, .. } => Some(format!(
                "install an SSH client (Debian: package openssh-client), or give an agent that runs already: --ssh {id}=SOCKET"
            )),
            Self::Silent { id, .. } => {
                Some(format!("give an agent that runs already instead: --ssh {id}=SOCKET"))
            }
            Self::Refused { file, .. } => {
                Some(format!("`ssh-keygen -y -f {}` shows whether the key is whole", file.display()))
            }
        }
    }
}

/// It ends with the value, at the latest with this process.
#[derive(Debug)]
pub(in super::super) struct OwnAgent {
    server: Beside,
    address: PathBuf,
    directory: OwnedFd,
    workspace: Workspace,
}

impl OwnAgent {
    pub(super) async fn start(
        id: &str,
        keys: &[PrivateKey],
        surroundings: &Surroundings,
        workspace: Workspace,
    ) -> Result<Self, ExecError> {
        let place = workspace.path();
        rustix::fs::chmod(place, Mode::RWXU).at("change mode of", place)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(place, flags, Mode::empty()).at("open", place)?;
        let complaints = place.join(COMPLAINTS);
        let complaints = File::create(&complaints).at("create", &complaints)?;
        let mut command = program(AGENT, place, surroundings);
        // In the foreground, and by a name that is short wherever the store is.
        command.args(["-D", "-a", SOCKET]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(complaints);
        let server = Beside::start(command).map_err(|error| not_started(id, AGENT, error))?;
        let address = address_of(place, &directory);
        let agent = Self { server, address, directory, workspace };
        agent.wait_until_it_listens(id).await?;
        for key in keys {
            agent.load(id, key, surroundings).await?;
        }
        Ok(agent)
    }

    /// Where programs of the host reach it.
    pub(in super::super) fn address(&self) -> &Path {
        &self.address
    }

    async fn wait_until_it_listens(&self, id: &str) -> Result<(), ExecError> {
        let begun = Instant::now();
        // Short enough, wherever the store is.
        let address = format!("/proc/self/fd/{}/{SOCKET}", self.directory.as_raw_fd());
        while let Err(error) = UnixStream::connect(&address).await {
            if self.server.has_ended() || begun.elapsed() > PATIENCE {
                let said = std::fs::read_to_string(self.workspace.path().join(COMPLAINTS));
                let said = said.ok().and_then(|said| last_line(said.as_bytes()));
                let said = said.unwrap_or_else(|| error.to_string());
                return Err(OwnAgentError::Silent { id: id.to_owned(), said }.into());
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn load(&self, id: &str, key: &PrivateKey, surroundings: &Surroundings) -> Result<(), ExecError> {
        let mut command = program(LOADER, self.workspace.path(), surroundings);
        command.args(["-q", "-"]).env("SSH_AUTH_SOCK", SOCKET).env("SSH_ASKPASS_REQUIRE", "never");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        process::end_with_this(&mut command);
        let mut command = tokio::process::Command::from(command);
        let mut child = command.kill_on_drop(true).spawn().map_err(|error| not_started(id, LOADER, error))?;
        let mut input = child.stdin.take().expect("it is piped");
        let loading = async {
            // Who does not read to the end says why by itself.
            let _ = input.write_all(key.text.bytes()).await;
            drop(input);
            child.wait_with_output().await
        };
        let said = match timeout(PATIENCE, loading).await {
            Ok(answer) => match answer.at("wait for", LOADER)? {
                Output { status, .. } if status.success() => return Ok(()),
                Output { stderr, .. } => {
                    last_line(&stderr).unwrap_or_else(|| "ssh-add does not say why".to_owned())
                }
            },
            Err(_) => format!("ssh-add took longer than {PATIENCE:?}"),
        };
        Err(OwnAgentError::Refused { id: id.to_owned(), file: key.file.clone(), said }.into())
    }
}

impl Drop for OwnAgent {
    fn drop(&mut self) {
        self.server.kill();
    }
}

/// Where others find the socket: by its path, or if that is too long, through this process's descriptor of the directory.
fn address_of(place: &Path, directory: &OwnedFd) -> PathBuf {
    let path = place.join(SOCKET);
    if path.as_os_str().len() <= LONGEST_ADDRESS {
        return path;
    }
    format!("/proc/{}/fd/{}/{SOCKET}", std::process::id(), directory.as_raw_fd()).into()
}

/// A program that learns where programs are, and nothing else of its surroundings.
fn program(name: &str, place: &Path, surroundings: &Surroundings) -> Command {
    let mut command = Command::new(name);
    command.env_clear().current_dir(place).env("HOME", place).env("LC_ALL", "C");
    let path = surroundings.variables.iter().find(|(name, _)| *name == "PATH");
    command.envs(path.map(|(name, value)| (name, value)));
    process::set_apart(&mut command);
    command
}

fn not_started(id: &str, program: &'static str, error: io::Error) -> ExecError {
    if error.kind() == io::ErrorKind::NotFound {
        return OwnAgentError::Missing { id: id.to_owned(), program }.into();
    }
    match Err::<(), _>(error).at("start", program) {
        Err(error) => error.into(),
        Ok(()) => ExecError::Unexpected("an error is none"),
    }
}

fn last_line(said: &[u8]) -> Option<String> {
    let said = String::from_utf8_lossy(said);
    let line = said.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(harmless_lines(line))
}
