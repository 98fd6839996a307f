//! Into a directory in the form of an OCI layout, which may have other caches under other tags.
//!
//! Several processes may write into the same directory, and others may read from it meanwhile: every file gets its name when
//! it is whole, blobs come before the index that leads to them, and who writes keeps the directory locked. The index alone has
//! the lock, too, that BuildKit takes for it.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::try_join_all;
use serde_json::json;

use super::{CacheForm, Documents, PackedCache};
use crate::export::layout::LAYOUT_VERSION;
use crate::export::layout_files::{change_index, is_there, lock, replace, write_whole};
use crate::export::registry::Watch;
use crate::export::{ExportError, Pending};
use crate::image::{Descriptor, Digest, annotation};
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
        let _alone = lock(&self.to.path)?;
        let mut missing = Vec::new();
        for blob in &self.documents.blobs {
            if !self.layer(blob)? {
                missing.push(blob.digest);
            }
        }
        if missing.is_empty() {
            self.document(&self.documents.config, &self.config)?;
            self.document(&self.documents.manifest, &self.documents.manifest_bytes)?;
            replace(&self.to.path.join("oci-layout"), LAYOUT_VERSION)?;
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

    /// Lets the tag lead to the manifest. What else the index says stays, unless all of that is to go.
    fn index(&self) -> Result<(), ExportError> {
        change_index(&self.to.path, self.to.reset, |entries| {
            entries.retain(|entry| entry["annotations"][annotation::REF_NAME] != *self.to.tag);
            let mut entry = self.documents.manifest.clone();
            entry.annotations.insert(annotation::REF_NAME.to_owned(), self.to.tag.clone());
            entries.push(json!(entry));
        })
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
