//! Reading: documents, blobs, platforms, mirrors.

use super::server::{ALWAYS, Reply, Server};
use super::*;
use crate::image::{Config, Digest, Form, Index, Manifest, Platform, media_type};

/// An image with one layer under a tag, and an index with it under another.
fn image(server: &Server, platform: &Platform) -> (Digest, Digest) {
    let config = Config::scratch(platform).to_bytes();
    let mut config = server.add_blob("app", &config);
    config.media_type = media_type::OCI_CONFIG.to_owned();
    let layer = server.add_blob("app", b"layer");
    let manifest = Manifest::oci(config, vec![layer]).to_bytes();
    let digest = server.add_manifest("app", "1", media_type::OCI_MANIFEST, &manifest);
    let mut entry = Descriptor::new(media_type::OCI_MANIFEST, digest, manifest.len() as u64);
    entry.platform = Some(platform.clone());
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests: vec![entry],
        annotations: Default::default(),
    };
    let index = serde_json::to_vec(&index).unwrap();
    (digest, server.add_manifest("app", "many", media_type::OCI_INDEX, &index))
}

#[tokio::test]
async fn an_image_is_resolved_by_tag_digest_and_index() {
    let server = Server::start().await;
    let platform = Platform::new("linux", "arm64", None);
    let (manifest, index) = image(&server, &platform);
    let client = client(quick());

    let image = movable(resolve(&client, &server.reference("app:1"), &platform)).await.unwrap();
    assert_eq!((image.index_digest, image.manifest_digest), (None, manifest));
    assert_eq!(image.config.architecture, "arm64");
    assert_eq!(image.reference.digest, Some(manifest));

    let image = resolve(&client, &server.reference("app:many"), &platform).await.unwrap();
    assert_eq!((image.index_digest, image.manifest_digest), (Some(index), manifest));
    let layer = &image.manifest.layers[0];
    let (sent, read) = download(&client, &image.reference, layer).await;
    sent.unwrap();
    assert_eq!(read.unwrap(), b"layer");

    let error = resolve(&client, &server.reference("app:many"), &Platform::new("linux", "s390x", None)).await;
    let text = error.unwrap_err().to_string();
    assert!(text.ends_with("no match for platform linux/s390x; there is linux/arm64"), "{text}");
    assert_eq!(client.head_manifest(&server.reference("app:1")).await.unwrap(), Some(manifest));
    assert_eq!(client.head_manifest(&server.reference("app:none")).await.unwrap(), None);
    let probes = server.seen("GET", "/v2/").iter().filter(|seen| seen.path == "/v2/").count();
    assert_eq!(probes, 1, "one probe tells the scheme of the host");
}

#[tokio::test]
async fn a_lying_content_type_does_not_matter() {
    let server = Server::start().await;
    let platform = Platform::host();
    image(&server, &platform);
    server.after("GET", "/manifests/", ALWAYS, |_, reply| reply.headers[0].1 = "text/plain".to_owned());
    let fetched = client(quick()).fetch_document(&server.reference("app:many")).await.unwrap();
    assert_eq!(fetched.media_type, media_type::OCI_INDEX);
    assert_eq!(fetched.endpoint, format!("{}/app", server.address));
}

#[tokio::test]
async fn dockers_lists_are_read_as_indexes_are_and_strangers_in_them_passed_over() {
    let server = Server::start().await;
    let mut config =
        server.add_blob("app", &Config::scratch(&Platform::new("linux", "arm", Some("v7"))).to_bytes());
    config.media_type = media_type::DOCKER_CONFIG.to_owned();
    let mut layer = server.add_blob("app", b"layer");
    layer.media_type = media_type::DOCKER_LAYER_GZIP.to_owned();
    let manifest = Manifest::new(Form::Docker, config, vec![layer]).to_bytes();
    let digest = server.add_manifest("app", "one", media_type::DOCKER_MANIFEST, &manifest);
    let entry = |os: &str, architecture: &str, variant| {
        let mut entry = Descriptor::new(media_type::DOCKER_MANIFEST, digest, manifest.len() as u64);
        entry.platform = Some(Platform::new(os, architecture, variant));
        entry
    };
    let list = Index {
        schema_version: 2,
        media_type: Some(media_type::DOCKER_LIST.to_owned()),
        manifests: vec![entry("unknown", "unknown", None), entry("linux", "arm", Some("v7"))],
        annotations: Default::default(),
    };
    server.add_manifest("app", "1", "application/json; charset=utf-8", &serde_json::to_vec(&list).unwrap());
    // Without a variant, version 7 is meant.
    let platform = Platform::new("linux", "arm", None);
    let image = resolve(&client(quick()), &server.reference("app:1"), &platform).await.unwrap();
    assert_eq!(image.manifest_digest, digest);
    assert_eq!(image.manifest_media_type, media_type::DOCKER_MANIFEST);
    let other = Platform::new("linux", "s390x", None);
    let error = resolve(&client(quick()), &server.reference("app:1"), &other).await.unwrap_err();
    assert!(error.to_string().ends_with("there is linux/arm/v7"), "{error}");
}

#[tokio::test]
async fn schema_1_is_refused_by_name() {
    let server = Server::start().await;
    server.add_manifest("app", "1", "x", br#"{"schemaVersion":1,"fsLayers":[]}"#);
    let error = client(quick()).fetch_document(&server.reference("app:1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Schema1 { .. }), "{error}");
}

#[tokio::test]
async fn a_document_with_another_digest_is_refused() {
    let server = Server::start().await;
    image(&server, &Platform::host());
    server.after("GET", "/manifests/", ALWAYS, |_, reply| reply.body.push(b' '));
    let error = client(quick()).fetch_document(&server.reference("app:1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
    let wanted = Digest::of(b"");
    server.after("GET", "/manifests/", ALWAYS, move |_, reply| *reply = Reply::body(200, "{}"));
    let reference = server.reference("app").with_digest(wanted);
    let error = client(quick()).fetch_document(&reference).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { expected, .. } if expected == wanted), "{error}");
}

#[tokio::test]
async fn mirrors_are_asked_first_and_the_origin_last() {
    let (mirror, origin) = (Server::start().await, Server::start().await);
    image(&origin, &Platform::host());
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}/copies\"\n",
        origin.address, mirror.address
    );
    let client = client(mirrored(&text));
    let reference = origin.reference("app:1");
    let fetched = client.fetch_document(&reference).await.unwrap();
    assert_eq!(fetched.endpoint, format!("{}/app", origin.address));
    assert_eq!(mirror.count("GET", "/v2/copies/app/manifests/1"), 1);

    mirror.add_manifest("copies/app", "1", media_type::OCI_MANIFEST, &fetched.bytes);
    let fetched = client.fetch_document(&reference).await.unwrap();
    assert_eq!(fetched.endpoint, format!("{}/copies/app", mirror.address));

    mirror.instead("GET", "/manifests/", ALWAYS, |_, _| Some(Reply::status(500)));
    assert!(client.fetch_document(&reference).await.unwrap().endpoint.ends_with("/app"));
    let asked = mirror.count("GET", "/manifests/");
    client.fetch_document(&reference).await.unwrap();
    assert_eq!(mirror.count("GET", "/manifests/"), asked, "a broken mirror is left alone");
}

#[tokio::test]
async fn a_blob_that_breaks_off_at_a_mirror_goes_on_at_the_origin() {
    let (mirror, origin) = (Server::start().await, Server::start().await);
    let blob = noise(100_000);
    let descriptor = origin.add_blob("app", &blob);
    mirror.add_blob("app", &blob);
    mirror.after("GET", "/blobs/", 1, |_, reply| reply.cut = Some(60_000));
    mirror.instead("GET", "/blobs/", ALWAYS, |request, _| {
        (!request.header("range").is_empty()).then(|| Reply::status(403))
    });
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}\"\n",
        origin.address, mirror.address
    );
    let (sent, read) = download(&client(mirrored(&text)), &origin.reference("app:1"), &descriptor).await;
    sent.unwrap();
    assert_eq!(read.unwrap(), blob);
    assert_eq!(origin.seen("GET", "/blobs/")[0].header("range"), "bytes=60000-");
}

#[tokio::test]
async fn blocked_registries_are_not_asked() {
    let server = Server::start().await;
    let text = format!("[[registry]]\nlocation = \"{}\"\nblocked = true\n", server.address);
    let error = client(mirrored(&text)).fetch_document(&server.reference("app:1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Blocked { .. }), "{error}");
    assert!(server.state().log.is_empty());
}

#[tokio::test]
async fn redirects_do_not_take_credentials_along() {
    let (server, store) = (Server::start().await, Server::start().await);
    let descriptor = server.add_blob("app", b"far away");
    let target = format!("http://{}/bucket?signature=hunter2", store.address);
    store.instead("GET", "/bucket", ALWAYS, |_, _| Some(Reply::body(200, "far away")));
    server.instead("GET", "/v2/app/", ALWAYS, move |request, _| {
        Some(match request.header("authorization") {
            "Basic bWU6c2VjcmV0" => Reply::status(307).header("Location", &target),
            _ => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
        })
    });
    let mut settings = quick();
    settings.credentials.add_login(&server.address.to_string(), "me", Secret::new("secret"));
    let client = client(settings);
    let bytes = client.fetch_blob_bytes(&server.reference("app:1"), &descriptor).await.unwrap();
    assert_eq!(bytes, b"far away");
    assert_eq!(store.seen("GET", "/bucket")[0].header("authorization"), "");

    // And a failure over there shows neither the signature nor the password.
    store.instead("GET", "/bucket", ALWAYS, |_, _| Some(Reply::default()));
    store.state().log.clear();
    let other = Descriptor::new(media_type::OCI_LAYER, Digest::of(b"other"), 5);
    let error = client.fetch_blob_bytes(&server.reference("app:1"), &other).await.unwrap_err();
    let text = format!("{error} {error:?} {:?} {client:?}", error.hint());
    assert!(!text.contains("hunter2") && !text.contains("secret"), "{text}");
}
