//! The isolation ladder: which way into a namespace this host offers, and going it. Runs before any thread.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Pid;

use super::ranges::{IdRange, parse_ranges};
use crate::sys::namespace::{self, Namespaces, read_setting};
use crate::sys::process::{self, Ended, Fork};
use crate::sys::{At, IoError, mount};

/// How this process is isolated, best first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rung {
    /// Real root, or root of a namespace that somebody else made: nothing to enter but a mount namespace.
    Root,
    /// A user namespace with a range of ids.
    Range,
    /// A user namespace with one id: everything inside belongs to root.
    Single,
}

/// What has to be known of the host; read by the caller.
#[derive(Debug)]
pub struct Host<'a> {
    /// Where the helper programs are looked for.
    pub search_path: &'a OsStr,
    pub user: &'a str,
    pub uid: u32,
    pub gid: u32,
}

/// The state after a successful [`enter`].
#[derive(Debug)]
pub struct Entered {
    pub rung: Rung,
    /// This program, safe to be started next to hostile code.
    pub program: OwnedFd,
    /// Why a better rung was not reached, in a sentence for the user.
    pub notice: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    #[error("this host does not let an ordinary user make a user namespace: {source}")]
    Forbidden { source: io::Error, remedy: Option<String> },
    #[error("{helper} could not map the ids lent to {user}: {message}")]
    Map { helper: &'static str, user: String, message: String },
    #[error(transparent)]
    Io(#[from] IoError),
}

impl IsolationError {
    /// What would help.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Forbidden { remedy, .. } => remedy.clone(),
            Self::Map { user, .. } => Some(format!(
                "check the lines of {user} in /etc/subuid and /etc/subgid, and that newuidmap and newgidmap are setuid root"
            )),
            Self::Io(_) => None,
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Root => "root",
            Self::Range => "user namespace with a range of ids",
            Self::Single => "user namespace with a single id",
        })
    }
}

/// Moves this process onto the best rung. It must have one thread.
pub fn enter(host: &Host<'_>) -> Result<Entered, IsolationError> {
    let (rung, notice) = if host.uid == 0 && namespace::may_administrate() {
        namespace::unshare(Namespaces::NEWNS).at("unshare", "mount namespace")?;
        (Rung::Root, None)
    } else {
        enter_user_namespace(host)?
    };
    mount::isolate_propagation().at("isolate mounts of", "/")?;
    // What is made for images does not depend on whoever builds them.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok(Entered { rung, program: process::read_only_self()?, notice })
}

fn enter_user_namespace(host: &Host<'_>) -> Result<(Rung, Option<String>), IsolationError> {
    let lent = match LentIds::find(host) {
        Ok(lent) => lent,
        Err(why) => {
            unshare_user()?;
            namespace::map_single_ids(host.uid, host.gid)?;
            namespace::become_root()?;
            return Ok((Rung::Single, Some(why)));
        }
    };
    // newuidmap wants to run outside the namespace it maps, so a forked copy of this process stays there.
    let (mut go_ahead, tell) = io::pipe().at("create", "pipe")?;
    let (mut answer, answering) = io::pipe().at("create", "pipe")?;
    let this = rustix::process::getpid();
    let helper = match process::fork().at("fork", "id mapping helper")? {
        Fork::Child => {
            drop((tell, answer));
            let code = lent.map_when_told(this, &mut go_ahead, answering);
            process::exit_now(code);
        }
        Fork::Parent(helper) => helper,
    };
    drop((go_ahead, answering));
    let unshared = unshare_user();
    let told = unshared.is_ok().then(|| (&tell).write_all(b"!"));
    drop(tell);
    let mut message = String::new();
    // The helper's words only explain its exit code; without them the code still decides.
    let _ = answer.read_to_string(&mut message);
    let ended = process::wait(helper).at("wait for", "id mapping helper")?;
    unshared?;
    told.transpose().at("write", "pipe")?;
    match ended {
        Ended::Exited(0) => {
            namespace::become_root()?;
            Ok((Rung::Range, None))
        }
        Ended::Exited(NEITHER_MAPPED) => {
            namespace::map_single_ids(host.uid, host.gid)?;
            namespace::become_root()?;
            Ok((Rung::Single, Some(format!("newuidmap and newgidmap failed ({})", message.trim()))))
        }
        Ended::Exited(_) | Ended::Signaled(_) => {
            // One of the maps is written and cannot be written again.
            let helper = if message.contains("newgidmap") { "newgidmap" } else { "newuidmap" };
            Err(IsolationError::Map {
                helper,
                user: host.user.to_owned(),
                message: message.trim().to_owned(),
            })
        }
    }
}

const NEITHER_MAPPED: i32 = 3;
const ONE_MAPPED: i32 = 4;

fn unshare_user() -> Result<(), IsolationError> {
    namespace::unshare(Namespaces::NEWUSER | Namespaces::NEWNS)
        .map_err(|source| IsolationError::Forbidden { source, remedy: remedy() })
}

/// Names the switch that forbids user namespaces here, as far as one can be seen.
fn remedy() -> Option<String> {
    let is = |file: &str, value: &str| read_setting(file).as_deref() == Some(value);
    if is("/proc/sys/user/max_user_namespaces", "0") {
        return Some("an administrator can allow them: sysctl user.max_user_namespaces=15000".to_owned());
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return Some("an administrator can allow them: sysctl kernel.unprivileged_userns_clone=1".to_owned());
    }
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return Some(
            "an administrator can allow them: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
                .to_owned(),
        );
    }
    Some(
        "inside a container, allow them to it (docker: --security-opt seccomp=unconfined --security-opt apparmor=unconfined), or run as root"
            .to_owned(),
    )
}

/// Ids that may be mapped, and the programs that map them.
struct LentIds {
    uid: u32,
    gid: u32,
    users: Vec<IdRange>,
    groups: Vec<IdRange>,
    newuidmap: PathBuf,
    newgidmap: PathBuf,
}

impl LentIds {
    fn find(host: &Host<'_>) -> Result<Self, String> {
        let read = |file: &str| parse_ranges(&read_setting(file).unwrap_or_default(), host.user, host.uid);
        let (users, groups) = (read("/etc/subuid"), read("/etc/subgid"));
        if users.is_empty() || groups.is_empty() {
            return Err(format!("/etc/subuid and /etc/subgid lend no ids to {}", host.user));
        }
        let program = |name: &str| {
            find_program(host.search_path, name)
                .ok_or_else(|| format!("{name} is not installed (package uidmap)"))
        };
        let (newuidmap, newgidmap) = (program("newuidmap")?, program("newgidmap")?);
        Ok(Self { uid: host.uid, gid: host.gid, users, groups, newuidmap, newgidmap })
    }

    /// Waits until the namespace exists, then runs both helpers at the same time.
    fn map_when_told(&self, target: Pid, go_ahead: &mut impl Read, mut answer: impl Write) -> i32 {
        if go_ahead.read_exact(&mut [0]).is_err() {
            return ONE_MAPPED;
        }
        let start = |program: &PathBuf, own: u32, ranges: &[IdRange]| {
            let mut command = Command::new(program);
            command.arg(target.as_raw_nonzero().to_string());
            command.args(["0", &own.to_string(), "1"]);
            let mut inside = 1;
            for range in ranges {
                command.args([inside, range.start, range.count].map(|number| number.to_string()));
                inside += range.count;
            }
            command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
            command.stderr(std::process::Stdio::piped()).spawn()
        };
        let helpers =
            [start(&self.newuidmap, self.uid, &self.users), start(&self.newgidmap, self.gid, &self.groups)];
        let failures = helpers.into_iter().filter_map(|helper| {
            match helper.and_then(|child| child.wait_with_output()) {
                Ok(output) if output.status.success() => None,
                Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
                Err(error) => Some(error.to_string()),
            }
        });
        let failures: Vec<String> = failures.collect();
        // Nobody may be listening any more; the exit code says the same.
        let _ = answer.write_all(failures.join("; ").as_bytes());
        match failures.len() {
            0 => 0,
            1 => ONE_MAPPED,
            _ => NEITHER_MAPPED,
        }
    }
}

fn find_program(search_path: &OsStr, name: &str) -> Option<PathBuf> {
    // An ordinary user's search path often lacks the directories of administrators.
    let fallback = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(search_path).chain(fallback).map(|dir| dir.join(name)).find(|path| path.is_file())
}
