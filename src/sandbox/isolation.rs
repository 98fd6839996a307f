//! The isolation ladder: which way into a namespace is taken, and going it. Runs before any thread.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::attempt::{try_user_namespace, words};
use super::lent::{LentIds, NEITHER_MAPPED};
use super::obstacles::{Obstacles, Remedy};
use super::processes::KnownProcesses;
use super::ranges::owned_ids;
use crate::sys::namespace::{self, Namespaces};
use crate::sys::process::{self, Ended, Fork};
use crate::sys::{At, IoError, mount};

/// How this process is isolated, best first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rung {
    /// Real root, or root of a namespace that somebody else made: nothing to enter but a mount namespace.
    Root,
    /// A user namespace with a range of ids.
    Range,
    /// A user namespace with one id: owners are remembered, not real.
    Single,
    /// None at all: nothing can be run, but images that take no process can be built.
    #[serde(rename = "none")]
    Bare,
}

/// Which rung is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// The best that works.
    Auto,
    /// This one or none.
    Only(Rung),
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
    /// How many files whoever started this process may open; this process raises that for itself.
    pub open_files: Option<u64>,
    /// Whether sandboxes can have process namespaces, as far as it was found out.
    pub processes: KnownProcesses,
    /// Why a better rung was not reached, in a sentence for the user.
    pub notice: Option<String>,
    /// Why no process can be run, if none can.
    pub closed: Option<Closed>,
}

/// Why processes cannot be isolated here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Closed {
    pub why: String,
    /// What would help.
    pub hint: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    #[error("this host does not let {user} make a user namespace: {source}")]
    Forbidden {
        user: String,
        source: io::Error,
        remedy: Remedy,
        /// Whether this process is in a namespace by now, which it cannot use and cannot leave.
        stuck: bool,
    },
    #[error("isolation `{}` is not possible here: {why}", .rung.name())]
    Unavailable { rung: Rung, why: String, remedy: Option<Remedy> },
    #[error("the ids lent to {user} could not be mapped: {message}")]
    Map { user: String, message: String },
    #[error(transparent)]
    Io(#[from] IoError),
}

impl IsolationError {
    /// What would help.
    pub fn hint(&self) -> Option<String> {
        self.remedy().map(|remedy| remedy.to_string())
    }

    pub(super) fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::Forbidden { remedy, .. } => Some(remedy.clone()),
            Self::Unavailable { remedy, .. } => remedy.clone(),
            Self::Map { user, .. } => Some(Remedy::check_lent_ids(user)),
            Self::Io(_) => None,
        }
    }

    /// The bare reason, where it is clear what was tried.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Forbidden { source, .. } => {
                let cause = Obstacles::read().cause().map_or_else(|| words(source), str::to_owned);
                format!("no user namespaces: {cause}")
            }
            Self::Unavailable { why, .. } => why.clone(),
            Self::Map { message, .. } => message.clone(),
            Self::Io(error) => error.to_string(),
        }
    }
}

impl Closed {
    fn asked_for() -> Self {
        Self {
            why: "isolation `none` was asked for, and that runs no process".to_owned(),
            hint: Some("leave the choice to `--isolation auto`".to_owned()),
        }
    }
}

impl From<IsolationError> for Closed {
    fn from(error: IsolationError) -> Self {
        Self { why: error.reason(), hint: error.hint() }
    }
}

impl Rung {
    /// One word, as options and JSON have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Range => "range",
            Self::Single => "single",
            Self::Bare => "none",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Root => "root",
            Self::Range => "user namespace with a range of ids",
            Self::Single => "user namespace with a single id",
            Self::Bare => "none",
        })
    }
}

/// A directory on the way down is a descriptor, and so is every layer of an overlay: more than the 1024 that programs
/// are given for the sake of select(2). Returns how many there were, none for any number.
fn allow_many_descriptors() -> Option<u64> {
    const MANY: u64 = 65_536;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(MANY, |most| most.min(MANY));
    if limit.current.is_some_and(|current| current < wanted) {
        // A host that does not allow it gets along with fewer, mostly.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
    }
    limit.current
}

/// Moves this process, which must have one thread, onto the best rung or the one that is asked for.
pub fn enter(host: &Host<'_>, choice: Choice) -> Result<Entered, IsolationError> {
    let (rung, notice, closed) = match choice {
        Choice::Auto => match climb(host) {
            Ok((rung, notice)) => (rung, notice, None),
            // This process is still where it was: what takes no other process can be done all the same.
            Err(error @ IsolationError::Forbidden { stuck: false, .. }) => {
                (Rung::Bare, None, Some(error.into()))
            }
            Err(error) => return Err(error),
        },
        Choice::Only(Rung::Bare) => (Rung::Bare, None, Some(Closed::asked_for())),
        Choice::Only(rung) => (step_onto(rung, host)?, None, None),
    };
    match rung {
        Rung::Root => mount::isolate_propagation().at("isolate mounts of", "/")?,
        // Some hosts let a namespace be made and then allow nothing in it; this is the first attempt at anything.
        Rung::Range | Rung::Single => {
            mount::isolate_propagation().map_err(|source| forbidden(host, source, true))?;
        }
        Rung::Bare => {}
    }
    // What is made for images does not depend on whoever builds them.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let open_files = allow_many_descriptors();
    let program = if rung == Rung::Bare { process::own_program()? } else { process::read_only_self()? };
    Ok(Entered { rung, program, open_files, processes: KnownProcesses::default(), notice, closed })
}

fn climb(host: &Host<'_>) -> Result<(Rung, Option<String>), IsolationError> {
    if is_administrator(host) {
        unshare_mounts()?;
        // Root of a namespace with one id, made by somebody else, has what the lowest rung has.
        return Ok((if owned_ids() > 1 { Rung::Root } else { Rung::Single }, None));
    }
    if Obstacles::read().may_be_useless() {
        // Entering one that allows nothing is a way of no return, so somebody else tries it first.
        let tried = try_user_namespace(host)?;
        tried.map_err(|why| forbidden(host, io::Error::other(why), false))?;
    }
    let why = match LentIds::find(host) {
        Ok(lent) => match enter_range(host, &lent)? {
            Mapped::Both => return Ok((Rung::Range, None)),
            Mapped::Neither(why) => {
                map_single(host)?;
                why
            }
        },
        Err(unlent) => {
            enter_single(host)?;
            unlent.why
        }
    };
    Ok((Rung::Single, Some(why)))
}

fn step_onto(rung: Rung, host: &Host<'_>) -> Result<Rung, IsolationError> {
    let unavailable = |why, remedy| IsolationError::Unavailable { rung, why, remedy };
    match rung {
        Rung::Root if !is_administrator(host) => {
            let why = if host.uid == 0 {
                "this root lacks CAP_SYS_ADMIN".to_owned()
            } else {
                format!("{} is not root", host.user)
            };
            return Err(unavailable(why, Some(Remedy::become_root())));
        }
        Rung::Root if owned_ids() <= 1 => {
            let why = "root of a user namespace with a single id is root in name only".to_owned();
            return Err(unavailable(why, None));
        }
        Rung::Root => unshare_mounts()?,
        Rung::Range => {
            let lent = LentIds::find(host).map_err(|unlent| unavailable(unlent.why, unlent.remedy))?;
            if let Mapped::Neither(why) = enter_range(host, &lent)? {
                return Err(unavailable(why, Some(Remedy::check_lent_ids(host.user))));
            }
        }
        Rung::Single if is_administrator(host) && owned_ids() <= 1 => unshare_mounts()?,
        Rung::Single => enter_single(host)?,
        // Nothing to be entered.
        Rung::Bare => {}
    }
    Ok(rung)
}

fn is_administrator(host: &Host<'_>) -> bool {
    host.uid == 0 && namespace::may_administrate()
}

fn unshare_mounts() -> Result<(), IoError> {
    namespace::unshare(Namespaces::NEWNS).at("unshare", "mount namespace")
}

fn unshare_user(host: &Host<'_>) -> Result<(), IsolationError> {
    namespace::unshare(Namespaces::NEWUSER | Namespaces::NEWNS)
        .map_err(|source| forbidden(host, source, false))
}

fn forbidden(host: &Host<'_>, source: io::Error, stuck: bool) -> IsolationError {
    let remedy = Obstacles::read().of_user_namespaces();
    IsolationError::Forbidden { user: host.user.to_owned(), source, remedy, stuck }
}

fn enter_single(host: &Host<'_>) -> Result<(), IsolationError> {
    unshare_user(host)?;
    map_single(host)
}

fn map_single(host: &Host<'_>) -> Result<(), IsolationError> {
    let mapped = namespace::map_single_ids(host.uid, host.gid);
    mapped.map_err(|error| forbidden(host, error.source, true))?;
    Ok(namespace::become_root()?)
}

/// What became of the maps of a new user namespace.
enum Mapped {
    Both,
    /// None was written, so that others may still be: why.
    Neither(String),
}

fn enter_range(host: &Host<'_>, lent: &LentIds) -> Result<Mapped, IsolationError> {
    // Whoever writes the maps has to be outside of the namespace, so a forked copy of this process stays there.
    let (mut go_ahead, tell) = io::pipe().at("create", "pipe")?;
    let (mut answer, answering) = io::pipe().at("create", "pipe")?;
    let this = rustix::process::getpid();
    let outside = match process::fork().at("fork", "id mapping process")? {
        Fork::Child => {
            drop((tell, answer));
            let code = lent.map_when_told(this, &mut go_ahead, answering);
            process::exit_now(code);
        }
        Fork::Parent(outside) => outside,
    };
    drop((go_ahead, answering));
    let unshared = unshare_user(host);
    let told = unshared.is_ok().then(|| (&tell).write_all(b"!"));
    drop(tell);
    let mut message = String::new();
    // The words only explain the exit code; without them the code still decides.
    let _ = answer.read_to_string(&mut message);
    let ended = process::wait(outside).at("wait for", "id mapping process")?;
    unshared?;
    told.transpose().at("write", "pipe")?;
    let message = message.trim().to_owned();
    match ended {
        Ended::Exited(0) => {
            namespace::become_root()?;
            Ok(Mapped::Both)
        }
        Ended::Exited(NEITHER_MAPPED) => Ok(Mapped::Neither(format!("{} failed ({message})", lent.mapper()))),
        // One of the maps is written and cannot be written again.
        Ended::Exited(_) | Ended::Signaled(_) => {
            Err(IsolationError::Map { user: host.user.to_owned(), message })
        }
    }
}
