//! What can go wrong with an operation.

use crate::context::SelectError;
use crate::layer::LayerError;
use crate::sandbox::{Failure, Outcome, UserError};
use crate::snapshot::SnapshotError;
use crate::store::StoreError;
use crate::sys::IoError;

#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The command ran and failed.
    #[error("process {command:?} did not complete successfully: {}", ending(*.outcome))]
    Command {
        command: String,
        outcome: Outcome,
        /// The last lines it wrote.
        log: Vec<String>,
    },
    /// The command never ran.
    #[error("process {command:?} could not be started: {failure}")]
    Start { command: String, failure: Failure, log: Vec<String> },
    /// The process beside the sandbox is gone, and the command with it.
    #[error(
        "process {command:?} was lost: the sandbox process ended without a report; was it killed for want of memory?"
    )]
    Lost { command: String },
    #[error("{0}")]
    Select(#[from] SelectError),
    #[error("{0} (in the files of the image being built)")]
    User(#[from] UserError),
    #[error("cannot copy to {path}: {reason}")]
    Destination { path: String, reason: &'static str },
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

fn ending(outcome: Outcome) -> String {
    match outcome {
        Outcome::Exited(code) => format!("exit code: {code}"),
        Outcome::Signaled(signal) => match signal_name(signal) {
            Some(name) => format!("killed by signal {signal} ({name})"),
            None => format!("killed by signal {signal}"),
        },
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL, perhaps for want of memory",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return None,
    })
}
