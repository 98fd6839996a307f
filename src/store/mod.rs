//! What rbuild keeps on disk, shared by any number of processes without a daemon.
//!
//! ```text
//! <root>/
//!   format                   {"version":1}: refused when newer than this program
//!   blobs/sha256/<hex>       compressed layers, configs, manifests, as they came or were sent
//!   snapshots/<id>/          one layer's tree: just its own changes, immutable
//!   caches/<key>.<n>/        what steps keep from one execution to the next
//!   records/<kind>/<key>     small JSON answers: step key ▸ snapshot, diff id ▸ snapshot and blobs, …
//!   records/views/<key>      which snapshots processes can read that move into the same namespace
//!   records/synced           until when the records of which boot have reached the disk
//!   digests/<context>        digests of a context's files: unchanged ones are not read again
//!   locks/<name>             held while something is made that another process may want too
//!   pins/<process>           what a living process works with, locked by it; see `pins`
//!   tmp/<session>/           one process's unfinished work, locked by it; swept when its owner is gone
//!   empty/                   an empty directory, for overlays that need one more
//! ```
//!
//! Invariants: everything is made under `tmp/` and renamed into place, so whatever has a name is whole. Nothing waits
//! for the disk step by step: a record names the boot it was written in and counts in that boot; [`Store::sync`] makes
//! all of them count for good. A process may be killed at any moment.
//!
//! Not here: what the trees and blobs mean (`layer`, `image`), and when a step may be reused (`solve`, `cache`).

mod blob;
mod caches;
mod check;
mod collect;
mod digests;
mod error;
mod following;
mod inventory;
mod layout;
mod lock;
mod measure;
mod pins;
mod prune;
mod record;
mod records;
mod repair;
mod session;
mod snapshots;
mod tag;
mod view;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use blob::{BlobWriter, Blobs, NamelessBlob};
pub use caches::{CacheAbout, CacheFound, CacheKey, CacheKind, CacheUse, HeldCache};
pub use check::{Checked, Depth, Finding, Problem, Repack};
pub use collect::{Collection, Removed};
pub use digests::{Kept, Standing};
pub use error::StoreError;
pub use following::Following;
pub use inventory::{Inventory, Item, Kind};
pub use layout::{LayoutDirectory, LayoutError};
pub use lock::Lock;
pub use prune::{Filter, Limits, NAMELESS_STAYS, PruneRequest, choose};
pub use record::{
    BlobRecord, CopyRecord, DownloadRecord, ImageRecord, ImportRecord, ImportResult, KnownBlob, LayerRecord,
    LinkRecord, ListingRecord, MergedRecord, OperationRecord, Record, SealRecord, SizeRecord, StepRecord,
};
pub use repair::Mended;
pub use session::{Session, Workspace};
pub use snapshots::SnapshotId;
pub use tag::{PlatformTag, Tag};

use crate::image::Digest;
use crate::sys::namespace::read_setting;
use crate::sys::{At, IoError, ownership};
use pins::Pins;
use records::{Reading, Records};
use view::View;

const VERSION: u32 = 1;

/// An opened store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    session: Session,
    records: Records,
    pins: Pins,
    /// Names the id map of this process's user namespace.
    id_map: String,
    /// Which snapshots mean something to it.
    view: View,
}

#[derive(Serialize, Deserialize)]
struct Format {
    version: u32,
}

impl Store {
    /// Opens the store, making it when it is missing.
    pub fn ensure(root: &Path) -> Result<Self, StoreError> {
        make_directory(root)?;
        // A store holds whatever images hold, setuid programs too: it is nobody else's business.
        for directory in ["blobs/sha256", "snapshots", "records", "locks", "pins", "tmp", "empty"] {
            make_directory(&root.join(directory))?;
        }
        // It stands for root file systems without files, which are everybody's.
        let empty = root.join("empty");
        let mode = std::fs::metadata(&empty).at("stat", &empty)?.permissions().mode();
        if mode & 0o7777 != 0o755 {
            std::fs::set_permissions(&empty, Permissions::from_mode(0o755)).at("change mode of", &empty)?;
        }
        check_format(root)?;
        let session = Session::begin(&root.join("tmp"));
        let records = Records::open(root)?;
        let pins = Pins::open(root)?;
        let id_map = id_map();
        let view = View::own(&id_map);
        Ok(Self { root: root.to_owned(), session, records, pins, id_map, view })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn blobs(&self) -> Blobs<'_> {
        Blobs::new(self)
    }

    /// An empty directory that nobody writes to.
    pub fn empty(&self) -> PathBuf {
        self.root.join("empty")
    }

    /// A directory for unfinished work, gone with the value.
    pub fn workspace(&self) -> Result<Workspace, StoreError> {
        self.session.workspace()
    }

    /// Work that removes what processes that are gone have left. It may take long, nothing waits for it, and it does
    /// not keep the store open.
    pub fn sweeping(&self) -> impl FnOnce() -> Result<(), StoreError> + Send + 'static {
        let root = self.root.clone();
        move || sweep(&root)
    }

    /// Reads a record; one that is missing, damaged or lost its boot is none. What it leads to stays as long as this
    /// process lives.
    pub fn record<T: Record>(&self, key: &str) -> Result<Option<T>, StoreError> {
        if !T::PINNED {
            return self.records.read(key);
        }
        self.pins.find(|| {
            let value = self.records.read::<T>(key)?;
            Ok(value.map(|value| {
                let names = names_of(key, &value);
                (value, names)
            }))
        })
    }

    pub fn put_record<T: Record>(&self, key: &str, value: &T) -> Result<(), StoreError> {
        if T::PINNED {
            self.pins.pin(&names_of(key, value))?;
        }
        self.records.write(&self.session, key, value)
    }

    /// Whether a layer is here as a blob, or somebody is said to have it.
    pub fn can_have_blob_of(&self, layer: &LayerRecord) -> Result<bool, StoreError> {
        for known in &layer.blobs {
            if known.is_elsewhere() || self.blobs().size(&known.blob.digest)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Every record of a kind that counts, with its key, in no order. To tell of things is not to use them: they may be
    /// collected at any moment.
    pub fn records<T: Record>(&self) -> Result<Vec<(String, T)>, StoreError> {
        let listed = self.records.list::<T>()?.into_iter();
        let counting = listed.filter_map(|record| match record.value {
            Reading::Counts(value) => Some((record.key, value)),
            Reading::LostItsBoot | Reading::Unreadable => None,
        });
        Ok(counting.collect())
    }

    /// As [`Store::record`], to tell of it and not to use it.
    pub fn look_at_record<T: Record>(&self, key: &str) -> Result<Option<T>, StoreError> {
        self.records.look(key)
    }

    /// Removes a record; says whether there was one.
    pub fn remove_record<T: Record>(&self, key: &str) -> Result<bool, StoreError> {
        self.records.remove(T::KIND, key)
    }

    /// Changes a record that others may change, too.
    pub fn update_record<T: Record + Default>(
        &self,
        key: &str,
        change: impl FnOnce(&mut T),
    ) -> Result<(), StoreError> {
        let _lock = self.lock(&format!("record-{}-{key}", T::KIND))?;
        let mut value = self.record(key)?.unwrap_or_default();
        change(&mut value);
        self.put_record(key, &value)
    }

    /// Whether this process has written a record: then the store has grown.
    pub fn has_written(&self) -> bool {
        self.records.ever_written()
    }

    /// Makes every record written so far count after a loss of power, too. Free when nothing was written.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.records.sync(&self.session)
    }
}

/// Removes what processes that are gone have left.
fn sweep(root: &Path) -> Result<(), StoreError> {
    pins::sweep(root)?;
    lock::sweep(root)?;
    session::sweep(&root.join("tmp"))
}

/// What stands for a record in pins.
fn names_of<T: Record>(key: &str, value: &T) -> Vec<String> {
    let snapshot = value.snapshot().map(|id| pins::name(snapshots::KIND, &id.to_string()));
    std::iter::once(pins::name(T::KIND, key)).chain(snapshot).collect()
}

/// Eight digits for the maps of users and groups.
fn id_map() -> String {
    let map = |file: &str| read_setting(file).unwrap_or_default();
    let maps = if ownership::is_plain() {
        // What lies on the disk is the same as in a namespace where this user alone is root.
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        format!("{}\n{}", single_map(uid).trim(), single_map(gid).trim())
    } else {
        // What belongs to ids that are missing belongs to somebody else on the disk than it once did.
        let missing = if ownership::stand_ins().is_some() { "\nstand-ins" } else { "" };
        format!("{}\n{}{missing}", map("/proc/self/uid_map"), map("/proc/self/gid_map"))
    };
    Digest::of(maps.as_bytes()).short()[..8].to_owned()
}

/// As the kernel writes it.
fn single_map(outside: u32) -> String {
    format!("{:>10} {outside:>10} {:>10}", 0, 1)
}

fn make_directory(path: &Path) -> Result<(), IoError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).at("create directory", path)
}

fn check_format(root: &Path) -> Result<(), StoreError> {
    let path = root.join("format");
    match std::fs::read(&path) {
        Ok(bytes) => match serde_json::from_slice::<Format>(&bytes) {
            Ok(format) if format.version == VERSION => Ok(()),
            Ok(format) => {
                Err(StoreError::Version { root: root.to_owned(), found: format.version, known: VERSION })
            }
            Err(_) => Err(StoreError::Foreign { root: root.to_owned() }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = serde_json::to_vec(&Format { version: VERSION }).expect("a number serialises");
            // Two processes may both find it missing; they write the same.
            let temporary = root.join("tmp").join(format!("format.{}", session::random_name()?));
            let written = std::fs::write(&temporary, text).at("write", &temporary);
            let named = written.and_then(|()| std::fs::rename(&temporary, &path).at("rename to", &path));
            if named.is_err() {
                // It would be taken for something that is just being set up.
                let _ = std::fs::remove_file(&temporary);
            }
            Ok(named?)
        }
        Err(error) => Err(error).at("read", &path)?,
    }
}

#[cfg(test)]
mod tests;
