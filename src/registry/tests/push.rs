//! Writing: mounts, uploads that break off, manifests.

use bytes::Bytes;

use super::server::{ALWAYS, Reply, Server};
use super::*;
use crate::image::{Digest, media_type};

pub(super) fn blob(bytes: &[u8]) -> (Descriptor, Bytes) {
    let descriptor = Descriptor::new(media_type::OCI_LAYER, Digest::of(bytes), bytes.len() as u64);
    (descriptor, Bytes::copy_from_slice(bytes))
}

pub(super) async fn push(
    server: &Server,
    blob: &(Descriptor, Bytes),
    mount_from: &[&str],
) -> Result<Pushed, RegistryError> {
    let (client, to, progress) = (client(quick()), server.reference("app:1"), unheard());
    match movable(client.place_blob(&to, &blob.0, mount_from)).await? {
        Placed::There(how) => Ok(how),
        Placed::Missing(opening) => {
            movable(client.upload_blob(&to, &blob.0, &blob.1, opening, &progress)).await?;
            Ok(Pushed::Uploaded)
        }
    }
}

pub(super) fn has(server: &Server, blob: &(Descriptor, Bytes)) -> bool {
    server.state().blobs.get(&format!("app@{}", blob.0.digest)) == Some(&blob.1.to_vec())
}

#[tokio::test]
async fn what_is_pushed_can_be_pulled() {
    let server = Server::start().await;
    let blob = blob(&noise(1_000_000));
    assert_eq!(push(&server, &blob, &[]).await.unwrap(), Pushed::Uploaded);
    assert_eq!(push(&server, &blob, &[]).await.unwrap(), Pushed::Existed);
    assert!(has(&server, &blob));
    let put = &server.seen("PUT", "/blobs/")[0];
    assert!(put.path.contains("?_state=a%2Bb&digest=sha256%3A"), "the state is kept: {}", put.path);
    assert_eq!(put.header("content-range"), "", "some registries limit uploads that have it");

    let client = client(quick());
    let bytes = br#"{"schemaVersion":2}"#;
    let digest =
        client.push_manifest(&server.reference("app:1"), media_type::OCI_MANIFEST, bytes).await.unwrap();
    assert_eq!(digest, Digest::of(bytes));
    assert_eq!(server.seen("PUT", "/manifests/1")[0].header("content-type"), media_type::OCI_MANIFEST);
    assert_eq!(client.head_manifest(&server.reference("app:1")).await.unwrap(), Some(digest));
    let (sent, read) = download(&client, &server.reference("app:1"), &blob.0).await;
    sent.unwrap();
    assert_eq!(read.unwrap(), blob.1);
}

#[tokio::test]
async fn a_mount_saves_the_upload() {
    let server = Server::start().await;
    let blob = blob(b"shared");
    server.add_blob("base", b"shared");
    assert_eq!(push(&server, &blob, &["app", "other", "base"]).await.unwrap(), Pushed::Mounted);
    assert!(has(&server, &blob));
    assert_eq!(server.count("PUT", ""), 0);
}

#[tokio::test]
async fn a_refused_mount_becomes_an_upload() {
    let server = Server::start().await;
    let blob = blob(b"not shared");
    assert_eq!(push(&server, &blob, &["base"]).await.unwrap(), Pushed::Uploaded);
    assert_eq!(server.count("POST", ""), 1, "the session that came instead is used");
    let server = Server::start().await;
    server.instead("POST", "mount=", ALWAYS, |_, _| Some(Reply::status(403)));
    assert_eq!(push(&server, &blob, &["base"]).await.unwrap(), Pushed::Uploaded);
    assert!(has(&server, &blob));
}

#[tokio::test]
async fn an_upload_is_tried_again_from_the_start() {
    let server = Server::start().await;
    let blob = blob(&noise(600_000));
    server.instead("PUT", "/blobs/", 1, |_, state| {
        state.uploads.clear();
        Some(Reply::status(503))
    });
    server.instead("POST", "/blobs/", 1, |_, _| Some(Reply::status(500)));
    assert_eq!(push(&server, &blob, &[]).await.unwrap(), Pushed::Uploaded);
    assert!(has(&server, &blob));
    assert_eq!(server.count("PUT", ""), 2);
}

#[tokio::test]
async fn an_upload_goes_on_where_it_stopped() {
    let server = Server::start().await;
    let blob = blob(&noise(3 << 20));
    server.instead("PUT", "/blobs/", 1, |request, state| {
        let upload = state.uploads.values_mut().next().unwrap();
        upload.extend_from_slice(&request.body[..2 << 20]);
        Some(Reply::default())
    });
    assert_eq!(push(&server, &blob, &[]).await.unwrap(), Pushed::Uploaded);
    assert!(has(&server, &blob));
    let patch = &server.seen("PATCH", "")[0];
    assert_eq!(patch.header("content-range"), format!("{}-{}", 2 << 20, (3 << 20) - 1));
}

#[tokio::test]
async fn an_answer_that_was_lost_is_looked_up() {
    let server = Server::start().await;
    let blob = blob(b"committed");
    server.after("PUT", "/blobs/", 1, |_, reply| *reply = Reply::default());
    assert_eq!(push(&server, &blob, &[]).await.unwrap(), Pushed::Uploaded);
    assert_eq!(server.count("PUT", ""), 1);
}

#[tokio::test]
async fn a_lost_session_is_replaced_once() {
    let server = Server::start().await;
    let blob = blob(b"bytes");
    server.instead("PUT", "/blobs/", 1, |_, _| {
        Some(Reply::body(404, r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"gone"}]}"#))
    });
    assert_eq!(push(&server, &blob, &[]).await.unwrap(), Pushed::Uploaded);
    server.instead("PUT", "/blobs/", ALWAYS, |_, _| Some(Reply::status(400)));
    let other = self::blob(b"other");
    let error = push(&server, &other, &[]).await.unwrap_err();
    assert!(matches!(error, RegistryError::Status { .. }), "{error}");
    assert_eq!(server.count("PUT", ""), 4);
}

#[tokio::test]
async fn a_source_that_is_too_short_is_blamed_itself() {
    let server = Server::start().await;
    let mut blob = blob(b"bytes");
    blob.0.size = 500_000;
    let error = push(&server, &blob, &[]).await.unwrap_err();
    assert!(matches!(error, RegistryError::Source { .. }), "{error}");
    assert!(error.to_string().ends_with("499995 of the blob's bytes are missing"), "{error}");
}

#[tokio::test]
async fn a_tag_that_must_not_change_may_stay() {
    let server = Server::start().await;
    let bytes = br#"{"schemaVersion":2}"#;
    server.add_manifest("app", "1", media_type::OCI_MANIFEST, bytes);
    server.after("PUT", "/manifests/", 1, |_, reply| reply.headers[0].1 = Digest::of(b"other").to_string());
    let error =
        client(quick()).push_manifest(&server.reference("app:1"), media_type::OCI_MANIFEST, bytes).await;
    assert!(matches!(error, Err(RegistryError::WrongDigest { .. })), "{error:?}");
    server.instead("PUT", "/manifests/", ALWAYS, |_, _| {
        Some(Reply::body(400, r#"{"errors":[{"code":"TAG_INVALID","message":"immutable"}]}"#))
    });
    let client = client(quick());
    let reference = server.reference("app:1");
    client.push_manifest(&reference, media_type::OCI_MANIFEST, bytes).await.unwrap();
    let error = client.push_manifest(&reference, media_type::OCI_MANIFEST, b"{}").await.unwrap_err();
    assert!(error.to_string().contains("TAG_INVALID: immutable"), "{error}");
}

#[tokio::test]
async fn a_manifest_waits_for_blobs_that_replicas_do_not_know_yet() {
    let server = Server::start().await;
    server.instead("PUT", "/manifests/", 2, |_, _| {
        Some(Reply::body(400, r#"{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"wait"}]}"#))
    });
    let reference = server.reference("app:1");
    client(quick()).push_manifest(&reference, media_type::OCI_MANIFEST, b"{}").await.unwrap();
    assert_eq!(server.count("PUT", "/manifests/"), 3);
}

#[tokio::test]
async fn what_a_manifest_is_about_is_kept_account_of() {
    let server = Server::start().await;
    let subject = server.add_manifest("app", "1", media_type::OCI_MANIFEST, b"{\"layers\":[],\"config\":{}}");
    let about = |kind: &str| {
        format!(
            r#"{{"schemaVersion":2,"artifactType":"{kind}","layers":[],"subject":{{"digest":"{subject}"}}}}"#
        )
    };
    let push = async |name: &str, bytes: &str| {
        let client = client(quick());
        client
            .push_manifest(&server.reference(name), media_type::OCI_MANIFEST, bytes.as_bytes())
            .await
            .unwrap()
    };
    let (signature, list) = (about("signature/v1"), about("list/v1"));
    // The same one again adds nothing.
    for bytes in [&signature, &list, &signature] {
        push("app:about", bytes).await;
    }
    let key = format!("app:sha256-{}", subject.hex());
    let (kind, bytes) = server.state().manifests[&key].clone();
    assert_eq!(kind, media_type::OCI_INDEX);
    let index: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let kinds: Vec<_> = index["manifests"].as_array().unwrap().iter().map(|it| &it["artifactType"]).collect();
    assert_eq!(kinds, ["signature/v1", "list/v1"]);

    // A registry that does it itself is left to it.
    let server = Server::start().await;
    let answer = subject.to_string();
    server.after("PUT", "/manifests/", ALWAYS, move |_, reply| {
        reply.headers.push(("OCI-Subject".to_owned(), answer.clone()));
    });
    let client = client(quick());
    let to = server.reference("app:about");
    client.push_manifest(&to, media_type::OCI_MANIFEST, signature.as_bytes()).await.unwrap();
    assert_eq!(server.seen("PUT", "/manifests/").len(), 1);
}
