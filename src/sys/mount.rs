//! Mounts by descriptor: made detached, looked at, and attached where the kernel has resolved a path safely.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    move_mount, open_tree,
};

pub use rustix::mount::MountAttrFlags as Attributes;

/// The attribute that forbids writing through a mount.
pub const READ_ONLY: Attributes = Attributes::MOUNT_ATTR_RDONLY;

/// Makes [`set_attributes`] reach the mounts below, too.
pub const RECURSIVE: AtFlags = AtFlags::from_bits_retain(0x8000);

/// A mount that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("mount {kind} for {}: {source}{}", .target.display(), explain(.log))]
pub struct MountError {
    pub kind: &'static str,
    pub target: PathBuf,
    pub source: io::Error,
    /// What the file system itself said about it.
    pub log: String,
}

fn explain(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!(" ({log})") }
}

/// The directories of an overlay, uppermost lower directory first.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a> {
    pub lowers: &'a [PathBuf],
    /// Where changes go, and a work directory beside it; none for reading only, which takes two lower directories.
    pub changes: Option<(&'a Path, &'a Path)>,
    /// Whether a device that an image or a step brings along opens what it stands for; else it is kept, and opens nothing.
    pub devices: bool,
}

/// Mounts an overlay, attached nowhere: it lives as long as the descriptor or a place it is attached to.
///
/// `userxattr` is set for root too, so that a layer looks the same whoever made it. `volatile` skips syncing: a step
/// that a crash interrupts is thrown away anyhow.
pub fn overlay(overlay: Overlay<'_>) -> Result<OwnedFd, MountError> {
    let target = overlay.changes.map(|(upper, _)| upper).or(overlay.lowers.first().map(PathBuf::as_path));
    let attributes = if overlay.devices { Attributes::empty() } else { Attributes::MOUNT_ATTR_NODEV };
    new_mount("overlay", target.unwrap_or(Path::new("nothing")), attributes, |context| {
        for lower in overlay.lowers {
            add_layer(context, "lowerdir+", lower)?;
        }
        fsconfig_set_flag(context, "userxattr")?;
        let Some((upper, work)) = overlay.changes else { return Ok(()) };
        add_layer(context, "upperdir", upper)?;
        add_layer(context, "workdir", work)?;
        fsconfig_set_flag(context, "volatile")
    })
}

/// As [`overlay`] by the call that there was before, which takes everything in one line of less than a page. `place` is a
/// directory to mount it on for the moment. This process has one thread: it goes somewhere else meanwhile.
pub fn overlay_at_once(overlay: Overlay<'_>, place: &Path) -> Result<OwnedFd, MountError> {
    let here = rustix::fs::open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mounted = here.map_err(io::Error::from).and_then(|here| {
        let mounted = mount_on(overlay, place);
        rustix::process::fchdir(here)?;
        mounted?;
        let tree = clone_tree(place, Recursive::No);
        rustix::mount::unmount(place, UnmountFlags::DETACH)?;
        tree
    });
    mounted.map_err(|source| MountError {
        kind: "overlay",
        target: place.to_owned(),
        source,
        log: String::new(),
    })
}

fn mount_on(overlay: Overlay<'_>, place: &Path) -> io::Result<()> {
    // Where a descriptor's number is its whole path, the paths of some 500 layers fit.
    rustix::process::chdir("/proc/self/fd")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |directory: &Path| rustix::fs::open(directory, flags, Mode::empty());
    let lowers =
        overlay.lowers.iter().map(|lower| open(lower)).collect::<rustix::io::Result<Vec<OwnedFd>>>()?;
    let numbers: Vec<String> = lowers.iter().map(|lower| lower.as_raw_fd().to_string()).collect();
    let mut options = format!("userxattr,lowerdir={}", numbers.join(":"));
    let changes = overlay.changes.map(|(upper, work)| Ok::<_, io::Error>((open(upper)?, open(work)?)));
    let changes = changes.transpose()?;
    if let Some((upper, work)) = &changes {
        let (upper, work) = (upper.as_raw_fd(), work.as_raw_fd());
        options.push_str(&format!(",upperdir={upper},workdir={work},volatile"));
    }
    let flags = if overlay.devices { MountFlags::empty() } else { MountFlags::NODEV };
    let options = std::ffi::CString::new(options)?;
    Ok(rustix::mount::mount("overlay", place, "overlay", flags, Some(options.as_c_str()))?)
}

/// Passes a layer by descriptor; kernels that take only paths get one that is short whatever the layer's own is.
fn add_layer(context: BorrowedFd<'_>, key: &str, directory: &Path) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let layer = rustix::fs::open(directory, flags, Mode::empty())?;
    match fsconfig_set_fd(context, key, &layer) {
        // Before Linux 6.13 the kernel refuses the descriptor for being one of a path alone, before it looks at the key.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::BADF) => {
            fsconfig_set_string(context, key, format!("/proc/self/fd/{}", layer.as_raw_fd()))
        }
        answer => answer,
    }
}

/// Mounts a file system that needs only options, attached nowhere.
pub fn virtual_fs(
    kind: &'static str,
    options: &[(&str, &str)],
    attributes: Attributes,
) -> Result<OwnedFd, MountError> {
    new_mount(kind, Path::new(kind), attributes, |context| {
        options.iter().try_for_each(|(key, value)| fsconfig_set_string(context, *key, *value))
    })
}

fn new_mount(
    kind: &'static str,
    target: &Path,
    attributes: Attributes,
    configure: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<()>,
) -> Result<OwnedFd, MountError> {
    let refuse = |source: rustix::io::Errno, log| MountError {
        kind,
        target: target.to_owned(),
        source: source.into(),
        log,
    };
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| refuse(error, String::new()))?;
    configure(context.as_fd())
        .and_then(|()| fsconfig_create(&context))
        .and_then(|()| fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes))
        .map_err(|error| refuse(error, read_log(&context)))
}

/// The messages of a file system context, which say more than an errno.
fn read_log(context: &OwnedFd) -> String {
    let mut lines = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length) = rustix::io::read(context, &mut buffer) {
        let line = String::from_utf8_lossy(&buffer[..length]);
        // Each message starts with its level: "e " for an error.
        lines.push(line.trim_end().trim_start_matches(['e', 'w', 'i']).trim_start().to_owned());
    }
    lines.join("; ")
}

/// Clones a file or a tree of mounts, attached nowhere.
pub fn clone_tree(path: &Path, recursive: Recursive) -> io::Result<OwnedFd> {
    Ok(open_tree(CWD, path, clone_flags(recursive))?)
}

/// As [`clone_tree`], from a descriptor.
pub fn clone_tree_at(fd: impl AsFd, recursive: Recursive) -> io::Result<OwnedFd> {
    Ok(open_tree(fd, "", clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)?)
}

/// Whether mounts below go along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recursive {
    No,
    Yes,
}

fn clone_flags(recursive: Recursive) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match recursive {
        Recursive::No => flags,
        Recursive::Yes => flags | OpenTreeFlags::AT_RECURSIVE,
    }
}

/// Attaches a detached mount on what `target` refers to, which no longer needs a path.
pub fn attach(tree: impl AsFd, target: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, "", target, "", flags)?)
}

/// Adds attributes to a mount; those it has stay, as they must inside a user namespace.
pub fn set_attributes(tree: impl AsFd, attributes: Attributes, flags: AtFlags) -> io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: attributes.bits().into(), attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is a static empty C string, the struct outlives the call, and its size is the one passed.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags.bits(),
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Stops mounts made here from being seen elsewhere, while unmounts elsewhere are still seen here.
pub fn isolate_propagation() -> io::Result<()> {
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", flags)?)
}

/// Takes a mount away that others may still use, and lets nobody reach it by its path any more.
pub fn detach(place: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(place, UnmountFlags::DETACH)?)
}

/// Makes a mount the root of this mount namespace and lets go of the old root.
pub fn pivot_into(root: impl AsFd) -> io::Result<()> {
    rustix::process::fchdir(&root)?;
    // With both names the same the old root ends up stacked on the new one, and no directory has to be made for it.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}
