//! What a call names, as its caller would find it.
//!
//! This process takes the caller's root as its own before it looks anything up, so absolute paths, links and `..` lead
//! where they lead the caller and never out of what that one can see. Whatever is reached by the caller's number is
//! opened first, and only used if the caller is still waiting then: a number may belong to somebody else at any time.
//!
//! Nearly always everybody's root is the sandbox's, and need not be looked at for every call: see [`Roots`].

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags};

use super::procfs::Proc;
use crate::sys::link_owners::Identity;
use crate::sys::ownership::{self, Recorded};
use crate::sys::seccomp::{Call, Listener, read_string};

pub(super) const AT_FDCWD: u64 = libc::AT_FDCWD as u32 as u64;
pub(super) const NOFOLLOW: u64 = libc::AT_SYMLINK_NOFOLLOW as u64;
pub(super) const EMPTY_PATH: u64 = libc::AT_EMPTY_PATH as u64;

/// The lower half of an argument, which is all that counts of ids, modes and flags.
pub(super) fn low(argument: u64) -> u32 {
    u32::try_from(argument & 0xffff_ffff).expect("masked to 32 bits")
}

/// Finds what calls name.
#[derive(Debug)]
pub(super) struct Places {
    pub proc: Proc,
    roots: Roots,
    /// What is `/` for this process now.
    root: Option<RootIdentity>,
    /// The first root, that of the whole sandbox.
    first: Option<OwnedFd>,
}

/// Whose root is whose in the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Roots {
    /// Nobody can have entered another namespace, and nobody has called chroot(2) so far.
    AllOne,
    Various,
}

/// Device, inode and mount.
type RootIdentity = (u32, u32, u64, u64);

/// Something a call names, to be looked up from where this process now is. Only one is good at a time: the next one
/// moves the process elsewhere.
#[derive(Debug)]
pub(super) struct Place {
    pub path: PathBuf,
    pub follow: bool,
    /// What `path` is a name for, if it is a descriptor.
    opened: Option<OwnedFd>,
}

enum Start {
    Root,
    WorkingDirectory,
    Descriptor(i32),
    /// The caller's own directory in /proc.
    Proc,
}

impl Places {
    pub(super) fn new(proc: Proc, roots: Roots) -> Self {
        Self { proc, roots, root: None, first: None }
    }

    /// Somebody is about to take another root.
    pub(super) fn roots_differ(&mut self) {
        self.roots = Roots::Various;
    }

    /// Whether this process's root is everybody's.
    fn has_the_root(&self) -> bool {
        self.roots == Roots::AllOne && self.root.is_some()
    }

    /// Back to the root of the whole sandbox.
    pub(super) fn take_first_root(&mut self) -> io::Result<()> {
        if let Some(first) = &self.first {
            let first = first.try_clone()?;
            self.take_root(&first)?;
        }
        Ok(rustix::process::fchdir(&self.proc)?)
    }

    /// What a directory descriptor, a path and flags mean to the caller. None for what the kernel refuses itself.
    pub(super) fn named(
        &mut self,
        call: &Call,
        listener: &Listener,
        [directory, address, flags]: [u64; 3],
    ) -> io::Result<Option<Place>> {
        let text = if address == 0 { Some(Vec::new()) } else { read_string(call.thread, address)? };
        let Some(text) = text else { return Ok(None) };
        if text.is_empty() {
            // Newer kernels take no path at all for the descriptor itself.
            return match flags & EMPTY_PATH {
                0 => Ok(None),
                _ if directory & 0xffff_ffff == AT_FDCWD => {
                    self.enter(call, listener, &Start::WorkingDirectory)?;
                    Ok(Some(Place { path: PathBuf::from("."), follow: true, opened: None }))
                }
                _ => self.descriptor(call, listener, directory),
            };
        }
        let follow = flags & NOFOLLOW == 0;
        if let Some(own) = own_name(&text) {
            self.enter(call, listener, &Start::Proc)?;
            return Ok(Some(Place { path: own, follow, opened: None }));
        }
        // As the caller's registers have it: only the lower half of a descriptor counts.
        let start = match (text[0], directory & 0xffff_ffff) {
            (b'/', _) => Start::Root,
            (_, AT_FDCWD) => Start::WorkingDirectory,
            (_, descriptor) => match i32::try_from(descriptor) {
                Ok(descriptor) => Start::Descriptor(descriptor),
                Err(_) => return Ok(None),
            },
        };
        self.enter(call, listener, &start)?;
        Ok(Some(Place { path: PathBuf::from(OsString::from_vec(text)), follow, opened: None }))
    }

    /// Whether what a call names has no record for certain, found out by one look. Nothing is opened and nobody asked whether
    /// the caller still waits: for one that is gone any answer will do.
    pub(super) fn has_no_record(
        &self,
        call: &Call,
        [directory, address, flags]: [u64; 3],
    ) -> io::Result<bool> {
        if !self.has_the_root() {
            return Ok(false);
        }
        let text = if address == 0 { Some(Vec::new()) } else { read_string(call.thread, address)? };
        let thread = call.thread;
        let start = match directory & 0xffff_ffff {
            AT_FDCWD => format!("{thread}/cwd"),
            descriptor => format!("{thread}/fd/{descriptor}"),
        };
        let (path, follow) = match text {
            None => return Ok(false),
            Some(text) if own_name(&text).is_some() => return Ok(false),
            Some(text) if text.is_empty() => (start.into(), true),
            Some(text) => {
                let path = PathBuf::from(OsString::from_vec(text));
                // An absolute one stays as it is.
                (Path::new(&start).join(path), flags & NOFOLLOW == 0)
            }
        };
        if path.is_relative() {
            rustix::process::fchdir(&self.proc)?;
        }
        Ok(ownership::has_no_record(&path, follow))
    }

    /// What a descriptor of the caller is.
    pub(super) fn descriptor(
        &mut self,
        call: &Call,
        listener: &Listener,
        number: u64,
    ) -> io::Result<Option<Place>> {
        let Ok(number) = i32::try_from(number & 0xffff_ffff) else { return Ok(None) };
        let opened = self.proc.open(&format!("{}/fd/{number}", call.thread), OFlags::PATH)?;
        require_waiting(call, listener)?;
        self.opened(opened).map(Some)
    }

    /// A place that stays the same file whatever happens to its names.
    pub(super) fn hold(&self, place: Place) -> io::Result<Place> {
        if place.opened.is_some() {
            return Ok(place);
        }
        let follow = if place.follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::PATH | OFlags::CLOEXEC | follow;
        self.opened(rustix::fs::openat(CWD, &place.path, flags, Mode::empty())?)
    }

    fn opened(&self, opened: OwnedFd) -> io::Result<Place> {
        rustix::process::fchdir(&self.proc)?;
        let path = PathBuf::from(format!("self/fd/{}", opened.as_raw_fd()));
        Ok(Place { path, follow: true, opened: Some(opened) })
    }

    fn enter(&mut self, call: &Call, listener: &Listener, start: &Start) -> io::Result<()> {
        let thread = call.thread;
        let open = |inner: &str| self.proc.open(&format!("{thread}{inner}"), OFlags::PATH);
        let root = if self.has_the_root() { None } else { Some(open("/root")?) };
        let start = match start {
            Start::Root => None,
            Start::WorkingDirectory => Some(open("/cwd")?),
            Start::Descriptor(number) => Some(open(&format!("/fd/{number}"))?),
            Start::Proc => Some(open("")?),
        };
        require_waiting(call, listener)?;
        if let Some(root) = root {
            self.take_root(&root)?;
        }
        if let Some(start) = start {
            rustix::process::fchdir(&start)?;
        }
        Ok(())
    }

    fn take_root(&mut self, root: &OwnedFd) -> io::Result<()> {
        let asked = StatxFlags::INO | StatxFlags::MNT_ID;
        let statx = rustix::fs::statx(root, "", AtFlags::EMPTY_PATH, asked)?;
        let identity = (statx.stx_dev_major, statx.stx_dev_minor, statx.stx_ino, statx.stx_mnt_id);
        if self.first.is_none() {
            self.first = Some(root.try_clone()?);
        }
        if self.root != Some(identity) {
            rustix::process::fchdir(root)?;
            rustix::process::chroot(".")?;
            self.root = Some(identity);
        }
        Ok(())
    }
}

/// What was read or opened by the caller's number belongs to the caller only if that one is still there.
fn require_waiting(call: &Call, listener: &Listener) -> io::Result<()> {
    if listener.is_waiting(call) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// Names that every process has for itself, as a path in its directory in /proc.
fn own_name(text: &[u8]) -> Option<PathBuf> {
    let inside = |prefix: &[u8], place: &str| {
        let rest = text.strip_prefix(prefix)?;
        Some(Path::new(place).join(OsStr::from_bytes(rest)))
    };
    match text {
        b"/dev/stdin" => Some(PathBuf::from("fd/0")),
        b"/dev/stdout" => Some(PathBuf::from("fd/1")),
        b"/dev/stderr" => Some(PathBuf::from("fd/2")),
        _ => inside(b"/proc/self/", "")
            .or_else(|| inside(b"/proc/thread-self/", ""))
            .or_else(|| inside(b"/dev/fd/", "fd")),
    }
}

impl Place {
    /// A path from where this process is, links followed.
    pub(super) fn named(path: PathBuf) -> Self {
        Self { path, follow: true, opened: None }
    }

    pub(super) fn opened(&self) -> Option<&OwnedFd> {
        self.opened.as_ref()
    }

    pub(super) fn into_opened(self) -> Option<OwnedFd> {
        self.opened
    }

    pub(super) fn statx(&self, asked: StatxFlags) -> io::Result<Statx> {
        let flags = if self.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        Ok(rustix::fs::statx(CWD, &self.path, flags, asked)?)
    }

    pub(super) fn identity(&self) -> io::Result<(Identity, FileType)> {
        let statx = self.statx(Identity::ASKED)?;
        Ok((Identity::of(&statx), FileType::from_raw_mode(statx.stx_mode.into())))
    }

    pub(super) fn recorded(&self) -> Option<Recorded> {
        ownership::read_path(&self.path, self.follow)
    }

    pub(super) fn record(&self, recorded: Recorded) -> io::Result<()> {
        ownership::write_path(&self.path, self.follow, recorded)
    }

    /// The directory that an entry is to be made in.
    pub(super) fn parent(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => Path::new("/"),
        }
    }
}
