//! Into one tar: docker's form, which is an OCI layout, too, or the layout alone. The same images give the same bytes.

use std::io::Write;
use std::path::Path;

use super::ExportError;
use super::layout::{Layout, path};
use crate::layer::tar_writer::{Entry, Kind, TarWriter};
use crate::store::Store;
use crate::sys::At;

/// Writes a layout as a tar, which errors call by its name. The documents come first, so that a reader of the stream knows
/// what follows.
pub fn write(store: &Store, layout: &Layout, to: impl Write, name: &Path) -> Result<(), ExportError> {
    let mut tar = TarWriter::new(to);
    for (name, bytes) in &layout.documents {
        tar.entry(&file(name, bytes.len() as u64)).at("write", name)?;
        tar.content(&mut &bytes[..], bytes.len() as u64).at("write", name)?;
    }
    for directory in ["blobs/", "blobs/sha256/"] {
        let entry = Entry { kind: Kind::Directory, mode: 0o755, ..file(directory, 0) };
        tar.entry(&entry).at("write", name)?;
    }
    for (digest, blob) in &layout.blobs {
        let mut content = blob.open(store, digest)?;
        tar.entry(&file(&path(digest), blob.size())).at("write", name)?;
        tar.content(&mut content, blob.size()).at("write", name)?;
    }
    tar.finish().and_then(|mut to| to.flush()).at("write", name)?;
    Ok(())
}

fn file(path: &str, size: u64) -> Entry<'_> {
    Entry {
        path: path.as_bytes(),
        kind: Kind::File { size },
        mode: 0o644,
        uid: 0,
        gid: 0,
        mtime: 0,
        xattrs: &[],
    }
}
