//! What can be done only when all of a layer is there.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, Timestamps, futimens};
use rustix::io::Errno;

use super::Unpacker;
use crate::layer::WHITEOUT_PREFIX;
use crate::layer::error::LayerError;
use crate::sys::{At, attributes};

/// What a directory gets last: making entries changes its times, and they would inherit its default access list.
pub(super) struct Late {
    pub(super) path: PathBuf,
    pub(super) times: Timestamps,
    pub(super) default_access: Option<Vec<u8>>,
}

pub(super) const DEFAULT_ACCESS: &[u8] = b"system.posix_acl_default";

impl Unpacker {
    pub(super) fn finish_all(&mut self) -> Result<(), LayerError> {
        self.make_late_links()?;
        self.remove_left_overs()?;
        self.finish_directories()
    }

    /// What had no target when it came. Something of the same name that came later stays.
    fn make_late_links(&mut self) -> Result<(), LayerError> {
        for (path, target) in std::mem::take(&mut self.late_links) {
            let is_there = |path: &Path| self.root.lstat(path).is_ok();
            match path.file_name() {
                Some(name) if !is_there(&path) => self.hard_link(&path, name, &target)?,
                _ if is_there(&target) => {}
                _ => return Err(LayerError::DeadLink { path, target }),
            }
        }
        Ok(())
    }

    /// AUFS kept files with several names in a directory of its own, `.wh..wh.plnk`, and old layers have it, and hard links into it.
    /// All that it is for has been made.
    fn remove_left_overs(&mut self) -> Result<(), LayerError> {
        for entry in self.root.entries(Path::new("/"))? {
            if entry.name.as_bytes().starts_with(WHITEOUT_PREFIX) {
                self.free_place(Path::new(&entry.name))?;
            }
        }
        Ok(())
    }

    /// Of several entries for a directory the last one counts.
    fn finish_directories(&self) -> Result<(), LayerError> {
        for Late { path, times, default_access } in &self.directories {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let fd = match self.root.open_at(path, flags, Mode::empty()) {
                Ok(fd) => fd,
                // Replaced by a later entry.
                Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) => {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if let Some(value) = default_access {
                attributes::set(&fd, DEFAULT_ACCESS, value).at("set attribute of", path)?;
            }
            futimens(&fd, times).at("set times of", path)?;
        }
        Ok(())
    }
}
