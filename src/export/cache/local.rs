//! Into a directory in the form of an OCI layout, which may have other caches under other tags.
//!
//! Several processes may write into the same directory, and others may read from it meanwhile: every file gets its name when
//! it is whole, blobs come before the index that leads to them, and who writes keeps the directory locked. The index alone has
//! the lock, too, that BuildKit takes for it.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::try_join_all;
use serde_json::{Map, Value, json};

use super::{CacheForm, Documents, PackedCache};
use crate::export::registry::Watch;
use crate::export::{ExportError, Pending};
use crate::image::{Descriptor, Digest, annotation, media_type};
use crate::layer::Layers;
use crate::store::{LayoutDirectory, Store, StoreError};
use crate::sys::{At, IoError, blocking};

/// Where a cache goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheDirectory {
    pub path: PathBuf,
    pub tag: String,
    /// Whether everything else goes from there.
    pub reset: bool,
}

/// How often layers are fetched that somebody else takes away from the directory at the same time.
const TRIES: usize = 4;

/// Writes a cache into a directory; returns its manifest's digest. Layers that are still elsewhere are fetched, unless the
/// directory has them.
pub async fn write(
    to: &CacheDirectory,
    form: CacheForm,
    cache: &PackedCache,
    layers: &Layers,
    watch: &Arc<dyn Watch>,
) -> Result<Digest, ExportError> {
    let writing = Arc::new(Writing {
        to: to.clone(),
        store: Arc::clone(layers.store()),
        config: cache.config.clone(),
        documents: cache.documents(form),
        watch: Arc::clone(watch),
    });
    let mut missing = Vec::new();
    for _ in 0..TRIES {
        let attempt = Arc::clone(&writing);
        missing = blocking(move || attempt.write()).await?;
        if missing.is_empty() {
            break;
        }
        // As many blobs as layers, in the same order.
        let lacked = cache
            .layers
            .iter()
            .zip(&writing.documents.blobs)
            .filter(|(_, blob)| missing.contains(&blob.digest));
        try_join_all(lacked.map(|(layer, blob)| layers.ensure_blob(blob, &layer.sources))).await?;
    }
    match missing.first() {
        Some(digest) => Err(StoreError::NoBlob(*digest).into()),
        None => Ok(writing.documents.manifest.digest),
    }
}

struct Writing {
    to: CacheDirectory,
    store: Arc<Store>,
    config: Vec<u8>,
    documents: Documents,
    watch: Arc<dyn Watch>,
}

impl Writing {
    /// Writes all of the cache, or says which blobs have to be fetched first.
    fn write(&self) -> Result<Vec<Digest>, ExportError> {
        let blobs = self.to.path.join("blobs/sha256");
        fs::create_dir_all(&blobs).at("create directory", &blobs)?;
        let alone = File::open(&self.to.path).at("open", &self.to.path)?;
        alone.lock().at("lock", &self.to.path)?;
        let mut missing = Vec::new();
        for blob in &self.documents.blobs {
            if !self.layer(blob)? {
                missing.push(blob.digest);
            }
        }
        if missing.is_empty() {
            self.document(&self.documents.config, &self.config)?;
            self.document(&self.documents.manifest, &self.documents.manifest_bytes)?;
            self.replace("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
            self.index()?;
            if self.to.reset {
                self.sweep(&blobs)?;
            }
        }
        Ok(missing)
    }

    /// Sees that a layer is there; false if it is neither there nor in the store.
    fn layer(&self, blob: &Descriptor) -> Result<bool, ExportError> {
        let target = self.place(blob);
        let how = if is_there(&target, blob.size) {
            "exists"
        } else {
            if self.store.blobs().size(&blob.digest)?.is_none() {
                return Ok(false);
            }
            let mut from = self.store.blobs().open(&blob.digest)?;
            let (pending, mut to) = Pending::file(&target)?;
            io::copy(&mut from, &mut to).at("write", &target)?;
            pending.finish()?;
            "written"
        };
        self.watch.sent(&format!("{} {how}", blob.digest), blob.size, blob.size, true);
        Ok(true)
    }

    fn document(&self, blob: &Descriptor, bytes: &[u8]) -> Result<(), ExportError> {
        let target = self.place(blob);
        if !is_there(&target, blob.size) {
            write_whole(&target, bytes)?;
        }
        Ok(())
    }

    /// Writes a file unless it says the same already.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), IoError> {
        let target = self.to.path.join(name);
        if fs::read(&target).is_ok_and(|there| there == bytes) { Ok(()) } else { write_whole(&target, bytes) }
    }

    /// Lets the tag lead to the manifest. What else the index says stays, unless all of that is to go.
    fn index(&self) -> Result<(), ExportError> {
        let path = self.to.path.join("index.json");
        let _lock = IndexLock::take(&self.to.path.join("index.json.lock"))?;
        let refuse = |reason: String| ExportError::Index { path: path.clone(), reason };
        let mut index: Map<String, Value> = match fs::read(&path) {
            Ok(bytes) if !self.to.reset => {
                serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at("read", &path)?,
            Ok(_) | Err(_) => Map::new(),
        };
        index.entry("schemaVersion").or_insert_with(|| json!(2));
        index.entry("mediaType").or_insert_with(|| json!(media_type::OCI_INDEX));
        let entries = index.entry("manifests").or_insert_with(|| json!([]));
        let entries = entries.as_array_mut().ok_or_else(|| refuse("its manifests are no list".to_owned()))?;
        entries.retain(|entry| entry["annotations"][annotation::REF_NAME] != *self.to.tag);
        let mut entry = self.documents.manifest.clone();
        entry.annotations.insert(annotation::REF_NAME.to_owned(), self.to.tag.clone());
        entries.push(json!(entry));
        Ok(self.replace("index.json", Value::Object(index).to_string().as_bytes())?)
    }

    /// Removes the blobs that are not this cache's, and what killed processes have left.
    fn sweep(&self, blobs: &Path) -> Result<(), IoError> {
        let documents = [&self.documents.config, &self.documents.manifest];
        let mine: HashSet<String> =
            self.documents.blobs.iter().chain(documents).map(|blob| blob.digest.hex()).collect();
        for entry in fs::read_dir(blobs).at("read directory", blobs)? {
            let entry = entry.at("read directory", blobs)?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let is_blob = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            let is_left_over = name.starts_with('.') && name.ends_with(".tmp");
            if (is_blob && !mine.contains(&name)) || is_left_over {
                fs::remove_file(entry.path()).at("remove", entry.path())?;
            }
        }
        Ok(())
    }

    fn place(&self, blob: &Descriptor) -> PathBuf {
        self.to.path.join(LayoutDirectory::place(&blob.digest))
    }
}

/// Nothing half-written has a blob's name, so the size tells enough.
fn is_there(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
}

fn write_whole(target: &Path, bytes: &[u8]) -> Result<(), IoError> {
    let (pending, mut file) = Pending::file(target)?;
    file.write_all(bytes).at("write", target)?;
    pending.finish()
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
