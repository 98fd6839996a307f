//! Proving a store whole: every record says what is true, and everything is what its name says.

mod links;
mod things;

use std::path::{Path, PathBuf};

use super::Store;
use super::collect::Collection;
use super::error::StoreError;
use super::inventory::Stock;
use crate::image::{DiffId, Digest, ImageId};
use crate::sys::IoError;

/// How closely is looked.
#[derive(Clone, Copy)]
pub struct Depth<'a> {
    /// Read every blob.
    pub blobs: bool,
    /// Pack every snapshot that was packed here again: its directory, and the directories below it, uppermost first.
    pub repack: Option<&'a Repack<'a>>,
}

impl std::fmt::Debug for Depth<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Depth").field("blobs", &self.blobs).field("repack", &self.repack.is_some()).finish()
    }
}

/// Finds the diff id of a directory of changes with the directories below it, its times cut to the latest, if there is
/// one; in words why not.
pub type Repack<'a> = dyn Fn(&Path, &[PathBuf], Option<i64>) -> Result<DiffId, String> + 'a;

/// What is wrong, or only left over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("a record that cannot be read")]
    UnreadableRecord,
    #[error("a result that is not there: {0}")]
    ResultWithoutSnapshot(String),
    #[error("a layer that should be unpacked and is not: {0}")]
    LayerWithoutSnapshot(String),
    #[error("a blob that is not there")]
    BlobMissing,
    #[error("a blob of {found} bytes instead of {expected}")]
    BlobSize { expected: u64, found: u64 },
    #[error("a blob whose content is {found}")]
    BlobContent { found: Digest },
    #[error("a blob that cannot be read: {0}")]
    BlobUnreadable(String),
    #[error("an image whose config is not there or no config")]
    ImageWithoutConfig,
    #[error("an image whose manifest is not there: {0}")]
    ImageWithoutManifest(Digest),
    #[error("an image with a layer that is neither here nor known to be elsewhere: {0}")]
    ImageWithoutLayer(DiffId),
    #[error("a tag of an image that is not there: {name} ({image})")]
    TagWithoutImage { name: String, image: ImageId },
    #[error("a tag under the file name of another one: {0}")]
    TagMisplaced(String),
    #[error("a snapshot that is not the layer {expected} any more: {found}")]
    SnapshotChanged { expected: DiffId, found: String },
    #[error("a cache that does not say what it is")]
    UnknownCache,
    #[error("a record from before a loss of power")]
    RecordOfALostBoot,
    #[error("a record of a snapshot that is gone")]
    RecordOfNothing,
    #[error("digests of a context's files that cannot be read")]
    UnreadableDigests,
    #[error("a snapshot that nothing leads to")]
    LoneSnapshot,
    #[error("a blob without a record")]
    LoneBlob,
    #[error("a lock that nobody holds")]
    LockOfNobody,
    #[error("unfinished work of a process that is gone")]
    WorkOfNobody,
}

impl Problem {
    /// What killed processes and interrupted collections leave, and nothing reads.
    pub fn is_left_over(&self) -> bool {
        match self {
            Self::UnreadableRecord
            | Self::UnreadableDigests
            | Self::ResultWithoutSnapshot(_)
            | Self::LayerWithoutSnapshot(_)
            | Self::BlobMissing
            | Self::BlobSize { .. }
            | Self::BlobContent { .. }
            | Self::BlobUnreadable(_)
            | Self::ImageWithoutConfig
            | Self::ImageWithoutManifest(_)
            | Self::ImageWithoutLayer(_)
            | Self::TagWithoutImage { .. }
            | Self::TagMisplaced(_)
            | Self::SnapshotChanged { .. }
            | Self::UnknownCache => false,
            Self::RecordOfALostBoot
            | Self::RecordOfNothing
            | Self::LoneSnapshot
            | Self::LoneBlob
            | Self::LockOfNobody
            | Self::WorkOfNobody => true,
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub problem: Problem,
    /// Where, within the store.
    pub place: PathBuf,
    pub(super) remedy: Remedy,
}

/// What mends a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Remedy {
    /// These have to go in this order, unless a living process has pinned one of the names.
    Remove {
        paths: Vec<PathBuf>,
        unless_pinned: Vec<String>,
    },
    /// The layer's record must not say that it is unpacked.
    ForgetSnapshot {
        layer: String,
    },
    /// The image's record must not say that it has a manifest.
    ForgetManifest {
        image: String,
    },
    /// Left-overs that every sweep removes.
    Sweep,
    ReleaseLock {
        name: String,
    },
}

/// What a check has looked at, and what it has found.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    pub findings: Vec<Finding>,
    pub records: usize,
    pub blobs: usize,
    pub snapshots: usize,
    pub caches: usize,
    /// Snapshots of other id maps, which cannot be looked into here.
    pub foreign: usize,
    /// Snapshots that were packed again.
    pub repacked: usize,
    /// Snapshots whose layer cannot be proved by packing: they were unpacked, or it is not known what lies below them.
    pub unproved: usize,
}

impl Store {
    /// Looks at everything. Others may work in the store meanwhile; what they do is no finding. Nobody collects.
    pub fn check(&self, collection: &Collection<'_>, depth: &Depth<'_>) -> Result<Checked, StoreError> {
        let stock = Stock::read(collection.store())?;
        let mut checked = Checked::default();
        links::check(self, &stock, &mut checked);
        things::check_blobs(self, &stock, depth.blobs, &mut checked)?;
        things::check_snapshots(self, &stock, depth.repack, &mut checked)?;
        things::check_caches(&stock, &mut checked);
        things::check_contexts(self, &stock, &mut checked);
        things::check_left_overs(self, &mut checked)?;
        Ok(checked)
    }

    /// Makes the file `format` of a store that has lost it. Whether there was one.
    pub fn mend_format(root: &Path) -> Result<bool, StoreError> {
        let is_store =
            ["records", "snapshots", "blobs/sha256", "tmp"].iter().all(|name| root.join(name).is_dir());
        if !is_store || !matches!(super::check_format(root), Err(StoreError::Foreign { .. })) {
            return Ok(false);
        }
        let path = root.join("format");
        std::fs::remove_file(&path).map_err(|source| IoError {
            operation: "remove",
            path: path.clone(),
            source,
        })?;
        super::check_format(root)?;
        Ok(true)
    }
}

impl Checked {
    fn found(&mut self, problem: Problem, place: impl Into<PathBuf>, remedy: Remedy) {
        self.findings.push(Finding { problem, place: place.into(), remedy });
    }

    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.problem.is_left_over())
    }
}
