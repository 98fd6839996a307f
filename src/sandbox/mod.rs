//! Processes apart from the host: their own root file system, ids, processes and devices.
//!
//! Flow: a command that touches trees first moves itself as a whole into a user namespace ([`enter`], before any
//! thread). For each process to be run, [`parent`] starts this program again; a [`Spec`] becomes a list of [`Step`]s
//! ([`plan`], pure), which travels over a socket; [`child`] makes the namespaces, `init` carries the steps out as
//! the first process inside and finally becomes the program asked for.
//!
//! ```text
//!  rbuild (threads)       rbuild __sandbox (child)            pid 1 of the sandbox (init)
//!  parent::spawn ──job──▶ unshare, fork ───────────────────▶  steps: mounts, pivot, limits
//!                ◀─failed / notice─────────────────────────── (typed, or nothing)
//!                ──signal──▶ passes it on ─────────────────▶  exec program
//!                ◀─ended──── waits; kills when the socket closes
//! ```
//!
//! What a host can do is gathered by [`probe`] (every rung is taken by a child that ends at once) and judged by
//! [`Verdict`], which is pure.
//!
//! Invariants: whoever dies, everything below it dies with it. Nothing from inside a root file system is resolved
//! outside of it. Every file says in its name which process its code runs in.
//!
//! Not here: what an image or a Dockerfile is.

mod attempt;
mod capabilities;
mod cgroup;
mod checks;
pub mod child;
mod descendants;
mod devices;
mod emulate;
mod endings;
mod foresight;
mod group;
mod init;
mod interpreters;
mod isolation;
mod layering;
mod lent;
pub mod limits;
mod message;
mod mountpoints;
mod mounts;
pub mod network;
mod obstacles;
pub mod parent;
mod probe;
mod processes;
pub mod profile;
mod ranges;
pub mod resources;
mod settings;
mod spec;
mod steps;
mod ulimits;
mod users;
mod verdict;

pub use attempt::{Attempt, Inside, NetworkTried, OverlayTried, ProcTried, Tried};
pub use capabilities::{Capabilities, UnknownCapability};
pub use cgroup::{Cgroup, LimitError};
pub use endings::Endings;
pub use foresight::foresight;
pub use interpreters::{NoInterpreter, can_execute};
pub use isolation::{Choice, Closed, Entered, Host, IsolationError, Rung, enter};
pub use layering::{Layering, Layerings};
pub use lent::Mapper;
pub use limits::Limits;
pub use message::{Failure, Outcome};
pub use mounts::{HostMount, HostOption, Mount, Mounted, MountedLayers, Mounts, SecretFile, Tree};
pub use network::{
    Connection, Disconnected, ExtraHost, HostAddress, HostFiles, NetworkError, NetworkSettings, Networks,
    Provided, Reach, Resolver, WrongName, hostname_file,
};
pub use obstacles::{Obstacles, Remedy};
pub use parent::{Finished, Running, Stdio, spawn};
pub use probe::{Device, Facts, probe};
pub use processes::KnownProcesses;
pub use ranges::{IdRange, parse_ranges};
pub use settings::{Sandboxing, Settings};
pub use spec::{Assembly, Confinement, Emulated, Network, Process, RootFs, Spec};
pub use steps::{MountPoint, MountPointKind, Step, mount_points, plan};
pub use users::{Account, UserError, find_account};
pub use verdict::{Check, State, Verdict};
