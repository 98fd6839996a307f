//! Proving who we are, to those who ask and to nobody else.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::{ALWAYS, Reply, Request, Server, State};
use super::*;
use crate::image::{Digest, media_type};

const MANIFEST: &[u8] = br#"{"schemaVersion":2,"layers":[],"config":{"mediaType":"x","size":0,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}"#;

/// Demands a token that the server's own `/token` gives out.
fn demand_token(server: &Server) {
    let realm = format!("http://{}/token", server.address);
    let demand = move |request: &Request, _: &mut State| {
        let challenge = format!("Bearer realm=\"{realm}\",service=\"reg\",scope=\"repository:app:pull\"");
        (request.header("authorization") != "Bearer good").then(|| {
            Reply::body(401, r#"{"errors":[{"code":"UNAUTHORIZED","message":"who?"}]}"#)
                .header("WWW-Authenticate", challenge)
        })
    };
    for method in ["GET", "HEAD", "PUT", "POST"] {
        server.instead(method, "/v2/app", ALWAYS, demand.clone());
    }
}

fn give_token(server: &Server, method: &'static str) {
    server.instead(method, "/token", ALWAYS, |_, _| {
        Some(Reply::body(200, r#"{"access_token":"good","expires_in":300}"#))
    });
}

fn login(server: &Server) -> Settings {
    let mut settings = quick();
    settings.credentials.add_login(&server.address.to_string(), "me", Secret::new("secret"));
    settings
}

#[tokio::test]
async fn an_anonymous_token_is_fetched_once_for_many() {
    let server = Server::start().await;
    server.add_manifest("app", "1", media_type::OCI_MANIFEST, MANIFEST);
    demand_token(&server);
    give_token(&server, "GET");
    let client = client(quick());
    let reference = server.reference("app:1");
    let fetches = (0..8).map(|_| {
        let (client, reference) = (client.clone(), reference.clone());
        tokio::spawn(async move { client.fetch_document(&reference).await.unwrap().digest })
    });
    for fetch in fetches.collect::<Vec<_>>() {
        assert_eq!(fetch.await.unwrap(), Digest::of(MANIFEST));
    }
    let asked = server.seen("GET", "/token");
    assert_eq!(asked.len(), 1, "one token serves all");
    assert_eq!(asked[0].path, "/token?service=reg&scope=repository%3Aapp%3Apull");
    assert_eq!(asked[0].header("authorization"), "");
    let before = server.count("GET", "/manifests/");
    client.fetch_document(&reference).await.unwrap();
    assert_eq!(server.count("GET", "/manifests/"), before + 1, "the next request knows what to send");
}

#[tokio::test]
async fn a_password_goes_to_the_token_service_and_a_stale_token_is_renewed() {
    let server = Server::start().await;
    server.add_manifest("app", "1", media_type::OCI_MANIFEST, MANIFEST);
    let current = Arc::new(AtomicUsize::new(1));
    let (realm, valid) = (format!("http://{}/token", server.address), current.clone());
    server.instead("GET", "/v2/app", ALWAYS, move |request, _| {
        let wanted = format!("Bearer t{}", valid.load(Ordering::Relaxed));
        (request.header("authorization") != wanted)
            .then(|| Reply::status(401).header("WWW-Authenticate", format!("Bearer realm={realm}")))
    });
    let given = current.clone();
    server.instead("GET", "/token", ALWAYS, move |_, _| {
        Some(Reply::body(200, format!(r#"{{"token":"t{}"}}"#, given.load(Ordering::Relaxed))))
    });
    let client = client(login(&server));
    client.fetch_document(&server.reference("app:1")).await.unwrap();
    assert_eq!(server.seen("GET", "/token")[0].header("authorization"), "Basic bWU6c2VjcmV0");
    // The registry forgets the token before its time.
    current.store(2, Ordering::Relaxed);
    client.fetch_document(&server.reference("app:1")).await.unwrap();
    assert_eq!(server.count("GET", "/token"), 2);
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let server = Server::start().await;
    server.add_manifest("app", "1", media_type::OCI_MANIFEST, MANIFEST);
    demand_token(&server);
    give_token(&server, "POST");
    let mut settings = quick();
    let text = format!(r#"{{"auths":{{"{}":{{"identitytoken":"id&entity"}}}}}}"#, server.address);
    settings.credentials.add(Path::new("config.json"), &text).unwrap();
    client(settings).fetch_document(&server.reference("app:1")).await.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&server.seen("POST", "/token")[0].body),
        "service=reg&grant_type=refresh_token&client_id=rbuild&scope=repository%3Aapp%3Apull&refresh_token=id%26entity"
    );
}

#[tokio::test]
async fn basic_is_sent_only_when_asked_for() {
    let server = Server::start().await;
    server.add_manifest("app", "1", media_type::OCI_MANIFEST, MANIFEST);
    server.instead("GET", "/v2/app", ALWAYS, |request, _| {
        (request.header("authorization") != "Basic bWU6c2VjcmV0")
            .then(|| Reply::status(401).header("WWW-Authenticate", "Basic realm=\"r\""))
    });
    let client = client(login(&server));
    client.fetch_document(&server.reference("app:1")).await.unwrap();
    client.fetch_document(&server.reference("app:1")).await.unwrap();
    let seen = server.seen("GET", "/manifests/");
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].header("authorization"), "");
}

#[tokio::test]
async fn denials_say_what_the_registry_said_and_what_to_do() {
    let server = Server::start().await;
    demand_token(&server);
    server.instead("GET", "/token", ALWAYS, |_, _| Some(Reply::body(401, r#"{"details":"bad password"}"#)));
    let error = client(quick()).fetch_document(&server.reference("app:1")).await.unwrap_err();
    assert!(error.to_string().ends_with("access denied (401 Unauthorized: bad password)"), "{error}");
    assert!(error.hint().unwrap().starts_with("log in with `rbuild login 127.0.0.1:"), "{error:?}");
    let error = client(login(&server)).fetch_document(&server.reference("app:1")).await.unwrap_err();
    assert!(error.hint().unwrap().contains("from the command line was used"), "{error:?}");
    assert_eq!(server.count("GET", "/token"), 2, "a denial is not tried again");
}

#[tokio::test]
async fn a_missing_helper_is_told_about_and_an_open_image_had_without_it() {
    let server = Server::start().await;
    server.add_manifest("app", "1", media_type::OCI_MANIFEST, MANIFEST);
    demand_token(&server);
    give_token(&server, "GET");
    let mut settings = quick();
    let text = format!(r#"{{"credHelpers":{{"{}":"no-such-helper"}}}}"#, server.address);
    settings.credentials.add(Path::new("config.json"), &text).unwrap();
    let (events, receiver) = event::channel();
    let client = Client::new(settings, events);
    client.fetch_document(&server.reference("app:1")).await.unwrap();
    drop(client);
    let said: Vec<String> = receiver.into_iter().map(|event| format!("{event:?}")).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("docker-credential-no-such-helper"), "{said:?}");
}

#[tokio::test]
async fn a_login_of_the_environment_that_is_refused_gives_way_for_reading_alone() {
    let server = Server::start().await;
    server.add_manifest("app", "1", media_type::OCI_MANIFEST, MANIFEST);
    demand_token(&server);
    server.instead("GET", "/token", ALWAYS, |request, _| {
        let refused = !request.header("authorization").is_empty() || request.path.contains("push");
        Some(if refused { Reply::status(401) } else { Reply::body(200, r#"{"token":"good"}"#) })
    });
    let mut settings = quick();
    let host = server.address.to_string();
    let variable = |name: &str| match name {
        "CI_REGISTRY" => Some(host.clone()),
        "CI_JOB_TOKEN" => Some("stale".to_owned()),
        _ => None,
    };
    settings.credentials.set_environment(EnvironmentLogins::from_variables(variable, |_| None));
    let client = client(settings);
    client.fetch_document(&server.reference("app:1")).await.unwrap();
    assert_eq!(server.count("GET", "/token"), 2);
    let error = client
        .push_manifest(&server.reference("app:2"), media_type::OCI_MANIFEST, MANIFEST)
        .await
        .unwrap_err();
    assert!(error.hint().unwrap().contains("CI_JOB_TOKEN"), "{error:?}");
}

#[tokio::test]
async fn proxies_are_used_but_not_for_this_machine() {
    let (proxy, server) = (Server::start().await, Server::start().await);
    for server in [&proxy, &server] {
        server.instead("GET", "/v2/app/manifests/", ALWAYS, |_, _| Some(Reply::body(200, MANIFEST)));
    }
    let mut settings = mirrored("[[registry]]\nlocation = \"reg.example\"\ninsecure = true\n");
    settings.proxies.http = Some(Secret::new(format!("http://me:hunter2@{}", proxy.address)));
    settings.proxies.https = Some(Secret::new("http://127.0.0.1:1"));
    let client = client(settings);
    client.fetch_document(&"reg.example/app:1".parse().unwrap()).await.unwrap();
    assert_eq!(proxy.count("GET", "http://reg.example/v2/app/manifests/1"), 1);
    client.fetch_document(&server.reference("app:1")).await.unwrap();
    assert_eq!(server.count("GET", "/manifests/1"), 1);
    assert!(!format!("{client:?}").contains("hunter2"));
}
