//! What a build has to tell of its steps, before it is a document.

use std::collections::HashMap;

use super::document::{CacheConfig, ConfigLayer, ConfigLink, ConfigRecord, ConfigResult};
use crate::image::{Descriptor, DiffId, Digest, Timestamp};

/// Records to be exported, in any order, and the layers of their results.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    pub records: Vec<OutRecord>,
    pub layers: Vec<OutLayer>,
}

/// A step or a source. One without result just links others.
#[derive(Debug, Clone)]
pub struct OutRecord {
    pub digest: Digest,
    /// For each input the records that it may be, at least one.
    pub inputs: Vec<Vec<OutLink>>,
    pub result: Option<OutResult>,
}

/// A record that another one was built upon, by its place in the list.
#[derive(Debug, Clone)]
pub struct OutLink {
    pub selector: Option<Digest>,
    pub record: usize,
}

#[derive(Debug, Clone)]
pub struct OutResult {
    pub created: Timestamp,
    /// Places in the list of layers, lowest first.
    pub chain: Vec<usize>,
}

/// A layer as a blob.
#[derive(Debug, Clone)]
pub struct OutLayer {
    pub diff_id: DiffId,
    pub blob: Descriptor,
    pub created: Option<Timestamp>,
    /// Where the blob can be had if the store lacks it ([`crate::image::LayerSource`]).
    pub sources: Vec<String>,
}

impl Outgoing {
    /// The document, in its order. Layers are those that results have, each once above each other one.
    pub fn config(&self) -> CacheConfig {
        let mut layers = Vec::new();
        let mut places = HashMap::new();
        let mut result = |result: &OutResult| {
            let mut top = None;
            for layer in &result.chain {
                let blob = self.layers.get(*layer)?.blob.digest;
                let place = *places.entry((top, blob)).or_insert_with(|| {
                    layers.push(ConfigLayer { blob, parent: top, annotations: None });
                    layers.len() - 1
                });
                top = Some(place);
            }
            top.map(|layer| ConfigResult { layer, created: Some(result.created) })
        };
        let records = self.records.iter().map(|record| {
            let results = record.result.as_ref().and_then(&mut result).into_iter().collect();
            ConfigRecord { results, ..record.without_result() }
        });
        let records = records.collect();
        let mut config = CacheConfig { layers, records };
        config.normalize();
        config
    }
}

impl OutRecord {
    pub(super) fn without_result(&self) -> ConfigRecord {
        let link = |link: &OutLink| ConfigLink { selector: link.selector, link: link.record };
        let inputs = self.inputs.iter().map(|links| links.iter().map(link).collect()).collect();
        ConfigRecord { results: Vec::new(), chains: Vec::new(), digest: self.digest, inputs }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cache::imported::Imported;
    use crate::cache::vectors;
    use crate::image::{LayerSource, Manifest, annotation, media_type};

    pub(crate) fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes())
    }

    pub(crate) fn layer(name: &str) -> OutLayer {
        let blob = Descriptor::new(media_type::OCI_LAYER_GZIP, digest(name), 1);
        OutLayer {
            diff_id: DiffId(digest(&format!("tar of {name}"))),
            blob,
            created: None,
            sources: Vec::new(),
        }
    }

    pub(crate) fn record(name: &str, inputs: &[&[usize]], chain: Option<&[usize]>) -> OutRecord {
        let link = |record: &usize| OutLink { selector: None, record: *record };
        let created = Timestamp::from_seconds(1);
        OutRecord {
            digest: digest(name),
            inputs: inputs.iter().map(|links| links.iter().map(link).collect()).collect(),
            result: chain.map(|chain| OutResult { created, chain: chain.to_vec() }),
        }
    }

    /// A cache of BuildKit's as a build would tell it.
    fn outgoing(config: &CacheConfig, manifest: &Manifest) -> Outgoing {
        let layers = manifest.layers.iter().map(|blob| OutLayer {
            diff_id: DiffId(blob.annotations[annotation::DIFF_ID].parse().unwrap()),
            blob: blob.clone(),
            created: None,
            sources: Vec::new(),
        });
        let chain = |top: usize| {
            let mut chain: Vec<_> =
                std::iter::successors(Some(top), |layer| config.layers[*layer].parent).collect();
            chain.reverse();
            chain
        };
        let link = |link: &ConfigLink| OutLink { selector: link.selector, record: link.link };
        let records = config.records.iter().map(|record| OutRecord {
            digest: record.digest,
            inputs: record.inputs.iter().map(|links| links.iter().map(link).collect()).collect(),
            result: record
                .results
                .first()
                .map(|result| OutResult { created: result.created.unwrap(), chain: chain(result.layer) }),
        });
        Outgoing { records: records.collect(), layers: layers.collect() }
    }

    #[test]
    fn what_buildkit_exports_is_exported_alike() {
        for (config, manifest) in vectors::CONFIGS.iter().zip(vectors::MANIFESTS) {
            let parsed = CacheConfig::parse(config).unwrap();
            let outgoing = outgoing(&parsed, &serde_json::from_slice(manifest).unwrap());
            assert_eq!(outgoing.config().to_bytes(), *config);
        }
    }

    #[test]
    fn results_share_layers_and_unknown_ones_go() {
        let outgoing = Outgoing {
            records: vec![
                record("root", &[], None),
                record("one", &[&[0]], Some(&[0, 1])),
                record("two", &[&[1]], Some(&[0, 1, 2])),
                record("other", &[&[1]], Some(&[2])),
                record("broken", &[&[1]], Some(&[0, 9])),
                record("empty", &[&[1]], Some(&[])),
            ],
            layers: vec![layer("a"), layer("b"), layer("c"), layer("nobody's")],
        };
        let config = outgoing.config();
        // The layer c lies above b, and alone.
        assert_eq!(config.layers.len(), 4);
        assert_eq!(config.records.iter().filter(|record| record.results.is_empty()).count(), 3);
    }

    #[test]
    fn a_long_build_is_exported_quickly() {
        let count = 2000;
        let mut outgoing = Outgoing::default();
        for step in 0..count {
            let name = step.to_string();
            outgoing.layers.push(layer(&name));
            let chain: Vec<usize> = (0..=step).collect();
            let slots: &[&[usize]] = if step > 0 { &[&[step - 1]] } else { &[] };
            outgoing.records.push(record(&name, slots, Some(&chain)));
        }
        let begun = std::time::Instant::now();
        let config = outgoing.config();
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
        assert_eq!((config.layers.len(), config.records.len()), (count, count));
        let blobs: Vec<Descriptor> = outgoing
            .layers
            .iter()
            .map(|layer| {
                let mut blob = layer.blob.clone();
                blob.annotations.insert(annotation::DIFF_ID.to_owned(), layer.diff_id.to_string());
                blob
            })
            .collect();
        let imported = Imported::of(&config, &blobs, &LayerSource::Layout("/x".into()));
        let top = imported.record(imported.with_digest(&digest("1999"))[0]);
        assert_eq!(imported.layers(&top.results[0]).len(), count);
    }
}
