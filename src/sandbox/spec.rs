//! What is asked of a sandbox.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::limits::Limits;

/// A process to be run apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub root: RootFs,
    pub hostname: String,
    /// Shown inside at `/etc/hosts` and `/etc/resolv.conf`; read-only, and never part of the root file system.
    pub hosts: PathBuf,
    pub resolv_conf: PathBuf,
    pub network: Network,
    pub process: Process,
    /// Whether the user namespace knows just one id, so that nobody else can be become.
    pub single_id: bool,
    pub limits: Limits,
}

/// Where the root file system comes from: directories of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The host's.
    Host,
    /// A namespace of its own with nothing but loopback.
    None,
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
