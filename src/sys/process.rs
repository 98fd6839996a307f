//! Processes: forking while there is one thread, waiting, dying with the parent.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Gid, Pid, Signal, Uid, WaitOptions, WaitStatus};

use super::error::{At, IoError};
use super::mount;
use super::namespace::Namespaces;

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Fork {
    Child,
    Parent(Pid),
}

/// Forks this process, which must have one thread: in the child of a threaded process only async-signal-safe calls are
/// allowed, and callers go on in Rust. More than one thread is an error, not undefined behaviour.
pub fn fork() -> io::Result<Fork> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("cannot fork a process with several threads"));
    }
    // SAFETY: the check above shows that this is the only thread, so no lock can be held by another one, and only this
    // thread could start more.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(Pid::from_raw(pid).expect("fork returns -1, 0 or a pid"))),
    }
}

/// Waits until threads that have done their work are gone: the kernel takes a moment after they have said so.
pub fn wait_for_threads() {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(2);
    let is_alone = || std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    while !is_alone() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
}

/// As [`fork()`], with the new process in new namespaces, while this one stays where it is.
pub fn fork_into(namespaces: Namespaces) -> io::Result<Fork> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("cannot fork a process with several threads"));
    }
    let flags = libc::c_long::from(libc::SIGCHLD) | libc::c_long::from(namespaces.bits());
    // SAFETY: as in `fork`; without a stack and without sharing memory the call is a fork, and the other pointers are null,
    // which is as good as none.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            Ok(Fork::Parent(pid.expect("clone returns -1, 0 or a pid")))
        }
    }
}

/// Makes this process the parent of all below it whose own parent ends.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    Signaled(i32),
}

/// Waits for a child to end.
pub fn wait(pid: Pid) -> io::Result<Ended> {
    loop {
        match rustix::process::waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(ended(status)),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn ended(status: WaitStatus) -> Ended {
    match (status.exit_status(), status.terminating_signal()) {
        (_, Some(signal)) => Ended::Signaled(signal),
        (Some(code), None) => Ended::Exited(code),
        (None, None) => Ended::Exited(255),
    }
}

/// Asks the kernel to kill this process when its parent ends. A change of credentials undoes it.
pub fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Has a program killed when the thread that starts it ends, at the latest with this process.
pub fn end_with_this(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: the closure makes one system call and allocates nothing, which is allowed between fork and exec.
    unsafe { command.pre_exec(die_with_parent) };
}

/// Starts a program without a terminal to ask at, and without what its file would give it. Debian's `ssh-agent` would get a
/// group, and with other credentials a program outlives who started it.
pub fn set_apart(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    let leave = || {
        rustix::process::setsid()?;
        Ok(rustix::thread::set_no_new_privs(true)?)
    };
    // SAFETY: the closure makes two system calls and allocates nothing, which is allowed between fork and exec.
    unsafe { command.pre_exec(leave) };
}

/// The user and the group that nobody else is.
pub const NOBODY: u32 = 65_534;

/// Gives up being root for good: this process becomes nobody, without groups.
pub fn become_nobody() -> io::Result<()> {
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    stay_visible()
}

/// Lets processes of the same user see this one's namespaces, and itself its own files in `/proc`, although its credentials
/// have changed. The program is not one that others may not read.
pub fn stay_visible() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

/// Ends this process at once, without running destructors that belong to the process it was forked from.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes no pointers and never returns.
    unsafe { libc::_exit(code) }
}

/// Ignores the signals that a terminal sends.
pub fn ignore_terminal_signals() {
    set_terminal_signals(libc::SIG_IGN);
}

/// Takes the default action of the signals that a terminal sends: to end the process.
pub fn default_terminal_signals() {
    set_terminal_signals(libc::SIG_DFL);
}

fn set_terminal_signals(action: libc::sighandler_t) {
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP, libc::SIGTSTP] {
        // SAFETY: both actions install no handler, so no code of ours runs in signal context.
        unsafe { libc::signal(signal, action) };
    }
}

/// Takes the default action of every signal, whatever whoever started this process ignores: that would be inherited by
/// what it becomes, and a program that starts with a signal ignored leaves it so.
pub fn default_signals() {
    // The action and its flags, mask and restorer, all zero: the default.
    const DEFAULT: [u64; 4] = [0; 4];
    const LAST: libc::c_int = 64;
    for signal in 1..=LAST {
        // By the call itself: the C library keeps two signals for itself, and leaves them ignored in what it starts.
        // SAFETY: the kernel reads a struct that is no larger than the array, and installs no handler.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), std::ptr::null::<u64>(), 8)
        };
    }
}

/// This program's own file, opened through a read-only mount of it. A process started from it cannot be used by what
/// it becomes to overwrite the program through `/proc/self/exe` (CVE-2019-5736).
pub fn read_only_self() -> Result<OwnedFd, IoError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let exe = "/proc/self/exe";
    let file = rustix::fs::readlinkat(CWD, exe, Vec::new()).at("read link", exe)?;
    match open_tree(CWD, file.as_c_str(), flags) {
        Ok(tree) => {
            mount::set_attributes(tree.as_fd(), mount::READ_ONLY, AtFlags::EMPTY_PATH)
                .at("make read-only", exe)?;
            Ok(tree)
        }
        // The file was replaced or removed while running: the copy in memory is as good.
        Err(_) => memory_copy(exe),
    }
}

/// This program's own file as it is, for who starts nothing hostile.
pub fn own_program() -> Result<OwnedFd, IoError> {
    Ok(File::open("/proc/self/exe").at("open", "/proc/self/exe")?.into())
}

fn memory_copy(exe: &str) -> Result<OwnedFd, IoError> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let copy =
        memfd_create("rbuild", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).at("create", "memfd")?;
    let mut copy = File::from(copy);
    io::copy(&mut File::open(exe).at("open", exe)?, &mut copy).at("copy", exe)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&copy, seals).at("seal", exe)?;
    Ok(copy.into())
}

/// Takes over standard input as an owned descriptor, leaving `/dev/null` in its place.
pub fn take_stdin() -> io::Result<OwnedFd> {
    let taken = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(taken)
}

/// Leaves the session keyring of whoever started this process for an empty one. Kernels without keyrings have none.
pub fn leave_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring, so the kernel reads no memory.
    if unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) } >= 0
    {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EOPNOTSUPP)) => {
            Ok(())
        }
        error => Err(error),
    }
}

/// Whether this process can give a file of its own to somebody else, be it for real or because somebody answers so.
pub fn may_give_away() -> io::Result<bool> {
    use rustix::fs::{Gid, MemfdFlags, Uid, fchown, memfd_create};
    let file = memfd_create("given away", MemfdFlags::CLOEXEC)?;
    Ok(fchown(file, Some(Uid::from_raw(1)), Some(Gid::from_raw(1))).is_ok())
}

/// Makes three descriptors this process's standard streams.
pub fn install_stdio([input, output, error]: [OwnedFd; 3]) -> io::Result<()> {
    rustix::stdio::dup2_stdin(&input)?;
    rustix::stdio::dup2_stdout(&output)?;
    rustix::stdio::dup2_stderr(&error)?;
    Ok(())
}

/// Keeps every process without the right to trace from looking into this one, even if it is of the same user and has no
/// fewer rights: through a process that is looked into everything is reached that it reaches.
pub fn stay_hidden() -> io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

/// Closes every descriptor from `first` up, so that nothing leaks into a program about to be executed.
pub fn close_on_exec_from(first: u32) {
    // SAFETY: with CLOEXEC no descriptor is closed now, so no owner in this process loses its own; they close at exec.
    let answer = unsafe { libc::close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
    if answer == 0 {
        return;
    }
    // Kernels before 5.11: mark them one by one.
    for fd in first..1024 {
        #[expect(clippy::cast_possible_wrap, reason = "descriptors below 1024 fit")]
        // SAFETY: F_SETFD changes a flag of the descriptor only, and fails harmlessly when there is none.
        unsafe {
            libc::fcntl(fd as i32, libc::F_SETFD, libc::FD_CLOEXEC)
        };
    }
}

/// How much memory this process may take, as far as the machine and its control group say.
pub fn memory() -> u64 {
    let info = rustix::system::sysinfo();
    let total = info.totalram.saturating_mul(u64::from(info.mem_unit));
    let limit = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    limits.into_iter().filter_map(limit).fold(total, u64::min)
}
