//! The first process inside a sandbox: carries the steps out and becomes the program. One thread, freshly forked.

mod identity;
mod mounts;
mod places;
mod program;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::Mode;

use super::capabilities::Capabilities;
use super::emulate::{self, Links};
use super::group::Group;
use super::message::{self, Failure, Job, Report};
use super::mountpoints::{RootError, mount_root};
use super::spec::{Emulated, Process};
use super::steps::Step;
use super::users::UserError;
use super::{capabilities, profile, ulimits};
use crate::sys::disk::Refusal;
use crate::sys::mount::{self, Attributes, MountError, Recursive};
use crate::sys::rooted::Root;
use crate::sys::socket::send_descriptors;
use crate::sys::{At, IoError, namespace, network, process, seccomp};

/// The process beside the sandbox, as the first one inside knows it.
pub(super) struct Child {
    pub socket: UnixStream,
    /// What it knows of links below, if it answers calls.
    pub links: Option<Links>,
}

/// Carries out a job. It returns only when the program could not be started, with what to tell the parent.
pub(super) fn run(
    job: Job,
    proc: OwnedFd,
    group: Option<&Group>,
    socket: &UnixStream,
    child: Child,
    stdio: [OwnedFd; 3],
) -> Failure {
    let (process, child) = (job.process, Some(child));
    let mut init =
        Init { group, root: None, proc, process, socket, child, ids: OtherIds::Real, stdio, cover: None };
    rustix::process::umask(Mode::from_raw_mode(0o022));
    for step in &job.steps {
        if let Err(error) = init.carry_out(step) {
            return error.at_step(step);
        }
    }
    // After the last change of credentials, which would undo it.
    if let Err(error) = process::die_with_parent().and_then(|()| process::install_stdio(init.stdio)) {
        return Failure::of_step("start", &error);
    }
    process::close_on_exec_from(3);
    // As late as this: an image may have many layers, each a descriptor.
    if let Err(error) = ulimits::restore_open_files(job.open_files, &job.steps) {
        return Failure::of_step("start", &error);
    }
    program::execute(&init.process)
}

fn step_name(step: &Step) -> String {
    let text = step.to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

struct Init<'a> {
    group: Option<&'a Group>,
    /// The root file system, once mounted; none again after it became `/`.
    root: Option<Root>,
    /// What is shown at /proc.
    proc: OwnedFd,
    process: Process,
    socket: &'a UnixStream,
    /// The process beside the sandbox, as long as it waits for something to do.
    child: Option<Child>,
    ids: OtherIds,
    /// The program's standard streams.
    stdio: [OwnedFd; 3],
    /// An empty directory that hides others, once it hides one.
    cover: Option<OwnedFd>,
}

/// What it takes to become somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OtherIds {
    /// The namespace has them, or the child answers as if it had.
    Real,
    /// There is just one, and nobody to answer.
    Missing,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    User(#[from] UserError),
    /// The image has something else where the working directory should be.
    #[error(transparent)]
    Directory(IoError),
    /// The image has something else where something has to be mounted.
    #[error("{path} is {found}")]
    MountPoint { path: String, found: String },
    /// The same where this step alone mounts something.
    #[error("{path} is {found}")]
    MountTarget { path: String, found: String },
}

impl StepError {
    fn at_step(self, step: &Step) -> Failure {
        let refusal = match &self {
            Self::Io(error) | Self::Directory(error) => error.refusal(),
            Self::Mount(error) => Refusal::of(&error.source),
            Self::User(_) | Self::MountPoint { .. } | Self::MountTarget { .. } => None,
        };
        match self {
            Self::User(error) => Failure::User { error: error.to_string(), hint: error.hint() },
            Self::MountPoint { path, found } => Failure::MountPoint { path, found },
            Self::MountTarget { path, found } => Failure::MountTarget { path, found },
            Self::Directory(error) if refusal.is_none() => Failure::Directory { error: error.to_string() },
            Self::Io(_) | Self::Mount(_) | Self::Directory(_) => {
                Failure::Step { step: step_name(step), error: self.to_string(), refusal }
            }
        }
    }
}

impl From<RootError> for StepError {
    fn from(error: RootError) -> Self {
        match error {
            RootError::Mount(error) => Self::Mount(error),
            RootError::Io(error) => Self::Io(error),
            RootError::Unfit { path, found } => Self::MountPoint { path, found },
        }
    }
}

pub(super) const HARMLESS: Attributes =
    Attributes::MOUNT_ATTR_NOSUID.union(Attributes::MOUNT_ATTR_NODEV).union(Attributes::MOUNT_ATTR_NOEXEC);

impl Init<'_> {
    fn carry_out(&mut self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::MountRoot { root, mount_points, devices } => {
                self.root = Some(mount_root(root, mount_points, *devices)?);
            }
            Step::MountProc { at } => self.attach(&self.proc, at)?,
            Step::JoinGroup => {
                let group = self.group.expect("the child makes a group where the plan joins one");
                group.join().at("join", "control group")?;
            }
            Step::HideGroups => namespace::hide_control_groups().at("unshare", "control groups")?,
            Step::MountDev { at, all, shm_size } => self.mount_dev(at, *all, *shm_size)?,
            Step::MountGroups { at, read_only } => self.mount_groups(at, *read_only)?,
            Step::MountSys { at, fresh, read_only } => self.mount_sys(at, *fresh, *read_only)?,
            Step::BindFile { source, at } => {
                let file = mount::clone_tree(source, Recursive::No).at("open", source)?;
                places::add_attributes(&file, mount::READ_ONLY, source)?;
                self.attach(&file, at)?;
            }
            Step::Mount { mount, staging, devices } => self.mount(mount, staging, *devices)?,
            Step::Mask { at } => {
                self.mask(at)?;
            }
            Step::MaskInEach { at, name } => self.mask_in_each(at, name)?,
            Step::MakeReadOnly { at } => self.make_read_only(at)?,
            Step::LoopbackUp => network::loopback_up().at("bring up", "lo")?,
            Step::Pivot => {
                let root = self.root.take().expect("the plan mounts the root first");
                mount::pivot_into(&root).at("pivot into", "the root file system")?;
            }
            Step::SetHostname { name } => {
                rustix::system::sethostname(name.as_bytes()).at("set hostname", name)?
            }
            Step::NewSession => {
                rustix::process::setsid().at("start", "session")?;
                process::leave_session_keyring().at("leave", "session keyring")?;
            }
            Step::Emulate { what } => self.emulate(*what)?,
            Step::RefuseCalls { capabilities } => self.refuse_calls(*capabilities)?,
            Step::AllowUlimit { ulimit } => ulimits::allow(ulimit).at("raise", "hard limit")?,
            Step::SetUlimit { ulimit } => ulimits::set(ulimit).at("set", "limit")?,
            Step::LimitCapabilities { capabilities } => {
                capabilities::limit(*capabilities).at("limit", "capabilities")?;
            }
            Step::NoNewPrivileges => {
                rustix::thread::set_no_new_privs(true).at("give up", "new privileges")?;
            }
            Step::BecomeUser { user } => self.become_user(user)?,
            Step::ChangeDirectory { path } => {
                std::fs::create_dir_all(path)
                    .at("create working directory", path)
                    .map_err(StepError::Directory)?;
                let entered = rustix::process::chdir(path.as_str()).at("enter working directory", path);
                entered.map_err(StepError::Directory)?;
            }
        }
        Ok(())
    }

    fn root(&self) -> &Root {
        self.root.as_ref().expect("the plan mounts the root first, and looks into it before the pivot only")
    }

    fn emulate(&mut self, what: Emulated) -> Result<(), StepError> {
        let child = self.child.take().expect("the plan hands over once");
        let link_owners_below = child.links.as_ref().is_some_and(Links::are_below);
        match seccomp::hand_over(&emulate::traps(what, link_owners_below)) {
            Ok(listener) => Ok(send_descriptors(&child.socket, &[listener.as_fd()]).at("send", "listener")?),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => self.pretend(what),
            Err(error) => Err(error).at("hand over", "system calls")?,
        }
    }

    /// A sandbox around this one has the calls already, and the kernel gives them to one only. What that one does not
    /// answer is answered here without being done: programs go on, and nothing is kept.
    fn pretend(&mut self, what: Emulated) -> Result<(), StepError> {
        if what != Emulated::Owners || process::may_give_away().unwrap_or(false) {
            return Ok(());
        }
        seccomp::pretend(&emulate::pretended()).at("pretend", "system calls")?;
        self.ids = OtherIds::Missing;
        self.notice(
            "owners of files are not kept and all users are one: something around this sandbox has the system calls that it takes",
        );
        Ok(())
    }

    fn refuse_calls(&self, capabilities: Capabilities) -> Result<(), StepError> {
        let why_not = match profile::program(capabilities) {
            None => "there is no list of them for this kind of machine",
            Some(program) => match seccomp::install(&program) {
                Ok(()) => return Ok(()),
                // Kernels without seccomp, or with the part of it that knows no filters.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) => {
                    "this kernel has no seccomp filters"
                }
                Err(error) => Err(error).at("refuse", "system calls")?,
            },
        };
        self.notice(&format!("unusual system calls are not refused: {why_not}"));
        Ok(())
    }

    fn notice(&self, text: &str) {
        // A parent that is gone ends this process soon anyhow.
        let _ = message::write(&mut &*self.socket, &Report::Notice(text.to_owned()));
    }
}
