//! Whether blobs, snapshots and unfinished work are what their names say.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::super::error::StoreError;
use super::super::inventory::Stock;
use super::super::record::Record as _;
use super::super::records::{Listed, Reading};
use super::super::{BlobRecord, LayerRecord, SealRecord, SizeRecord, SnapshotId, Store};
use super::super::{caches, pins, session, snapshots};
use super::{Checked, Problem, Remedy, Repack};
use crate::image::{DiffId, Digest, Hasher};
use crate::sys::At;
use crate::sys::link_owners::LinkOwners;

pub(super) fn check_blobs(
    store: &Store,
    stock: &Stock,
    read: bool,
    checked: &mut Checked,
) -> Result<(), StoreError> {
    let records: HashMap<&str, u64> = stock
        .blob_records
        .iter()
        .filter_map(|listed| match &listed.value {
            Reading::Counts(record) => Some((&*listed.key, record.size)),
            Reading::LostItsBoot | Reading::Unreadable => None,
        })
        .collect();
    checked.blobs = stock.blobs.len();
    for hex in &stock.blobs {
        let (place, pin) = (PathBuf::from("blobs/sha256").join(hex), pins::name(BlobRecord::KIND, hex));
        let (record, path) = (store.records.path(BlobRecord::KIND, hex), store.root().join(&place));
        let Some(expected) = records.get(&**hex) else {
            // Somebody has renamed it and not written the record yet, or has written it just now.
            if !stock.pinned.contains(&pin) && !record.is_file() {
                let remedy = Remedy::Remove { paths: vec![path], unless_pinned: vec![pin] };
                checked.found(Problem::LoneBlob, place, remedy);
            }
            continue;
        };
        if let Some(problem) = blob_problem(&path, hex, *expected, read) {
            let remedy = Remedy::Remove { paths: vec![record, path], unless_pinned: vec![pin] };
            checked.found(problem, place, remedy);
        }
    }
    for listed in &stock.blob_records {
        let path = store.root().join("blobs/sha256").join(&listed.key);
        if matches!(listed.value, Reading::Counts(_)) && !path.exists() {
            let place = PathBuf::from("records").join(BlobRecord::KIND).join(&listed.key);
            let remedy = Remedy::Remove { paths: vec![listed.path.clone()], unless_pinned: Vec::new() };
            checked.found(Problem::BlobMissing, place, remedy);
        }
    }
    Ok(())
}

fn blob_problem(path: &Path, hex: &str, expected: u64, read: bool) -> Option<Problem> {
    let found = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) => return Some(Problem::BlobUnreadable(error.to_string())),
    };
    if found != expected {
        return Some(Problem::BlobSize { expected, found });
    }
    if !read {
        return None;
    }
    match digest_of(path) {
        Ok(found) if found.hex() == hex => None,
        Ok(found) => Some(Problem::BlobContent { found }),
        Err(error) => Some(Problem::BlobUnreadable(error.to_string())),
    }
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

pub(super) fn check_snapshots(
    store: &Store,
    stock: &Stock,
    repack: Option<&Repack<'_>>,
    checked: &mut Checked,
) -> Result<(), StoreError> {
    let led_to = led_to(stock);
    let chains = repack.map(|_| chains(store, stock)).unwrap_or_default();
    checked.snapshots = stock.snapshots.len();
    for id in &stock.snapshots {
        let (place, pin) =
            (PathBuf::from("snapshots").join(id.to_string()), pins::name(snapshots::KIND, &id.to_string()));
        if !store.is_readable(id) {
            checked.foreign += 1;
        } else if !led_to.contains(id) {
            if !stock.pinned.contains(&pin) {
                let remedy = Remedy::Remove { paths: paths_of(store, stock, id), unless_pinned: vec![pin] };
                checked.found(Problem::LoneSnapshot, place, remedy);
            }
        } else if let Some(repack) = repack {
            match changed(store, stock, id, &chains, repack) {
                Proof::Same => checked.repacked += 1,
                Proof::Unknown => checked.unproved += 1,
                Proof::Changed { expected, found } => {
                    checked.repacked += 1;
                    let remedy =
                        Remedy::Remove { paths: paths_of(store, stock, id), unless_pinned: vec![pin] };
                    checked.found(Problem::SnapshotChanged { expected, found }, place, remedy);
                }
            }
        }
    }
    Ok(())
}

enum Proof {
    Same,
    Unknown,
    Changed { expected: DiffId, found: String },
}

fn changed(
    store: &Store,
    stock: &Stock,
    id: &SnapshotId,
    chains: &HashMap<DiffId, Vec<PathBuf>>,
    repack: &Repack<'_>,
) -> Proof {
    let mut proof = Proof::Unknown;
    // One for each time that its times were cut to.
    for listed in &stock.seals {
        let (sealed, latest) = SealRecord::parse_key(&listed.key);
        let Reading::Counts(SealRecord { diff_id, packed: true }) = &listed.value else { continue };
        let Some(below) = chains.get(diff_id).filter(|_| sealed == *id) else { continue };
        match repack(&store.snapshot_path(id), below, latest) {
            Ok(found) if found == *diff_id => proof = Proof::Same,
            Ok(found) => return Proof::Changed { expected: *diff_id, found: found.to_string() },
            Err(why) => return Proof::Changed { expected: *diff_id, found: why },
        }
    }
    proof
}

/// What lies below each layer of an image, uppermost first, where all of it is unpacked here.
fn chains(store: &Store, stock: &Stock) -> HashMap<DiffId, Vec<PathBuf>> {
    let mut unpacked: HashMap<&str, PathBuf> = HashMap::new();
    for listed in &stock.layers {
        if let Reading::Counts(LayerRecord { snapshot: Some(id), .. }) = &listed.value
            && store.has_snapshot(id)
        {
            unpacked.insert(&listed.key, store.snapshot_path(id));
        }
    }
    let mut chains = HashMap::new();
    for config in stock.images.iter().filter_map(|image| store.config(&image.key)) {
        let mut below: Vec<PathBuf> = Vec::new();
        for diff_id in config.rootfs.diff_ids {
            chains.entry(diff_id).or_insert_with(|| below.clone());
            let Some(path) = unpacked.get(&*diff_id.0.hex()) else { break };
            // An overlay has each directory once, where it is uppermost.
            below.retain(|other| other != path);
            below.insert(0, path.clone());
        }
    }
    chains
}

/// The snapshots that records lead to.
fn led_to(stock: &Stock) -> HashSet<SnapshotId> {
    let steps = stock.steps.iter().filter_map(Listed::snapshot);
    let merged = stock.merged.iter().filter_map(Listed::snapshot);
    let layers = stock.layers.iter().filter_map(Listed::snapshot);
    let copies = stock.copies.iter().filter_map(Listed::snapshot);
    steps.chain(merged).chain(copies).chain(layers).cloned().collect()
}

/// A snapshot after the records that tell of it alone.
fn paths_of(store: &Store, stock: &Stock, id: &SnapshotId) -> Vec<PathBuf> {
    let steps = stock.steps.iter().filter(|listed| listed.snapshot() == Some(id)).map(|listed| &listed.path);
    let merged =
        stock.merged.iter().filter(|listed| listed.snapshot() == Some(id)).map(|listed| &listed.path);
    let copies =
        stock.copies.iter().filter(|listed| listed.snapshot() == Some(id)).map(|listed| &listed.path);
    let is_its = |listed: &&Listed<SealRecord>| SealRecord::parse_key(&listed.key).0 == *id;
    let seals = stock.seals.iter().filter(is_its).map(|listed| &listed.path);
    let size = store.records.path(SizeRecord::KIND, &id.to_string());
    let path = store.snapshot_path(id);
    steps
        .chain(merged)
        .chain(copies)
        .chain(seals)
        .cloned()
        .chain([size, LinkOwners::file(&path), path])
        .collect()
}

pub(super) fn check_contexts(store: &Store, stock: &Stock, checked: &mut Checked) {
    for kept in stock.contexts.iter().filter(|kept| kept.about.is_none()) {
        let place = kept.path.strip_prefix(store.root()).unwrap_or(&kept.path);
        let remedy = Remedy::Remove { paths: vec![kept.path.clone()], unless_pinned: Vec::new() };
        checked.found(Problem::UnreadableDigests, place, remedy);
    }
}

/// What is in a cache is nobody's to judge.
pub(super) fn check_caches(stock: &Stock, checked: &mut Checked) {
    checked.caches = stock.caches.len();
    for cache in stock.caches.iter().filter(|cache| cache.about.is_none() && !cache.foreign) {
        let place = PathBuf::from(caches::KIND).join(&cache.name);
        let unless_pinned = vec![pins::name(caches::KIND, &cache.name)];
        let remedy = Remedy::Remove { paths: vec![cache.path.clone()], unless_pinned };
        checked.found(Problem::UnknownCache, place, remedy);
    }
}

pub(super) fn check_left_overs(store: &Store, checked: &mut Checked) -> Result<(), StoreError> {
    let root = store.root();
    for path in session::all_abandoned(&root.join("tmp"))? {
        checked.found(Problem::WorkOfNobody, path.strip_prefix(root).unwrap_or(&path), Remedy::Sweep);
    }
    let locks = root.join("locks");
    for entry in std::fs::read_dir(&locks).at("read directory", &locks)? {
        let entry = entry.at("read directory", &locks)?;
        // Not by taking it as a maker would: that removes the file.
        let is_free = File::open(entry.path()).is_ok_and(|file| file.try_lock_shared().is_ok());
        if let Ok(name) = entry.file_name().into_string()
            && is_free
            && entry.path().exists()
        {
            checked.found(
                Problem::LockOfNobody,
                Path::new("locks").join(&name),
                Remedy::ReleaseLock { name },
            );
        }
    }
    Ok(())
}
