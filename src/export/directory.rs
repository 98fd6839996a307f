//! Into a directory in the form of an OCI layout, which other tools copy from and change.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::layout::{LAYOUT_VERSION, Layout, path};
use super::layout_files::{change_index, is_there, lock, replace};
use super::{ExportError, Pending};
use crate::image::annotation;
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

/// Adds to a layout that is there. What its index says of other names stays; images without a name are told apart by what
/// they are.
pub fn add(store: &Store, layout: &Layout, to: &Path) -> Result<(), ExportError> {
    let blobs = to.join("blobs/sha256");
    fs::create_dir_all(&blobs).at("create directory", &blobs)?;
    let _alone = lock(to)?;
    for (digest, blob) in &layout.blobs {
        let target = to.join(path(digest));
        if !is_there(&target, blob.size()) {
            let (pending, mut file) = Pending::file(&target)?;
            io::copy(&mut blob.open(store, digest)?, &mut file).at("write", &target)?;
            pending.finish()?;
        }
    }
    replace(&to.join("oci-layout"), LAYOUT_VERSION)?;
    change_index(to, false, |entries| {
        for new in layout.entries.iter().map(|entry| json!(entry)) {
            entries.retain(|entry| !takes_the_place_of(&new, entry));
            entries.push(new);
        }
    })
}

fn takes_the_place_of(new: &Value, old: &Value) -> bool {
    let name = |entry: &Value| entry["annotations"][annotation::FULL_NAME].clone();
    match (name(new), name(old)) {
        (Value::Null, Value::Null) => new["digest"] == old["digest"],
        (new, old) => new == old,
    }
}
