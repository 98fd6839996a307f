//! What goes wrong on the way, and how it is mended or told.

use std::time::Instant;

use super::server::{ALWAYS, Reply, Server};
use super::*;
use crate::image::{Digest, media_type};

#[tokio::test]
async fn temporary_failures_are_tried_again() {
    let server = Server::start().await;
    let descriptor = server.add_blob("app", b"blob");
    server.instead("GET", "/blobs/", 1, |_, _| Some(Reply::status(500)));
    server.instead("GET", "/blobs/", 1, |_, _| Some(Reply::status(429).header("Retry-After", 60)));
    server.instead("GET", "/blobs/", 1, |_, _| Some(Reply::default()));
    let begun = Instant::now();
    let bytes = client(quick()).fetch_blob_bytes(&server.reference("app:1"), &descriptor).await.unwrap();
    assert_eq!(bytes, b"blob");
    assert_eq!(server.count("GET", "/blobs/"), 4);
    assert!(begun.elapsed() >= Duration::from_millis(300), "Retry-After counts, up to the longest pause");
}

#[tokio::test]
async fn failures_that_stay_are_told_after_five_tries() {
    let server = Server::start().await;
    let page = "<html><title>502 Bad Gateway</title><script>x()</script><h1>oops</h1></html>";
    server.instead("GET", "/manifests/", ALWAYS, move |_, _| Some(Reply::body(502, page)));
    let error = client(quick()).fetch_document(&server.reference("app:1")).await.unwrap_err();
    let text = format!(
        "{}/app: manifest 1: the registry answered 502 Bad Gateway: 502 Bad Gateway oops",
        server.address
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(server.count("GET", "/manifests/"), 5);
}

#[tokio::test]
async fn a_cut_body_is_resumed() {
    let server = Server::start().await;
    let blob = noise(300_000);
    let descriptor = server.add_blob("app", &blob);
    server.after("GET", "/blobs/", 2, |_, reply| reply.cut = Some(100_000));
    let (sent, read) = download(&client(quick()), &server.reference("app:1"), &descriptor).await;
    sent.unwrap();
    assert_eq!(read.unwrap(), blob);
    let ranges: Vec<_> =
        server.seen("GET", "/blobs/").iter().map(|seen| seen.header("range").to_owned()).collect();
    assert_eq!(ranges, ["", "bytes=100000-", "bytes=200000-"]);
}

#[tokio::test]
async fn a_registry_that_ignores_ranges_is_coped_with() {
    let server = Server::start().await;
    let blob = noise(300_000);
    let descriptor = server.add_blob("app", &blob);
    server.after("GET", "/blobs/", 1, |_, reply| reply.cut = Some(100_000));
    let whole = blob.clone();
    server.after("GET", "/blobs/", ALWAYS, move |_, reply| {
        (reply.status, reply.body) = (200, whole.clone());
    });
    let (sent, read) = download(&client(quick()), &server.reference("app:1"), &descriptor).await;
    sent.unwrap();
    assert_eq!(read.unwrap(), blob);
}

#[tokio::test]
async fn a_registry_that_cannot_give_parts_gives_the_whole_again() {
    for wrong in
        [Reply::status(416), Reply::body(206, "x").header("Content-Range", "bytes 200000-200000/300000")]
    {
        let server = Server::start().await;
        let blob = noise(300_000);
        let descriptor = server.add_blob("app", &blob);
        server.after("GET", "/blobs/", 1, |_, reply| reply.cut = Some(100_000));
        server.instead("GET", "/blobs/", ALWAYS, move |request, _| {
            (!request.header("range").is_empty()).then(|| wrong.clone())
        });
        let (sent, read) = download(&client(quick()), &server.reference("app:1"), &descriptor).await;
        sent.unwrap();
        assert_eq!(read.unwrap(), blob);
        assert_eq!(server.count("GET", "/blobs/"), 3);
    }
}

#[tokio::test]
async fn a_blob_with_another_digest_never_ends_well() {
    let server = Server::start().await;
    let descriptor = server.add_blob("app", b"good");
    server.after("GET", "/blobs/", ALWAYS, |_, reply| reply.body = b"evil".to_vec());
    let (sent, read) = download(&client(quick()), &server.reference("app:1"), &descriptor).await;
    assert!(matches!(sent, Err(RegistryError::WrongDigest { .. })), "{sent:?}");
    assert!(read.is_err(), "the reader must not take it for whole");
}

#[tokio::test]
async fn a_blob_of_another_length_is_refused() {
    let server = Server::start().await;
    let descriptor = server.add_blob("app", b"good");
    server.after("GET", "/blobs/", 1, |_, reply| reply.body = b"goodness".to_vec());
    let reference = server.reference("app:1");
    let (sent, read) = download(&client(quick()), &reference, &descriptor).await;
    assert!(matches!(sent, Err(RegistryError::WrongSize { expected: 4, found: 8, .. })), "{sent:?}");
    assert!(read.is_err());
    // The same when the length is not announced but only turns out.
    let chunked = "4\r\ngood\r\n4\r\nness\r\n0\r\n\r\n";
    server.after("GET", "/blobs/", 1, move |_, reply| {
        *reply = Reply::body(200, chunked).header("Transfer-Encoding", "chunked");
    });
    let (sent, _) = download(&client(quick()), &reference, &descriptor).await;
    assert!(matches!(sent, Err(RegistryError::WrongSize { expected: 4, found: 8, .. })), "{sent:?}");
}

#[tokio::test]
async fn an_empty_blob_is_fetched_too() {
    let server = Server::start().await;
    let descriptor = server.add_blob("app", b"");
    let bytes = client(quick()).fetch_blob_bytes(&server.reference("app:1"), &descriptor).await.unwrap();
    assert!(bytes.is_empty());
    assert_eq!(server.count("GET", "/blobs/"), 1);
}

#[tokio::test]
async fn a_stalled_transfer_is_noticed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut settings = quick();
    settings.timeouts.stall = Duration::from_millis(50);
    settings.retries.tries = 2;
    let reference = format!("{address}/app:1").parse().unwrap();
    let error = client(settings).fetch_document(&reference).await.unwrap_err();
    assert!(matches!(error, RegistryError::Stalled { .. }), "{error}");
    drop(listener);
}

#[tokio::test]
async fn a_transfer_that_only_drips_is_given_up_and_goes_on() {
    let server = Server::start().await;
    let blob = noise(100_000);
    let descriptor = server.add_blob("app", &blob);
    server.after("GET", "/blobs/", 1, |_, reply| reply.drip = Some(10));
    let mut settings = quick();
    settings.timeouts.stall = Duration::from_millis(200);
    let (sent, read) = download(&client(settings), &server.reference("app:1"), &descriptor).await;
    sent.unwrap();
    assert_eq!(read.unwrap(), blob);
    let again = server.seen("GET", "/blobs/");
    assert_eq!(again.len(), 2, "one try that dripped, and one that went on");
    assert!(again[1].header("range").starts_with("bytes="), "{:?}", again[1]);
}

#[tokio::test]
async fn a_limit_that_is_near_is_told_once() {
    let server = Server::start().await;
    server.add_manifest("app", "1", media_type::OCI_MANIFEST, br#"{"schemaVersion":2,"manifests":[]}"#);
    server.after("GET", "/manifests/", ALWAYS, |_, reply| {
        let headers = [("ratelimit-limit", "100;w=21600"), ("RateLimit-Remaining", "3;w=21600")];
        reply.headers.extend(headers.map(|(name, value)| (name.to_owned(), value.to_owned())));
    });
    let (events, heard) = event::channel();
    let client = Client::new(quick(), events);
    client.fetch_document(&server.reference("app:1")).await.unwrap();
    client.fetch_document(&server.reference("app:1")).await.unwrap();
    drop(client);
    let warnings: Vec<_> = heard.into_iter().map(|event| format!("{:?}", event.kind)).collect();
    assert!(matches!(&warnings[..], [only] if only.contains("3 of 100 pulls in 6 hours")), "{warnings:?}");
}

#[tokio::test]
async fn a_foreign_layer_comes_from_its_publisher_who_learns_nothing() {
    let (server, publisher) = (Server::start().await, Server::start().await);
    let mut descriptor = Descriptor::new(media_type::DOCKER_FOREIGN_GZIP, Digest::of(b"far"), 3);
    descriptor.urls =
        vec![format!("http://{}/none", publisher.address), format!("http://{}/far", publisher.address)];
    publisher.instead("GET", "/far", ALWAYS, |_, _| Some(Reply::body(200, "far")));
    let mut settings = quick();
    settings.credentials.add_login(&server.address.to_string(), "me", Secret::new("secret"));
    let (sent, read) = download(&client(settings), &server.reference("app:1"), &descriptor).await;
    sent.unwrap();
    assert_eq!(read.unwrap(), b"far");
    assert_eq!(publisher.seen("GET", "/far")[0].header("authorization"), "");
    // The same bytes under an ordinary type are the registry's to have.
    descriptor.media_type = media_type::DOCKER_LAYER_GZIP.to_owned();
    let (sent, _) = download(&client(quick()), &server.reference("app:1"), &descriptor).await;
    assert!(matches!(sent, Err(RegistryError::NotFound { .. })), "{sent:?}");
    // And what the publisher sends has to be the layer.
    descriptor.media_type = media_type::DOCKER_FOREIGN_GZIP.to_owned();
    publisher.after("GET", "/far", ALWAYS, |_, reply| reply.body = b"bad".to_vec());
    let (sent, read) = download(&client(quick()), &server.reference("app:1"), &descriptor).await;
    assert!(matches!(sent, Err(RegistryError::WrongDigest { .. })) && read.is_err(), "{sent:?}");
}

#[tokio::test]
async fn nobody_listening_is_told_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error =
        client(quick()).fetch_document(&format!("{address}/app:1").parse().unwrap()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{address}/app: manifest 1: cannot connect"));
    assert_eq!(error.hint().unwrap(), format!("is a registry running at {address}?"));
}

#[tokio::test]
async fn documents_without_end_are_not_read() {
    let server = Server::start().await;
    server.add_manifest("app", "1", "x", &vec![b' '; (17 << 20) as usize]);
    let error = client(quick()).fetch_document(&server.reference("app:1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    let huge = Descriptor::new(media_type::OCI_CONFIG, Digest::of(b""), 1 << 40);
    let error = client(quick()).fetch_blob_bytes(&server.reference("app:1"), &huge).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_download() {
    let server = Server::start().await;
    let descriptor = server.add_blob("app", &noise(1000));
    let (sender, reader) = blob_channel(1);
    drop(reader);
    let sent = client(quick()).fetch_blob(&server.reference("app:1"), &descriptor, sender, &unheard()).await;
    assert!(matches!(sent, Err(RegistryError::Abandoned { .. })), "{sent:?}");
}
