//! Taking away what is not needed any more. The protocol, and why nothing is lost, stands in `pins`.

use std::collections::HashSet;
use std::io;
use std::time::{Duration, Instant};

use super::error::StoreError;
use super::inventory::{Inventory, Item};
use super::lock;
use super::pins::Closed;
use super::records::Reading;
use super::session::Trash;
use super::{
    BlobRecord, CacheFound, DownloadRecord, ImageRecord, ImportRecord, LayerRecord, LinkRecord,
    ListingRecord, OperationRecord, PlatformTag, Record as _, StepRecord, Store, caches, pins,
};
use crate::image::Digest;
use crate::sys::At;
use crate::sys::disk::Refusal;
use crate::sys::link_owners::LinkOwners;

/// For how long a bite keeps others waiting, about.
const BITE: Duration = Duration::from_millis(4);
/// What is not older may be about something that is just being made.
const JUST_NOW: Duration = Duration::from_secs(3600);
/// How long others have the gate for themselves between bites.
const PAUSE: Duration = Duration::from_millis(1);

/// The right to collect; one process has it at a time.
#[derive(Debug)]
pub struct Collection<'a> {
    store: &'a Store,
    trash: Trash,
    _right: lock::Right,
}

/// What became of a choice.
#[derive(Debug, Clone, Default)]
pub struct Removed {
    /// What is gone, as indexes.
    pub items: Vec<usize>,
    pub bytes: u64,
    /// How many were chosen and are in use by now.
    pub spared: usize,
}

impl Store {
    /// Begins a collection, after the one that may be going on.
    pub fn collect(&self) -> Result<Collection<'_>, StoreError> {
        Collection::begin(self, lock::Right::wait(self.root())?)
    }

    /// Begins a collection unless one is going on.
    pub fn try_collect(&self) -> Result<Option<Collection<'_>>, StoreError> {
        lock::Right::unless_taken(self.root())?.map(|right| Collection::begin(self, right)).transpose()
    }

    /// What the store's file system has left for this user.
    pub fn free_space(&self) -> Result<u64, StoreError> {
        let space = rustix::fs::statvfs(self.root()).at("stat the file system of", self.root())?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

impl<'a> Collection<'a> {
    fn begin(store: &'a Store, right: lock::Right) -> Result<Self, StoreError> {
        match Closed::wait(store.root())?.forget_the_gone() {
            // Who can remove nothing may look, and pins that are not needed any more only hide what could go.
            Err(error) if error.refusal() == Some(Refusal::ReadOnly) => {}
            answer => answer?,
        }
        Ok(Self { store, trash: Trash::begin(&store.root().join("tmp")), _right: right })
    }

    /// Takes stock; only what was taken stock of within a collection may be removed in it.
    pub fn inventory(&self) -> Result<Inventory, StoreError> {
        self.store.inventory()
    }

    pub(super) fn store(&self) -> &Store {
        self.store
    }

    /// Moves the chosen items into the trash, but for those that are in use by now. Who swept next frees their space.
    pub fn remove(&self, inventory: &Inventory, choice: &[usize]) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        let mut gone = HashSet::new();
        let mut owners = inventory.blobs.clone();
        let mut rest = choice.iter().copied();
        while rest.len() > 0 {
            self.bite(|pinned, is_over| {
                for index in rest.by_ref() {
                    let item = &inventory.items[index];
                    let is_held = item.cache.as_ref().is_some_and(|name| self.store.is_held_still(name));
                    let is_pinned = is_held || item.names.iter().any(|name| pinned.contains(name));
                    if is_pinned || !item.needed_by.iter().all(|image| gone.contains(image)) {
                        removed.spared += 1;
                        continue;
                    }
                    removed.bytes += self.take(item, &mut owners)?;
                    removed.items.push(index);
                    gone.insert(index);
                    if is_over() {
                        break;
                    }
                }
                Ok(())
            })?;
        }
        self.forget_what_leads_nowhere()?;
        Ok(removed)
    }

    /// Removes other ways to results that are gone, and what was noted of them, as many as can be done at once.
    fn forget_what_leads_nowhere(&self) -> Result<(), StoreError> {
        let records = &self.store.records;
        let steps = records.list::<StepRecord>()?;
        let steps = steps.iter().filter_map(|step| match &step.value {
            Reading::Counts(record) => Some(record),
            Reading::LostItsBoot | Reading::Unreadable => None,
        });
        let (mut contents, mut operations) = (HashSet::new(), HashSet::new());
        for step in steps {
            contents.extend(step.contents.iter().flatten().map(Digest::hex));
            operations.insert(Digest::of(step.definition.as_bytes()).hex());
        }
        // Whoever has just made a step has noted its contents and its operation before.
        let old = |used: std::time::SystemTime| used.elapsed().is_ok_and(|age| age > JUST_NOW);
        let listings = records.list::<ListingRecord>()?.into_iter();
        for listing in listings.filter(|listing| !contents.contains(&listing.key) && old(listing.used)) {
            remove_file(&listing.path)?;
        }
        let (links, imports) = (records.list::<LinkRecord>()?, records.list::<ImportRecord>()?);
        for operation in records.list::<OperationRecord>()? {
            let is_imported = matches!(&operation.value, Reading::Counts(record) if record.imported);
            let may_lead = operations.contains(&operation.key) || is_imported && !imports.is_empty();
            if !may_lead && old(operation.used) {
                remove_file(&operation.path)?;
            }
        }
        let downloads = records.list::<DownloadRecord>()?;
        let platform_tags = records.list::<PlatformTag>()?;
        let has = |kind: &str, key: &str| records.path(kind, key).exists();
        self.bite(|pinned, is_over| {
            let is_free = |kind, key: &str| !pinned.contains(&pins::name(kind, key));
            for import in imports {
                let Reading::Counts(record) = &import.value else { continue };
                let is_lost = record.layers().iter().any(|layer| !has(LayerRecord::KIND, &layer.0.hex()));
                if is_lost && is_free(ImportRecord::KIND, &import.key) && !is_over() {
                    remove_file(&import.path)?;
                }
            }
            for link in links {
                let Reading::Counts(record) = &link.value else { continue };
                let to = record.to.hex();
                let leads = has(StepRecord::KIND, &to) || has(ImportRecord::KIND, &to);
                if !leads && is_free(LinkRecord::KIND, &link.key) && !is_over() {
                    remove_file(&link.path)?;
                }
            }
            for tag in platform_tags {
                let Reading::Counts(record) = &tag.value else { continue };
                if !has(ImageRecord::KIND, &record.image.0.hex()) && !is_over() {
                    remove_file(&tag.path)?;
                }
            }
            for download in downloads {
                let Reading::Counts(record) = &download.value else { continue };
                let leads = has(StepRecord::KIND, &record.step.hex());
                if !leads && is_free(DownloadRecord::KIND, &download.key) && !is_over() {
                    remove_file(&download.path)?;
                }
            }
            Ok(())
        })
    }

    /// One passage through the exclusive gate. The work gets the names that are pinned, and may ask whether it has
    /// taken its time.
    pub(super) fn bite<T>(
        &self,
        work: impl FnOnce(&HashSet<String>, &dyn Fn() -> bool) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let closed = Closed::wait(self.store.root())?;
        let began = Instant::now();
        let result = work(&closed.pinned()?, &|| began.elapsed() > BITE);
        drop(closed);
        std::thread::sleep(PAUSE);
        result
    }

    /// What leads to a thing goes first: who is killed here leaves nothing that leads nowhere.
    fn take(
        &self,
        item: &Item,
        owners: &mut std::collections::HashMap<String, (u64, usize)>,
    ) -> Result<u64, StoreError> {
        let mut bytes = item.size.unwrap_or(0);
        for record in &item.records {
            remove_file(record)?;
        }
        for hex in &item.blobs {
            let Some((size, owners)) = owners.get_mut(hex) else { continue };
            *owners -= 1;
            if *owners == 0 {
                self.take_blob(hex)?;
            } else {
                // It stays, and counts where it is still needed.
                bytes = bytes.saturating_sub(*size);
            }
        }
        if let Some(name) = &item.cache {
            self.trash.take(&self.store.cache_path(name))?;
        }
        if let Some(id) = &item.snapshot {
            let path = self.store.snapshot_path(id);
            self.trash.take(&path)?;
            self.trash.take(&LinkOwners::file(&path))?;
        }
        Ok(bytes)
    }

    /// Moves caches into the trash, but for those that somebody works with. Says how many are gone.
    pub fn remove_caches(&self, found: &[&CacheFound]) -> Result<usize, StoreError> {
        let mut removed = 0;
        for cache in found {
            self.bite(|pinned, _| {
                let is_pinned = pinned.contains(&pins::name(caches::KIND, &cache.name));
                if !is_pinned && !self.store.is_held_still(&cache.name) {
                    self.trash.take(&self.store.cache_path(&cache.name))?;
                    removed += 1;
                }
                Ok(())
            })?;
        }
        Ok(removed)
    }

    pub(super) fn take_blob(&self, hex: &str) -> Result<(), StoreError> {
        remove_file(&self.store.records.path(BlobRecord::KIND, hex))?;
        self.trash.take(&self.store.root().join("blobs/sha256").join(hex))
    }

    pub(super) fn trash(&self) -> &Trash {
        &self.trash
    }
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        // What does not work now is done when the next one begins.
        if let Ok(closed) = Closed::wait(self.store.root()) {
            let _ = closed.forget_the_gone();
        }
    }
}

pub(super) fn remove_file(path: &std::path::Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        answer => Ok(answer.at("remove", path)?),
    }
}

#[cfg(test)]
mod tests;
