//! Whether records lead to what is there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::inventory::Stock;
use super::super::record::Record;
use super::super::records::{Listed, Reading};
use super::super::{ImageRecord, LayerRecord, SealRecord, Store, Tag};
use super::{Checked, Problem, Remedy};
use crate::image::{DiffId, Digest};

pub(super) fn check(store: &Store, stock: &Stock, checked: &mut Checked) {
    let links = Links { store, stock };
    links.readable(&stock.steps, checked);
    links.readable(&stock.links, checked);
    links.readable(&stock.imports, checked);
    links.readable(&stock.downloads, checked);
    links.readable(&stock.platform_tags, checked);
    links.readable(&stock.merged, checked);
    links.readable(&stock.copies, checked);
    links.readable(&stock.seals, checked);
    links.readable(&stock.sizes, checked);
    links.readable(&stock.layers, checked);
    links.readable(&stock.images, checked);
    links.readable(&stock.blob_records, checked);
    links.readable(&stock.tags, checked);
    links.results(&stock.steps, checked);
    links.results(&stock.merged, checked);
    links.results(&stock.copies, checked);
    links.of_snapshots(&stock.seals, checked);
    links.of_snapshots(&stock.sizes, checked);
    links.layers(checked);
    links.images(checked);
    links.tags(checked);
}

struct Links<'a> {
    store: &'a Store,
    stock: &'a Stock,
}

/// Records that count.
fn counting<T>(listed: &[Listed<T>]) -> impl Iterator<Item = (&Listed<T>, &T)> {
    listed.iter().filter_map(|record| match &record.value {
        Reading::Counts(value) => Some((record, value)),
        Reading::LostItsBoot | Reading::Unreadable => None,
    })
}

impl Links<'_> {
    fn place(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.store.root()).unwrap_or(path).to_owned()
    }

    /// Whether something is there now: it may have been made after stock was taken, or taken away before.
    fn has_blob(&self, hex: &str) -> bool {
        self.store.root().join("blobs/sha256").join(hex).is_file()
    }

    fn readable<T: Record>(&self, listed: &[Listed<T>], checked: &mut Checked) {
        checked.records += listed.len();
        for record in listed {
            let problem = match record.value {
                Reading::Counts(_) => continue,
                Reading::LostItsBoot => Problem::RecordOfALostBoot,
                Reading::Unreadable => Problem::UnreadableRecord,
            };
            checked.found(problem, self.place(&record.path), remove(&record.path));
        }
    }

    fn results<T: Record>(&self, listed: &[Listed<T>], checked: &mut Checked) {
        for record in listed {
            if let Some(snapshot) = record.snapshot()
                && !self.store.snapshot_path(snapshot).is_dir()
            {
                let problem = Problem::ResultWithoutSnapshot(snapshot.to_string());
                checked.found(problem, self.place(&record.path), remove(&record.path));
            }
        }
    }

    fn of_snapshots<T: Record>(&self, listed: &[Listed<T>], checked: &mut Checked) {
        for (record, _) in counting(listed) {
            if !self.store.snapshot_path(&SealRecord::parse_key(&record.key).0).is_dir() {
                checked.found(Problem::RecordOfNothing, self.place(&record.path), remove(&record.path));
            }
        }
    }

    fn layers(&self, checked: &mut Checked) {
        for (listed, record) in counting(&self.stock.layers) {
            if let Some(id) = &record.snapshot
                && !self.store.snapshot_path(id).is_dir()
            {
                let remedy = Remedy::ForgetSnapshot { layer: listed.key.clone() };
                checked.found(
                    Problem::LayerWithoutSnapshot(id.to_string()),
                    self.place(&listed.path),
                    remedy,
                );
            }
        }
    }

    fn images(&self, checked: &mut Checked) {
        let layers: HashMap<&str, &LayerRecord> =
            counting(&self.stock.layers).map(|(listed, record)| (&*listed.key, record)).collect();
        for (listed, record) in counting(&self.stock.images) {
            let place = self.place(&listed.path);
            // Read anew: a config blob that was taken stock of as damaged is none.
            let Some(config) = self.store.config(&listed.key) else {
                checked.found(Problem::ImageWithoutConfig, place, self.without_image(listed));
                continue;
            };
            if let Some(manifest) = &record.manifest
                && !self.has_blob(&manifest.digest.hex())
            {
                let remedy = Remedy::ForgetManifest { image: listed.key.clone() };
                checked.found(Problem::ImageWithoutManifest(manifest.digest), place.clone(), remedy);
            }
            let lost = |diff_id: &&DiffId| {
                !layers.get(&*diff_id.0.hex()).is_some_and(|layer| self.can_be_had(layer))
            };
            if let Some(lost) = config.rootfs.diff_ids.iter().find(lost) {
                checked.found(Problem::ImageWithoutLayer(*lost), place, self.without_image(listed));
            }
        }
    }

    /// Whether a layer is here, or somebody is said to have it.
    fn can_be_had(&self, layer: &LayerRecord) -> bool {
        layer.snapshot.as_ref().is_some_and(|id| self.store.snapshot_path(id).is_dir())
            || layer
                .blobs
                .iter()
                .any(|known| !known.sources.is_empty() || self.has_blob(&known.blob.digest.hex()))
    }

    /// The names of an image go first, then its record, then its config.
    fn without_image(&self, image: &Listed<ImageRecord>) -> Remedy {
        let tags = counting(&self.stock.tags).filter(|(_, tag)| tag.image.0.hex() == image.key);
        let paths = tags.map(|(listed, _)| listed.path.clone()).chain([image.path.clone()]);
        Remedy::Remove { paths: paths.collect(), unless_pinned: Vec::new() }
    }

    fn tags(&self, checked: &mut Checked) {
        for (listed, Tag { name, image }) in counting(&self.stock.tags) {
            let place = self.place(&listed.path);
            if Digest::of(name.as_bytes()).hex() != listed.key {
                checked.found(Problem::TagMisplaced(name.clone()), place, remove(&listed.path));
                continue;
            }
            // One that cannot be read is a finding itself, and the tag will be one when that is gone.
            let path = self.store.records.path(ImageRecord::KIND, &image.0.hex());
            if !path.is_file() {
                let problem = Problem::TagWithoutImage { name: name.clone(), image: *image };
                checked.found(problem, place, remove(&listed.path));
            }
        }
    }
}

fn remove(path: &Path) -> Remedy {
    Remedy::Remove { paths: vec![path.to_owned()], unless_pinned: Vec::new() }
}
