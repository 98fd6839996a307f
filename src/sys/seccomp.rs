//! Filters of system calls, and calls of other processes handed to this one to be answered (seccomp, user notification).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::sock_fprog;

use super::bpf::{Field, Instruction, Verdict, end, if_any, if_at_least, if_equal, keep, load, skip};

/// Which program interface of the kernel a call comes through: each has numbers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interface {
    /// That of this program; on x86-64 also x32, which has the same numbers with one bit more.
    Native,
    /// 32-bit programs on x86-64.
    I386,
}

/// A system call that is to be handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trap {
    pub interface: Interface,
    pub number: i64,
    /// Only if its arguments are like this.
    pub when: Option<When>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// This argument has one of these values under the mask.
    Is { argument: u32, mask: u32, values: [u32; 2] },
    /// One of these arguments is its number or a greater one, and not all ones, which means "none".
    AnyFrom([(u32, u32); 2]),
}

/// One system call, waiting for its answer.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub id: u64,
    /// The thread, as this process's pid namespace numbers it.
    pub thread: i32,
    pub interface: Interface,
    pub number: i64,
    pub arguments: [u64; 6],
}

/// What the caller gets.
#[derive(Debug)]
pub enum Answer {
    Value(i64),
    /// An errno, positive.
    Error(i32),
    /// A descriptor of this process, which the caller gets as one of its own.
    Descriptor {
        fd: OwnedFd,
        close_on_exec: bool,
    },
    /// The kernel is to do the call after all.
    Continue,
}

/// The receiving end of a filter's calls.
#[derive(Debug)]
pub struct Listener(OwnedFd);

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
/// As the kernel calls the 32-bit interface of x86-64.
const I386: u32 = 0x4000_0003;
/// On x86-64, numbers from here on belong to the x32 interface.
const X32_NUMBERS: u32 = 0x4000_0000;
/// SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, which libc does not have for every C library.
const WAIT_KILLABLE: libc::c_ulong = 1 << 5;

/// Installs a program on this thread, and on all it will start. It takes CAP_SYS_ADMIN in the user namespace; without it
/// setuid programs would have to be given up.
pub fn install(program: &[Instruction]) -> io::Result<()> {
    set_filter(program, 0).map(|_| ())
}

/// Installs a program that hands over some calls and lets all others pass; takes what [`install`] takes.
pub fn hand_over(traps: &[Trap]) -> io::Result<Listener> {
    let program = program(traps, Verdict::HandOver, has_x32());
    // A call that has been taken up is not given up for a signal: programs do not expect that stat or exit is
    // interrupted, and what was done for them would be done twice. Kernels before 5.19 do not know the flag.
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let fd = match set_filter(&program, flags | WAIT_KILLABLE) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => set_filter(&program, flags)?,
        answer => answer?,
    };
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    Ok(Listener(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Installs a filter that answers some calls as done without doing them. As [`hand_over`], but nobody is asked.
pub fn pretend(traps: &[Trap]) -> io::Result<()> {
    install(&program(traps, Verdict::Fail(0), has_x32()))
}

fn set_filter(program: &[Instruction], flags: libc::c_ulong) -> io::Result<RawFd> {
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let filter = sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program, which lives until the call returns and is as long as it says.
    let answer =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter) };
    RawFd::try_from(answer).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)
}

/// Whether this kernel runs x32 programs; one that does not answers their calls as unknown, and so must nobody else.
fn has_x32() -> bool {
    // SAFETY: the call takes no arguments, under whichever number.
    cfg!(target_arch = "x86_64") && unsafe { libc::syscall(i64::from(X32_NUMBERS) | libc::SYS_getpid) } > 0
}

/// The filter: a part for each architecture, in which each trap is compared in turn; all others pass.
fn program(traps: &[Trap], verdict: Verdict, x32: bool) -> Vec<Instruction> {
    let pass = end(Verdict::Allow);
    let mut program = vec![load(Field::Architecture)];
    for (interface, architecture) in [(Interface::Native, NATIVE), (Interface::I386, I386)] {
        let mut part = vec![load(Field::Number)];
        if cfg!(target_arch = "x86_64") && interface == Interface::Native {
            match x32 {
                true => part.push(keep(!X32_NUMBERS)),
                false => part.extend([if_any(X32_NUMBERS, 0, 1), pass]),
            }
        }
        for trap in traps.iter().filter(|trap| trap.interface == interface) {
            part.extend(comparison(trap, verdict));
        }
        part.push(pass);
        program.extend([if_equal(architecture, 1, 0), skip(part.len())]);
        program.extend(part);
    }
    program.push(pass);
    program
}

/// What one trap takes, with the call's number loaded.
fn comparison(trap: &Trap, verdict: Verdict) -> Vec<Instruction> {
    let number = u32::try_from(trap.number).expect("system calls have small numbers");
    match trap.when {
        None => vec![if_equal(number, 0, 1), end(verdict)],
        Some(When::Is { argument, mask, values: [one, other] }) => vec![
            if_equal(number, 0, 6),
            load(Field::Argument(argument)),
            keep(mask),
            if_equal(one, 1, 0),
            if_equal(other, 0, 1),
            end(verdict),
            end(Verdict::Allow),
        ],
        Some(When::AnyFrom([(one, from_one), (other, from_other)])) => vec![
            if_equal(number, 0, 8),
            load(Field::Argument(one)),
            if_equal(u32::MAX, 1, 0),
            if_at_least(from_one, 4, 0),
            load(Field::Argument(other)),
            if_equal(u32::MAX, 1, 0),
            if_at_least(from_other, 1, 0),
            end(Verdict::Allow),
            end(verdict),
        ],
    }
}

// The requests of the listener: _IOWR('!', n, size), which libc does not have for every C library.
const RECEIVE: libc::c_ulong = request(3, 0, size_of::<libc::seccomp_notif>());
const SEND: libc::c_ulong = request(3, 1, size_of::<libc::seccomp_notif_resp>());
const IS_VALID: libc::c_ulong = request(1, 2, size_of::<u64>());
const ADD_DESCRIPTOR: libc::c_ulong = request(1, 3, size_of::<libc::seccomp_notif_addfd>());
const SET_FLAGS: libc::c_ulong = request(1, 4, size_of::<u64>());
const SYNCHRONOUS_WAKE_UP: libc::c_ulong = 1;

const fn request(direction: libc::c_ulong, number: libc::c_ulong, size: usize) -> libc::c_ulong {
    direction << 30 | (size as libc::c_ulong) << 16 | (b'!' as libc::c_ulong) << 8 | number
}

impl Listener {
    pub fn from_fd(fd: OwnedFd) -> Self {
        let listener = Self(fd);
        // Caller and answerer never run at the same time, so one may wake the other on its own core; since Linux 6.6.
        // Older kernels refuse, and only speed is lost.
        // SAFETY: the request takes its argument by value.
        unsafe { libc::ioctl(listener.0.as_raw_fd(), SET_FLAGS, SYNCHRONOUS_WAKE_UP) };
        listener
    }

    /// The next call; none when it was given up meanwhile.
    pub fn receive(&self) -> io::Result<Option<Call>> {
        // SAFETY: all-zero is a valid value of this plain C struct, and the one that the kernel asks for.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the request writes a seccomp_notif, which is what the pointer leads to.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), RECEIVE, &raw mut call) } != 0 {
            return match io::Error::last_os_error() {
                error if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => Ok(None),
                error => Err(error),
            };
        }
        let foreign = cfg!(target_arch = "x86_64") && call.data.arch == I386;
        Ok(Some(Call {
            id: call.id,
            thread: call.pid.cast_signed(),
            interface: if foreign { Interface::I386 } else { Interface::Native },
            number: (call.data.nr.cast_unsigned() & !X32_NUMBERS).into(),
            arguments: call.data.args,
        }))
    }

    /// Whether the caller still waits: its number has not become somebody else's.
    pub fn is_waiting(&self, call: &Call) -> bool {
        // SAFETY: the request reads a number, which is what the pointer leads to.
        unsafe { libc::ioctl(self.0.as_raw_fd(), IS_VALID, &raw const call.id) == 0 }
    }

    pub fn answer(&self, call: &Call, answer: Answer) -> io::Result<()> {
        let (val, error, flags) = match answer {
            Answer::Value(value) => (value, 0, 0),
            Answer::Error(errno) => (0, -errno, 0),
            Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE),
            Answer::Descriptor { fd, close_on_exec } => return self.answer_with(call, &fd, close_on_exec),
        };
        let flags = u32::try_from(flags).expect("flags are small");
        let mut response = libc::seccomp_notif_resp { id: call.id, val, error, flags };
        // SAFETY: the request reads a seccomp_notif_resp, which is what the pointer leads to.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), SEND, &raw mut response) } == 0 {
            return Ok(());
        }
        match io::Error::last_os_error() {
            // The caller is gone.
            error if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            error => Err(error),
        }
    }
}

impl Listener {
    fn answer_with(&self, call: &Call, fd: &OwnedFd, close_on_exec: bool) -> io::Result<()> {
        let flag = |given: bool, flag: libc::c_int| if given { flag.cast_unsigned() } else { 0 };
        let mut added = libc::seccomp_notif_addfd {
            id: call.id,
            // Adding and answering are one: a caller that is gone keeps nothing.
            flags: u32::try_from(libc::SECCOMP_ADDFD_FLAG_SEND).expect("flags are small"),
            srcfd: fd.as_raw_fd().cast_unsigned(),
            newfd: 0,
            newfd_flags: flag(close_on_exec, libc::O_CLOEXEC),
        };
        // SAFETY: the request reads a seccomp_notif_addfd, which is what the pointer leads to.
        if unsafe { libc::ioctl(self.0.as_raw_fd(), ADD_DESCRIPTOR, &raw mut added) } >= 0 {
            return Ok(());
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            // The caller has no room for another descriptor.
            error => self.answer(call, Answer::Error(error.raw_os_error().unwrap_or(libc::EMFILE))),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads a string of another process, up to its terminating zero. None if there is none within a path's length.
pub fn read_string(process: i32, address: u64) -> io::Result<Option<Vec<u8>>> {
    const LONGEST: usize = 4096;
    const PAGE: usize = 4096;
    // Nearly all end within the first.
    const PART: usize = 256;
    let mut text = Vec::new();
    while text.len() < LONGEST {
        let from = address + text.len() as u64;
        // Never across a page: the next one may not be there.
        let rest = PAGE - usize::try_from(from % PAGE as u64).expect("less than a page");
        let part = read_memory(process, from, rest.min(PART))?;
        match memchr::memchr(0, &part) {
            Some(end) => {
                text.extend_from_slice(&part[..end]);
                return Ok(Some(text));
            }
            None => text.extend_from_slice(&part),
        }
    }
    Ok(None)
}

fn read_memory(process: i32, address: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; length];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: length };
    // SAFETY: the kernel writes at most `length` bytes to `bytes`, which has as many; the remote address is never
    // dereferenced here.
    let read = unsafe { libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    bytes.truncate(read);
    if bytes.is_empty() { Err(io::Error::from_raw_os_error(libc::EFAULT)) } else { Ok(bytes) }
}

/// Reads 32-bit numbers from another process.
pub fn read_numbers(process: i32, address: u64, count: usize) -> io::Result<Vec<u32>> {
    let bytes = if count == 0 { Vec::new() } else { read_memory(process, address, count * 4)? };
    Ok(bytes.chunks_exact(4).map(|chunk| u32::from_ne_bytes(chunk.try_into().expect("four bytes"))).collect())
}

/// Reads 64-bit numbers from another process.
pub fn read_wide_numbers<const COUNT: usize>(process: i32, address: u64) -> io::Result<[u64; COUNT]> {
    let bytes = read_memory(process, address, COUNT * 8)?;
    let mut numbers = [0; COUNT];
    for (number, chunk) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = u64::from_ne_bytes(chunk.try_into().expect("eight bytes"));
    }
    Ok(numbers)
}

/// Writes bytes into another process.
pub fn write_memory(process: i32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let local = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: bytes.len() };
    // SAFETY: the kernel reads `bytes` only; the remote address is never dereferenced here.
    let written = unsafe { libc::process_vm_writev(process, &raw const local, 1, &raw const remote, 1, 0) };
    if usize::try_from(written).is_ok_and(|written| written == bytes.len()) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EFAULT))
    }
}

/// The bytes of a plain C struct, as another process expects them.
pub fn bytes_of<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: the pointer leads to a value of this size that is borrowed as long; callers pass kernel structs, whose
    // padding was zeroed when they were made.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

#[cfg(test)]
mod tests {
    use super::super::bpf::interpreter;
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_handed_over() {
        let devices = When::Is { argument: 1, mask: 0o170_000, values: [0o020_000, 0o060_000] };
        let trap = |interface, number, when| Trap { interface, number, when };
        let traps = [
            trap(Interface::Native, 92, None),
            trap(Interface::I386, 212, None),
            trap(Interface::Native, 133, Some(devices)),
            trap(Interface::Native, 5, Some(When::AnyFrom([(1, 100), (2, 200)]))),
            trap(Interface::Native, 4, None),
        ];
        let (notify, allow) = (Verdict::HandOver, Verdict::Allow);
        let filter = program(&traps, notify, false);
        let verdict = |architecture, number, mode| {
            interpreter::run(&filter, architecture, number, [0, mode, 0, 0, 0, 0]).0
        };
        let run = |number, mode| verdict(NATIVE, number, mode);
        assert_eq!(run(92, 0), notify);
        assert_eq!(run(4, 0), notify);
        assert_eq!(run(1, 0), allow);
        assert_eq!([run(133, 0o020_644), run(133, 0o060_600), run(133, 0o010_644)], [notify, notify, allow]);
        let give = |uid, gid| interpreter::run(&filter, NATIVE, 5, [0, uid, gid, 0, 0, 0]).0;
        assert_eq!([give(99, 199), give(u32::MAX, 199), give(99, u32::MAX)], [allow; 3]);
        assert_eq!(give(u32::MAX, u32::MAX), allow);
        assert_eq!([give(100, 0), give(0, 200), give(u32::MAX, 201), give(4_000_000, u32::MAX)], [notify; 4]);
        let other = |number| verdict(I386, number, 0);
        assert_eq!([other(212), other(92), other(4)], [notify, allow, allow]);
        assert_eq!(verdict(0x4000_0028, 92, 0), allow);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(run(X32_NUMBERS | 92, 0), allow);
            let with_x32 = program(&traps, notify, true);
            assert_eq!(interpreter::run(&with_x32, NATIVE, X32_NUMBERS | 92, [0; 6]).0, notify);
        }
    }
}
