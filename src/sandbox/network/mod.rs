//! Networks of sandboxes: the host's, none at all, or a private one with a way out.
//!
//! ```text
//!  rbuild                     rbuild __network (holder)            first process of a process namespace
//!  connect ──plan───────────▶ unshare, fork ─────────────────────▶ unshares the network, brings lo up, stays
//!                             starts pasta, waits until it is ready
//!          ◀─report, netns─── and asks for the addresses ────────▶ looks
//!  the socket closes ───────▶ kills the process namespace with everything in it
//! ```
//!
//! A private network is a namespace that all sandboxes of a build or a container share. `pasta`, or else `slirp4netns`, carries
//! what leaves it as connections of an ordinary process, so that it takes no privileges; the host's loopback is out of
//! reach. It is made when the first step that wants it comes near, and lives as long as its [`Connection`].
//!
//! Invariants: whatever is started for a network is in one process namespace and dies with rbuild, however that ends.
//! Nothing of the network is part of a root file system: the files with names are mounted.
//!
//! Not here: joining a network ([`super::child`]), and what a Dockerfile or a command line calls networks.

mod connect;
mod connector;
pub mod holder;
mod names;
mod networks;

pub use connect::{Connection, Disconnected};
pub(super) use connect::{Identity, connect};
pub use names::{ExtraHost, HostAddress, HostFiles, Resolver, WrongName, hostname_file};
pub use networks::{NetworkError, Networks, Provided};

use std::ffi::OsString;

/// What the user asks for, whatever runs inside.
#[derive(Debug, Clone, Default)]
pub struct NetworkSettings {
    /// Where connector programs are looked for.
    pub search_path: OsString,
    pub extra_hosts: Vec<ExtraHost>,
    pub resolver: Resolver,
}

/// How far what runs in a sandbox reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Out of a private network, or it is an error.
    Private,
    /// Out of a private network; where none can be made, as the host.
    #[default]
    PrivateOrHost,
    /// As the host, to its loopback as well.
    Host,
    /// Nowhere.
    None,
}
