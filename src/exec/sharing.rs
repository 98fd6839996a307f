//! What a COPY need not copy: files that an earlier COPY like it has copied already, and that have not changed since.
//!
//! Snapshots never change, so a file may have names in several of them. A file of the earlier snapshot gets a further
//! name in the new one if it is, in every respect that a layer shows, what copying would make: kind, mode, owner, time,
//! attributes, and bytes. The bytes are the same if the source is the very file, unchanged, that the earlier one was
//! copied from, which is known by the rules of [`Remembered`]; where that is not known both are read and compared, which
//! is still less work than to write one.
//!
//! What an earlier COPY was like is only a hint where to look: nothing is believed of it.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, linkat, openat};

use super::owner::Owner;
use crate::context::{Entry, Instant, KnownDigests, Origin, Remembered as _, StatKey, Tree};
use crate::graph::CopyOp;
use crate::image::Digest;
use crate::store::{CopyRecord, SizeRecord, SnapshotId, Standing, Store, StoreError};
use crate::sys::attributes;
use crate::sys::rooted::Root;

/// The files of one COPY from the context.
#[derive(Debug)]
pub(super) struct Sharing {
    context: Arc<Tree>,
    path: PathBuf,
    /// What this COPY and those like it are known by.
    name: String,
    earlier: Option<Earlier>,
    /// Where to files were copied that are still there, and what their sources were then.
    copied: Mutex<HashMap<PathBuf, StatKey>>,
    files: AtomicUsize,
    bytes: AtomicU64,
    began: Instant,
}

/// What copying a file would make, beside its bytes and attributes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub owner: Owner,
    pub mode: u32,
}

/// What one thread that copies keeps from file to file.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// The directory of the earlier COPY that was looked into last, if there is one at that place.
    directory: Option<(PathBuf, Option<OwnedFd>)>,
    compared: [Vec<u8>; 2],
}

/// Less is copied faster than shared.
const FEWEST_FILES: usize = 32;
const FEWEST_BYTES: u64 = 1 << 20;

impl Sharing {
    /// Looks for an earlier COPY that was like this one; not where everything is to be made anew.
    pub(super) fn find(
        store: &Store,
        op: &CopyOp,
        context: &Arc<Tree>,
        anew: bool,
    ) -> Result<Self, StoreError> {
        let path = std::path::absolute(context.path()).unwrap_or_else(|_| context.path().to_owned());
        let name = Digest::of(format!("{} {op:?}", path.display()).as_bytes()).hex();
        let earlier = if anew { None } else { store.record::<CopyRecord>(&name)? };
        let earlier = earlier.filter(|record| store.has_snapshot(&record.snapshot));
        let earlier = earlier.and_then(|record| Earlier::open(store, &name, record.snapshot));
        let began =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos().cast_signed());
        let context = Arc::clone(context);
        let (copied, files, bytes) = Default::default();
        Ok(Self { context, path, name, earlier, copied, files, bytes, began })
    }

    /// Gives a place a further name of the file that the earlier COPY has made there, if that is what copying would make.
    pub(super) fn take(
        &self,
        entry: &Entry,
        wanted: Wanted,
        parent: &OwnedFd,
        target: &Path,
        desk: &mut Desk,
    ) -> bool {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(entry.metadata.size, Ordering::Relaxed);
        let Some(earlier) = self.earlier.as_ref().filter(|_| self.context.has(entry)) else { return false };
        let key = self.context.key(entry).filter(|key| key.settled(self.began));
        let shared = earlier.has_same(entry, key.as_ref(), wanted, target, &self.context, desk)
            && give(desk, parent, target);
        if let (true, Some(key)) = (shared, key) {
            self.all_copied().insert(target.to_owned(), key);
        }
        shared
    }

    /// Notes that a file was copied to a place, from a source that was not changed meanwhile.
    pub(super) fn copied(&self, entry: &Entry, target: &Path) {
        if let Some(key) = self.context.key(entry).filter(|key| key.settled(self.began)) {
            self.all_copied().insert(target.to_owned(), key);
        }
    }

    /// Notes that the file that was copied to a place is replaced.
    pub(super) fn forget(&self, target: &Path) {
        self.all_copied().remove(target);
    }

    /// As [`Sharing::forget`], with all that is below.
    pub(super) fn forget_below(&self, place: &Path) {
        self.all_copied().retain(|copied, _| !copied.starts_with(place));
    }

    fn all_copied(&self) -> MutexGuard<'_, HashMap<PathBuf, StatKey>> {
        self.copied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before the new snapshot has its name.
    pub(super) fn begin_to_count(&self, store: &Store) -> Result<(), StoreError> {
        // The earlier snapshot does not have its files for itself any more, so its size has to be measured anew.
        if let Some(earlier) = self.earlier.as_ref().filter(|earlier| !earlier.given().is_empty()) {
            store.remove_record::<SizeRecord>(&earlier.snapshot.to_string())?;
        }
        Ok(())
    }

    /// Remembers what a COPY has made, for the next one like it.
    pub(super) fn keep(&self, store: &Store, snapshot: &SnapshotId) -> Result<(), StoreError> {
        let (files, bytes) = (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        if files < FEWEST_FILES && bytes < FEWEST_BYTES {
            return Ok(());
        }
        let known = KnownDigests::nothing();
        for (target, key) in self.all_copied().iter() {
            known.put(*key, copy(snapshot, target));
        }
        if let Some(bytes) = known.to_bytes() {
            let about = format!("files copied from {}", self.path.display());
            store.keep_digests(&self.name, &about, &bytes)?;
        }
        store.put_record(&self.name, &CopyRecord { snapshot: snapshot.clone() })
    }
}

/// What the memory has of a source: that its copy lies at this place of this snapshot.
fn copy(snapshot: &SnapshotId, target: &Path) -> Digest {
    Digest::of(&[snapshot.to_string().as_bytes(), b"\0", target.as_os_str().as_bytes()].concat())
}

/// What an earlier COPY has made.
#[derive(Debug)]
struct Earlier {
    snapshot: SnapshotId,
    root: Root,
    sources: KnownDigests,
    /// Files that have got a further name: none gets two, which would be a hard link within the layer.
    given: Mutex<HashSet<(u64, u64)>>,
}

impl Earlier {
    fn open(store: &Store, name: &str, snapshot: SnapshotId) -> Option<Self> {
        let root = Root::open(&store.snapshot_path(&snapshot)).ok()?;
        let sources = store.kept_digests(name).map_or_else(KnownDigests::nothing, |kept| {
            let of_this_boot = kept.standing == Standing::ThisBoot;
            let origin = Origin { of_this_boot, device_then: kept.device_then, device_now: kept.device_now };
            KnownDigests::from_bytes(&kept.bytes, origin)
        });
        Some(Self { snapshot, root, sources, given: Mutex::default() })
    }

    fn has_same(
        &self,
        entry: &Entry,
        key: Option<&StatKey>,
        wanted: Wanted,
        target: &Path,
        context: &Tree,
        desk: &mut Desk,
    ) -> bool {
        let Some(name) = target.file_name() else { return false };
        self.enter(target.parent().unwrap_or(Path::new("/")), desk);
        let Some((_, Some(directory))) = &desk.directory else { return false };
        let Ok(stat) = crate::sys::ownership::stat_at(directory, name) else { return false };
        if !is_as_wanted(&stat, entry, wanted) || self.given().contains(&(stat.st_dev, stat.st_ino)) {
            return false;
        }
        let is_known = key.and_then(|key| self.sources.get(key)) == Some(copy(&self.snapshot, target));
        let is_same = is_known
            || compare(entry, directory, name, context, &mut desk.compared).is_ok_and(|is_same| is_same);
        is_same && self.given().insert((stat.st_dev, stat.st_ino))
    }

    fn enter(&self, parent: &Path, desk: &mut Desk) {
        if desk.directory.as_ref().is_none_or(|(path, _)| path != parent) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let opened = self.root.open_at(parent, flags, Mode::empty()).ok();
            desk.directory = Some((parent.to_owned(), opened));
        }
    }

    fn given(&self) -> MutexGuard<'_, HashSet<(u64, u64)>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a file of the directory that was looked into last a further name.
fn give(desk: &Desk, parent: &OwnedFd, target: &Path) -> bool {
    let (Some((_, Some(directory))), Some(name)) = (&desk.directory, target.file_name()) else {
        return false;
    };
    // A file cannot have any number of names: then it is copied, and the copy can have as many.
    linkat(directory, name, parent, name, AtFlags::empty()).is_ok()
}

fn is_as_wanted(stat: &Stat, entry: &Entry, wanted: Wanted) -> bool {
    let metadata = &entry.metadata;
    let modified = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_mode & 0o7777 == wanted.mode & 0o7777
        && (stat.st_uid, stat.st_gid) == (wanted.owner.uid, wanted.owner.gid)
        && stat.st_size.cast_unsigned() == metadata.size
        && modified == metadata.modified
}

const AT_ONCE: usize = 128 << 10;

/// Whether a file that was copied earlier has the bytes and the attributes of a source.
fn compare(
    entry: &Entry,
    directory: &OwnedFd,
    name: &OsStr,
    context: &Tree,
    buffers: &mut [Vec<u8>; 2],
) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut earlier = File::from(openat(directory, name, flags, Mode::empty())?);
    let mut source = entry.open().map_err(|error| error.source)?;
    if !attributes::are_as_copied(&source, &earlier) {
        return Ok(false);
    }
    let [ours, theirs] = buffers;
    ours.resize(AT_ONCE, 0);
    theirs.resize(AT_ONCE, 0);
    loop {
        let (one, other) = (fill(&mut source, ours)?, fill(&mut earlier, theirs)?);
        if ours[..one] != theirs[..other] {
            return Ok(false);
        }
        if one < ours.len() {
            return Ok(context.is_still(entry, &source));
        }
    }
}

/// Reads until the buffer is full or the file is over.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
