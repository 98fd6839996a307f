//! What registries are known to do, each once: uploads above all.

use bytes::Bytes;

use super::push::{blob, has, push};
use super::server::{ALWAYS, Reply, Server};
use super::*;
use crate::image::media_type;

/// Sends a blob as the packer does, before its digest is known, and then completes it.
async fn stream(server: &Server, blob: &(Descriptor, Bytes)) -> Result<(), RegistryError> {
    let (client, to) = (client(quick()), server.reference("app:1"));
    let opening = movable(client.stream_blob(&to, &blob.1, &unheard())).await;
    client.upload_blob(&to, &blob.0, &blob.1, opening, &unheard()).await
}

fn error(status: u16, code: &str) -> Reply {
    Reply::body(status, format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#))
}

#[tokio::test]
async fn a_stream_says_neither_length_nor_range_and_the_digest_at_the_end() {
    let server = Server::start().await;
    let blob = blob(&noise(3 << 20));
    stream(&server, &blob).await.unwrap();
    assert!(has(&server, &blob));
    let patch = &server.seen("PATCH", "")[0];
    assert_eq!((patch.header("content-length"), patch.header("content-range")), ("", ""));
    assert!(patch.path.ends_with("?_state=a%2Bb"), "{}", patch.path);
    let put = &server.seen("PUT", "")[0];
    assert!(put.path.contains("?digest=sha256%3A") && put.body.is_empty(), "{}", put.path);
    assert_eq!(server.state().log.len(), 4, "a look at the scheme, and one request for each step");
}

#[tokio::test]
async fn a_stream_that_was_cut_goes_on_where_it_stopped() {
    let server = Server::start().await;
    let blob = blob(&noise(3 << 20));
    server.instead("PATCH", "", 1, |request, state| {
        let upload = state.uploads.values_mut().next().unwrap();
        upload.extend_from_slice(&request.body[..2 << 20]);
        Some(Reply::default())
    });
    stream(&server, &blob).await.unwrap();
    assert!(has(&server, &blob));
    assert_eq!(server.count("POST", ""), 1);
    assert_eq!(server.seen("PATCH", "")[1].body.len(), 1 << 20, "only the rest was sent again");
}

#[tokio::test]
async fn a_stream_of_which_only_the_answer_was_lost_is_completed() {
    let server = Server::start().await;
    let blob = blob(&noise(2 << 20));
    server.after("PATCH", "", 1, |_, reply| *reply = Reply::default());
    stream(&server, &blob).await.unwrap();
    assert!(has(&server, &blob));
    assert_eq!((server.count("PATCH", ""), server.count("POST", "")), (1, 1));
}

#[tokio::test]
async fn where_streams_are_refused_the_blob_is_sent_at_once() {
    let server = Server::start().await;
    let blob = blob(&noise(100_000));
    server.instead("PATCH", "", ALWAYS, |_, _| Some(error(405, "UNSUPPORTED")));
    stream(&server, &blob).await.unwrap();
    assert!(has(&server, &blob));
    // And where the size of parts is limited for those that say it.
    let server = Server::start().await;
    server.instead("PATCH", "", ALWAYS, |_, _| Some(Reply::body(416, "request body is too large")));
    stream(&server, &blob).await.unwrap();
    assert!(has(&server, &blob));
}

#[tokio::test]
async fn a_registry_that_forgets_what_it_has_gets_all_of_it_again() {
    let server = Server::start().await;
    let blob = blob(&noise(3 << 20));
    server.instead("PUT", "/blobs/", 1, |request, state| {
        let upload = state.uploads.values_mut().next().unwrap();
        upload.extend_from_slice(&request.body[..2 << 20]);
        Some(Reply::default())
    });
    // The range stays that of the first part, and what is sent after it is refused.
    server.after("GET", "/uploads/", ALWAYS, |_, reply| {
        reply.headers.iter_mut().filter(|(name, _)| name == "Range").for_each(|(_, range)| {
            *range = "0-1048576".to_owned();
        });
    });
    server.instead("PATCH", "", ALWAYS, |_, _| Some(error(416, "BLOB_UPLOAD_INVALID")));
    push(&server, &blob, &[]).await.unwrap();
    assert!(has(&server, &blob));
    assert_eq!((server.count("PATCH", ""), server.count("POST", "")), (1, 2));
}

#[tokio::test]
async fn an_upload_that_came_out_wrong_is_begun_anew_once() {
    for code in ["DIGEST_INVALID", "BLOB_UPLOAD_INVALID"] {
        let server = Server::start().await;
        let (one, other) = (blob(&noise(100_000)), blob(b"other"));
        server.instead("PUT", "/blobs/", 1, move |_, _| Some(error(400, code)));
        push(&server, &one, &[]).await.unwrap();
        assert!(has(&server, &one));
        assert_eq!(server.count("POST", ""), 2, "{code}: another session");
        server.instead("PUT", "/blobs/", ALWAYS, move |_, _| Some(error(400, code)));
        let failed = push(&server, &other, &[]).await.unwrap_err();
        assert!(failed.to_string().contains(code), "{failed}");
        assert_eq!(server.count("POST", ""), 4, "{code}: no third session");
    }
}

#[tokio::test]
async fn a_blob_that_a_retried_request_committed_is_found() {
    let server = Server::start().await;
    let blob = blob(&noise(100_000));
    // The first answer is lost after the commit, and for a moment the blob cannot be seen.
    server.after("PUT", "/blobs/", 1, |_, reply| *reply = Reply::default());
    server.instead("HEAD", "/blobs/", 2, |_, _| Some(Reply::status(404)));
    push(&server, &blob, &[]).await.unwrap();
    assert!(has(&server, &blob));
}

#[tokio::test]
async fn a_token_that_expires_while_a_blob_is_sent_is_renewed() {
    let server = Server::start().await;
    let blob = blob(&noise(3 << 20));
    let realm = format!("Bearer realm=\"http://{}/token\"", server.address);
    let challenge = realm.clone();
    for method in ["HEAD", "POST", "PATCH", "PUT"] {
        let challenge = challenge.clone();
        server.instead(method, "/v2/app/", ALWAYS, move |request, state| {
            let valid = format!(
                "Bearer t{}",
                state.log.iter().filter(|seen| seen.path.starts_with("/token")).count()
            );
            let expired = request.method == "PATCH" && request.header("authorization") == "Bearer t1";
            (request.header("authorization") != valid || expired)
                .then(|| Reply::status(401).header("WWW-Authenticate", &challenge))
        });
    }
    server.instead("GET", "/token", ALWAYS, |_, state| {
        let number = state.log.iter().filter(|seen| seen.path.starts_with("/token")).count();
        Some(Reply::body(200, format!(r#"{{"token":"t{number}"}}"#)))
    });
    stream(&server, &blob).await.unwrap();
    assert!(has(&server, &blob));
    assert_eq!(server.count("PATCH", ""), 2, "the bytes were sent again with the new token");
}

#[tokio::test]
async fn a_mount_has_one_token_for_both_repositories() {
    let server = Server::start().await;
    server.add_blob("base", b"shared");
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"reg\"", server.address);
    for method in ["HEAD", "POST"] {
        let challenge = challenge.clone();
        server.instead(method, "/v2/app/", ALWAYS, move |request, _| {
            (request.header("authorization") != "Bearer good")
                .then(|| Reply::status(401).header("WWW-Authenticate", &challenge))
        });
    }
    server.instead("GET", "/token", ALWAYS, |_, _| Some(Reply::body(200, r#"{"token":"good"}"#)));
    let how = push(&server, &blob(b"shared"), &["base"]).await.unwrap();
    assert_eq!(how, Pushed::Mounted);
    let asked = server.seen("GET", "/token").pop().unwrap().path;
    assert!(asked.contains("repository%3Aapp%3Apull%2Cpush"), "{asked}");
    assert!(asked.contains("repository%3Abase%3Apull"), "{asked}");
}

#[tokio::test]
async fn a_tag_that_stays_says_what_it_names() {
    let server = Server::start().await;
    let there = server.add_manifest("app", "1", media_type::OCI_MANIFEST, b"{\"there\":1}");
    let (client, reference) = (client(quick()), server.reference("app:1"));
    let refusals = [
        Reply::status(412),
        error(409, "TAG_ALREADY_EXISTS"),
        error(400, "TAG_INVALID"),
        Reply::body(400, r#"{"errors":[{"code":"DENIED","message":"tag is immutable"}]}"#),
    ];
    for refusal in refusals {
        let status = refusal.status;
        server.instead("PUT", "/manifests/", 2, move |_, _| Some(refusal.clone()));
        let failed = client.push_manifest(&reference, media_type::OCI_MANIFEST, b"{}").await.unwrap_err();
        assert!(
            matches!(failed, RegistryError::Immutable { there: found, .. } if found == there),
            "{failed}"
        );
        assert!(failed.to_string().contains("must not change"), "{status}: {failed}");
        client.push_manifest(&reference, media_type::OCI_MANIFEST, b"{\"there\":1}").await.unwrap();
    }
}

#[tokio::test]
async fn a_page_instead_of_an_answer_is_shown_as_text() {
    let server = Server::start().await;
    let page = "<html><title>413 Request Entity Too Large</title><center>nginx</center></html>";
    server.instead("PUT", "/blobs/", ALWAYS, move |_, _| Some(Reply::body(413, page)));
    let failed = push(&server, &blob(b"bytes"), &[]).await.unwrap_err();
    assert!(failed.to_string().ends_with("413 Request Entity Too Large nginx"), "{failed}");
    assert_eq!(server.count("PUT", ""), 1, "what is too large stays too large");
}
