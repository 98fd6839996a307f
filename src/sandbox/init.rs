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

use super::capabilities;
use super::emulate::{self, Links};
use super::message::{self, Failure, Job, Report};
use super::mountpoints::{RootError, mount_root};
use super::spec::{Emulated, Process};
use super::steps::Step;
use super::users::{Account, UserError, find_account};
use crate::sys::mount::{self, Attributes, MountError, Recursive};
use crate::sys::rooted::Root;
use crate::sys::socket::send_descriptors;
use crate::sys::{At, IoError, network, process, seccomp};

/// The process beside the sandbox, as the first one inside knows it.
pub(super) struct Child {
    pub socket: UnixStream,
    /// What it knows of links below, if it answers calls.
    pub links: Option<Links>,
}

/// Carries out a job. It returns only when the program could not be started, with what to tell the parent.
pub(super) fn run(job: Job, socket: &UnixStream, child: Child, stdio: [OwnedFd; 3]) -> Failure {
    let (process, child) = (job.process, Some(child));
    let mut init = Init { root: None, process, socket, child, ids: OtherIds::Real, stdio };
    rustix::process::umask(Mode::from_raw_mode(0o022));
    for step in &job.steps {
        if let Err(error) = init.carry_out(step) {
            return match error {
                StepError::User(error) => Failure::User { error: error.to_string() },
                StepError::Directory(error) => Failure::Directory { error: error.to_string() },
                other => Failure::Step { step: step_name(step), error: other.to_string() },
            };
        }
    }
    // After the last change of credentials, which would undo it.
    if let Err(error) = process::die_with_parent().and_then(|()| process::install_stdio(init.stdio)) {
        return Failure::Step { step: "start".to_owned(), error: error.to_string() };
    }
    process::close_on_exec_from(3);
    execute(&init.process)
}

fn step_name(step: &Step) -> String {
    let text = step.to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

struct Init<'a> {
    /// The root file system, once mounted; none again after it became `/`.
    root: Option<Root>,
    process: Process,
    socket: &'a UnixStream,
    /// The process beside the sandbox, as long as it waits for something to do.
    child: Option<Child>,
    ids: OtherIds,
    /// The program's standard streams.
    stdio: [OwnedFd; 3],
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
enum StepError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    User(#[from] UserError),
    /// The image has something else where the working directory should be.
    #[error(transparent)]
    Directory(IoError),
}

impl From<RootError> for StepError {
    fn from(error: RootError) -> Self {
        match error {
            RootError::Mount(error) => Self::Mount(error),
            RootError::Io(error) => Self::Io(error),
        }
    }
}

const HARMLESS: Attributes =
    Attributes::MOUNT_ATTR_NOSUID.union(Attributes::MOUNT_ATTR_NODEV).union(Attributes::MOUNT_ATTR_NOEXEC);

impl Init<'_> {
    fn carry_out(&mut self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::MountRoot { root, mount_points } => self.root = Some(mount_root(root, mount_points)?),
            Step::MountProc { at } => self.attach(&mount::virtual_fs("proc", &[], HARMLESS)?, at)?,
            Step::MountDev { at } => self.mount_dev(at)?,
            Step::MountSys { at, fresh } => self.mount_sys(at, *fresh)?,
            Step::BindFile { source, at } => {
                let file = mount::clone_tree(source, Recursive::No).at("open", source)?;
                add_attributes(&file, mount::READ_ONLY, source)?;
                self.attach(&file, at)?;
            }
            Step::Mask { at } => self.mask(at)?,
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
            Step::LimitCapabilities => capabilities::limit().at("limit", "capabilities")?,
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

    fn mount_dev(&self, at: &str) -> Result<(), StepError> {
        // The devices that are to work are mounts of their own.
        let attributes = Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV;
        let dev = mount::virtual_fs("tmpfs", &[("mode", "755"), ("size", "65536k")], attributes)?;
        self.attach(&dev, at)?;
        for name in ["null", "zero", "full", "random", "urandom", "tty"] {
            let device = Path::new("/dev").join(name);
            // A host without one of them, such as a container without a terminal, gives a step without it.
            let Ok(tree) = mount::clone_tree(&device, Recursive::No) else { continue };
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&dev, name, flags, Mode::from_raw_mode(0o666)).at("create", &device)?;
            attach_in(&dev, &tree, name)?;
        }
        let links = [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("ptmx", "pts/ptmx"),
        ];
        for (name, target) in links {
            rustix::fs::symlinkat(target, &dev, name).at("create link", name)?;
        }
        for name in ["pts", "shm", "mqueue"] {
            rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755)).at("create directory", name)?;
        }
        attach_in(&dev, &terminals()?, "pts")?;
        attach_in(
            &dev,
            &mount::virtual_fs("tmpfs", &[("mode", "1777"), ("size", "65536k")], HARMLESS)?,
            "shm",
        )?;
        attach_in(&dev, &mount::virtual_fs("mqueue", &[], HARMLESS)?, "mqueue")?;
        Ok(())
    }

    fn mount_sys(&self, at: &str, fresh: bool) -> Result<(), StepError> {
        let tree = if fresh {
            mount::virtual_fs("sysfs", &[], HARMLESS | mount::READ_ONLY)?
        } else {
            // Without what is mounted below it, where the kernel lets go of that.
            let sys = Path::new("/sys");
            let tree =
                mount::clone_tree(sys, Recursive::No).or_else(|_| mount::clone_tree(sys, Recursive::Yes));
            let tree = tree.at("open", "/sys")?;
            let flags = AtFlags::EMPTY_PATH | AtFlags::from_bits_retain(AT_RECURSIVE);
            mount::set_attributes(&tree, HARMLESS | mount::READ_ONLY, flags).at("make read-only", "/sys")?;
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

    fn mask(&self, at: &str) -> Result<(), StepError> {
        let Some(place) = self.existing(at)? else { return Ok(()) };
        let stat = rustix::fs::fstat(&place).at("stat", at)?;
        let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            mount::virtual_fs("tmpfs", &[("mode", "755"), ("size", "0")], HARMLESS | mount::READ_ONLY)?
        } else {
            mount::clone_tree(Path::new("/dev/null"), Recursive::No).at("open", "/dev/null")?
        };
        Ok(mount::attach(&cover, &place).at("mask", at)?)
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

const AT_RECURSIVE: u32 = 0x8000;

fn add_attributes(tree: &OwnedFd, attributes: Attributes, shown: &Path) -> Result<(), IoError> {
    mount::set_attributes(tree, attributes, AtFlags::EMPTY_PATH).at("make read-only", shown)
}

fn attach_in(dev: &OwnedFd, tree: &OwnedFd, name: &str) -> Result<(), IoError> {
    let place =
        rustix::fs::openat(dev, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    mount::attach(tree, place.at("open", name)?).at("mount on", Path::new("/dev").join(name))
}

fn terminals() -> Result<OwnedFd, MountError> {
    let attributes = Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NOEXEC;
    let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
    // Group 5 is the terminals' group by convention; a namespace that does not map it cannot name it.
    mount::virtual_fs("devpts", &options, attributes)
        .or_else(|_| mount::virtual_fs("devpts", &options[..2], attributes))
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
