//! The program fuse-overlayfs: an overlay made by a process.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags, openat, unlinkat};

use super::{Merged, OPAQUE, make_whiteout};
use crate::sys::rooted::read_entries;
use crate::sys::{At, Beside, IoError, mount};

const PROGRAM: &str = "fuse-overlayfs";
/// What it marks directories with, beside a file in them.
const MARK: &str = "user.fuseoverlayfs.opaque";
const OPAQUE_FILES: [&[u8]; 2] = [b".wh..wh..opq", b".wh..opq"];
const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// How long it may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// A mount that a process serves. Dropping it takes both away.
#[derive(Debug)]
pub(super) struct Fused {
    place: PathBuf,
    server: Beside,
    is_mounted: bool,
}

impl Fused {
    /// Mounts an overlay on `place`. Everything lies below `root`: named from there, no path has a character that options
    /// give a meaning to.
    pub(super) fn mount(
        root: &Path,
        lowers: &[PathBuf],
        upper: &Path,
        work: &Path,
        place: &Path,
    ) -> Result<Self, IoError> {
        let inside = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
        let lowers: Vec<String> = lowers.iter().map(|lower| inside(lower)).collect();
        let options =
            format!("lowerdir={},upperdir={},workdir={}", lowers.join(":"), inside(upper), inside(work));
        let before = device(place)?;
        let mut command = Command::new(PROGRAM);
        command.args(["-f", "-o", &options]).arg(inside(place)).current_dir(root);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Beside::start(command).at("start", PROGRAM)?;
        let mut fused = Self { place: place.to_owned(), server, is_mounted: false };
        let begun = Instant::now();
        while device(place)? == before {
            if fused.server.has_ended() || begun.elapsed() > PATIENCE {
                let error = io::Error::other("it did not mount the root file system");
                return Err(error).at("use", PROGRAM);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        fused.is_mounted = true;
        Ok(fused)
    }

    /// Waits until everything that was written has arrived below.
    pub(super) fn unmount(mut self) -> Result<(), IoError> {
        let top = open_directory(&self.place)?;
        rustix::fs::syncfs(&top).at("sync", &self.place)?;
        drop(top);
        self.is_mounted = false;
        mount::detach(&self.place).at("unmount", &self.place)?;
        // It ends when nobody has the mount any more.
        self.server.wait_for(PATIENCE);
        Ok(())
    }
}

impl Drop for Fused {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = mount::detach(&self.place);
        }
        self.server.kill();
    }
}

fn device(path: &Path) -> Result<u64, IoError> {
    Ok(rustix::fs::stat(path).at("stat", path)?.st_dev)
}

fn open_directory(path: &Path) -> Result<OwnedFd, IoError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).at("open directory", path)
}

/// Makes marks that only fuse-overlayfs understands those of the kernel's overlays. `lowers` is what lies below, uppermost
/// first.
pub(super) fn as_overlay(upper: &Path, lowers: &[PathBuf]) -> Result<(), IoError> {
    let below = Merged::open(upper, lowers)?;
    translate(&open_directory(upper)?, Path::new("/"), &below)
}

fn translate(directory: &OwnedFd, shown: &Path, below: &Merged) -> Result<(), IoError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut is_opaque = rustix::fs::fgetxattr(directory, MARK, &mut [0; 16]).is_ok();
    for entry in read_entries(directory).at("read directory", shown)? {
        let path = shown.join(&entry.name);
        let name = entry.name.as_encoded_bytes();
        if entry.kind == FileType::Directory {
            let inner = openat(directory, &entry.name, flags, Mode::empty()).at("open directory", &path)?;
            translate(&inner, &path, below)?;
        } else if OPAQUE_FILES.contains(&name) {
            is_opaque = true;
            keeping_times(directory, || unlinkat(directory, &entry.name, AtFlags::empty()))
                .at("remove", &path)?;
        } else if let Some(hidden) = name.strip_prefix(WHITEOUT_PREFIX) {
            let hidden = std::os::unix::ffi::OsStrExt::from_bytes(hidden);
            keeping_times(directory, || {
                unlinkat(directory, &entry.name, AtFlags::empty())?;
                make_whiteout(directory, hidden)
            })
            .at("translate", &path)?;
        } else if entry.kind == FileType::RegularFile {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = openat(directory, &entry.name, flags, Mode::empty()).at("open", &path)?;
            drop_own_attributes(&file).at("remove attributes of", &path)?;
        }
    }
    if is_opaque {
        rustix::fs::fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty()).at("mark", shown)?;
    } else if let Some(mode) = below.mode_below(shown)? {
        restore_group_bit(directory, mode).at("change mode of", shown)?;
    }
    drop_own_attributes(directory).at("remove attributes of", shown)
}

/// When it copies a directory from below it forgets the bit that hands its group on, which would be lost in the layer, too.
/// A step that takes nothing but this bit away cannot be told from that.
fn restore_group_bit(directory: &OwnedFd, below: u32) -> rustix::io::Result<()> {
    let mode = rustix::fs::fstat(directory)?.st_mode & 0o7777;
    if below & 0o2000 != 0 && mode == below & !0o2000 {
        rustix::fs::fchmod(directory, Mode::from_raw_mode(below))?;
    }
    Ok(())
}

fn keeping_times(
    directory: &OwnedFd,
    change: impl FnOnce() -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    let stat = rustix::fs::fstat(directory)?;
    change()?;
    rustix::fs::futimens(directory, &super::metadata::times(&stat))
}

/// What it notes about files and directories is of no use to anybody else.
fn drop_own_attributes(file: &OwnedFd) -> rustix::io::Result<()> {
    let mut names = Vec::with_capacity(64 << 10);
    rustix::fs::flistxattr(file, rustix::buffer::spare_capacity(&mut names))?;
    let own = names.split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.fuseoverlayfs."));
    own.into_iter().try_for_each(|name| rustix::fs::fremovexattr(file, name))
}
