//! Attempts: what a rung gives is found out by taking it in a child, which ends and leaves nothing behind. One thread.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::fs::{AtFlags, Mode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::isolation::{Choice, Entered, Host, Rung, enter};
use super::network::{Identity, connect};
use super::obstacles::Remedy;
use super::processes;
use super::ranges::owned_ids;
use crate::sys::mount::{self, Overlay};
use crate::sys::namespace::{self, Namespaces};
use crate::sys::process::{self, Ended, Fork};
use crate::sys::{At, IoError, seccomp};

/// How one thing went that was tried: it works, or why it does not.
pub type Attempt = Result<(), String>;

/// How taking a rung went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tried {
    Works(Inside),
    Fails { why: String, remedy: Option<Remedy> },
}

/// What was found on a rung.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// How many users there are.
    pub ids: u64,
    pub overlay: OverlayTried,
    /// A private network with a way out.
    pub network: NetworkTried,
    pub proc: ProcTried,
    /// System calls handed over to be answered.
    pub handing_over: Attempt,
}

/// A step needs a /proc, if need be the one that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProcTried {
    /// A fresh one, for a process namespace of its own.
    Fresh,
    /// Only that of the processes around it: why.
    Shared(String),
    Fails(String),
}

/// An overlay needs a place on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OverlayTried {
    Works,
    /// It takes layers only all at once, in the old way.
    OldWay,
    /// The kernel makes none; fuse-overlayfs or copies have to do.
    Fails(String),
    /// There is nowhere to try it.
    NoPlace(String),
}

/// A private network takes a program of somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkTried {
    /// Connected by this program.
    Works(String),
    Fails {
        why: String,
        remedy: Option<Remedy>,
    },
}

/// Takes a rung in a child and looks around. `place` is where directories may be made: the store, or where it would be.
pub(super) fn try_rung(host: &Host<'_>, rung: Rung, place: &Path) -> Result<Tried, IoError> {
    let probe = place.join(format!(".rbuild-probe-{}", std::process::id()));
    let tried = in_child(|| match enter(host, Choice::Only(rung)) {
        Ok(entered) => Tried::Works(Inside {
            ids: owned_ids(),
            overlay: try_overlay(&probe),
            // Before the next, which takes children into another process namespace.
            network: try_network(&entered, host),
            proc: try_proc(),
            // Last: the filter stays.
            handing_over: seccomp::hand_over(&[]).map(drop).map_err(|error| words(&error)),
        }),
        Err(error) => Tried::Fails { why: error.reason(), remedy: error.remedy() },
    });
    // In case the child was killed half-way.
    let _ = std::fs::remove_dir_all(&probe);
    tried
}

/// Makes a user namespace with one id in a child, which tells whether any can be made.
pub(super) fn try_user_namespace(host: &Host<'_>) -> Result<Attempt, IoError> {
    in_child(|| {
        namespace::unshare(Namespaces::NEWUSER | Namespaces::NEWNS).map_err(|error| words(&error))?;
        namespace::map_single_ids(host.uid, host.gid).map_err(|error| words(&error.source))?;
        // Some hosts let it be made and then allow nothing in it.
        mount::isolate_propagation().map_err(|error| words(&error))
    })
}

/// The kernel's words without the number.
pub(super) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn in_child<T: Serialize + DeserializeOwned>(work: impl FnOnce() -> T) -> Result<T, IoError> {
    let (answer, answering) = io::pipe().at("create", "pipe")?;
    match process::fork().at("fork", "probe")? {
        Fork::Child => {
            drop(answer);
            let written = serde_json::to_writer(&answering, &work());
            process::exit_now(i32::from(written.is_err()));
        }
        Fork::Parent(child) => {
            drop(answering);
            let told = serde_json::from_reader(&answer).map_err(io::Error::from);
            process::wait(child).at("wait for", "probe")?;
            told.at("read", "probe")
        }
    }
}

fn try_overlay(probe: &Path) -> OverlayTried {
    let directories = ["lower", "lower/inner", "other", "upper", "work"].map(|name| probe.join(name));
    let made = std::iter::once(&probe.to_owned()).chain(&directories).try_for_each(std::fs::create_dir);
    let tried = match made {
        Ok(()) => overlay_in(probe),
        Err(error) => OverlayTried::NoPlace(words(&error)),
    };
    // Here and not in the parent: the kernel leaves a directory without any mode, which only root inside may enter.
    let _ = std::fs::remove_dir_all(probe);
    tried
}

fn overlay_in(probe: &Path) -> OverlayTried {
    let lowers = [probe.join("lower"), probe.join("other")];
    let (upper, work) = (probe.join("upper"), probe.join("work"));
    let tree =
        match mount::overlay(Overlay { lowers: &lowers, changes: Some((&upper, &work)), devices: false }) {
            Ok(tree) => tree,
            Err(error) => {
                let at_once = Overlay { lowers: &lowers, changes: Some((&upper, &work)), devices: false };
                return match mount::overlay_at_once(at_once, &probe.join("lower/inner")) {
                    Ok(_) => OverlayTried::OldWay,
                    Err(_) => OverlayTried::Fails(words(&error.source)),
                };
            }
        };
    // A directory in place of a deleted one takes a mark that only some file systems and kernels can write.
    let replaced = rustix::fs::unlinkat(&tree, "inner", AtFlags::REMOVEDIR)
        .and_then(|()| rustix::fs::mkdirat(&tree, "inner", Mode::from_raw_mode(0o755)));
    match replaced {
        Ok(()) => OverlayTried::Works,
        Err(error) => OverlayTried::Fails(words(&error.into())),
    }
}

fn try_network(entered: &Entered, host: &Host<'_>) -> NetworkTried {
    match connect(entered.program.as_fd(), Identity::from(entered.rung), host.search_path) {
        Ok(connection) => NetworkTried::Works(connection.connector().to_owned()),
        Err(why) => NetworkTried::Fails { why: why.to_string(), remedy: why.remedy() },
    }
}

fn try_proc() -> ProcTried {
    match (try_fresh_proc(), processes::outer_proc()) {
        (Ok(()), _) => ProcTried::Fresh,
        (Err(why), Ok(_)) => ProcTried::Shared(why),
        (Err(_), Err(error)) => ProcTried::Fails(words(&error)),
    }
}

fn try_fresh_proc() -> Attempt {
    match process::fork_into(Namespaces::NEWPID).map_err(|error| words(&error))? {
        Fork::Child => {
            let mounted = processes::fresh_proc();
            process::exit_now(mounted.map_or_else(|error| error.source.raw_os_error().unwrap_or(255), |_| 0));
        }
        Fork::Parent(child) => match process::wait(child).map_err(|error| words(&error))? {
            Ended::Exited(0) => Ok(()),
            Ended::Exited(errno) => Err(words(&io::Error::from_raw_os_error(errno))),
            Ended::Signaled(signal) => Err(format!("killed by signal {signal}")),
        },
    }
}
