use super::*;
use crate::cache::document::{ConfigChain, ConfigLayer, ConfigLink, ConfigResult};
use crate::cache::vectors;
use crate::image::{Manifest, media_type};

fn source() -> LayerSource {
    LayerSource::Layout("/somewhere".into())
}

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

/// A blob as a manifest with annotations lists it.
fn blob(name: &str) -> Descriptor {
    let mut blob = Descriptor::new(media_type::OCI_LAYER_GZIP, digest(name), 1);
    let diff_id = digest(&format!("tar of {name}")).to_string();
    blob.annotations.insert(annotation::DIFF_ID.to_owned(), diff_id);
    blob
}

fn layer(name: &str, parent: Option<usize>) -> ConfigLayer {
    ConfigLayer { blob: digest(name), parent, annotations: None }
}

fn record(name: &str, inputs: &[&[usize]], layers: &[usize]) -> ConfigRecord {
    let link = |link: &usize| ConfigLink { selector: None, link: *link };
    ConfigRecord {
        results: layers.iter().map(|layer| ConfigResult { layer: *layer, created: None }).collect(),
        chains: Vec::new(),
        digest: digest(name),
        inputs: inputs.iter().map(|links| links.iter().map(link).collect()).collect(),
    }
}

fn names_of(imported: &Imported, result: &CachedResult) -> Vec<Digest> {
    imported.layers(result).iter().map(|layer| layer.blob.digest).collect()
}

#[test]
fn a_cache_of_buildkit_is_walked_up() {
    let config = CacheConfig::parse(vectors::CONFIGS[0]).unwrap();
    let manifest: Manifest = serde_json::from_slice(vectors::MANIFESTS[0]).unwrap();
    let imported = Imported::of(&config, &manifest.layers, &source());
    assert_eq!((imported.len(), imported.unusable()), (15, 0));
    // From the base image up: WORKDIR, COPY of a directory by its content, COPY of a file, RUN.
    let parse = |text: &str| text.parse::<Digest>().unwrap();
    let base = parse("sha256:ad06efc1db66ea39dbcc896f98493bd891aa051b92f2e0f3009630b24e9e5129");
    let [base] = imported.with_digest(&base) else { panic!() };
    assert!(imported.record(*base).results.is_empty() && imported.record(*base).inputs.is_empty());
    let root = parse("sha256:8a5edab282632443219e051e4ade2d1d5bbc671c781051bf1437897cbdfea0f1");
    let steps = [
        ("sha256:807b3e8722c68572736f54d83fd741a5b1d69ccbef218fae52b4149a56d232ce", None, 2),
        ("sha256:d340c4b5610f85cb93182f26e95882954899165cd4e7c4057a4253a64afa09d8", None, 3),
        ("sha256:b2fe62d7c854dc1fbe0cec52088e150bbff46996574a4f26dcc12d045a044c66", None, 4),
        ("sha256:e9d64ed09e9d179dfcb0d7f78ddefefb9934f7c59159f881436e18bdf59c9c36", Some(root), 5),
    ];
    let mut below = *base;
    for (step, selector, layers) in steps {
        let step = parse(step);
        let slots = imported.record(imported.with_digest(&step)[0]).inputs.len();
        let fits = |slot: usize, link: &Link| slot > 0 || *link == Link { selector, record: below };
        let found = imported.matching(&step, slots, fits);
        assert_eq!(found.len(), 1, "{step}");
        assert!(imported.matching(&step, slots + 1, |_, _| true).is_empty());
        assert!(imported.matching(&step, slots, |slot, link| slot > 0 || link.record != below).is_empty());
        let result = &imported.record(found[0]).results[0];
        assert!(result.created.is_some());
        let chain = imported.layers(result);
        assert_eq!(chain.len(), layers);
        let ground = "sha256:4e6c6273ae9a87f8380304ac37ada442629d9dd668daf8513cdc9818e815e3d3";
        assert_eq!(chain[0].diff_id.to_string(), ground);
        assert_eq!(chain[0].source, "oci-layout:///somewhere");
        assert!(chain[0].blob.annotations.is_empty() && chain[0].created.is_some());
        below = found[0];
    }
}

#[test]
fn newest_results_come_first() {
    let mut config = CacheConfig {
        layers: vec![layer("a", None), layer("b", None)],
        records: vec![record("x", &[], &[]), record("x", &[], &[0]), record("x", &[], &[1, 0])],
    };
    config.records[1].results[0].created = Some(Timestamp::from_seconds(5));
    config.records[2].results[0].created = Some(Timestamp::from_seconds(1));
    config.records[2].results[1].created = Some(Timestamp::from_seconds(9));
    let imported = Imported::of(&config, &[blob("a"), blob("b")], &source());
    assert_eq!(imported.matching(&digest("x"), 0, |_, _| false), [2, 1, 0]);
    assert_eq!(names_of(&imported, &imported.record(2).results[0]), [digest("a")]);
}

#[test]
fn unusable_results_go_and_the_rest_stays() {
    let mut config = CacheConfig {
        layers: vec![
            layer("a", None),
            layer("b", Some(0)),
            layer("not described", Some(0)),
            layer("b", Some(2)),
            layer("b", Some(5)),
            layer("a", Some(4)),
            layer("b", Some(99)),
            layer("no diff id", None),
            layer("no layer", None),
        ],
        records: vec![record("good", &[], &[1]), record("bad", &[], &[2, 3, 4, 5, 6, 7, 8, 9, usize::MAX])],
    };
    let chain = |layers: &[usize]| ConfigChain { layers: layers.to_vec(), created: None };
    config.records[0].chains = vec![chain(&[1, 0]), chain(&[]), chain(&[0, 2]), chain(&[77])];
    let mut no_diff_id = blob("no diff id");
    no_diff_id.annotations.clear();
    let mut no_layer = blob("no layer");
    no_layer.media_type = "text/plain".to_owned();
    let imported = Imported::of(&config, &[blob("a"), blob("b"), no_diff_id, no_layer], &source());
    let good = imported.record(0);
    assert_eq!(names_of(&imported, &good.results[0]), [digest("a"), digest("b")]);
    assert_eq!(names_of(&imported, &good.results[1]), [digest("b"), digest("a")]);
    assert_eq!((good.results.len(), imported.record(1).results.len()), (2, 0));
    assert_eq!(imported.with_digest(&digest("bad")), [1]);
    assert_eq!(imported.unusable(), 3 + 9);
}

#[test]
fn records_that_nothing_leads_to_are_not_found() {
    let config = CacheConfig {
        layers: Vec::new(),
        records: vec![
            record("root", &[], &[]),
            record("step", &[&[0, 2, 50]], &[]),
            record("above", &[&[1]], &[]),
            record("one", &[&[4]], &[]),
            record("other", &[&[3]], &[]),
            record("on a loop", &[&[3], &[0]], &[]),
            record("itself", &[&[6]], &[]),
            record("nothing", &[&[]], &[]),
        ],
    };
    let imported = Imported::of(&config, &[], &source());
    for found in ["root", "step"] {
        assert_eq!(imported.with_digest(&digest(found)).len(), 1, "{found}");
    }
    // Of those on a loop the one goes whose link closes it.
    for lost in ["above", "one", "other", "on a loop", "itself", "nothing"] {
        assert!(imported.with_digest(&digest(lost)).is_empty(), "{lost}");
    }
    assert_eq!(imported.unusable(), 6);
    // What is left has no loop in it: who follows links comes to an end.
    let links: Vec<usize> = imported.record(1).inputs.iter().flatten().map(|link| link.record).collect();
    assert_eq!(links, [0]);
}

#[test]
fn caches_are_added_up() {
    let config = |name: &str| CacheConfig {
        layers: vec![layer(name, None), layer("top", Some(0))],
        records: vec![record("root", &[], &[]), record("step", &[&[0]], &[1])],
    };
    let mut imported = Imported::of(&config("one"), &[blob("one"), blob("top")], &source());
    imported.add(Imported::of(&config("two"), &[blob("two"), blob("top")], &source()));
    assert_eq!(imported.with_digest(&digest("step")), [1, 3]);
    let second = imported.record(3);
    assert_eq!(second.inputs[0][0].record, 2);
    assert_eq!(names_of(&imported, &second.results[0]), [digest("two"), digest("top")]);
}

#[test]
fn long_chains_take_little_room_and_time() {
    let count = 20_000;
    let mut config = CacheConfig::default();
    let mut blobs = Vec::new();
    for step in 0..count {
        let name = step.to_string();
        let below = (step > 0).then(|| step - 1);
        config.layers.push(layer(&name, below));
        let slots: &[&[usize]] = if step > 0 { &[&[step - 1]] } else { &[] };
        config.records.push(record(&name, slots, &[step]));
        blobs.push(blob(&name));
    }
    let begun = std::time::Instant::now();
    let imported = Imported::of(&config, &blobs, &source());
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    let top = imported.record(imported.with_digest(&digest("19999"))[0]);
    assert_eq!(imported.layers(&top.results[0]).len(), count);
}
