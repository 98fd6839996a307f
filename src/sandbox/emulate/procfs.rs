//! What /proc says of other processes. It is reached by a descriptor, because this process's root and working directory
//! are wherever the last caller's were.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RawMode};

/// The /proc of this process's own pid namespace.
#[derive(Debug)]
pub(super) struct Proc(OwnedFd);

/// What `status` says of a thread.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub process: i32,
    pub parent: i32,
    pub umask: RawMode,
    /// The kernel's ids for files.
    pub file_ids: (u32, u32),
    pub capabilities: u64,
    pub no_new_privileges: bool,
}

impl Proc {
    pub(super) fn new(proc: &File) -> io::Result<Self> {
        Ok(Self(proc.try_clone()?.into()))
    }

    pub(super) fn open(&self, inner: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        rustix::fs::openat(&self.0, inner, flags | OFlags::CLOEXEC, Mode::empty())
    }

    pub(super) fn read(&self, inner: &str) -> io::Result<String> {
        let mut text = String::with_capacity(2048);
        File::from(self.open(inner, OFlags::RDONLY)?).read_to_string(&mut text)?;
        Ok(text)
    }

    pub(super) fn status(&self, thread: i32) -> Option<Status> {
        let text = self.read(&format!("{thread}/status")).ok()?;
        let mut status = Status { umask: 0o022, ..Status::default() };
        for line in text.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let mut values = value.split_whitespace();
            let first = values.next().unwrap_or_default();
            // Real, effective, saved, for files.
            let mut for_files = || values.nth(2).and_then(|id| id.parse().ok()).unwrap_or_default();
            match name {
                "Umask" => status.umask = RawMode::from_str_radix(first, 8).unwrap_or(0o022),
                "Tgid" => status.process = first.parse().ok()?,
                "PPid" => status.parent = first.parse().ok()?,
                "Uid" => status.file_ids.0 = for_files(),
                "Gid" => status.file_ids.1 = for_files(),
                "CapEff" => status.capabilities = u64::from_str_radix(first, 16).unwrap_or_default(),
                "NoNewPrivs" => status.no_new_privileges = first == "1",
                _ => {}
            }
        }
        Some(status)
    }

    /// Whether a thread is in this process's own user namespace.
    pub(super) fn shares_users(&self, thread: i32) -> bool {
        let namespace = |of: &str| rustix::fs::readlinkat(&self.0, format!("{of}/ns/user"), Vec::new());
        namespace("self").is_ok_and(|own| namespace(&thread.to_string()) == Ok(own))
    }

    /// The processes that a process has started and that are its children still.
    pub(super) fn children(&self, process: i32) -> Vec<i32> {
        let threads = numbers(self.open(&format!("{process}/task"), OFlags::RDONLY));
        let lists = threads.iter().map(|thread| self.read(&format!("{process}/task/{thread}/children")));
        match lists.collect::<io::Result<Vec<_>>>() {
            Ok(lists) => lists.iter().flat_map(|list| list.split_whitespace()).flat_map(str::parse).collect(),
            // A kernel without these lists: whoever has this parent.
            Err(_) => {
                let is_child = |number: &i32| self.status(*number).is_some_and(|it| it.parent == process);
                numbers(self.open(".", OFlags::RDONLY)).into_iter().filter(is_child).collect()
            }
        }
    }

    /// What tells one program in a process from the next: its file, and where its stack begins.
    pub(super) fn program(&self, process: i32) -> Option<Program> {
        let stat = self.read(&format!("{process}/stat")).ok()?;
        // The second field is a name in parentheses that may contain anything.
        let after_name = stat.rsplit_once(')')?.1;
        let stack = after_name.split_whitespace().nth(25)?.parse().ok()?;
        let file = rustix::fs::statat(&self.0, format!("{process}/exe"), AtFlags::empty()).ok()?;
        Some(Program { file: (file.st_dev, file.st_ino), stack })
    }

    /// Something that is gone when the process is, though its number may be used again.
    pub(super) fn hold(&self, number: i32) -> Option<Held> {
        self.open(&number.to_string(), OFlags::PATH | OFlags::DIRECTORY).ok().map(Held)
    }
}

impl AsFd for Proc {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    /// Device and inode.
    pub file: (u64, u64),
    pub stack: u64,
}

/// A process or thread, by its directory in /proc.
#[derive(Debug)]
pub(super) struct Held(OwnedFd);

impl Held {
    pub(super) fn is_there(&self) -> bool {
        rustix::fs::accessat(&self.0, "stat", rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
    }
}

fn numbers(directory: rustix::io::Result<OwnedFd>) -> Vec<i32> {
    let entries = directory.and_then(crate::sys::rooted::read_entries).unwrap_or_default();
    entries.iter().filter_map(|entry| entry.name.to_str()?.parse().ok()).collect()
}
