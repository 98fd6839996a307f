//! Whatever a cache says, reading it comes to an end, and what is found can be used.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::document::{CacheConfig, ConfigChain, ConfigLayer, ConfigLink, ConfigRecord, ConfigResult};
use super::{Imported, vectors};
use crate::image::{Descriptor, Digest, LayerSource, Manifest, Timestamp, annotation, media_type};

/// Few, so that many things are the same.
fn digest() -> impl Strategy<Value = Digest> {
    (0..4_u8).prop_map(|number| Digest::of(&[number]))
}

fn time() -> impl Strategy<Value = Option<Timestamp>> {
    of((0..3_i64).prop_map(Timestamp::from_seconds))
}

/// A cache that may say anything: places reach beyond the end.
fn anything() -> impl Strategy<Value = CacheConfig> {
    let layer = (digest(), of(0..10_usize)).prop_map(|(blob, parent)| ConfigLayer {
        blob,
        parent,
        annotations: None,
    });
    let result = (0..10_usize, time()).prop_map(|(layer, created)| ConfigResult { layer, created });
    let chain =
        (vec(0..10_usize, 0..4), time()).prop_map(|(layers, created)| ConfigChain { layers, created });
    let link = (of(digest()), 0..10_usize).prop_map(|(selector, link)| ConfigLink { selector, link });
    let inputs = vec(vec(link, 0..3), 0..3);
    let record = (vec(result, 0..3), vec(chain, 0..2), digest(), inputs)
        .prop_map(|(results, chains, digest, inputs)| ConfigRecord { results, chains, digest, inputs });
    (vec(layer, 0..8), vec(record, 0..9)).prop_map(|(layers, records)| CacheConfig { layers, records })
}

/// A cache without loops and dead ends: everything stands after what it is built upon.
fn sound() -> impl Strategy<Value = CacheConfig> {
    anything().prop_map(|mut config| {
        let layers = config.layers.len();
        for (place, layer) in config.layers.iter_mut().enumerate() {
            layer.parent = layer.parent.filter(|parent| *parent < place);
        }
        for (place, record) in config.records.iter_mut().enumerate() {
            record.results.retain(|result| result.layer < layers);
            record.chains.retain(|chain| chain.layers.iter().all(|layer| *layer < layers));
            record.inputs.iter_mut().for_each(|slot| slot.retain(|link| link.link < place));
        }
        config
    })
}

/// Three of the four blobs are described.
fn blobs() -> Vec<Descriptor> {
    let blob = |number: u8| {
        let mut blob = Descriptor::new(media_type::OCI_LAYER, Digest::of(&[number]), 1);
        blob.annotations.insert(annotation::DIFF_ID.to_owned(), blob.digest.to_string());
        blob
    };
    (0..3).map(blob).collect()
}

fn check(imported: &Imported, digests: impl IntoIterator<Item = Digest>) {
    let digests: BTreeSet<Digest> = digests.into_iter().collect();
    let found: BTreeSet<usize> =
        digests.iter().flat_map(|digest| imported.with_digest(digest)).copied().collect();
    for start in &found {
        let record = imported.record(*start);
        assert!(record.inputs.iter().all(|links| !links.is_empty()));
        for result in &record.results {
            assert!(!imported.layers(result).is_empty());
        }
        assert!(record.results.windows(2).all(|pair| pair[0].created >= pair[1].created));
        // Down every way: none is longer than there are records.
        let mut here = BTreeSet::from([*start]);
        for _ in 0..=imported.len() {
            let below = here.iter().flat_map(|place| imported.record(*place).inputs.iter().flatten());
            here = below.map(|link| link.record).collect();
            assert!(here.is_subset(&found));
        }
        assert!(here.is_empty(), "a way leads in a circle");
    }
}

proptest! {
    #[test]
    fn anything_is_read(config in anything()) {
        let imported = Imported::of(&config, &blobs(), &LayerSource::Layout("/x".into()));
        check(&imported, config.records.iter().map(|record| record.digest));
        let mut twice = Imported::of(&config, &blobs(), &LayerSource::Layout("/x".into()));
        twice.add(imported);
        check(&twice, config.records.iter().map(|record| record.digest));
        prop_assert_eq!(CacheConfig::parse(&config.to_bytes()).unwrap(), config.clone());
        let mut normal = config;
        normal.normalize();
    }

    #[test]
    fn the_order_is_one(config in sound(), seed in any::<u64>()) {
        let mut normal = config.clone();
        normal.normalize();
        let mut again = normal.clone();
        again.normalize();
        prop_assert_eq!(&again, &normal);
        let mut shuffled = config.shuffled(seed);
        shuffled.normalize();
        prop_assert_eq!(&shuffled, &normal);
    }

    #[test]
    fn damaged_documents_are_refused_or_read(cut in 0..4700_usize, change in 0..4700_usize, byte in any::<u8>()) {
        for (bytes, manifest) in vectors::CONFIGS.iter().zip(vectors::MANIFESTS) {
            let manifest: Manifest = serde_json::from_slice(manifest).unwrap();
            let mut changed = bytes.to_vec();
            let place = change % changed.len();
            changed[place] = byte;
            for damaged in [&changed[..], &bytes[..cut.min(bytes.len() - 1)]] {
                if let Ok(config) = CacheConfig::parse(damaged) {
                    let imported = Imported::of(&config, &manifest.layers, &LayerSource::Layout("/x".into()));
                    check(&imported, config.records.iter().map(|record| record.digest));
                }
            }
        }
    }
}
