//! Whole caches that BuildKit wrote, with what they were built from: those of `testdata/cache`, put together.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{TestEnv, copy_tree, source_directory};

/// A build that BuildKit has done, in a test's world.
#[derive(Debug)]
pub(crate) struct Vector {
    /// The context, with its Dockerfile.
    pub(crate) context: PathBuf,
    /// The exported cache: an OCI layout with the tag `latest`.
    pub(crate) cache: PathBuf,
    /// The base image, which the Dockerfile calls `busybox`: an OCI layout with the tag `latest`.
    pub(crate) base: PathBuf,
}

/// The layer of the base image, which the repository has once.
const BASE_LAYER: &str = "blobs/sha256/d2232aec7563c37fe7aeafb7db1825b63ce2813b54a208ef2b0d6394eea8ddbd";

impl Vector {
    pub(crate) const NAMES: [&str; 2] = ["a", "b"];

    pub(crate) fn assemble(env: &TestEnv, name: &str) -> Self {
        let testdata = source_directory().join("testdata/cache");
        let directory = env.path(format!("vector-{name}"));
        copy_tree(&testdata.join(name), &directory);
        copy_tree(&testdata.join("base"), &directory.join("base"));
        // Modes belong to the keys, and a checkout keeps few of them.
        set_modes(&directory);
        if name == "b" {
            fs::set_permissions(directory.join("context/t/u"), Permissions::from_mode(0o754)).unwrap();
        }
        fs::copy(directory.join("base").join(BASE_LAYER), directory.join("cache").join(BASE_LAYER)).unwrap();
        Self {
            context: directory.join("context"),
            cache: directory.join("cache"),
            base: directory.join("base"),
        }
    }
}

fn set_modes(directory: &Path) {
    fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            set_modes(&entry.path());
        } else if kind.is_file() {
            fs::set_permissions(entry.path(), Permissions::from_mode(0o644)).unwrap();
        }
    }
}
