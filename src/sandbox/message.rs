//! What parent and child say to each other: frames of a length and JSON.

use std::fmt;
use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::group::GroupSpec;
use super::processes::Processes;
use super::spec::{Network, Process};
use super::steps::MOUNT_ROOT;
use super::steps::Step;
use crate::sys::disk::Refusal;

/// The first frame to the child: everything it will do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub processes: Processes,
    /// How many files a program may open unless told otherwise; none for any number.
    pub open_files: Option<u64>,
    pub network: Joining,
    pub steps: Vec<Step>,
    pub process: Process,
    /// The control group that it runs in, if limits ask for one.
    pub group: Option<GroupSpec>,
}

/// Which network namespace the child takes the sandbox into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Joining {
    /// The one it is in.
    Stay,
    New,
    /// The one that came as a fourth descriptor.
    Given,
}

impl From<&Network> for Joining {
    fn from(network: &Network) -> Self {
        match network {
            Network::Host => Self::Stay,
            Network::None => Self::New,
            Network::Shared(_) => Self::Given,
        }
    }
}

/// Later frames to the child.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    Signal(i32),
    /// Kill everything inside.
    Kill,
}

/// Frames from the child, in this order: what it found out and notices, at most one failure, and the end.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The sandbox could not have a process namespace of its own, and the next one need not try.
    ProcessesAreShared,
    /// Something the user should know.
    Notice(String),
    /// The sandbox could not be made, or the program not be started; the end follows.
    Failed(Failure),
    Ended {
        outcome: Outcome,
        /// Whether memory was used up, where there is somebody who counts.
        out_of_memory: Option<bool>,
    },
}

/// How a sandboxed process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Exited(i32),
    Signaled(i32),
}

/// Why a sandboxed process never ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// A step of making the sandbox failed; perhaps because the file system of the layers takes nothing more.
    Step { step: String, error: String, refusal: Option<Refusal> },
    /// The image has something at a place that is mounted on, and nothing can be mounted there.
    MountPoint { path: String, found: String },
    /// The same for what this step alone mounts.
    MountTarget { path: String, found: String },
    /// The user to become is not known inside, or the namespace lacks it.
    User { error: String, hint: Option<String> },
    /// The working directory cannot be entered.
    Directory { error: String },
    /// There is no such program.
    NotFound { program: String },
    /// The program is there but cannot be executed.
    NotExecutable { program: String, error: String },
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step { step, error, .. } => write!(out, "cannot prepare the sandbox: {step}: {error}"),
            Self::MountPoint { path, found } => {
                write!(out, "cannot mount on {path}, as every step needs: it is {found} in the image")
            }
            Self::MountTarget { path, found } => write!(out, "cannot mount on {path}: it is {found}"),
            Self::User { error, .. } | Self::Directory { error } => out.write_str(error),
            Self::NotFound { program } => write!(out, "exec: {program:?}: no such program in the image"),
            Self::NotExecutable { program, error } => write!(out, "exec: {program:?}: {error}"),
        }
    }
}

impl Failure {
    /// A step that failed with an error of the system.
    pub(super) fn of_step(step: &str, error: &io::Error) -> Self {
        Self::Step { step: step.to_owned(), error: error.to_string(), refusal: Refusal::of(error) }
    }

    /// Why the file system has refused, if that is it.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Step { refusal, .. } => *refusal,
            Self::MountPoint { .. }
            | Self::MountTarget { .. }
            | Self::User { .. }
            | Self::Directory { .. }
            | Self::NotFound { .. }
            | Self::NotExecutable { .. } => None,
        }
    }

    /// Whether the root file system could not be mounted, before anything else was done.
    pub fn is_of_root(&self) -> bool {
        matches!(self, Self::Step { step, .. } if step.starts_with(MOUNT_ROOT))
    }

    /// What would help.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::User { hint, .. } => hint.as_deref(),
            Self::Step { .. }
            | Self::MountPoint { .. }
            | Self::MountTarget { .. }
            | Self::Directory { .. }
            | Self::NotFound { .. }
            | Self::NotExecutable { .. } => None,
        }
    }

    /// The exit code that shells and docker give this.
    pub fn code(&self) -> i32 {
        match self {
            Self::Step { .. }
            | Self::MountPoint { .. }
            | Self::MountTarget { .. }
            | Self::User { .. }
            | Self::Directory { .. } => 125,
            Self::NotExecutable { .. } => 126,
            Self::NotFound { .. } => 127,
        }
    }
}

impl Outcome {
    /// The exit code that a shell would report.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

/// A frame is bounded, so that a confused peer cannot make the other allocate without end.
const MAX_FRAME: usize = 16 << 20;

pub(super) fn encode(message: &impl Serialize) -> Vec<u8> {
    let body = serde_json::to_vec(message).expect("messages have only string keys");
    let length = u32::try_from(body.len()).expect("a message is far below 4 GiB");
    [&length.to_le_bytes()[..], &body].concat()
}

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    serde_json::from_slice(body).map_err(io::Error::other)
}

/// The length of the frame that starts with these bytes.
pub(super) fn frame_length(header: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(header) as usize;
    if length <= MAX_FRAME { Ok(length) } else { Err(io::Error::other("a message is too long")) }
}

pub(super) fn write(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&encode(message))
}

/// The next message; none when the other side is gone.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<Option<T>> {
    let mut header = [0; 4];
    match from.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        answer => answer?,
    }
    let mut body = vec![0; frame_length(header)?];
    from.read_exact(&mut body)?;
    decode(&body).map(Some)
}
