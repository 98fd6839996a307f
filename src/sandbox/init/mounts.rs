//! What a step asks to be shown: the first process inside, before the root becomes `/`.

use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags};
use rustix::io::Errno;

use super::{HARMLESS, Init, StepError};
use crate::sandbox::mounts::{HostMount, HostOption, Mount, Mounted, MountedLayers, SecretFile, Tree};
use crate::sandbox::steps::MountPointKind;
use crate::sys::mount::{self, Attributes, Overlay, Recursive};
use crate::sys::rooted::Root;
use crate::sys::{At, IoError, ownership};

impl Init<'_> {
    pub(super) fn mount(&self, mount: &Mount, staging: &Path, devices: bool) -> Result<(), StepError> {
        let place = self.place_for(&mount.at, mount.kind())?;
        let tree = match &mount.what {
            Mounted::Tree { tree, inside, kind: _, read_only } => {
                let attributes = if devices { Attributes::empty() } else { Attributes::MOUNT_ATTR_NODEV };
                let only = if *read_only { mount::READ_ONLY } else { Attributes::empty() };
                let shown = self.tree(tree, inside, staging, devices)?;
                set(&shown, attributes | only, &mount.at)?;
                shown
            }
            Mounted::Tmpfs { size, read_only } => {
                let only = if *read_only { mount::READ_ONLY } else { Attributes::empty() };
                let attributes = Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV | only;
                // The kernel takes none for half of the memory.
                let size = size.filter(|size| *size > 0).map(|size| size.to_string());
                let options: Vec<(&str, &str)> = size.iter().map(|size| ("size", &**size)).collect();
                mount::virtual_fs("tmpfs", &options, attributes)?
            }
            Mounted::Secret(file) => secret(file, staging)?,
            Mounted::Socket(path) => mount::clone_tree(path, Recursive::No).at("open", path)?,
            Mounted::Host(host) => of_host(host, &mount.at)?,
        };
        Ok(mount::attach(&tree, &place).at("mount on", &mount.at)?)
    }

    fn tree(&self, tree: &Tree, inside: &str, staging: &Path, devices: bool) -> Result<OwnedFd, StepError> {
        match tree {
            Tree::Directory(path) => Ok(part(&Root::open(path)?, inside)?),
            Tree::Layers(layers) => {
                let tree = overlay(layers, staging, devices)?;
                if inside == "/" {
                    return Ok(tree);
                }
                // Of what is attached nowhere the kernel shows no part.
                shown_at(staging, &tree, || part(&Root::open(staging)?, inside))
            }
        }
    }

    /// Opens the place that something is mounted on, as it is by now. Where it is inside of something that was mounted before,
    /// it is made; in the root file system it has been made beforehand.
    fn place_for(&self, at: &str, kind: MountPointKind) -> Result<OwnedFd, StepError> {
        let root = self.root();
        let unfit = |found: &str| StepError::MountTarget { path: at.to_owned(), found: found.to_owned() };
        let place = match root.final_place(Path::new(at)) {
            Err(error) if error.errno() == Some(Errno::LOOP) => return Err(unfit("a link without end")),
            answer => answer?,
        };
        if place == Path::new("/") {
            return Err(unfit("the root itself"));
        }
        if place.starts_with("/proc") {
            return Err(unfit("in /proc, which shows the kernel's own files alone"));
        }
        let found = root.try_stat(&place)?.map(|stat| FileType::from_raw_mode(stat.st_mode));
        match (kind, found) {
            (MountPointKind::Directory, Some(FileType::Directory)) => {}
            (MountPointKind::Directory, Some(_)) => return Err(unfit("no directory in the image")),
            (MountPointKind::File, Some(FileType::Directory)) => {
                return Err(unfit("a directory in the image, and what is mounted there is a file"));
            }
            (MountPointKind::File, Some(_)) => {}
            (MountPointKind::Directory | MountPointKind::File, None) => {
                self.make_place(&place, kind).map_err(|error| match error.errno() {
                    Some(Errno::ROFS) => unfit("in something that is read-only, and is not there"),
                    Some(Errno::NOTDIR) => unfit("below what is no directory"),
                    Some(Errno::XDEV) => unfit("a link to a place of the image that is not there"),
                    _ => error.into(),
                })?;
            }
        }
        Ok(root.open_at(&place, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?)
    }

    fn make_place(&self, place: &Path, kind: MountPointKind) -> Result<(), IoError> {
        let root = self.root();
        let mut missing = vec![place];
        for parent in place.ancestors().skip(1) {
            if root.try_stat(parent)?.is_some() {
                break;
            }
            missing.push(parent);
        }
        let mut first = true;
        while let Some(next) = missing.pop() {
            let (parent, name) =
                (next.parent().unwrap_or(Path::new("/")), next.file_name().unwrap_or_default());
            let parent = root.open_at(parent, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            if first && mount_of(&parent).at("stat", place)? == mount_of(root).at("stat", place)? {
                // It would stay in the layer.
                return Err(Errno::XDEV).at("create", place);
            }
            first = false;
            if kind == MountPointKind::Directory || !missing.is_empty() {
                rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))
                    .at("create directory", next)?;
            } else {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)).at("create", next)?;
            }
        }
        Ok(())
    }
}

/// Which mount something lies in.
fn mount_of(fd: impl AsFd) -> rustix::io::Result<u64> {
    Ok(rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

fn overlay(layers: &MountedLayers, staging: &Path, devices: bool) -> Result<OwnedFd, StepError> {
    let changes = layers.changes.as_ref().map(|(upper, work)| (&**upper, &**work));
    let overlay = Overlay { lowers: &layers.lowers, changes, devices };
    Ok(if layers.at_once { mount::overlay_at_once(overlay, staging)? } else { mount::overlay(overlay)? })
}

/// A mount of what lies at a place of a tree.
fn part(root: &Root, inside: &str) -> Result<OwnedFd, IoError> {
    let place = root.open_at(Path::new(inside), OFlags::PATH, Mode::empty())?;
    mount::clone_tree_at(&place, Recursive::No).at("open", inside)
}

/// Does something while a mount is attached to the staging directory.
fn shown_at(
    staging: &Path,
    tree: &OwnedFd,
    work: impl FnOnce() -> Result<OwnedFd, IoError>,
) -> Result<OwnedFd, StepError> {
    mount::attach(tree, Root::open(staging)?).at("attach to", staging)?;
    let done = work();
    mount::detach(staging).at("detach from", staging)?;
    Ok(done?)
}

fn of_host(host: &HostMount, at: &str) -> Result<OwnedFd, StepError> {
    let shown = mount::clone_tree(&host.path, Recursive::Yes).at("open", &host.path)?;
    let attributes = host.options.iter().map(|option| match option {
        HostOption::ReadOnly => mount::READ_ONLY,
        HostOption::NoDevices => Attributes::MOUNT_ATTR_NODEV,
        HostOption::NoExecution => Attributes::MOUNT_ATTR_NOEXEC,
        HostOption::NoSetuid => Attributes::MOUNT_ATTR_NOSUID,
    });
    set(&shown, attributes.fold(Attributes::empty(), |all, one| all | one), at)?;
    Ok(shown)
}

fn secret(file: &SecretFile, staging: &Path) -> Result<OwnedFd, StepError> {
    const NAME: &str = "secret";
    let memory = mount::virtual_fs("tmpfs", &[("mode", "700")], HARMLESS)?;
    let written = shown_at(staging, &memory, || {
        let path = staging.join(NAME);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let mut to = std::fs::File::from(
            rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)).at("create", &path)?,
        );
        to.write_all(&file.content).at("write", &path)?;
        give(&to, file, &path)?;
        mount::clone_tree(&path, Recursive::No).at("open", &path)
    })?;
    set(&written, HARMLESS | mount::READ_ONLY, NAME)?;
    Ok(written)
}

fn give(to: &std::fs::File, file: &SecretFile, path: &PathBuf) -> Result<(), IoError> {
    match ownership::chown(to, file.uid, file.gid) {
        // Where nobody else can be and nothing can be written down, all users are one.
        Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {}
        answer => answer.at("change owner of", path)?,
    }
    rustix::fs::fchmod(to, Mode::from_raw_mode(file.mode)).at("change mode of", path)
}

fn set(tree: &OwnedFd, attributes: Attributes, shown: &str) -> Result<(), IoError> {
    if attributes.is_empty() {
        return Ok(());
    }
    mount::set_attributes(tree, attributes, AtFlags::EMPTY_PATH).at("set attributes of", shown)
}
