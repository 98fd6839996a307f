//! The cache that an image carries in its own config: records alone, whose layers are the image's.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::document::{CacheConfig, ConfigChain, ConfigLayer, ConfigRecord, ConfigResult, as_go_writes};
use super::outgoing::{OutRecord, Outgoing};
use crate::image::DiffId;

/// The key of an image's config that holds a cache.
pub const INLINE_KEY: &str = "moby.buildkit.cache.v0";

impl Outgoing {
    /// The records of an image that has these layers, for [`INLINE_KEY`] of its config: as base64 of a JSON array. Results
    /// with other layers are left out, and with them the records that no result needs. None if nothing is left.
    pub fn inline(&self, image: &[DiffId]) -> Option<String> {
        let image = ImageLayers::of(image);
        let records: Vec<ConfigRecord> =
            self.records.iter().map(|record| self.within(record, &image)).collect();
        let needed = needed(&records);
        if !needed.contains(&true) {
            return None;
        }
        // The digests stand for the layers only here: their order is the image's.
        let layer = |diff_id: &DiffId| ConfigLayer { blob: diff_id.0, parent: None, annotations: None };
        let mut config = CacheConfig { layers: image.all.iter().map(layer).collect(), records };
        config.keep_records(&needed);
        config.normalize_records();
        Some(STANDARD.encode(as_go_writes(&config.records)))
    }

    /// A record with its result, if the image has the layers of that: by the uppermost where they are the image's lowest, else
    /// one by one.
    fn within(&self, record: &OutRecord, image: &ImageLayers<'_>) -> ConfigRecord {
        let mut within = record.without_result();
        let Some(result) = record.result.as_ref().filter(|result| !result.chain.is_empty()) else {
            return within;
        };
        let diff_ids = result.chain.iter().map(|layer| Some(self.layers.get(*layer)?.diff_id));
        let Some(diff_ids) = diff_ids.collect::<Option<Vec<_>>>() else { return within };
        let created = Some(result.created);
        if image.all.starts_with(&diff_ids) {
            within.results.push(ConfigResult { layer: diff_ids.len() - 1, created });
        } else if let Some(layers) = image.places(&diff_ids) {
            within.chains.push(ConfigChain { layers, created });
        }
        within
    }
}

struct ImageLayers<'a> {
    all: &'a [DiffId],
    places: HashMap<DiffId, usize>,
}

impl<'a> ImageLayers<'a> {
    fn of(all: &'a [DiffId]) -> Self {
        let mut places = HashMap::new();
        for (place, diff_id) in all.iter().enumerate() {
            places.entry(*diff_id).or_insert(place);
        }
        Self { all, places }
    }

    fn places(&self, diff_ids: &[DiffId]) -> Option<Vec<usize>> {
        diff_ids.iter().map(|diff_id| self.places.get(diff_id).copied()).collect()
    }
}

/// The records that have a result, or that one with a result was built upon.
fn needed(records: &[ConfigRecord]) -> Vec<bool> {
    let has_result = |record: &ConfigRecord| !record.results.is_empty() || !record.chains.is_empty();
    let mut needed: Vec<bool> = records.iter().map(has_result).collect();
    let mut open: Vec<usize> = (0..records.len()).filter(|place| needed[*place]).collect();
    while let Some(place) = open.pop() {
        for link in records[place].inputs.iter().flatten() {
            if needed.get(link.link) == Some(&false) {
                needed[link.link] = true;
                open.push(link.link);
            }
        }
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::outgoing::tests::{digest, layer, record};

    #[test]
    fn an_image_has_the_records_of_its_layers() {
        let outgoing = Outgoing {
            records: vec![
                record("not needed", &[], None),
                record("root", &[], None),
                record("one", &[&[1]], Some(&[0])),
                record("two", &[&[2], &[7]], Some(&[0, 1])),
                record("copied", &[&[3]], Some(&[2])),
                record("elsewhere", &[&[2]], Some(&[0, 3])),
                record("mixed up", &[&[4]], Some(&[2, 0])),
                record("content", &[], None),
            ],
            layers: vec![layer("a"), layer("b"), layer("c"), layer("another stage's")],
        };
        let image: Vec<DiffId> = outgoing.layers[..3].iter().map(|layer| layer.diff_id).collect();
        let bytes = STANDARD.decode(outgoing.inline(&image).unwrap()).unwrap();
        let records: Vec<ConfigRecord> = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(records.len(), 6);
        let find = |name: &str| records.iter().find(|record| record.digest == digest(name)).unwrap();
        assert_eq!((find("one").results[0].layer, find("two").results[0].layer), (0, 1));
        assert_eq!(
            (&find("copied").chains[0].layers[..], &find("mixed up").chains[0].layers[..]),
            (&[2][..], &[2, 0][..])
        );
        assert_eq!(records[find("two").inputs[1][0].link].digest, digest("content"));
        assert_eq!(outgoing.inline(&[]), None);
        assert_eq!(outgoing.inline(&image[1..2]), None);
    }
}
