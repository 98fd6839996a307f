//! Caches in a registry of this process, whole and damaged.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::*;
use crate::cache::vectors;
use crate::event;
use crate::image::{Form, LayerSource, Manifest, Platform, annotation, media_type};
use crate::registry::RegistryError;
use crate::registry::tests::quick;
use crate::registry::tests::server::{ALWAYS, Reply, Server};
use crate::store::{LayoutDirectory, LayoutError};

fn client() -> Client {
    Client::new(quick(), event::channel().0)
}

async fn read(server: &Server, name: &str) -> Result<Imported, CacheImportError> {
    // Spawned, so that the test proves that the future may move between threads.
    let from = CacheSource::Registry(server.reference(name));
    tokio::spawn(async move { import(&client(), &from).await }).await.unwrap()
}

/// The first cache of BuildKit's in a repository, as it wrote it.
fn add_cache(server: &Server) -> Manifest {
    server.add_blob("cache", vectors::CONFIGS[0]);
    server.add_manifest("cache", "1", media_type::OCI_MANIFEST, vectors::MANIFESTS[0]);
    serde_json::from_slice(vectors::MANIFESTS[0]).unwrap()
}

fn index(media_type: Option<&str>, manifests: Vec<Descriptor>) -> Vec<u8> {
    let media_type = media_type.map(str::to_owned);
    serde_json::to_vec(&Index { schema_version: 2, media_type, manifests, annotations: Default::default() })
        .unwrap()
}

#[tokio::test]
async fn every_form_of_manifest_is_read() {
    let server = Server::start().await;
    let manifest = add_cache(&server);
    let config = manifest.config.clone();
    // The config comes last, as BuildKit writes it, or anywhere.
    let last = [manifest.layers.clone(), vec![config.clone()]].concat();
    let first = [vec![config], manifest.layers].concat();
    let forms = [
        (media_type::OCI_INDEX, index(Some(media_type::OCI_INDEX), last.clone())),
        (media_type::OCI_INDEX, index(None, first)),
        (media_type::DOCKER_LIST, index(Some(media_type::DOCKER_LIST), last)),
    ];
    let expected = read(&server, "cache:1").await.unwrap();
    assert_eq!((expected.len(), expected.unusable()), (15, 0));
    for (number, (kind, bytes)) in forms.iter().enumerate() {
        let name = format!("form{number}");
        server.add_manifest("cache", &name, kind, bytes);
        let found = read(&server, &format!("cache:{name}")).await.unwrap();
        assert_eq!((found.len(), found.unusable()), (15, 0), "{kind}");
        let record =
            (0..15).map(|place| found.record(place)).find(|record| !record.results.is_empty()).unwrap();
        let layer = &found.layers(&record.results[0])[0];
        assert_eq!(layer.source, format!("{}/cache@{}", server.address, layer.blob.digest));
        assert!(matches!(layer.source.parse(), Ok(LayerSource::Registry(_))));
    }
    assert_eq!(server.count("GET", "/blobs/"), 4, "no layer was asked for");
}

#[tokio::test]
async fn what_is_no_cache_is_said_to_be_none() {
    let server = Server::start().await;
    let manifest = add_cache(&server);
    let told = async |name: &str| read(&server, name).await.unwrap_err().to_string();

    assert!(matches!(
        read(&server, "cache:none").await,
        Err(CacheImportError::Registry(RegistryError::NotFound { .. }))
    ));
    let mut foreign = manifest.clone();
    foreign.config.media_type = "application/vnd.buildkit.cacheconfig.v1".to_owned();
    server.add_manifest("cache", "v1", media_type::OCI_MANIFEST, &foreign.to_bytes());
    assert!(told("cache:v1").await.contains("another version: application/vnd.buildkit.cacheconfig.v1"));
    for (tag, text) in
        [("garbage", &b"{]"[..]), ("array", b"[1]"), ("records", br#"{"records":[{"digest":1}]}"#)]
    {
        let mut garbage = manifest.clone();
        garbage.config = Descriptor { media_type: MEDIA_TYPE.to_owned(), ..server.add_blob("cache", text) };
        server.add_manifest("cache", tag, media_type::OCI_MANIFEST, &garbage.to_bytes());
        assert!(told(&format!("cache:{tag}")).await.contains("not the document of a cache"), "{tag}");
    }
    let mut large = manifest.clone();
    large.config.size = MAX_CONFIG + 1;
    server.add_manifest("cache", "large", media_type::OCI_MANIFEST, &large.to_bytes());
    assert!(told("cache:large").await.contains("larger than the 268435456 bytes"));
    server.add_manifest("cache", "html", "text/html", b"<html>");
    assert!(told("cache:html").await.contains("not an image manifest"));
    let config = server.add_blob("cache", Config::scratch());
    server.add_manifest(
        "cache",
        "image",
        media_type::OCI_MANIFEST,
        &Manifest::oci(config, Vec::new()).to_bytes(),
    );
    assert!(told("cache:image").await.ends_with("neither a cache nor an image with a cache in it"));
}

/// The config of an image without layers.
struct Config;

impl Config {
    fn scratch() -> &'static [u8] {
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":null},"history":null}"#
    }
}

#[tokio::test]
async fn a_config_that_is_missing_or_changed_or_cut_is_no_cache() {
    for fault in ["missing", "changed", "longer", "cut"] {
        let server = Server::start().await;
        add_cache(&server);
        server.instead("GET", "/blobs/", ALWAYS, move |_, _| {
            let mut bytes = vectors::CONFIGS[0].to_vec();
            Some(match fault {
                "missing" => Reply::status(404),
                "changed" => {
                    bytes[20] ^= 1;
                    Reply::body(200, bytes)
                }
                "longer" => Reply::body(200, [bytes, vec![b' ']].concat()),
                _ => Reply { cut: Some(100), ..Reply::body(200, bytes) },
            })
        });
        let error = read(&server, "cache:1").await.unwrap_err();
        let text = error.to_string();
        let fits = match (fault, error) {
            ("missing", CacheImportError::Registry(RegistryError::NotFound { .. }))
            | ("changed", CacheImportError::Registry(RegistryError::WrongDigest { .. }))
            | ("longer", CacheImportError::Registry(RegistryError::WrongSize { .. }))
            | ("cut", CacheImportError::Registry(_)) => true,
            (_, _) => false,
        };
        assert!(fits, "{fault}: {text}");
    }
}

/// An image of two layers with a cache in it, for a platform.
fn add_image(server: &Server, architecture: &str, cache: &str) -> Descriptor {
    let (one, two) = (server.add_blob("app", b"one"), server.add_blob("app", architecture.as_bytes()));
    let (first, second) = (Digest::of(b"tar of one"), Digest::of(b"tar of two"));
    let config = format!(
        r#"{{"architecture":"{architecture}","os":"linux","rootfs":{{"type":"layers","diff_ids":["{first}","{second}"]}},"history":[{{"created":"2024-01-01T00:00:00Z"}},{{"empty_layer":true}},{{"created":"2024-01-02T00:00:00Z"}}],"moby.buildkit.cache.v0":"{cache}"}}"#
    );
    let config = server.add_blob("app", config.as_bytes());
    let manifest = Manifest::new(Form::Oci, config, vec![one, two]).to_bytes();
    let digest = server.add_manifest("app", architecture, media_type::OCI_MANIFEST, &manifest);
    let mut entry = Descriptor::new(media_type::OCI_MANIFEST, digest, manifest.len() as u64);
    entry.platform = Some(Platform::new("linux", architecture, None));
    entry
}

/// Records as BuildKit puts them into images: a root, and steps above it.
fn inline(step: &str) -> String {
    let (root, step) = (Digest::of(b"root"), Digest::of(step.as_bytes()));
    STANDARD.encode(format!(
        r#"[{{"digest":"{root}"}},{{"layers":[{{"layer":1,"createdAt":"2024-01-02T00:00:00Z"}}],"chains":[{{"layers":[1,0],"createdAt":"0001-01-01T00:00:00Z"}}],"digest":"{step}","inputs":[[{{"link":0}}]]}}]"#
    ))
}

#[tokio::test]
async fn caches_in_images_are_read_for_all_platforms() {
    let server = Server::start().await;
    let mut entries =
        vec![add_image(&server, "amd64", &inline("a")), add_image(&server, "arm64", &inline("b"))];
    let mut attestation = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(b"nobody asks for it"), 1);
    attestation.platform = Some(Platform::new("unknown", "unknown", None));
    entries.push(attestation);
    // One that cannot be read, and one without any cache.
    entries.push(add_image(&server, "s390x", "%"));
    entries.push(add_image(&server, "ppc64le", ""));
    server.add_manifest("app", "all", media_type::OCI_INDEX, &index(Some(media_type::OCI_INDEX), entries));

    let one = read(&server, "app:arm64").await.unwrap();
    assert_eq!(one.len(), 2);
    let all = read(&server, "app:all").await.unwrap();
    assert_eq!((all.len(), all.unusable()), (4, 0));
    assert_eq!(all.with_digest(&Digest::of(b"root")).len(), 2);
    for (step, second) in [("a", "amd64"), ("b", "arm64")] {
        let [place] = all.with_digest(&Digest::of(step.as_bytes())) else { panic!("{step}") };
        let [result, chain] = &all.record(*place).results[..] else { panic!("{step}") };
        let layers = all.layers(result);
        assert_eq!(layers[1].blob.digest, Digest::of(second.as_bytes()));
        assert_eq!(layers[0].diff_id.0, Digest::of(b"tar of one"));
        assert_eq!(layers[0].created.unwrap().to_string(), "2024-01-01T00:00:00Z");
        assert_eq!(layers[1].created.unwrap().to_string(), "2024-01-02T00:00:00Z");
        assert!(all.layers(chain).iter().rev().eq(&layers));
    }
    assert!(matches!(read(&server, "app:s390x").await, Err(CacheImportError::Inline { .. })));
    assert!(matches!(read(&server, "app:ppc64le").await, Err(CacheImportError::NoCache(_))));
}

#[tokio::test]
async fn an_image_that_contradicts_itself_gives_no_cache() {
    let server = Server::start().await;
    let entry = add_image(&server, "amd64", &inline("a"));
    let bytes = server.state().manifests[&format!("app:{}", entry.digest)].1.clone();
    let mut manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
    manifest.layers.pop();
    server.add_manifest("app", "short", media_type::OCI_MANIFEST, &manifest.to_bytes());
    let error = read(&server, "app:short").await.unwrap_err().to_string();
    assert!(error.contains("another number of layers"), "{error}");
}

/// The second cache of BuildKit's in a layout; layers are no part of it.
fn layout() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
    for bytes in [vectors::CONFIGS[1], vectors::MANIFESTS[1]] {
        write(directory.path(), &Digest::of(bytes), bytes);
    }
    let digest = Digest::of(vectors::MANIFESTS[1]);
    let mut entry = Descriptor::new(media_type::OCI_MANIFEST, digest, 1);
    entry.annotations.insert(annotation::REF_NAME.to_owned(), "main".to_owned());
    std::fs::write(directory.path().join("index.json"), index(None, vec![entry])).unwrap();
    directory
}

fn write(layout: &Path, digest: &Digest, bytes: &[u8]) {
    std::fs::write(layout.join(LayoutDirectory::place(digest)), bytes).unwrap();
}

async fn read_local(layout: &Path, which: Which) -> Result<Imported, CacheImportError> {
    import(&client(), &CacheSource::Local { layout: layout.to_owned(), which }).await
}

#[tokio::test]
async fn a_cache_in_a_directory_is_read_by_tag_and_digest() {
    let layout = layout();
    let by_tag = || Which::Tag("main".to_owned());
    let digest = Digest::of(vectors::MANIFESTS[1]);
    for which in [by_tag(), Which::Digest(digest)] {
        let found = read_local(layout.path(), which).await.unwrap();
        assert_eq!((found.len(), found.unusable()), (20, 0));
        let record =
            (0..20).map(|place| found.record(place)).find(|record| !record.results.is_empty()).unwrap();
        let source = LayerSource::Layout(layout.path().to_owned());
        assert_eq!(found.layers(&record.results[0])[0].source.parse(), Ok(source));
    }
    let error = read_local(layout.path(), Which::Tag("latest".to_owned())).await.unwrap_err();
    assert_eq!(error.to_string(), "latest is not in the layout; there is main");
    let missing = Which::Digest(Digest::of(b"nothing"));
    assert!(matches!(
        read_local(layout.path(), missing).await,
        Err(CacheImportError::Layout(LayoutError::Io(_)))
    ));
    let config = Digest::of(vectors::CONFIGS[1]);
    write(layout.path(), &config, &vectors::CONFIGS[1][..100]);
    let damaged = read_local(layout.path(), by_tag()).await;
    assert!(matches!(damaged, Err(CacheImportError::Layout(LayoutError::Digest { .. }))));
    assert!(read_local(&layout.path().join("nowhere"), by_tag()).await.is_err());
}
