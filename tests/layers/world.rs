//! Directories that somebody may fill with whatever there is.

use std::fs;
use std::path::PathBuf;

use rbuild::sys::remove_tree;

/// Directories for one case.
pub(crate) struct World(PathBuf);

impl World {
    pub(crate) fn new() -> Self {
        let parent = std::env::var_os("TMPDIR").unwrap_or_else(|| "/var/tmp".into());
        Self(tempfile::Builder::new().prefix("rbuild-layers-").tempdir_in(parent).unwrap().keep())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir(&path).unwrap();
        path
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = remove_tree(&self.0);
    }
}
