//! Into a directory in the form of an OCI layout, which other tools copy from and change.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::ExportError;
use super::layout::{Layout, path};
use crate::store::Store;
use crate::sys::At;

/// Writes a layout into a directory that exists and is empty.
pub fn write(store: &Store, layout: &Layout, to: &Path) -> Result<(), ExportError> {
    let blobs = to.join("blobs/sha256");
    fs::create_dir_all(&blobs).at("create directory", &blobs)?;
    for (digest, blob) in &layout.blobs {
        let target = to.join(path(digest));
        let mut file = File::create_new(&target).at("create", &target)?;
        io::copy(&mut blob.open(store, digest)?, &mut file).at("write", &target)?;
    }
    for (name, bytes) in &layout.documents {
        let target = to.join(name);
        fs::write(&target, bytes).at("write", &target)?;
    }
    Ok(())
}
