//! What is in a store: how large, what needs it, when it was last used, and who works with it now.

mod assemble;

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use super::digests::{self, KeptFile};
use super::error::StoreError;
use super::measure::{Links, Size};
use super::records::{Listed, Reading};
use super::snapshots::{self, SnapshotId};
use super::{
    CacheFound, CopyRecord, DownloadRecord, ImageRecord, ImportRecord, LayerRecord, LinkRecord, MergedRecord,
    PlatformTag, SealRecord, SizeRecord, StepRecord, Store, Tag, measure, pins,
};
use crate::image::Timestamp;
use crate::sys::At;
use crate::sys::link_owners::LinkOwners;

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An image: its config and its manifest. The layers are items of their own.
    Image,
    /// A snapshot: what a step has made or a layer unpacked, with the blobs it was packed into or came in.
    Regular,
    /// A layer that is not unpacked here: its blobs, or just the knowledge where they are.
    Layer,
    /// A blob that nothing leads to.
    Blob,
    /// What steps keep from one execution to the next.
    Cache,
    /// What has been fetched from a git repository.
    Repository,
    /// Digests of the files of a build context, which save reading them.
    Context,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Image, Self::Regular, Self::Layer, Self::Blob, Self::Cache, Self::Repository, Self::Context];

    /// `regular` is BuildKit's word for what a step has made, and those for caches, repositories and
    /// contexts are its, too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Regular => "regular",
            Self::Layer => "layer",
            Self::Blob => "blob",
            Self::Cache => "exec.cachemount",
            Self::Repository => "source.git.checkout",
            Self::Context => "source.local",
        }
    }
}

/// What comes and goes as one.
#[derive(Debug, Clone)]
pub struct Item {
    pub kind: Kind,
    /// Of an image its id, of a snapshot its random digits, of a layer its diff id, of a blob its digest, of a context the
    /// name of its file.
    pub id: String,
    /// What people know it by.
    pub description: String,
    /// The names of an image.
    pub tags: Vec<String>,
    /// What it takes on disk with its records; none where that cannot be read.
    pub size: Option<u64>,
    pub created: Option<Timestamp>,
    /// When it or what needs it was last used.
    pub last_used: SystemTime,
    /// Whether a living process works with it.
    pub in_use: bool,
    /// The images that need it, as indexes of items.
    pub needed_by: Vec<usize>,
    /// What its step was built upon, as index.
    pub parent: Option<usize>,
    /// Made under another id map than this process's: nothing can be said of it or done with it here.
    pub foreign: bool,
    /// How many parents it has.
    pub(super) depth: usize,
    /// What pins call it and its parts.
    pub(super) names: Vec<String>,
    /// The files of its records, in the order in which they have to go.
    pub(super) records: Vec<PathBuf>,
    pub(super) snapshot: Option<SnapshotId>,
    /// The name of its directory, if it is a cache.
    pub(super) cache: Option<String>,
    /// Its blobs by their hexadecimal digits; other items may have them, too.
    pub(super) blobs: Vec<String>,
}

/// What was there when stock was taken.
#[derive(Debug, Clone)]
pub struct Inventory {
    pub items: Vec<Item>,
    /// What every blob takes on disk with its record, and how many items have it.
    pub(super) blobs: HashMap<String, (u64, usize)>,
}

impl Item {
    pub(super) fn empty(kind: Kind, id: String, size: Option<u64>) -> Self {
        Self {
            kind,
            id,
            description: String::new(),
            tags: Vec::new(),
            size,
            created: None,
            last_used: SystemTime::UNIX_EPOCH,
            in_use: false,
            needed_by: Vec::new(),
            parent: None,
            foreign: false,
            depth: 0,
            names: Vec::new(),
            records: Vec::new(),
            snapshot: None,
            cache: None,
            blobs: Vec::new(),
        }
    }
}

impl Inventory {
    /// Whether a name keeps an item: its own or that of an image that needs it.
    pub fn is_kept_by_a_name(&self, index: usize) -> bool {
        let item = &self.items[index];
        !item.tags.is_empty() || item.needed_by.iter().any(|image| !self.items[*image].tags.is_empty())
    }

    /// Whether an item could go now.
    pub fn is_reclaimable(&self, index: usize) -> bool {
        let item = &self.items[index];
        !item.in_use && !item.foreign && !self.is_kept_by_a_name(index)
    }

    pub fn total(&self) -> u64 {
        self.items.iter().filter_map(|item| item.size).sum()
    }
}

/// Everything that is read to take stock.
pub(super) struct Stock {
    pub snapshots: Vec<SnapshotId>,
    pub blobs: Vec<String>,
    pub steps: Vec<Listed<StepRecord>>,
    pub links: Vec<Listed<LinkRecord>>,
    pub imports: Vec<Listed<ImportRecord>>,
    pub downloads: Vec<Listed<DownloadRecord>>,
    pub seals: Vec<Listed<SealRecord>>,
    pub sizes: Vec<Listed<SizeRecord>>,
    pub merged: Vec<Listed<MergedRecord>>,
    pub copies: Vec<Listed<CopyRecord>>,
    pub layers: Vec<Listed<LayerRecord>>,
    pub images: Vec<Listed<ImageRecord>>,
    pub blob_records: Vec<Listed<super::BlobRecord>>,
    pub tags: Vec<Listed<Tag>>,
    pub platform_tags: Vec<Listed<PlatformTag>>,
    pub caches: Vec<CacheFound>,
    pub contexts: Vec<KeptFile>,
    pub pinned: HashSet<String>,
}

impl Stock {
    /// First the things, then what leads to them, then who needs them: what is made meanwhile is pinned at least.
    pub(super) fn read(store: &Store) -> Result<Self, StoreError> {
        let snapshots = snapshots_in(store)?;
        let blobs = names_in(store, "blobs/sha256")?;
        let records = &store.records;
        Ok(Self {
            snapshots,
            blobs,
            caches: store.list_caches()?,
            tags: records.list()?,
            platform_tags: records.list()?,
            images: records.list()?,
            steps: records.list()?,
            links: records.list()?,
            imports: records.list()?,
            merged: records.list()?,
            copies: records.list()?,
            downloads: records.list()?,
            layers: records.list()?,
            seals: records.list()?,
            sizes: records.list()?,
            blob_records: records.list()?,
            contexts: digests::list(store.root())?,
            pinned: pins::pinned_now(store.root())?,
        })
    }
}

impl Store {
    /// Takes stock. Without holding up anybody: what others make or remove meanwhile may be missing or still there.
    pub fn inventory(&self) -> Result<Inventory, StoreError> {
        let mut stock = Stock::read(self)?;
        let measured = self.measure(&stock)?;
        // The records that measuring has added take space, too.
        stock.sizes = self.records.list()?;
        Ok(assemble::assemble(self, &stock, &measured))
    }

    /// Notes a size for the next who asks, unless there is no place for it: to take stock is the way out of a full disk.
    fn note_size(&self, id: &SnapshotId, bytes: u64) -> Result<(), StoreError> {
        match self.put_record(&id.to_string(), &SizeRecord { bytes }) {
            Err(error) if error.refusal().is_some() => Ok(()),
            answer => answer,
        }
    }

    /// The sizes of snapshots. What has not been measured before is measured and noted.
    fn measure(&self, stock: &Stock) -> Result<HashMap<SnapshotId, u64>, StoreError> {
        let mut measured: HashMap<SnapshotId, u64> = HashMap::new();
        for listed in &stock.sizes {
            if let Reading::Counts(record) = &listed.value {
                measured.insert(SnapshotId::named(listed.key.clone()), record.bytes);
            }
        }
        // Merged layers are links to the files of the layers, where they are counted.
        let merged: HashSet<&SnapshotId> = stock.merged.iter().filter_map(Listed::snapshot).collect();
        let is_new = |id: &&SnapshotId| self.is_readable(id) && !measured.contains_key(id);
        let new: Vec<&SnapshotId> = stock.snapshots.iter().filter(is_new).collect();
        let place = |id: &&SnapshotId| {
            let links = if merged.contains(id) { Links::Skipped } else { Links::Once };
            (self.snapshot_path(id), links)
        };
        let sizes = measure::tree_sizes(&new.iter().map(place).collect::<Vec<_>>());
        let mut sharing: Vec<(&SnapshotId, Size)> = Vec::new();
        for (id, size) in new.into_iter().zip(sizes).filter_map(|(id, size)| Some((id, size?))) {
            if size.shared.is_empty() {
                self.note_size(id, size.own)?;
                measured.insert(id.clone(), size.own);
            } else {
                sharing.push((id, size));
            }
        }
        measured.extend(self.sizes_of_sharing(sharing));
        Ok(measured)
    }

    /// The sizes of snapshots that have files in common. Each file is the newest one's: what is older goes first, and frees
    /// nothing of what newer ones have. That changes with every snapshot that comes or goes, so it is not noted.
    fn sizes_of_sharing(&self, mut sharing: Vec<(&SnapshotId, Size)>) -> HashMap<SnapshotId, u64> {
        let made = |id: &SnapshotId| {
            let metadata = std::fs::symlink_metadata(self.snapshot_path(id)).ok()?;
            Some((metadata.ctime(), metadata.ctime_nsec()))
        };
        sharing.sort_by_cached_key(|(id, _)| std::cmp::Reverse(made(id)));
        let mut counted = HashSet::new();
        let mut size_of = |size: Size| {
            let new = size.shared.into_iter().filter(|(file, _)| counted.insert(*file));
            size.own + new.map(|(_, bytes)| bytes).sum::<u64>()
        };
        sharing.into_iter().map(|(id, size)| (id.clone(), size_of(size))).collect()
    }
}

/// The snapshots. Owners of links that are recorded beside one belong to it; what is left of them without one is taken for
/// a snapshot that nothing leads to, unless that is just being made.
fn snapshots_in(store: &Store) -> Result<Vec<SnapshotId>, StoreError> {
    let names: HashSet<String> = names_in(store, "snapshots")?.into_iter().collect();
    let pinned = pins::pinned_now(store.root())?;
    let is_known = |name: &str| match name.strip_suffix(LinkOwners::SUFFIX) {
        Some(id) => names.contains(id) || pinned.contains(&pins::name(snapshots::KIND, id)),
        None => false,
    };
    let mut known: Vec<String> = names.iter().filter(|name| !is_known(name)).cloned().collect();
    known.sort_unstable();
    Ok(known.into_iter().map(SnapshotId::named).collect())
}

/// The names in a directory of the store.
fn names_in(store: &Store, directory: &str) -> Result<Vec<String>, StoreError> {
    let path = store.root().join(directory);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&path).at("read directory", &path)? {
        // The store gives no other names: what has one is somebody else's.
        names.extend(entry.at("read directory", &path)?.file_name().into_string().ok());
    }
    Ok(names)
}
