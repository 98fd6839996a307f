//! What is in `/dev`. Runs in the sandbox's first process.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::init::{HARMLESS, StepError};
use crate::sys::mount::{self, Attributes, MountError, Recursive};
use crate::sys::rooted::read_entries;
use crate::sys::{At, IoError};

/// The devices that do no harm.
const USUAL: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What is made anew in every sandbox, so that the host's is left out; a console is the terminal of a container that has one.
const OWN: [&str; 5] = ["pts", "ptmx", "shm", "mqueue", "console"];

/// A small file system for devices. Those of the host that are to work are mounts of their own in it.
pub(super) fn file_system(new_ones_work: bool) -> Result<OwnedFd, MountError> {
    let nosuid = Attributes::MOUNT_ATTR_NOSUID;
    let attributes = if new_ones_work { nosuid } else { nosuid | Attributes::MOUNT_ATTR_NODEV };
    mount::virtual_fs("tmpfs", &[("mode", "755"), ("size", "65536k")], attributes)
}

/// Fills it, once it is where it belongs: the harmless devices or all the host has, terminals, shared memory (of the usual size if none is
/// given) and message queues.
pub(super) fn fill(dev: &OwnedFd, all: bool, shm_size: Option<u64>) -> Result<(), StepError> {
    for name in if all { of_host()? } else { USUAL.map(PathBuf::from).into() } {
        bind(dev, &name)?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        rustix::fs::symlinkat(target, dev, name).at("create link", name)?;
    }
    for name in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(dev, name, Mode::from_raw_mode(0o755)).at("create directory", name)?;
    }
    attach(dev, &terminals()?, Path::new("pts"))?;
    // Who asks for a size of his own gets a place where programs can lie, as in docker.
    let (size, attributes) = match shm_size {
        Some(size) => (size.to_string(), Attributes::MOUNT_ATTR_NOSUID),
        None => ("65536k".to_owned(), HARMLESS),
    };
    let shared = mount::virtual_fs("tmpfs", &[("mode", "1777"), ("size", &size)], attributes)?;
    attach(dev, &shared, Path::new("shm"))?;
    attach(dev, &mount::virtual_fs("mqueue", &[], HARMLESS)?, Path::new("mqueue"))?;
    Ok(())
}

/// Shows a device of the host. A host without it, such as a container without a terminal, gives a sandbox without it.
fn bind(dev: &OwnedFd, name: &Path) -> Result<(), IoError> {
    let device = Path::new("/dev").join(name);
    let Ok(tree) = mount::clone_tree(&device, Recursive::No) else { return Ok(()) };
    let mut directory = PathBuf::new();
    for part in name.parent().into_iter().flat_map(Path::components) {
        directory.push(part);
        match rustix::fs::mkdirat(dev, &directory, Mode::from_raw_mode(0o755)) {
            Err(rustix::io::Errno::EXIST) => {}
            answer => answer.at("create directory", Path::new("/dev").join(&directory))?,
        }
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(dev, name, flags, Mode::from_raw_mode(0o666)).at("create", &device)?;
    attach(dev, &tree, name)
}

/// The host's devices by their paths below `/dev`.
fn of_host() -> Result<Vec<PathBuf>, IoError> {
    let mut devices = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let shown = Path::new("/dev").join(&directory);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Some are nobody's business but root's.
        let Ok(fd) = rustix::fs::openat(CWD, &shown, flags, Mode::empty()) else { continue };
        for entry in read_entries(&fd).at("list", &shown)? {
            let path = directory.join(&entry.name);
            match entry.kind {
                _ if OWN.iter().any(|own| path == Path::new(own)) => {}
                FileType::CharacterDevice | FileType::BlockDevice => devices.push(path),
                FileType::Directory => directories.push(path),
                // Links and sockets, which lead elsewhere.
                _ => {}
            }
        }
    }
    Ok(devices)
}

fn attach(dev: &OwnedFd, tree: &OwnedFd, name: &Path) -> Result<(), IoError> {
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
