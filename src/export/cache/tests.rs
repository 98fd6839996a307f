//! Caches on their way out and in again.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::*;
use crate::cache::document::CacheConfig;
use crate::cache::{CacheSource, Imported, OutLink, OutRecord, OutResult, Which, import};
use crate::event::{self, StepId};
use crate::export::ExportError;
use crate::export::registry::Watch;
use crate::image::{DiffId, Reference, Timestamp, media_type};
use crate::layer::Layers;
use crate::registry::Client;
use crate::registry::tests::quick;
use crate::registry::tests::server::{ALWAYS, Reply, Server};
use crate::store::{LayoutDirectory, Store};

const FORM: CacheForm = CacheForm { form: Form::Oci, shape: CacheShape::Manifest };

/// A store with three blobs, and a cache of two steps on them.
struct World {
    directory: TempDir,
    client: Client,
    layers: Layers,
    heard: Arc<Mutex<BTreeSet<String>>>,
}

struct Ear(Arc<Mutex<BTreeSet<String>>>);

impl Watch for Ear {
    fn sent(&self, blob: &str, _: u64, _: u64, done: bool) {
        if done {
            self.0.lock().unwrap().insert(blob.to_owned());
        }
    }
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::ensure(&directory.path().join("store")).unwrap());
        let events = event::channel().0;
        let client = Client::new(quick(), events.clone());
        let layers = Layers::new(store, client.clone(), events, StepId(0));
        Self { directory, client, layers, heard: Arc::default() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn layer(&self, name: &str) -> OutLayer {
        let digest = self.layers.store().blobs().put(name.as_bytes()).unwrap();
        OutLayer {
            diff_id: DiffId(Digest::of(format!("tar of {name}").as_bytes())),
            blob: Descriptor::new(media_type::DOCKER_LAYER_GZIP, digest, name.len() as u64),
            created: Some(Timestamp::from_seconds(1_700_000_000)),
            sources: Vec::new(),
        }
    }

    fn outgoing(&self, top: &str) -> Outgoing {
        let record = |name: &str, inputs: &[usize], chain: Option<&[usize]>| OutRecord {
            digest: Digest::of(name.as_bytes()),
            inputs: inputs.iter().map(|record| vec![OutLink { selector: None, record: *record }]).collect(),
            result: chain
                .map(|chain| OutResult { created: Timestamp::from_seconds(1), chain: chain.to_vec() }),
        };
        Outgoing {
            records: vec![
                record("root", &[], None),
                record("one", &[0], Some(&[0, 1])),
                record(top, &[1], Some(&[0, 1, 2])),
            ],
            layers: vec![self.layer("base"), self.layer("one"), self.layer(top)],
        }
    }

    fn cache(&self, top: &str) -> PackedCache {
        PackedCache::of(&self.outgoing(top)).unwrap()
    }

    fn watch(&self) -> Arc<dyn Watch> {
        self.heard.lock().unwrap().clear();
        Arc::new(Ear(Arc::clone(&self.heard)))
    }

    async fn push(
        &self,
        to: &Reference,
        cache: &PackedCache,
        form: CacheForm,
    ) -> Result<Digest, ExportError> {
        let (client, layers, watch) = (&self.client, &self.layers, self.watch());
        movable(push(client, to, form, cache, layers, &watch)).await
    }

    async fn write(&self, tag: &str, reset: bool, cache: &PackedCache) -> Result<Digest, ExportError> {
        let to = CacheDirectory { path: self.path("cache"), tag: tag.to_owned(), reset };
        movable(write(&to, FORM, cache, &self.layers, &self.watch())).await
    }

    async fn read(&self, from: &CacheSource) -> Imported {
        import(&self.client, from).await.unwrap()
    }

    fn local(&self, tag: &str) -> CacheSource {
        CacheSource::Local { layout: self.path("cache"), which: Which::Tag(tag.to_owned()) }
    }

    /// What happened to a blob.
    fn fate(&self, name: &str) -> Option<String> {
        let digest = Digest::of(name.as_bytes()).to_string();
        let heard = self.heard.lock().unwrap();
        heard.iter().find_map(|text| text.strip_prefix(&format!("{digest} ")).map(str::to_owned))
    }
}

fn movable<F: Future + Send>(future: F) -> F {
    future
}

/// The blobs of the chain of a step.
fn chain(found: &Imported, step: &str) -> Vec<Digest> {
    let place = found.with_digest(&Digest::of(step.as_bytes()))[0];
    found.layers(&found.record(place).results[0]).iter().map(|layer| layer.blob.digest).collect()
}

fn digests(names: &[&str]) -> Vec<Digest> {
    names.iter().map(|name| Digest::of(name.as_bytes())).collect()
}

#[tokio::test]
async fn a_pushed_cache_is_read_again_in_every_form() {
    let (world, server) = (World::new(), Server::start().await);
    for (number, (form, shape, kind, layer)) in [
        (Form::Oci, CacheShape::Manifest, media_type::OCI_MANIFEST, media_type::OCI_LAYER_GZIP),
        (Form::Oci, CacheShape::Index, media_type::OCI_INDEX, media_type::OCI_LAYER_GZIP),
        (Form::Docker, CacheShape::Index, media_type::DOCKER_LIST, media_type::DOCKER_LAYER_GZIP),
    ]
    .into_iter()
    .enumerate()
    {
        let to = server.reference(&format!("cache{number}:main"));
        let digest = world.push(&to, &world.cache("two"), CacheForm { form, shape }).await.unwrap();
        let (said, bytes) = server.state().manifests[&format!("cache{number}:main")].clone();
        assert_eq!((said.as_str(), digest), (kind, Digest::of(&bytes)));
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(&format!("\"mediaType\":\"{kind}\"")) && text.contains(layer), "{text}");
        assert!(text.contains(MEDIA_TYPE) && text.contains("2023-11-14T22:13:20Z"), "{text}");

        let found = world.read(&CacheSource::Registry(to.clone())).await;
        assert_eq!((found.len(), found.unusable()), (3, 0));
        assert_eq!(chain(&found, "two"), digests(&["base", "one", "two"]));
        let layer = &found.layers(&found.record(found.with_digest(&Digest::of(b"two"))[0]).results[0])[2];
        assert_eq!(layer.diff_id.0, Digest::of(b"tar of two"));
        assert_eq!(layer.source, format!("{}@{}", to.name(), layer.blob.digest));
    }
}

#[tokio::test]
async fn only_what_is_missing_is_uploaded() {
    let (world, server) = (World::new(), Server::start().await);
    let to = server.reference("cache:main");
    world.push(&to, &world.cache("two"), FORM).await.unwrap();
    assert_eq!(world.fate("base").as_deref(), Some("pushed"));
    let uploads = server.count("POST", "/blobs/uploads/");
    assert_eq!(uploads, 4);
    // The same again, and then with one step changed: a layer and the document are new.
    world.push(&to, &world.cache("two"), FORM).await.unwrap();
    assert_eq!(server.count("POST", "/blobs/uploads/"), uploads);
    world.push(&to, &world.cache("other"), FORM).await.unwrap();
    assert_eq!(world.fate("base").as_deref(), Some("exists"));
    assert_eq!(server.count("POST", "/blobs/uploads/"), uploads + 2);
    // What the replaced cache lists is not even asked for.
    for (name, asked) in [("base", 1), ("one", 1), ("two", 1), ("other", 1)] {
        let asks = server.count("HEAD", &format!("/blobs/{}", Digest::of(name.as_bytes())));
        assert_eq!(asks, asked, "{name}");
    }
    let config = Digest::of(&world.cache("two").config);
    assert_eq!(world.fate("two"), None);
    assert!(server.state().blobs.contains_key(&format!("cache@{config}")));
}

#[tokio::test]
async fn what_a_registry_has_lost_is_uploaded_again() {
    let (world, server) = (World::new(), Server::start().await);
    let to = server.reference("cache:main");
    world.push(&to, &world.cache("two"), FORM).await.unwrap();
    let lost = format!("cache@{}", Digest::of(b"base"));
    server.state().blobs.remove(&lost).unwrap();
    server.instead("PUT", "/manifests/", ALWAYS, move |_, state| {
        let refusal = r#"{"errors":[{"code":"MANIFEST_INVALID","message":"a blob is not there"}]}"#;
        (!state.blobs.contains_key(&lost)).then(|| Reply::body(400, refusal))
    });
    world.push(&to, &world.cache("other"), FORM).await.unwrap();
    assert_eq!(
        chain(&world.read(&CacheSource::Registry(to)).await, "other"),
        digests(&["base", "one", "other"])
    );
    assert!(server.state().blobs.contains_key(&format!("cache@{}", Digest::of(b"base"))));
}

#[tokio::test]
async fn layers_of_an_imported_cache_are_mounted_or_moved() {
    let (writer, server) = (World::new(), Server::start().await);
    let from = server.reference("cache:main");
    writer.push(&from, &writer.cache("two"), FORM).await.unwrap();
    // Another machine, which has nothing of it.
    let reader = World::new();
    let found = reader.read(&CacheSource::Registry(from)).await;
    let mut outgoing = writer.outgoing("two");
    let place = found.with_digest(&Digest::of(b"two"))[0];
    for (layer, cached) in outgoing.layers.iter_mut().zip(found.layers(&found.record(place).results[0])) {
        assert_eq!(layer.diff_id, cached.diff_id);
        layer.sources = vec![cached.source.clone()];
    }
    let cache = PackedCache::of(&outgoing).unwrap();
    reader.push(&server.reference("elsewhere:main"), &cache, FORM).await.unwrap();
    assert_eq!(reader.fate("base").as_deref(), Some("mounted"));
    assert_eq!(server.count("GET", "/cache/blobs/"), 1, "the document alone was downloaded");
    let other = Server::start().await;
    reader.push(&other.reference("moved:main"), &cache, FORM).await.unwrap();
    assert_eq!(reader.fate("base").as_deref(), Some("pushed"));
    assert!(other.state().blobs.contains_key(&format!("moved@{}", Digest::of(b"base"))));
    reader.write("main", false, &cache).await.unwrap();
    assert_eq!(chain(&reader.read(&reader.local("main")).await, "one"), digests(&["base", "one"]));
}

#[tokio::test]
async fn a_directory_keeps_other_tags_until_it_is_reset() {
    let world = World::new();
    let two = world.write("two", false, &world.cache("two")).await.unwrap();
    assert_eq!(world.fate("base").as_deref(), Some("written"));
    world.write("other", false, &world.cache("other")).await.unwrap();
    assert_eq!(world.fate("base").as_deref(), Some("exists"));
    for tag in ["two", "other"] {
        let found = world.read(&world.local(tag)).await;
        assert_eq!(chain(&found, tag), digests(&["base", "one", tag]));
    }
    let root = world.path("cache");
    let index = LayoutDirectory::open(&root).unwrap().index().unwrap();
    assert_eq!((index.manifests.len(), index.manifests[0].digest), (2, two));
    let files = |inner: &str| fs::read_dir(root.join(inner)).unwrap().count();
    assert_eq!((files("."), files("blobs/sha256")), (3, 8));

    // The same tag again replaces its entry; what it led to stays.
    world.write("two", false, &world.cache("third")).await.unwrap();
    let index = LayoutDirectory::open(&root).unwrap().index().unwrap();
    assert_eq!((index.manifests.len(), files("blobs/sha256")), (2, 11));

    fs::write(root.join("blobs/sha256/.left.tmp"), "").unwrap();
    fs::write(root.join("blobs/sha256/mine"), "").unwrap();
    world.write("new", true, &world.cache("two")).await.unwrap();
    let index = LayoutDirectory::open(&root).unwrap().index().unwrap();
    assert_eq!((index.manifests.len(), files("blobs/sha256")), (1, 6));
    assert_eq!(chain(&world.read(&world.local("new")).await, "two"), digests(&["base", "one", "two"]));
}

#[tokio::test]
async fn what_an_index_says_besides_stays() {
    let world = World::new();
    let root = world.path("cache");
    fs::create_dir(&root).unwrap();
    let theirs = r#"{"artifactType":"x/y","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","mediaType":"a/b","size":0}"#;
    fs::write(root.join("index.json"), format!(r#"{{"schemaVersion":2,"manifests":[{theirs}],"more":[1]}}"#))
        .unwrap();
    world.write("main", false, &world.cache("two")).await.unwrap();
    let text = fs::read_to_string(root.join("index.json")).unwrap();
    assert!(text.contains(theirs) && text.contains(r#""more":[1]"#), "{text}");
    // Nothing is written where nothing is new.
    let before = fs::metadata(root.join("index.json")).unwrap().modified().unwrap();
    world.write("main", false, &world.cache("two")).await.unwrap();
    assert_eq!(fs::metadata(root.join("index.json")).unwrap().modified().unwrap(), before);

    fs::write(root.join("index.json"), "{").unwrap();
    let error = world.write("main", false, &world.cache("two")).await.unwrap_err();
    assert!(error.to_string().contains("is no index of an OCI layout"), "{error}");
    world.write("main", true, &world.cache("two")).await.unwrap();
    assert_eq!(world.read(&world.local("main")).await.len(), 3);
}

#[tokio::test]
async fn many_write_into_one_directory() {
    let world = World::new();
    let names: Vec<String> = (0..12).map(|number| format!("step {number}")).collect();
    let caches: Vec<PackedCache> = names.iter().map(|name| world.cache(name)).collect();
    let written = names.iter().zip(&caches).map(|(name, cache)| world.write(name, false, cache));
    futures_util::future::try_join_all(written).await.unwrap();
    for name in &names {
        assert_eq!(chain(&world.read(&world.local(name)).await, name)[2], Digest::of(name.as_bytes()));
    }
    assert!(!Path::new(&world.path("cache/index.json.lock")).exists());
}

#[tokio::test]
async fn a_file_that_was_cut_is_written_again() {
    let world = World::new();
    world.write("main", false, &world.cache("two")).await.unwrap();
    let base = world.path("cache").join(LayoutDirectory::place(&Digest::of(b"base")));
    fs::write(&base, "b").unwrap();
    world.write("main", false, &world.cache("two")).await.unwrap();
    assert_eq!(
        (world.fate("base").as_deref(), &fs::read(&base).unwrap()[..]),
        (Some("written"), &b"base"[..])
    );
}

#[test]
fn what_nobody_can_use_is_not_written() {
    let world = World::new();
    let mut outgoing = world.outgoing("two");
    outgoing.records.truncate(1);
    assert!(PackedCache::of(&outgoing).is_none());
    assert!(PackedCache::of(&Outgoing::default()).is_none());
}

#[test]
fn the_same_cache_has_the_same_digest() {
    let world = World::new();
    let first = world.cache("two");
    let mut outgoing = world.outgoing("two");
    outgoing.records.swap(1, 2);
    // Places are not what a cache says: here the steps stand the other way round, and the layers in another order.
    let [root, two, one] = &mut outgoing.records[..] else { panic!() };
    assert!(root.inputs.is_empty());
    (one.inputs[0][0].record, two.inputs[0][0].record) = (0, 2);
    outgoing.layers.rotate_left(1);
    let moved = |layer: &mut usize| *layer = (*layer + 2) % 3;
    for record in &mut outgoing.records {
        record.result.iter_mut().flat_map(|result| &mut result.chain).for_each(moved);
    }
    let second = PackedCache::of(&outgoing).unwrap();
    assert_eq!(CacheConfig::parse(&first.config).unwrap(), CacheConfig::parse(&second.config).unwrap());
    assert_eq!(first.documents(FORM).manifest, second.documents(FORM).manifest);
}
