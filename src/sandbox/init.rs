//! The first process inside a sandbox: carries the steps out and becomes the program. One thread, freshly forked.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::process::{Gid, Uid};

use super::capabilities::Capabilities;
use super::emulate::{self, Links};
use super::group::Group;
use super::message::{self, Failure, Job, Report};
use super::mountpoints::{RootError, mount_root};
use super::spec::{Emulated, Process};
use super::steps::Step;
use super::users::{Account, UserError, find_account};
use super::{capabilities, devices, profile, ulimits};
use crate::sys::mount::{self, Attributes, MountError, Recursive};
use crate::sys::rooted::{self, Root};
use crate::sys::socket::send_descriptors;
use crate::sys::{At, IoError, namespace, network, ownership, process, seccomp};

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
            return match error {
                StepError::User(error) => Failure::User { error: error.to_string(), hint: error.hint() },
                StepError::Directory(error) => Failure::Directory { error: error.to_string() },
                StepError::MountPoint { path, found } => Failure::MountPoint { path, found },
                other => Failure::Step { step: step_name(step), error: other.to_string() },
            };
        }
    }
    // After the last change of credentials, which would undo it.
    if let Err(error) = process::die_with_parent().and_then(|()| process::install_stdio(init.stdio)) {
        return Failure::Step { step: "start".to_owned(), error: error.to_string() };
    }
    process::close_on_exec_from(3);
    // As late as this: an image may have many layers, each a descriptor.
    if let Err(error) = ulimits::restore_open_files(job.open_files, &job.steps) {
        return Failure::Step { step: "start".to_owned(), error: error.to_string() };
    }
    execute(&init.process)
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
                add_attributes(&file, mount::READ_ONLY, source)?;
                self.attach(&file, at)?;
            }
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

    /// Opens a place in the root file system for mounting on it.
    fn place(&self, at: &str) -> Result<OwnedFd, IoError> {
        self.root().open_at(Path::new(at), OFlags::PATH, Mode::empty())
    }

    fn attach(&self, tree: &OwnedFd, at: &str) -> Result<(), IoError> {
        mount::attach(tree, self.place(at)?).at("mount on", at)
    }

    /// Mounts them anew, which shows no more than the namespace has; a kernel without them leaves the place as it is.
    fn mount_groups(&self, at: &str, read_only: bool) -> Result<(), StepError> {
        let Some(place) = self.existing(at)? else { return Ok(()) };
        let attributes = if read_only { HARMLESS | mount::READ_ONLY } else { HARMLESS };
        let Ok(tree) = mount::virtual_fs("cgroup2", &[], attributes) else { return Ok(()) };
        Ok(mount::attach(&tree, &place).at("mount on", at)?)
    }

    fn mount_dev(&self, at: &str, all: bool, shm_size: Option<u64>) -> Result<(), StepError> {
        let dev = devices::file_system(all)?;
        self.attach(&dev, at)?;
        devices::fill(&dev, all, shm_size)
    }

    fn mount_sys(&self, at: &str, fresh: bool, read_only: bool) -> Result<(), StepError> {
        let attributes = if read_only { HARMLESS | mount::READ_ONLY } else { HARMLESS };
        // Where parts of the host's are covered the kernel lets nobody uncover them by a fresh one.
        let fresh = fresh.then(|| mount::virtual_fs("sysfs", &[], attributes)).and_then(Result::ok);
        let tree = if let Some(fresh) = fresh {
            fresh
        } else {
            // Without what is mounted below it, where the kernel lets go of that.
            let sys = Path::new("/sys");
            let tree =
                mount::clone_tree(sys, Recursive::No).or_else(|_| mount::clone_tree(sys, Recursive::Yes));
            let tree = tree.at("open", "/sys")?;
            let flags = AtFlags::EMPTY_PATH | mount::RECURSIVE;
            mount::set_attributes(&tree, attributes, flags).at("make harmless", "/sys")?;
            tree
        };
        Ok(self.attach(&tree, at)?)
    }

    /// Opens a path that need not exist, without following links: what is masked is the kernel's, not the image's.
    fn existing(&self, at: &str) -> Result<Option<OwnedFd>, IoError> {
        let root = self.root();
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let inside = at.trim_start_matches('/');
        match rustix::fs::openat2(root, inside, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Ok(fd) => Ok(Some(fd)),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::ACCESS | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error).at("open", at),
        }
    }

    /// Whether there was anything to mask.
    fn mask(&mut self, at: &str) -> Result<bool, StepError> {
        let Some(place) = self.existing(at)? else { return Ok(false) };
        let stat = rustix::fs::fstat(&place).at("stat", at)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let null = mount::clone_tree(Path::new("/dev/null"), Recursive::No).at("open", "/dev/null")?;
            mount::attach(&null, &place).at("mask", at)?;
        } else if let Some(cover) = &self.cover {
            let again = mount::clone_tree_at(cover, Recursive::No).at("clone", "an empty directory")?;
            mount::attach(&again, &place).at("mask", at)?;
        } else {
            let attributes = HARMLESS | mount::READ_ONLY;
            let cover = mount::virtual_fs("tmpfs", &[("mode", "755"), ("size", "0")], attributes)?;
            mount::attach(&cover, &place).at("mask", at)?;
            self.cover = Some(cover);
        }
        Ok(true)
    }

    fn mask_in_each(&mut self, at: &str, name: &str) -> Result<(), StepError> {
        let Some(place) = self.existing(at)? else { return Ok(()) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(directory) = rustix::fs::openat(&place, ".", flags, Mode::empty()) else { return Ok(()) };
        let mut any = false;
        for entry in rooted::read_entries(&directory).at("list", at)? {
            if entry.kind != FileType::Directory {
                continue;
            }
            any |= self.mask(&format!("{at}/{}/{name}", entry.name.display()))?;
            // Where any has it the first has it, too. Most machines have none.
            if !any {
                break;
            }
        }
        Ok(())
    }

    fn make_read_only(&self, at: &str) -> Result<(), StepError> {
        let Some(place) = self.existing(at)? else { return Ok(()) };
        let tree = mount::clone_tree_at(&place, Recursive::Yes).at("open", at)?;
        add_attributes(&tree, mount::READ_ONLY, Path::new(at))?;
        Ok(mount::attach(&tree, &place).at("make read-only", at)?)
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

    fn become_user(&mut self, user: &str) -> Result<(), StepError> {
        let (passwd, group) = (read_small("/etc/passwd")?, read_small("/etc/group")?);
        let account = find_account(user, &passwd, &group)?;
        let home = account.home.as_deref().unwrap_or("/");
        if !self.process.environment.iter().any(|entry| entry.starts_with("HOME=")) {
            self.process.environment.push(format!("HOME={home}"));
        }
        if self.ids == OtherIds::Missing {
            if account.uid != 0 {
                self.notice(&format!("runs as root instead of {user}: this user namespace has a single id"));
            }
            return Ok(());
        }
        if let Some(lasts) = ownership::stand_ins() {
            account.check_is_there(lasts.user, lasts.group)?;
        }
        // Pipes belong to who made them; their new user may open /dev/stdout, too.
        for stream in &self.stdio {
            let is_pipe = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo;
            if rustix::fs::fstat(stream).is_ok_and(is_pipe) {
                let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
                // One that comes from elsewhere may belong to nobody known here; then it stays as it is.
                let _ = rustix::fs::fchown(stream, Some(uid), Some(gid));
            }
        }
        Ok(change_ids(&account).at("become", user)?)
    }
}

fn add_attributes(tree: &OwnedFd, attributes: Attributes, shown: &Path) -> Result<(), IoError> {
    mount::set_attributes(tree, attributes, AtFlags::EMPTY_PATH).at("make read-only", shown)
}

/// All in one thread: the process has no other.
fn change_ids(account: &Account) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let groups: Vec<Gid> = account.groups.iter().copied().map(Gid::from_raw).collect();
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// A file of the image that is read before becoming anybody; missing is empty. It may be anything, even a fifo.
fn read_small(path: &str) -> Result<String, IoError> {
    const LIMIT: u64 = 4 << 20;
    let root = Root::open(Path::new("/"))?;
    if root.try_stat(Path::new(path))?.is_none() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    root.open_file(Path::new(path))?.take(LIMIT).read_to_end(&mut bytes).at("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn execute(process: &Process) -> Failure {
    let Some(program) = process.arguments.first() else {
        return Failure::NotFound { program: String::new() };
    };
    let candidates = candidates(program, &process.environment);
    let mut denied = None;
    for path in &candidates {
        let error = replace_with(path, process);
        match error.kind() {
            io::ErrorKind::NotFound if !path.exists() => {}
            io::ErrorKind::NotFound => {
                let error = "its interpreter or dynamic loader is not in the image".to_owned();
                return Failure::NotExecutable { program: program.clone(), error };
            }
            io::ErrorKind::NotADirectory => {}
            _ => denied = Some(error),
        }
    }
    match denied {
        Some(error) => Failure::NotExecutable { program: program.clone(), error: error.to_string() },
        None => Failure::NotFound { program: program.clone() },
    }
}

/// Where a program may be: as it is named, or in the directories of the PATH that it will see.
fn candidates(program: &str, environment: &[String]) -> Vec<PathBuf> {
    if program.contains('/') {
        return vec![PathBuf::from(program)];
    }
    if program.is_empty() {
        return Vec::new();
    }
    let path = environment.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    path.split(':').filter(|dir| !dir.is_empty()).map(|dir| Path::new(dir).join(program)).collect()
}

fn replace_with(path: &Path, process: &Process) -> io::Error {
    let mut command = Command::new(path);
    command.arg0(&process.arguments[0]).args(&process.arguments[1..]).env_clear();
    for entry in &process.environment {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        if !name.is_empty() {
            command.env(OsStr::from_bytes(name.as_bytes()), value);
        }
    }
    command.exec()
}
