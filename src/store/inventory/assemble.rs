//! From what was read to items: what belongs together, and what needs what.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::SystemTime;

use super::super::digests::KeptFile;
use super::super::record::{ListingRecord, Record};
use super::super::records::{Listed, Reading};
use super::super::{CacheFound, CacheKind, SealRecord, SnapshotId, Store, caches, measure, pins, snapshots};
use super::{Inventory, Item, Kind, Stock};
use crate::image::{Config, DiffId, Reference};

pub(super) fn assemble(store: &Store, stock: &Stock, measured: &HashMap<SnapshotId, u64>) -> Inventory {
    let mut making =
        Making { store, items: Vec::new(), of_snapshot: HashMap::new(), of_layer: HashMap::new() };
    let (blobs, blob_use) = blobs_on_disk(store, stock);
    for id in &stock.snapshots {
        making.snapshot(id, measured.get(id).copied());
    }
    making.steps(stock);
    making.merged(stock);
    making.copies(stock);
    making.about_snapshots(&stock.seals);
    making.about_snapshots(&stock.sizes);
    making.layers(stock, &blobs);
    making.shortcuts(stock);
    making.images(stock, &blobs);
    let mut items = making.items;
    let mut blobs: HashMap<String, (u64, usize)> =
        blobs.into_iter().map(|(hex, size)| (hex, (size, 0))).collect();
    for item in &mut items {
        for hex in &item.blobs {
            let Some((size, owners)) = blobs.get_mut(hex) else { continue };
            *owners += 1;
            item.last_used = item.last_used.max(blob_use.get(hex).copied().unwrap_or(SystemTime::UNIX_EPOCH));
            item.names.push(pins::name(super::super::BlobRecord::KIND, hex));
            // What several have is the first one's.
            if *owners == 1 {
                item.size = item.size.map(|bytes| bytes + *size);
            }
        }
    }
    for (hex, (size, owners)) in blobs.iter_mut().filter(|(_, (_, owners))| *owners == 0) {
        *owners = 1;
        items.push(lone_blob(store, hex, *size, blob_use.get(hex).copied()));
    }
    items.extend(stock.caches.iter().map(cache));
    items.extend(stock.contexts.iter().map(context));
    pass_on_use(&mut items, &stock.pinned);
    Inventory { items, blobs }
}

struct Making<'a> {
    store: &'a Store,
    items: Vec<Item>,
    of_snapshot: HashMap<SnapshotId, usize>,
    of_layer: HashMap<DiffId, usize>,
}

impl Making<'_> {
    fn snapshot(&mut self, id: &SnapshotId, size: Option<u64>) {
        let foreign = !self.store.is_readable(id);
        let name = id.to_string();
        let short = name.split_once('-').map_or(&*name, |(_, random)| random).to_owned();
        let mut item = Item::empty(Kind::Regular, short, size.filter(|_| !foreign));
        // Only counts where no record tells.
        item.last_used = changed(&self.store.snapshot_path(id));
        item.foreign = foreign;
        item.names.push(pins::name(snapshots::KIND, &name));
        item.snapshot = Some(id.clone());
        self.of_snapshot.insert(id.clone(), self.items.len());
        self.items.push(item);
    }

    fn steps(&mut self, stock: &Stock) {
        for step in &stock.steps {
            let Reading::Counts(record) = &step.value else { continue };
            let Some(&index) = self.of_snapshot.get(&record.snapshot) else { continue };
            let parent = record.parent.as_ref().and_then(|parent| self.of_snapshot.get(parent)).copied();
            let item = &mut self.items[index];
            if item.created.is_none_or(|created| record.created > created) {
                item.created = Some(record.created);
                item.description.clone_from(&record.name);
                item.parent = parent.filter(|parent| *parent != index);
            }
            note(item, step);
            let listings = record.contents.iter().flatten();
            item.records
                .extend(listings.map(|content| self.store.records.path(ListingRecord::KIND, &content.hex())));
        }
    }

    /// Other ways to results go with these.
    fn shortcuts(&mut self, stock: &Stock) {
        let mut of_step: HashMap<&str, usize> = HashMap::new();
        for step in &stock.steps {
            if let Some(index) = step.snapshot().and_then(|id| self.of_snapshot.get(id)) {
                of_step.insert(&step.key, *index);
            }
        }
        for import in &stock.imports {
            let Reading::Counts(record) = &import.value else { continue };
            let Some(&index) = record.layers().last().and_then(|top| self.of_layer.get(top)) else {
                continue;
            };
            of_step.entry(&import.key).or_insert(index);
            note(&mut self.items[index], import);
        }
        for link in &stock.links {
            let Reading::Counts(record) = &link.value else { continue };
            if let Some(&index) = of_step.get(&*record.to.hex()) {
                self.items[index].records.push(link.path.clone());
            }
        }
    }

    fn merged(&mut self, stock: &Stock) {
        for merged in &stock.merged {
            let Some(&index) = merged.snapshot().and_then(|id| self.of_snapshot.get(id)) else { continue };
            let item = &mut self.items[index];
            "lowest layers of a long chain, as one".clone_into(&mut item.description);
            note(item, merged);
        }
    }

    fn copies(&mut self, stock: &Stock) {
        for copy in &stock.copies {
            if let Some(&index) = copy.snapshot().and_then(|id| self.of_snapshot.get(id)) {
                note(&mut self.items[index], copy);
            }
        }
    }

    /// Records of a snapshot that go with it.
    fn about_snapshots<T: Record>(&mut self, listed: &[Listed<T>]) {
        for record in listed {
            if let Some(&index) = self.of_snapshot.get(&SealRecord::parse_key(&record.key).0) {
                let item = &mut self.items[index];
                item.records.push(record.path.clone());
                item.size = item.size.map(|size| size + record.size);
            }
        }
    }

    fn layers(&mut self, stock: &Stock, blobs: &HashMap<String, u64>) {
        for layer in &stock.layers {
            let (Reading::Counts(record), Ok(digest)) =
                (&layer.value, format!("sha256:{}", layer.key).parse())
            else {
                continue;
            };
            let unpacked = record.snapshot.as_ref().and_then(|id| self.of_snapshot.get(id)).copied();
            // Under another id map the layer is known, but not unpacked.
            let index = unpacked.filter(|index| !self.items[*index].foreign).unwrap_or_else(|| {
                self.items.push(Item::empty(Kind::Layer, layer.key.clone(), Some(0)));
                self.items.len() - 1
            });
            let item = &mut self.items[index];
            note(item, layer);
            if item.description.is_empty() {
                let source = record.blobs.iter().find_map(|known| known.sources.last());
                item.description = source.map(|source| format!("layer of {source}")).unwrap_or_default();
            }
            let here = record.blobs.iter().map(|known| known.blob.digest.hex());
            item.blobs.extend(here.filter(|hex| blobs.contains_key(hex)));
            self.of_layer.insert(DiffId(digest), index);
        }
    }

    fn images(&mut self, stock: &Stock, blobs: &HashMap<String, u64>) {
        let mut names: HashMap<String, Vec<String>> = HashMap::new();
        for tag in &stock.tags {
            if let Reading::Counts(tag) = &tag.value {
                names.entry(tag.image.0.hex()).or_default().push(tag.name.clone());
            }
        }
        for image in &stock.images {
            let Reading::Counts(record) = &image.value else { continue };
            let mut item = Item::empty(Kind::Image, image.key.clone(), Some(0));
            note(&mut item, image);
            item.tags = names.remove(&image.key).unwrap_or_default();
            item.tags.sort();
            let short =
                |tag: &String| tag.parse().map_or_else(|_| tag.clone(), |name: Reference| name.familiar());
            item.description = item.tags.iter().map(short).collect::<Vec<_>>().join(", ");
            let manifest = record.manifest.as_ref().map(|manifest| manifest.digest.hex());
            item.blobs = std::iter::once(image.key.clone()).chain(manifest).collect();
            item.blobs.retain(|hex| blobs.contains_key(hex));
            let config = self.store.config(&image.key);
            item.created = config.as_ref().and_then(|config| config.created);
            let index = self.items.len();
            self.items.push(item);
            let mut layers: HashSet<usize> = HashSet::new();
            for diff_id in config.map(|config| config.rootfs.diff_ids).unwrap_or_default() {
                layers.extend(self.of_layer.get(&diff_id));
            }
            layers.into_iter().for_each(|layer| self.items[layer].needed_by.push(index));
        }
    }
}

impl Store {
    /// The config of an image, for taking stock: nothing is pinned, and what cannot be read is none.
    pub(in crate::store) fn config(&self, hex: &str) -> Option<Config> {
        let path = self.root().join("blobs/sha256").join(hex);
        let size = std::fs::metadata(&path).ok()?.len();
        let bytes = (size <= crate::image::MAX_DOCUMENT).then(|| std::fs::read(&path).ok())??;
        serde_json::from_slice(&bytes).ok()
    }
}

fn cache(found: &CacheFound) -> Item {
    let (kind, what) = match found.kind() {
        CacheKind::Mount => (Kind::Cache, "cache mount"),
        CacheKind::Repository => (Kind::Repository, "git repository"),
    };
    let mut item = Item::empty(kind, found.digits().to_owned(), found.size);
    let about = if found.is_given_up() { "given up " } else { "" };
    item.description = format!("{about}{what} {}", found.id());
    item.created = found.about.as_ref().map(|about| about.created);
    item.last_used = found.last_used;
    item.foreign = found.foreign;
    item.names.push(pins::name(caches::KIND, &found.name));
    item.cache = Some(found.name.clone());
    item.in_use = found.in_use;
    item
}

fn lone_blob(store: &Store, hex: &str, size: u64, used: Option<SystemTime>) -> Item {
    let mut item = Item::empty(Kind::Blob, hex.to_owned(), Some(size));
    item.last_used = used.unwrap_or_else(|| changed(&store.root().join("blobs/sha256").join(hex)));
    item.names.push(pins::name(super::super::BlobRecord::KIND, hex));
    item.blobs.push(hex.to_owned());
    item
}

fn context(kept: &KeptFile) -> Item {
    let mut item = Item::empty(Kind::Context, kept.name.clone(), Some(kept.size));
    item.description = kept.about.clone().unwrap_or_else(|| "damaged".to_owned());
    item.last_used = kept.used;
    item.records.push(kept.path.clone());
    item
}

/// Adds a record to the item that it is part of.
fn note<T: Record>(item: &mut Item, record: &Listed<T>) {
    // The first that tells replaces the time of the directory, which says when it was made.
    item.last_used = if item.records.is_empty() { record.used } else { item.last_used.max(record.used) };
    item.size = item.size.map(|size| size + record.size);
    item.names.push(pins::name(T::KIND, &record.key));
    item.records.push(record.path.clone());
}

/// What every blob takes on disk with its record, and when it was last used.
fn blobs_on_disk(store: &Store, stock: &Stock) -> (HashMap<String, u64>, HashMap<String, SystemTime>) {
    let directory = store.root().join("blobs/sha256");
    let sizes =
        stock.blobs.iter().filter_map(|hex| Some((hex.clone(), measure::file_size(&directory.join(hex))?)));
    let mut sizes: HashMap<String, u64> = sizes.collect();
    let mut used = HashMap::new();
    for record in &stock.blob_records {
        if let Some(size) = sizes.get_mut(&record.key) {
            *size += record.size;
            used.insert(record.key.clone(), record.used);
        }
    }
    (sizes, used)
}

/// When something that no record tells of got its name.
fn changed(path: &PathBuf) -> SystemTime {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return SystemTime::UNIX_EPOCH };
    let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
}

/// No chain of parents is longer, unless records lie.
const LONGEST_CHAIN: usize = 4096;

/// Who uses an image uses what it needs, and who uses what a step has made, also what that was built upon.
fn pass_on_use(items: &mut [Item], pinned: &HashSet<String>) {
    for item in &mut *items {
        item.in_use |= item.names.iter().any(|name| pinned.contains(name));
    }
    for index in 0..items.len() {
        let users: Vec<_> = items[index]
            .needed_by
            .iter()
            .map(|image| (items[*image].in_use, items[*image].last_used))
            .collect();
        for (in_use, last_used) in users {
            items[index].in_use |= in_use;
            items[index].last_used = items[index].last_used.max(last_used);
        }
    }
    for index in 0..items.len() {
        let last_used = items[index].last_used;
        let mut depth = 0;
        let mut parent = items[index].parent;
        while let Some(above) = parent.filter(|_| depth < LONGEST_CHAIN) {
            items[above].last_used = items[above].last_used.max(last_used);
            parent = items[above].parent;
            depth += 1;
        }
        items[index].depth = depth;
    }
}
