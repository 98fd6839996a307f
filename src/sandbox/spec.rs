//! What is asked of a sandbox.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::capabilities::Capabilities;
use super::limits::Limits;
use super::mounts::Mounts;
use super::network::{Connection, HostFiles};

/// A process to be run apart.
#[derive(Debug, Clone)]
pub struct Spec {
    pub root: RootFs,
    pub hostname: String,
    /// Read-only inside, and never part of the root file system.
    pub files: HostFiles,
    /// Shown inside at `/etc/hostname`, for a machine that has a name of its own.
    pub hostname_file: Option<PathBuf>,
    pub network: Network,
    /// What is shown beside all that.
    pub mounts: Mounts,
    pub process: Process,
    pub confinement: Confinement,
    pub emulated: Emulated,
    pub limits: Limits,
}

/// What the namespace cannot do, so that it is answered from outside and recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Emulated {
    Nothing,
    /// Devices, which the kernel gives to nobody but the host's root, and ids beyond a range.
    Gaps,
    /// Other owners and other users, too: there is just one id.
    Owners,
}

impl fmt::Display for Emulated {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Nothing => "nothing",
            Self::Gaps => "gaps",
            Self::Owners => "owners",
        })
    }
}

/// What the process is kept from, beside what namespaces keep it from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    pub capabilities: Capabilities,
    /// Whether system calls fail that no container needs.
    pub refuses_calls: bool,
    /// Whether files of the kernel are hidden or read-only that are about the whole machine.
    pub covers_kernel_files: bool,
    /// Whether `/sys` and the host's devices are out of reach.
    pub keeps_from_hardware: bool,
    /// Whether setuid programs and file capabilities have no effect.
    pub no_new_privileges: bool,
}

impl Confinement {
    /// Docker's default, which a step has.
    pub const USUAL: Self = Self {
        capabilities: Capabilities::USUAL,
        refuses_calls: true,
        covers_kernel_files: true,
        keeps_from_hardware: true,
        no_new_privileges: false,
    };
    /// No more than the namespaces themselves.
    pub const NONE: Self = Self {
        capabilities: Capabilities::ALL,
        refuses_calls: false,
        covers_kernel_files: false,
        keeps_from_hardware: false,
        no_new_privileges: false,
    };
}

impl Default for Confinement {
    fn default() -> Self {
        Self::USUAL
    }
}

/// Who puts the layers of a root file system on top of each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Assembly {
    /// The kernel's overlay, which is given them one by one.
    Overlay,
    /// The same, all in one call.
    OverlayAtOnce,
    /// It has been done, with every mount point: this is the tree that is written to.
    Ready(PathBuf),
}

/// Where the root file system comes from: directories of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    pub assembly: Assembly,
    /// Uppermost first; at least one.
    pub lowers: Vec<PathBuf>,
    /// Receives the changes.
    pub upper: PathBuf,
    /// Empty, on the same file system as `upper`.
    pub work: PathBuf,
    /// Empty: the root is attached here until it becomes `/`.
    pub staging: PathBuf,
    /// Empty: receives mount points that the image lacks, so that they do not end up in `upper`.
    pub stubs: PathBuf,
}

#[derive(Debug, Clone)]
pub enum Network {
    /// The host's.
    Host,
    /// A namespace of its own with nothing but loopback.
    None,
    /// A private one, which others may share.
    Shared(Arc<Connection>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub arguments: Vec<String>,
    /// Complete: nothing is inherited. `NAME=value`.
    pub environment: Vec<String>,
    /// Absolute; made when missing.
    pub directory: String,
    /// `user`, `uid`, `user:group`, …, looked up inside; empty means root.
    pub user: String,
}
