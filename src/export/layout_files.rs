//! Files of an OCI layout that others may read and write at the same time: each gets its name when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{ExportError, Pending};
use crate::image::media_type;
use crate::sys::{At, IoError};

/// Nothing half-written has a blob's name, so the size tells enough.
pub(super) fn is_there(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
}

pub(super) fn write_whole(target: &Path, bytes: &[u8]) -> Result<(), IoError> {
    let (pending, mut file) = Pending::file(target)?;
    file.write_all(bytes).at("write", target)?;
    pending.finish()
}

/// Writes a file unless it says the same already.
pub(super) fn replace(target: &Path, bytes: &[u8]) -> Result<(), IoError> {
    if fs::read(target).is_ok_and(|there| there == bytes) { Ok(()) } else { write_whole(target, bytes) }
}

/// Who writes keeps a layout's directory locked.
pub(super) fn lock(directory: &Path) -> Result<File, IoError> {
    let alone = File::open(directory).at("open", directory)?;
    alone.lock().at("lock", directory)?;
    Ok(alone)
}

/// Changes the entries of a layout's index; what else it says stays. With `anew` all of it goes.
pub(super) fn change_index(
    directory: &Path,
    anew: bool,
    change: impl FnOnce(&mut Vec<Value>),
) -> Result<(), ExportError> {
    let path = directory.join("index.json");
    let _lock = IndexLock::take(&directory.join("index.json.lock"))?;
    let refuse = |reason: String| ExportError::Index { path: path.clone(), reason };
    let mut index: Map<String, Value> = match fs::read(&path) {
        Ok(bytes) if !anew => serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at("read", &path)?,
        Ok(_) | Err(_) => Map::new(),
    };
    index.entry("schemaVersion").or_insert_with(|| json!(2));
    index.entry("mediaType").or_insert_with(|| json!(media_type::OCI_INDEX));
    let entries = index.entry("manifests").or_insert_with(|| json!([]));
    change(entries.as_array_mut().ok_or_else(|| refuse("its manifests are no list".to_owned()))?);
    Ok(replace(&path, Value::Object(index).to_string().as_bytes())?)
}

/// The lock that BuildKit takes, too, while it changes an index: a file beside it, which goes with its holder.
struct IndexLock {
    path: PathBuf,
    /// Locked as long as it is open.
    _file: File,
}

impl IndexLock {
    fn take(path: &Path) -> Result<Self, IoError> {
        loop {
            let file =
                OpenOptions::new().create(true).write(true).truncate(false).open(path).at("open", path)?;
            file.lock().at("lock", path)?;
            // The last holder may have removed it meanwhile.
            if file.metadata().at("stat", path)?.nlink() > 0 {
                return Ok(Self { path: path.to_owned(), _file: file });
            }
        }
    }
}

impl Drop for IndexLock {
    fn drop(&mut self) {
        // Removed while held: whoever waits notices that its file has no name and starts again.
        let _ = fs::remove_file(&self.path);
    }
}
