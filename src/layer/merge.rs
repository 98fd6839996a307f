//! Chains with more layers than the kernel puts on top of each other: the lowest become one.

use std::path::PathBuf;

use super::error::LayerError;
use crate::image::Digest;
use crate::snapshot::flatten;
use crate::store::{MergedRecord, SnapshotId, Store};

/// The kernel's limit for the directories of one overlay, less one for mount points.
const MOST: usize = 499;
/// The lowest are merged in steps of this many, so that the next longer chains find them merged.
const STEP: usize = 250;

pub(super) fn too_many(chain: &[PathBuf]) -> bool {
    chain.len() > MOST
}

/// The same chain, uppermost first, with as few of its lowest layers merged as it takes. They are merged once: the result
/// is kept as a snapshot. Blocks the thread.
pub(super) fn bounded(store: &Store, mut chain: Vec<PathBuf>) -> Result<Vec<PathBuf>, LayerError> {
    let lowest = chain.split_off(chain.len() - merged_count(chain.len()));
    let names: Vec<_> = lowest.iter().map(|path| path.file_name().unwrap_or_default()).collect();
    let key = Digest::of(names.join("/".as_ref()).as_encoded_bytes()).hex();
    let find = || -> Result<Option<SnapshotId>, LayerError> {
        let known = store.record::<MergedRecord>(&key)?;
        Ok(known.map(|record| record.snapshot).filter(|snapshot| store.has_snapshot(snapshot)))
    };
    let snapshot = match find()? {
        Some(snapshot) => snapshot,
        None => {
            // Another step or process may be at it just now.
            let _lock = store.lock(&format!("merged-{key}"))?;
            match find()? {
                Some(snapshot) => snapshot,
                None => merge(store, &lowest, &key)?,
            }
        }
    };
    chain.push(store.snapshot_path(&snapshot));
    Ok(chain)
}

fn merge(store: &Store, lowest: &[PathBuf], key: &str) -> Result<SnapshotId, LayerError> {
    let workspace = store.workspace()?;
    let directory = workspace.directory("diff")?;
    flatten(lowest, &directory)?;
    let snapshot = store.adopt_snapshot(&directory)?;
    let recorded = store.put_record(key, &MergedRecord { snapshot: snapshot.clone() });
    recorded.inspect_err(|_| store.discard_snapshot(&snapshot))?;
    Ok(snapshot)
}

/// How many of so many layers become one.
fn merged_count(layers: usize) -> usize {
    // One more than the surplus, because what they become counts, too.
    (layers + 1).saturating_sub(MOST).next_multiple_of(STEP).min(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_chains_share_what_is_merged() {
        assert_eq!([500, 600, 748].map(merged_count), [250; 3]);
        assert_eq!([749, 998].map(merged_count), [500; 2]);
        for layers in MOST + 1..3000 {
            let merged = merged_count(layers);
            assert!(layers - merged < MOST && merged > 1, "{layers}: {merged}");
        }
    }
}
