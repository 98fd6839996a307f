//! From sealed layers, a config and a history to an image.

use crate::exec::{Key, Output};
use crate::export::{Image, ImageLayer};
use crate::graph::VertexId;
use crate::image::{Annotations, Config, HistoryEntry, RootFs, Timestamp};
use crate::plan::Plan;
use crate::solve::Solution;

/// The mark of history entries for layers that no instruction accounts for.
const EXPORTER: &str = "buildkit.exporter.image.v0";

pub(super) fn assemble(
    plan: &Plan,
    solution: &Solution<Key, Output>,
    layers: Vec<ImageLayer>,
    cache: Option<String>,
    annotations: &Annotations,
) -> Image {
    let mut config = plan.config.clone();
    let base_layers = config.rootfs.diff_ids.len();
    account_for(&mut config.history, base_layers);
    config.history.extend(new_history(plan, solution));
    let epoch = plan.epoch.map(Timestamp::from_seconds);
    config.created = epoch.or_else(|| config.history.last().and_then(|entry| entry.created));
    let diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    config.cache = cache;
    config.rootfs = RootFs { kind: "layers".to_owned(), diff_ids };
    Image { config: config.to_bytes(), layers, annotations: annotations.clone(), manifest: None }
}

/// Makes a base's history say as many layers as it has: some tools write none, or too many.
fn account_for(history: &mut Vec<HistoryEntry>, layers: usize) {
    let mut said = 0;
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        said += 1;
        entry.empty_layer = said > layers;
    }
    for _ in said..layers {
        history.push(HistoryEntry {
            created_by: Some(EXPORTER.to_owned()),
            comment: Some(EXPORTER.to_owned()),
            ..HistoryEntry::default()
        });
    }
}

/// What the Dockerfile adds. Entries without a layer get the time of the layer before them, the first ones that of the
/// first layer: so a build that is all cached gives the same image again.
fn new_history(plan: &Plan, solution: &Solution<Key, Output>) -> Vec<HistoryEntry> {
    let made = |vertex: VertexId| solution.output(vertex).and_then(|output| output.files()?.created);
    let first = plan.history.iter().find_map(|item| item.layer.and_then(made));
    let mut latest: Option<Timestamp> = first.or_else(|| last_time(&plan.config));
    let epoch = plan.epoch.map(Timestamp::from_seconds);
    let mut entries = Vec::with_capacity(plan.history.len());
    for item in &plan.history {
        latest = item.layer.and_then(made).or(latest);
        entries.push(HistoryEntry { created: epoch.or(latest), ..item.entry.clone() });
    }
    entries
}

fn last_time(base: &Config) -> Option<Timestamp> {
    base.history.iter().rev().find_map(|entry| entry.created)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_accounts_for_every_layer() {
        let entry = |empty_layer| HistoryEntry { empty_layer, ..HistoryEntry::default() };
        let layers = |history: &[HistoryEntry]| history.iter().filter(|entry| !entry.empty_layer).count();
        for (mut history, wanted) in
            [(vec![], 2), (vec![entry(false), entry(true)], 2), (vec![entry(false), entry(false)], 1)]
        {
            account_for(&mut history, wanted);
            assert_eq!(layers(&history), wanted);
        }
    }
}
