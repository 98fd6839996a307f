//! What a sandbox is shown below its root, and what is hidden or read-only there: the first process inside, before the root
//! becomes `/`.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

use super::{HARMLESS, Init, StepError};
use crate::sandbox::devices;
use crate::sys::mount::{self, Attributes, Recursive};
use crate::sys::rooted;
use crate::sys::{At, IoError};

impl Init<'_> {
    /// Opens a place in the root file system for mounting on it.
    fn place(&self, at: &str) -> Result<OwnedFd, IoError> {
        self.root().open_at(Path::new(at), OFlags::PATH, Mode::empty())
    }

    pub(super) fn attach(&self, tree: &OwnedFd, at: &str) -> Result<(), IoError> {
        mount::attach(tree, self.place(at)?).at("mount on", at)
    }

    /// Mounts them anew, which shows no more than the namespace has; a kernel without them leaves the place as it is.
    pub(super) fn mount_groups(&self, at: &str, read_only: bool) -> Result<(), StepError> {
        let Some(place) = self.existing(at)? else { return Ok(()) };
        let attributes = if read_only { HARMLESS | mount::READ_ONLY } else { HARMLESS };
        let Ok(tree) = mount::virtual_fs("cgroup2", &[], attributes) else { return Ok(()) };
        Ok(mount::attach(&tree, &place).at("mount on", at)?)
    }

    pub(super) fn mount_dev(&self, at: &str, all: bool, shm_size: Option<u64>) -> Result<(), StepError> {
        let dev = devices::file_system(all)?;
        self.attach(&dev, at)?;
        devices::fill(&dev, all, shm_size)
    }

    pub(super) fn mount_sys(&self, at: &str, fresh: bool, read_only: bool) -> Result<(), StepError> {
        let attributes = if read_only { HARMLESS | mount::READ_ONLY } else { HARMLESS };
        // Where parts of the host's are covered the kernel lets nobody uncover them by a fresh one.
        let fresh = fresh.then(|| mount::virtual_fs("sysfs", &[], attributes)).and_then(Result::ok);
        let tree = if let Some(fresh) = fresh {
            fresh
        } else {
            // Without what is mounted below it, where the kernel lets go of that.
            let sys = Path::new("/sys");
            let tree =
                mount::clone_tree(sys, Recursive::No).or_else(|_| mount::clone_tree(sys, Recursive::Yes));
            let tree = tree.at("open", "/sys")?;
            let flags = AtFlags::EMPTY_PATH | mount::RECURSIVE;
            mount::set_attributes(&tree, attributes, flags).at("make harmless", "/sys")?;
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

    /// Whether there was anything to mask.
    pub(super) fn mask(&mut self, at: &str) -> Result<bool, StepError> {
        let Some(place) = self.existing(at)? else { return Ok(false) };
        let stat = rustix::fs::fstat(&place).at("stat", at)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let null = mount::clone_tree(Path::new("/dev/null"), Recursive::No).at("open", "/dev/null")?;
            mount::attach(&null, &place).at("mask", at)?;
        } else if let Some(cover) = &self.cover {
            let again = mount::clone_tree_at(cover, Recursive::No).at("clone", "an empty directory")?;
            mount::attach(&again, &place).at("mask", at)?;
        } else {
            let attributes = HARMLESS | mount::READ_ONLY;
            let cover = mount::virtual_fs("tmpfs", &[("mode", "755"), ("size", "0")], attributes)?;
            mount::attach(&cover, &place).at("mask", at)?;
            self.cover = Some(cover);
        }
        Ok(true)
    }

    pub(super) fn mask_in_each(&mut self, at: &str, name: &str) -> Result<(), StepError> {
        let Some(place) = self.existing(at)? else { return Ok(()) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(directory) = rustix::fs::openat(&place, ".", flags, Mode::empty()) else { return Ok(()) };
        let mut any = false;
        for entry in rooted::read_entries(&directory).at("list", at)? {
            if entry.kind != FileType::Directory {
                continue;
            }
            any |= self.mask(&format!("{at}/{}/{name}", entry.name.display()))?;
            // Where any has it the first has it, too. Most machines have none.
            if !any {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn make_read_only(&self, at: &str) -> Result<(), StepError> {
        let Some(place) = self.existing(at)? else { return Ok(()) };
        let tree = mount::clone_tree_at(&place, Recursive::Yes).at("open", at)?;
        add_attributes(&tree, mount::READ_ONLY, Path::new(at))?;
        Ok(mount::attach(&tree, &place).at("make read-only", at)?)
    }
}

pub(super) fn add_attributes(tree: &OwnedFd, attributes: Attributes, shown: &Path) -> Result<(), IoError> {
    mount::set_attributes(tree, attributes, AtFlags::EMPTY_PATH).at("make read-only", shown)
}
