//! Caches in a real registry and in directories, beside those that BuildKit wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rbuild::cache::document::{CacheConfig, MEDIA_TYPE};
use rbuild::cache::{
    CacheSource, Imported, OutLayer, OutLink, OutRecord, OutResult, Outgoing, Which, import,
};
use rbuild::event::{self, StepId};
use rbuild::export::cache::{CacheDirectory, CacheForm, CacheShape, PackedCache, push, write};
use rbuild::export::registry::Watch;
use rbuild::image::{Descriptor, DiffId, Digest, Form, Index, Manifest, Timestamp, media_type};
use rbuild::layer::{LayerRef, Layers};
use rbuild::registry::{Client, Settings};
use rbuild::store::{LayerRecord, Store};

use crate::support::{Registry, TestEnv, Vector, require_tool};

const FORM: CacheForm = CacheForm { form: Form::Oci, shape: CacheShape::Manifest };

/// A machine with a store of its own.
struct Machine {
    client: Client,
    layers: Layers,
}

struct Deaf;

impl Watch for Deaf {
    fn sent(&self, _: &str, _: u64, _: u64, _: bool) {}
}

impl Machine {
    fn new(env: &TestEnv, name: &str) -> Self {
        let store = Arc::new(Store::ensure(&env.path(name)).unwrap());
        let events = event::channel().0;
        let client = Client::new(Settings::default(), events.clone());
        let layers = Layers::new(store, client.clone(), events, StepId(0));
        Self { client, layers }
    }

    fn store(&self) -> &Store {
        self.layers.store()
    }

    async fn import(&self, from: &CacheSource) -> Imported {
        import(&self.client, from).await.unwrap()
    }

    async fn push(&self, to: &str, form: CacheForm, cache: &PackedCache) -> Digest {
        let watch: Arc<dyn Watch> = Arc::new(Deaf);
        push(&self.client, &to.parse().unwrap(), form, cache, &self.layers, &watch).await.unwrap()
    }

    async fn write(&self, to: &Path, cache: &PackedCache) -> Digest {
        let watch: Arc<dyn Watch> = Arc::new(Deaf);
        let to = CacheDirectory { path: to.to_owned(), tag: "latest".to_owned(), reset: false };
        write(&to, FORM, cache, &self.layers, &watch).await.unwrap()
    }

    /// Notes where the layers of a cache are, as a build does with those that it uses.
    fn claim(&self, cache: &Imported) -> BTreeSet<DiffId> {
        let mut claimed = BTreeSet::new();
        for layer in results(cache).flat_map(|(_, result)| cache.layers(result)) {
            claimed.insert(layer.diff_id);
            let claim = |record: &mut LayerRecord| record.claim(&layer.blob, Some(layer.source.clone()));
            self.store().update_record(&layer.diff_id.0.hex(), claim).unwrap();
        }
        claimed
    }

    /// How many blobs the store has.
    fn blobs(&self) -> usize {
        fs::read_dir(self.store().root().join("blobs/sha256")).unwrap().count()
    }
}

fn results(cache: &Imported) -> impl Iterator<Item = (Digest, &rbuild::cache::CachedResult)> {
    let records = (0..cache.len()).map(|place| cache.record(place));
    records.flat_map(|record| record.results.iter().map(|result| (record.digest, result)))
}

fn local(layout: &Path) -> CacheSource {
    CacheSource::Local { layout: layout.to_owned(), which: Which::Tag("latest".to_owned()) }
}

fn registry(name: &str) -> CacheSource {
    CacheSource::Registry(name.parse().unwrap())
}

/// An imported cache as a build tells it that has used all of it.
fn told_again(cache: &Imported) -> Outgoing {
    let mut layers: Vec<OutLayer> = Vec::new();
    let mut places: BTreeMap<DiffId, usize> = BTreeMap::new();
    let mut result = |result: &rbuild::cache::CachedResult| {
        let chain = cache.layers(result).into_iter().map(|layer| {
            *places.entry(layer.diff_id).or_insert_with(|| {
                layers.push(OutLayer {
                    diff_id: layer.diff_id,
                    blob: layer.blob.clone(),
                    created: layer.created,
                    sources: vec![layer.source.clone()],
                });
                layers.len() - 1
            })
        });
        OutResult { created: result.created.unwrap(), chain: chain.collect() }
    };
    let link = |link: &rbuild::cache::Link| OutLink { selector: link.selector, record: link.record };
    let records = (0..cache.len()).map(|place| cache.record(place)).map(|record| OutRecord {
        digest: record.digest,
        inputs: record.inputs.iter().map(|links| links.iter().map(link).collect()).collect(),
        result: record.results.first().map(&mut result),
    });
    let records = records.collect();
    Outgoing { records, layers }
}

/// The manifest of a layout, and its bytes.
fn manifest_of(layout: &Path) -> (Manifest, Vec<u8>) {
    let index: Index = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let digest = index.manifests[0].digest;
    let bytes = fs::read(layout.join("blobs/sha256").join(digest.hex())).unwrap();
    assert_eq!(Digest::of(&bytes), digest);
    (serde_json::from_slice(&bytes).unwrap(), bytes)
}

fn blobs_of(layout: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(layout.join("blobs/sha256")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What BuildKit exported is imported and exported again: byte for byte the same cache, in a directory and in a registry,
/// from where another machine takes what it needs.
#[tokio::test]
async fn caches_of_buildkit_come_out_as_they_went_in() {
    require_tool!("docker-registry");
    require_tool!("skopeo");
    let (env, server) = (TestEnv::new(), Registry::start());
    for name in Vector::NAMES {
        let vector = Vector::assemble(&env, name);
        let (_, bytes) = manifest_of(&vector.cache);
        let first = Machine::new(&env, &format!("first-{name}"));
        let found = first.import(&local(&vector.cache)).await;
        assert_eq!(found.unusable(), 0);
        let cache = PackedCache::of(&told_again(&found)).unwrap();
        let copy = env.path(format!("copy-{name}"));
        assert_eq!(first.write(&copy, &cache).await, Digest::of(&bytes));
        assert_eq!(blobs_of(&copy), blobs_of(&vector.cache));
        let index = |layout: &Path| -> serde_json::Value {
            serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap()
        };
        assert_eq!(index(&copy), index(&vector.cache));
        let to = format!("{}/cache:{name}", server.address());
        assert_eq!(first.push(&to, FORM, &cache).await, Digest::of(&bytes));
        assert_eq!(server.get(&format!("/v2/cache/manifests/{name}")), bytes);
        // A peer takes it for what it is.
        let raw = ["inspect", "--raw", "--tls-verify=false", &format!("docker://{to}")];
        let raw = env.program("skopeo", &raw).run().success();
        assert!(raw.stdout().contains(MEDIA_TYPE));
        let copied = format!("oci:{}:latest", env.path(format!("skopeo-{name}")).display());
        let flags =
            ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &format!("docker://{to}"), &copied];
        env.program("skopeo", &flags).run().success();

        // A machine that has nothing.
        let second = Machine::new(&env, &format!("second-{name}"));
        let found = second.import(&registry(&to)).await;
        let claimed = second.claim(&found);
        assert_eq!(second.blobs(), 0, "nothing is downloaded that nobody looks into");
        assert!(claimed.len() > 8);
        let seen = server.requests().len();
        for layer in &claimed {
            second.layers.keep(*layer).await.unwrap();
        }
        assert_eq!(second.blobs(), claimed.len());
        assert_eq!(
            server.requests()[seen..].len(),
            claimed.len(),
            "each layer is asked for once, and nothing else"
        );
        // All of that once more, out of what was copied by the peer.
        let third = Machine::new(&env, &format!("third-{name}"));
        let found = third.import(&local(&env.path(format!("skopeo-{name}")))).await;
        assert_eq!(third.claim(&found), claimed);
        let one = *claimed.first().unwrap();
        third.layers.keep(one).await.unwrap();
        assert_eq!(third.blobs(), 1);
    }
}

/// The layers are those of the steps: what RUN and COPY have made can be read in them.
#[tokio::test]
async fn layers_of_a_cache_in_a_directory_are_unpacked_from_there() {
    let env = TestEnv::new();
    let vector = Vector::assemble(&env, "a");
    let machine = Machine::new(&env, "machine");
    let found = machine.import(&local(&vector.cache)).await;
    machine.claim(&found);
    let run = "sha256:e9d64ed09e9d179dfcb0d7f78ddefefb9934f7c59159f881436e18bdf59c9c36".parse().unwrap();
    let (_, result) = results(&found).find(|(digest, _)| *digest == run).unwrap();
    let top = found.layers(result).last().unwrap().diff_id;
    let directory = &machine.layers.directories(&[LayerRef::Image(top)]).await.unwrap()[0];
    assert_eq!(fs::read_to_string(directory.join("app/one")).unwrap(), "one\n");
    assert_eq!(machine.blobs(), 1);
}

#[tokio::test]
async fn a_registry_takes_every_form() {
    require_tool!("docker-registry");
    let (env, server) = (TestEnv::new(), Registry::start());
    let vector = Vector::assemble(&env, "b");
    let machine = Machine::new(&env, "machine");
    let found = machine.import(&local(&vector.cache)).await;
    let cache = PackedCache::of(&told_again(&found)).unwrap();
    for (tag, form, shape, kind) in [
        ("manifest", Form::Oci, CacheShape::Manifest, media_type::OCI_MANIFEST),
        ("index", Form::Oci, CacheShape::Index, media_type::OCI_INDEX),
        ("list", Form::Docker, CacheShape::Index, media_type::DOCKER_LIST),
    ] {
        let to = format!("{}/cache:{tag}", server.address());
        machine.push(&to, CacheForm { form, shape }, &cache).await;
        let text = String::from_utf8(server.get(&format!("/v2/cache/manifests/{tag}"))).unwrap();
        assert!(text.contains(&format!("\"mediaType\":\"{kind}\"")), "{text}");
        let again = machine.import(&registry(&to)).await;
        let digests = |cache: &Imported| results(cache).map(|(digest, _)| digest).collect::<Vec<_>>();
        assert_eq!((again.len(), digests(&again)), (found.len(), digests(&found)));
    }
    // Another repository gets the layers from this one.
    let seen = server.requests().len();
    let imported = machine.import(&registry(&format!("{}/cache:manifest", server.address()))).await;
    let cache = PackedCache::of(&told_again(&imported)).unwrap();
    machine.push(&format!("{}/other:1", server.address()), FORM, &cache).await;
    let requests = server.requests()[seen..].to_vec();
    let mounts = requests.iter().filter(|request| request.contains("mount=")).count();
    let uploads =
        requests.iter().filter(|request| request.starts_with("PUT") && request.contains("/blobs/")).count();
    assert_eq!((mounts, uploads), (11, 1), "{requests:#?}");
}

/// A registry that has lost a layer, and one whose layer is something else: the build that wants it hears that, and nothing
/// wrong gets into the store.
#[tokio::test]
async fn layers_that_are_gone_or_wrong_are_noticed() {
    let env = TestEnv::new();
    let vector = Vector::assemble(&env, "a");
    let machine = Machine::new(&env, "machine");
    let found = machine.import(&local(&vector.cache)).await;
    let claimed: Vec<DiffId> = machine.claim(&found).into_iter().collect();
    let (manifest, _) = manifest_of(&vector.cache);
    for blob in &manifest.layers {
        let path = vector.cache.join("blobs/sha256").join(blob.digest.hex());
        if blob.size.is_multiple_of(2) {
            fs::remove_file(path).unwrap();
        } else {
            fs::write(path, vec![0; usize::try_from(blob.size).unwrap()]).unwrap();
        }
    }
    for layer in claimed {
        machine.layers.keep(layer).await.unwrap_err();
    }
    assert_eq!(machine.blobs(), 0);
    // The records of the cache itself are still there to be read.
    assert_eq!(machine.import(&local(&vector.cache)).await.len(), found.len());
}

/// A cache of a thousand steps is read in a fraction of a second, and has no limit of a mebibyte.
#[tokio::test]
async fn a_large_cache_is_read_quickly() {
    require_tool!("docker-registry");
    let (env, server) = (TestEnv::new(), Registry::start());
    let machine = Machine::new(&env, "machine");
    let to = format!("{}/large:1", server.address());
    let time = imported_after(&machine, &to, 1000).await;
    // The figure is 150 ms; a busy machine with an unoptimised program may take some times that.
    assert!(time < Duration::from_millis(1500), "{time:?}");
    imported_after(&machine, &to, 5000).await;
    let manifest: Manifest = serde_json::from_slice(&server.get("/v2/large/manifests/1")).unwrap();
    assert!(manifest.config.size > 1 << 20 && manifest.layers.len() > 5000);
}

/// Pushes a cache of so many steps, each with layers of its own, and says how long importing it takes.
async fn imported_after(machine: &Machine, to: &str, steps: usize) -> Duration {
    let mut outgoing = Outgoing::default();
    for digit in 0..10 {
        let digest = machine.store().blobs().put(&[digit]).unwrap();
        let blob = Descriptor::new(media_type::OCI_LAYER, digest, 1);
        outgoing.layers.push(OutLayer { diff_id: DiffId(digest), blob, created: None, sources: Vec::new() });
    }
    for step in 0..steps {
        let digest = Digest::of(step.to_string().as_bytes());
        let links = |record: usize| vec![OutLink { selector: Some(digest), record }];
        let chain = (0..4).map(|place| step / 10_usize.pow(3 - place) % 10).collect();
        outgoing.records.push(OutRecord {
            digest,
            inputs: step.checked_sub(1).map(links).into_iter().collect(),
            result: Some(OutResult { created: Timestamp::now(), chain }),
        });
    }
    let cache = PackedCache::of(&outgoing).unwrap();
    machine.push(to, FORM, &cache).await;
    let begun = Instant::now();
    let found = machine.import(&registry(to)).await;
    let time = begun.elapsed();
    assert_eq!((found.len(), found.unusable()), (steps, 0));
    time
}

#[test]
fn vectors_are_whole() {
    let env = TestEnv::new();
    for name in Vector::NAMES {
        let vector = Vector::assemble(&env, name);
        for layout in [&vector.cache, &vector.base] {
            for blob in blobs_of(layout) {
                let bytes = fs::read(layout.join("blobs/sha256").join(&blob)).unwrap();
                assert_eq!(Digest::of(&bytes).hex(), blob);
            }
        }
        let (manifest, _) = manifest_of(&vector.cache);
        let config = fs::read(vector.cache.join("blobs/sha256").join(manifest.config.digest.hex())).unwrap();
        assert!(CacheConfig::parse(&config).is_ok());
        assert!(vector.context.join("Dockerfile").is_file());
        let base = &manifest_of(&vector.base).0.layers[0];
        assert!(manifest.layers.iter().any(|layer| layer.digest == base.digest));
    }
}
