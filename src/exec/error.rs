//! What can go wrong with an operation.

use std::time::Duration;

use super::agent::OwnAgentError;
use super::archive::ArchiveError;
use super::death::Death;
use super::devices::DeviceError;
use super::git::GitError;
use crate::context::SelectError;
use crate::layer::LayerError;
use crate::registry::DownloadError;
use crate::sandbox::{Closed, Failure, NetworkError, NoInterpreter, UserError};
use crate::snapshot::SnapshotError;
use crate::store::StoreError;
use crate::sys::IoError;

#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The command ran and failed.
    #[error("process {command:?} did not complete successfully: {}", .death.words())]
    Command {
        command: String,
        death: Death,
        /// The last lines it wrote.
        log: Vec<String>,
        /// What would help.
        hint: Option<String>,
    },
    /// The command took longer than it may, and was killed with all it had started.
    #[error(
        "process {command:?} was killed: it took longer than the {limit:?} that a step may take (--timeout)"
    )]
    TimedOut { command: String, limit: Duration, log: Vec<String> },
    /// The command never ran.
    #[error("process {command:?} could not be started: {failure}")]
    Start { command: String, failure: Failure, log: Vec<String> },
    /// The process beside the sandbox is gone, and the command with it.
    #[error(
        "process {command:?} was lost: the sandbox process ended without a report; was it killed for want of memory?"
    )]
    Lost { command: String },
    /// The command is for another kind of machine.
    #[error("programs of {platform} cannot be executed on {host}: {why}")]
    Foreign { platform: String, host: String, why: NoInterpreter },
    /// No command can be run here at all.
    #[error("a step has to be run, and nothing can be isolated here: {0}")]
    Closed(#[from] Closed),
    #[error("{0}")]
    Select(#[from] SelectError),
    #[error("{error} (in {place})")]
    SelectFrom { error: Box<SelectError>, place: String },
    #[error("{0} (in the files of the image being built)")]
    User(#[from] UserError),
    #[error("secret {id}: not found")]
    NoSecret { id: String },
    #[error("secret {id} cannot be a variable: it is no text, or has a zero byte")]
    SecretNotText { id: String },
    #[error("no SSH agent {id:?} is forwarded")]
    NoAgent { id: String },
    #[error(transparent)]
    OwnAgent(#[from] OwnAgentError),
    #[error("no device {name} is described on this machine")]
    NoDevice { name: String },
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The part of a cache that is to be shown.
    #[error("source {path} {problem}")]
    CacheSource { path: String, problem: &'static str },
    #[error("cannot copy to {path}: {reason}")]
    Destination { path: String, reason: &'static str },
    #[error("cannot make the working directory {path}: {reason}")]
    WorkingDirectory { path: String, reason: &'static str },
    #[error("cannot unpack {path}: {error}")]
    Archive { path: String, error: ArchiveError },
    #[error("{0}")]
    Network(#[from] NetworkError),
    #[error("{0}")]
    Download(#[from] Box<DownloadError>),
    #[error("{0}")]
    Git(#[from] Box<GitError>),
    #[error("secret {id} cannot be sent to a server: it is no text, or has an end of line")]
    SecretNotHeader { id: String },
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Io(#[from] IoError),
    /// A rule of the program itself is broken.
    #[error("{0}")]
    Unexpected(&'static str),
}
