//! Mending what a check has found: what is wrong is removed, so that it is made or fetched again.

use std::path::PathBuf;

use super::check::{Checked, Depth, Finding, Remedy};
use super::collect::Collection;
use super::error::StoreError;
use super::{ImageRecord, LayerRecord, Store, sweep};

/// What became of a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    pub finding: Finding,
    /// What was done; none if a living process is in the way.
    pub done: Option<String>,
}

/// What is removed may be what something else leads to: that is found in the next round.
const MOST_ROUNDS: usize = 6;

impl Store {
    /// Checks and mends until nothing can be mended any more. Returns what was done, and what the last check has found.
    pub fn repair(
        &self,
        collection: &Collection<'_>,
        depth: &Depth<'_>,
    ) -> Result<(Vec<Mended>, Checked), StoreError> {
        let mut mended: Vec<Mended> = Vec::new();
        let mut checked = self.check(collection, depth)?;
        for _ in 0..MOST_ROUNDS {
            let before = mended.len();
            for finding in std::mem::take(&mut checked.findings) {
                let done = self.mend(collection, &finding.remedy)?;
                if done.is_some() || !mended.iter().any(|other| other.finding == finding) {
                    mended.push(Mended { finding, done });
                }
            }
            let progress = mended[before..].iter().any(|mended| mended.done.is_some());
            // Content that was read once need not be read again.
            let quick = Depth { blobs: false, repack: None };
            let next = self.check(collection, &quick)?;
            checked.findings = next.findings;
            if !progress || checked.findings.is_empty() {
                break;
            }
        }
        // What nobody could mend is still there, also where only a close look shows it.
        for stuck in mended.iter().filter(|mended| mended.done.is_none()) {
            if !checked.findings.contains(&stuck.finding) {
                checked.findings.push(stuck.finding.clone());
            }
        }
        Ok((mended, checked))
    }

    fn mend(&self, collection: &Collection<'_>, remedy: &Remedy) -> Result<Option<String>, StoreError> {
        match remedy {
            Remedy::Remove { paths, unless_pinned } => collection.bite(|pinned, _| {
                if unless_pinned.iter().any(|name| pinned.contains(name)) {
                    return Ok(None);
                }
                paths.iter().try_for_each(|path| collection.trash().take(path))?;
                Ok(Some(format!("removed {}", list(self, paths))))
            }),
            Remedy::ForgetSnapshot { layer } => {
                self.update_record(layer, |record: &mut LayerRecord| {
                    record.snapshot.take_if(|id| !self.snapshot_path(id).is_dir());
                })?;
                Ok(Some("noted that it is not unpacked".to_owned()))
            }
            Remedy::ForgetManifest { image } => {
                self.put_record(image, &ImageRecord::default())?;
                Ok(Some("noted that there is no manifest".to_owned()))
            }
            Remedy::Sweep => {
                sweep(self.root())?;
                Ok(Some("removed it".to_owned()))
            }
            Remedy::ReleaseLock { name } => {
                // Who takes a lock removes its file at the end.
                Ok(self.try_lock(name)?.map(|_| "removed it".to_owned()))
            }
        }
    }
}

fn list(store: &Store, paths: &[PathBuf]) -> String {
    let inside = |path: &PathBuf| path.strip_prefix(store.root()).unwrap_or(path).display().to_string();
    let names: Vec<String> = paths.iter().map(inside).collect();
    match &names[..] {
        [first, .., last] if names.len() > 3 => format!("{first}, … and {last}"),
        _ => names.join(", "),
    }
}
