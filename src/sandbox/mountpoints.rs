//! Mount points that an image lacks: made in an extra layer below the changes, so that no trace of them is left.
//! Runs in the sandbox's first process.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::spec::{Assembly, RootFs};
use super::steps::{MountPoint, MountPointKind};
use crate::sys::mount::{self, Attributes, MountError, Overlay, Recursive};
use crate::sys::rooted::Root;
use crate::sys::{At, IoError, ownership};

#[derive(Debug, thiserror::Error)]
pub(super) enum RootError {
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error(transparent)]
    Io(#[from] IoError),
    /// What the image has there cannot be mounted on.
    #[error("{path} is {found}")]
    Unfit { path: String, found: String },
}

/// Mounts the root file system with every mount point in it, attached at the staging directory. `devices` says whether
/// those in it open what they stand for.
pub(super) fn mount_root(root: &RootFs, points: &[MountPoint], devices: bool) -> Result<Root, RootError> {
    let mounted = match &root.assembly {
        Assembly::Overlay | Assembly::OverlayAtOnce => mount_with_points(root, points, devices)?,
        Assembly::Ready(tree) => take_tree(tree, points, devices)?,
    };
    let staging = Root::open(&root.staging)?;
    mount::attach(mounted.as_fd(), staging.as_fd()).at("attach the root file system to", &root.staging)?;
    Ok(mounted)
}

/// Takes a tree that has its mount points, if they could be made.
fn take_tree(tree: &Path, points: &[MountPoint], devices: bool) -> Result<Root, RootError> {
    let mounted = mount::clone_tree(tree, Recursive::No).at("open", tree)?;
    if !devices {
        let attributes = Attributes::MOUNT_ATTR_NODEV;
        mount::set_attributes(&mounted, attributes, AtFlags::EMPTY_PATH).at("close devices of", tree)?;
    }
    let mounted = Root::from_fd(mounted, PathBuf::from("/"));
    for point in points.iter().filter(|point| !point.is_asked_for) {
        place_of(point, points, &mounted)?;
    }
    Ok(mounted)
}

fn mount_with_points(root: &RootFs, points: &[MountPoint], devices: bool) -> Result<Root, RootError> {
    let mut lowers = root.lowers.clone();
    let mut mounted = mount_overlay(root, &lowers, devices)?;
    let mut missing = Vec::new();
    for point in points {
        if point.is_asked_for {
            missing.extend(missing_place(Path::new(&point.path), &mounted)?.map(|place| (place, point.kind)));
            continue;
        }
        let (place, exists) = place_of(point, points, &mounted)?;
        if !exists {
            missing.push((place, point.kind));
        }
    }
    if !missing.is_empty() {
        for (place, kind) in &missing {
            make_stub(&mounted, &root.stubs, place, *kind)?;
        }
        drop(mounted);
        // A `volatile` overlay marks its work directory against being mounted twice.
        remove_volatile_mark(&root.work)?;
        lowers.insert(0, root.stubs.clone());
        mounted = mount_overlay(root, &lowers, devices)?;
    }
    Ok(mounted)
}

/// Where a mount point is, and whether there is something. What is hidden below a directory is looked for by its own
/// name, so that one may be no link; a file may, but not to where something else is mounted.
fn place_of(point: &MountPoint, points: &[MountPoint], root: &Root) -> Result<(PathBuf, bool), RootError> {
    let path = Path::new(&point.path);
    let unfit = |found: String| RootError::Unfit { path: point.path.clone(), found };
    let place = match root.final_place(path) {
        Err(error) if error.errno() == Some(Errno::LOOP) => {
            return Err(unfit("a link without end".to_owned()));
        }
        answer => answer?,
    };
    let leads_to = || unfit(format!("a link to {}", place.display()));
    let kind = root.try_stat(&place)?.map(|stat| FileType::from_raw_mode(stat.st_mode));
    match (point.kind, kind) {
        (MountPointKind::Directory, _) if place != path => Err(leads_to()),
        (MountPointKind::File, _) if points.iter().any(|other| is_below(&place, other)) => Err(leads_to()),
        (MountPointKind::Directory, Some(kind)) if kind != FileType::Directory => {
            Err(unfit("no directory".to_owned()))
        }
        (MountPointKind::File, Some(FileType::Directory)) => Err(unfit("a directory".to_owned())),
        (MountPointKind::Directory | MountPointKind::File, _) => Ok((place, kind.is_some())),
    }
}

fn is_below(place: &Path, point: &MountPoint) -> bool {
    point.kind == MountPointKind::Directory && !point.is_asked_for && place.starts_with(&point.path)
}

/// Where something asked for is going to be, if that can be made and has to be. What else is wrong with it is told by
/// whoever mounts it.
fn missing_place(path: &Path, root: &Root) -> Result<Option<PathBuf>, RootError> {
    let place = match root.final_place(path) {
        Err(error) if error.errno() == Some(Errno::LOOP) => return Ok(None),
        answer => answer?,
    };
    for (above, parent) in place.ancestors().enumerate() {
        match root.try_stat(parent)?.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Some(FileType::Directory) => return Ok((above > 0).then_some(place)),
            Some(_) => return Ok(None),
            None => {}
        }
    }
    Ok(None)
}

fn mount_overlay(root: &RootFs, lowers: &[PathBuf], devices: bool) -> Result<Root, RootError> {
    let overlay = Overlay { lowers, changes: Some((&root.upper, &root.work)), devices };
    let tree = match root.assembly {
        Assembly::OverlayAtOnce => mount::overlay_at_once(overlay, &root.staging)?,
        Assembly::Overlay | Assembly::Ready(_) => mount::overlay(overlay)?,
    };
    Ok(Root::from_fd(tree, PathBuf::from("/")))
}

fn remove_volatile_mark(work: &Path) -> Result<(), IoError> {
    match std::fs::remove_dir_all(work.join("work/incompat")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove mark in", work),
        _ => Ok(()),
    }
}

/// Makes one mount point in the stub layer. Its parents are copies of what the image has, because in a merged
/// directory the uppermost one decides about owner, mode and times.
fn make_stub(image: &Root, stubs: &Path, place: &Path, kind: MountPointKind) -> Result<(), IoError> {
    let inside = place.strip_prefix("/").unwrap_or(place);
    let mut parents: Vec<&Path> = inside.ancestors().skip(1).collect();
    parents.reverse();
    let mut copied: Vec<(PathBuf, Stat)> = Vec::new();
    for parent in parents {
        let stub = stubs.join(parent);
        let known = match image.try_stat(parent)? {
            // Whose it is may be written down instead of real.
            Some(_) => {
                let directory = image.open_at(parent, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
                Some(ownership::stat(&directory).at("stat", parent)?)
            }
            None => None,
        };
        match std::fs::create_dir(&stub) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            answer => answer.at("create directory", &stub)?,
        }
        if let Some(stat) = known {
            copied.push((stub, stat));
        }
    }
    let stub = stubs.join(inside);
    match kind {
        MountPointKind::Directory => match std::fs::create_dir(&stub) {
            // Two places may come out at the same one.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            answer => answer.at("create directory", &stub)?,
        },
        MountPointKind::File => std::fs::write(&stub, "").at("create", &stub)?,
    }
    // Deepest first: making an entry changes its parent's times.
    copied.iter().rev().try_for_each(|(stub, stat)| copy_metadata(stub, stat))
}

fn copy_metadata(stub: &Path, stat: &Stat) -> Result<(), IoError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(stub, flags, Mode::empty()).at("open", stub)?;
    let own = ownership::stat(&fd).at("stat", stub)?;
    if (own.st_uid, own.st_gid) != (stat.st_uid, stat.st_gid) {
        ownership::chown(&fd, stat.st_uid, stat.st_gid).at("change owner of", stub)?;
    }
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(stat.st_mode & 0o7777)).at("change mode of", stub)?;
    let times = Timestamps {
        last_access: timespec(stat.st_atime, stat.st_atime_nsec),
        last_modification: timespec(stat.st_mtime, stat.st_mtime_nsec),
    };
    rustix::fs::utimensat(&fd, "", &times, AtFlags::EMPTY_PATH).at("set times of", stub)
}

fn timespec(seconds: i64, nanoseconds: u64) -> Timespec {
    Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanoseconds).unwrap_or(0) }
}
