//! ADD of files from addresses, by a real server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::support::{FileServer, Finished, Served, TestEnv, assert_tree, certificates, require_tool, tar};

const THEN: &str = "Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT";
/// The same in seconds since 1970.
const THEN_SECONDS: u64 = 1_445_412_480;
/// Of `one\n`.
const SHA256: &str = "sha256:2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806";

fn build(env: &TestEnv) -> Finished {
    env.rbuild(&["-t", "app", "."]).run().success()
}

#[test]
fn files_have_names_modes_owners_and_times() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    for path in ["/one.tar", "/a%20b?q=1", "/"] {
        server.file(path, &[], "one\n");
    }
    server.file("/timed", &[THEN], "one\n");
    let url = |path: &str| server.url(path);
    env.dockerfile(&format!(
        "FROM scratch\nADD {} /d/\nADD [\"{}\", \"{}\", \"/d/\"]\nADD {} /renamed\n\
         ADD --chmod=4755 --chown=1:2 {} /owned\nADD --chmod=u+x {} /symbolic\n",
        url("/one.tar"),
        url("/a%20b?q=1"),
        url("/"),
        url("/timed"),
        url("/timed"),
        url("/timed"),
    ));
    build(&env);
    let image = env.image("app");
    let expected = [
        "d755 d",
        "f600 d/__unnamed__: one",
        "f600 d/a b: one",
        "f600 d/one.tar: one",
        "f600 renamed: one",
        "f4755 1:2 owned: one",
        "f700 symbolic: one",
    ];
    assert_tree(&image, &expected, "");
    let files = image.files();
    assert_eq!((files["renamed"].modified, files["owned"].modified), (THEN_SECONDS, THEN_SECONDS));
    assert_eq!(files["d/one.tar"].modified, 0);
    // What several steps want is fetched once.
    let timed = server.requests().into_iter().filter(|request| request.contains("timed"));
    assert_eq!(timed.collect::<Vec<_>>(), ["GET /timed 200"]);
}

#[test]
fn a_file_that_has_not_changed_is_asked_for_and_cached() {
    for validator in ["ETag: \"1\"", THEN] {
        let (env, server) = (TestEnv::new(), FileServer::start());
        server.file("/x", &[validator], "one\n");
        env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url("/x")));
        assert!(build(&env).outcome("ADD").unwrap().starts_with("DONE"));
        let first = env.image("app");
        assert_eq!(server.requests(), ["GET /x 200"]);
        assert_eq!(build(&env).outcome("ADD"), Some("CACHED"), "{validator}");
        assert_eq!(server.requests(), ["GET /x 304"], "{validator}");
        assert_eq!(env.image("app").listing(), first.listing());
        // Other bytes are another step.
        server.file("/x", &["ETag: \"2\""], "two\n");
        assert!(build(&env).outcome("ADD").unwrap().starts_with("DONE"), "{validator}");
        assert_eq!(server.requests(), ["GET /x 200"]);
        assert_eq!(env.image("app").text("x"), "two\n");
        // And the first ones are known still, by whatever name the server calls them.
        server.file("/x", &[validator, "X: y"], "one\n");
        assert_eq!(build(&env).outcome("ADD"), Some("CACHED"), "{validator}");
        assert_eq!(env.image("app").text("x"), "one\n");
        env.has_no_leftovers();
    }
}

#[test]
fn a_server_that_knows_nothing_sends_the_file_again() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    server.file("/x", &[], "one\n");
    env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url("/x")));
    build(&env);
    assert_eq!(build(&env).outcome("ADD"), Some("CACHED"));
    assert_eq!(server.requests(), ["GET /x 200", "GET /x 200"]);
    // Nobody who asks for everything anew is given the old file.
    env.rbuild(&["--no-cache", "."]).run().success();
    assert_eq!(server.requests(), ["GET /x 200"]);
}

#[test]
fn what_a_checksum_names_is_not_asked_for_again() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    server.file("/x", &[THEN], "one\n");
    env.dockerfile(&format!("FROM scratch\nADD --checksum={SHA256} {} /\n", server.url("/x")));
    build(&env);
    assert_eq!(server.requests(), ["GET /x 200"]);
    assert_eq!(build(&env).outcome("ADD"), Some("CACHED"));
    // Nor under another name of the server, nor for another step.
    let elsewhere = server.url("/x").replace("127.0.0.1", "localhost");
    env.dockerfile(&format!("FROM scratch\nADD --checksum={SHA256} {elsewhere} /other\n"));
    build(&env);
    assert!(server.requests().is_empty());
    assert_eq!(env.image("app").files()["other"].modified, THEN_SECONDS);
}

#[test]
fn other_algorithms_check_too() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    server.file("/x", &[], "one\n");
    let sums = ["sha384", "sha512"].map(|algorithm| {
        let mut sum = Command::new(format!("{algorithm}sum"));
        let mut child = sum.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"one\n").unwrap();
        let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        format!("{algorithm}:{}", output.split(' ').next().unwrap())
    });
    for sum in &sums {
        env.dockerfile(&format!("FROM scratch\nADD --checksum={sum} {} /\n", server.url("/x")));
        build(&env);
        let (algorithm, digits) = sum.split_once(':').unwrap();
        let wrong = format!("{algorithm}:{}", "8".repeat(digits.len()));
        env.dockerfile(&format!("FROM scratch\nADD --checksum={wrong} {} /\n", server.url("/x")));
        env.rbuild(&["."]).run().code(5).says(&["digest mismatch"]);
    }
}

#[test]
fn another_file_than_the_checksum_names_fails_the_build() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    server.file("/x", &[], "two\n");
    env.dockerfile(&format!("FROM scratch\nADD --checksum={SHA256} {} /\n", server.url("/x")));
    for _ in 0..2 {
        let failed = env.rbuild(&["."]).run().code(5);
        failed.says(&["digest mismatch", SHA256, "2 | >>> ADD"]);
    }
    assert_eq!(server.requests().len(), 2);
    env.has_no_leftovers();
}

#[test]
fn refusals_are_told_with_the_line() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url("/missing")));
    env.rbuild(&["."]).run().code(5).says(&["invalid response status 404", "/missing", "2 | >>> ADD"]);
    // A server that nobody started.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    env.dockerfile(&format!("FROM scratch\nADD http://{free}/x /\n"));
    env.rbuild(&["."]).run().code(5).says(&["cannot connect", "is a server running at 127.0.0.1?"]);
    env.dockerfile("FROM scratch\nADD http://[/x /\n");
    env.rbuild(&["."]).run().code(3).says(&["is not the address of a file", "2 | >>> ADD"]);
    env.has_no_leftovers();
}

#[test]
fn redirects_are_followed_and_keep_the_first_name() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    let to =
        |path: &str| Served { status: 302, headers: vec![format!("Location: {path}")], ..Served::default() };
    server.serve("/first", to("/second"));
    server.file("/second", &["ETag: \"1\""], "one\n");
    server.serve("/round", to("/round"));
    env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url("/first")));
    build(&env);
    assert_eq!(env.image("app").text("first"), "one\n");
    assert_eq!(build(&env).outcome("ADD"), Some("CACHED"));
    let expected = ["GET /first 302", "GET /second 200", "GET /first 302", "GET /second 304"];
    assert_eq!(server.requests(), expected);
    env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url("/round")));
    env.rbuild(&["."]).run().code(5).says(&["too many redirects"]);
}

#[test]
fn archives_are_unpacked_only_if_that_is_asked_for() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    server.file("/a.tar", &[], tar(&["inner 640 text"]));
    env.write("local", "local");
    let url = server.url("/a.tar");
    env.dockerfile(&format!("FROM scratch\nADD --unpack=true {url} /u/\nADD {url} local /k/\n"));
    build(&env);
    let files = env.image("app").files();
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["k", "k/a.tar", "k/local", "u", "u/inner"]);
}

#[test]
fn a_linked_file_stays_where_the_base_changes() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    server.file("/x", &["ETag: \"1\""], "one\n");
    env.write("a", "1");
    env.dockerfile(&format!("FROM scratch\nCOPY a /\nADD --link --chown=3:4 {} /d/\n", server.url("/x")));
    build(&env);
    env.write("a", "2");
    assert_eq!(build(&env).outcome("ADD"), Some("CACHED"));
    assert_tree(&env.image("app"), &["f644 a: 2", "d755 3:4 d", "f600 3:4 d/x: one"], "");
}

#[test]
fn secrets_authorize_and_stay_with_their_host() {
    let (env, server, other) = (TestEnv::new(), FileServer::start(), FileServer::start());
    let wants = |text: &str| Served {
        status: 200,
        body: b"one\n".to_vec(),
        wants: Some(text.to_owned()),
        ..Served::default()
    };
    server.serve("/token", wants("Bearer tiger"));
    server.serve("/header", wants("Basic dGlnZXI="));
    server.serve(
        "/away",
        Served { status: 307, headers: vec![format!("Location: {}", other.url("/x"))], ..Served::default() },
    );
    other.serve("/x", wants("Bearer tiger"));
    let built = |path: &str, id: &str, value: &str| {
        env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url(path)));
        fs::write(env.path("secret"), value).unwrap();
        let secret = format!("id={id},src={}", env.path("secret").display());
        env.rbuild(&["--secret", &secret, "-t", "app", "."]).run()
    };
    let token = format!("HTTP_AUTH_TOKEN_{}", server.address());
    built("/token", &token, "tiger\n").success().omits(&["tiger"]);
    built("/token", "HTTP_AUTH_TOKEN_127.0.0.1", "tiger").success();
    built("/header", "HTTP_AUTH_HEADER_127.0.0.1", "Basic dGlnZXI=").success();
    built("/token", "HTTP_AUTH_TOKEN_localhost", "tiger")
        .code(5)
        .says(&["invalid response status 401", "HTTP_AUTH_TOKEN_127.0.0.1"]);
    built("/away", &token, "tiger").code(5).says(&["401"]);
    assert_eq!(other.requests(), ["GET /x 401"]);
    assert!(!env.image("app").mentions("tiger"));
}

#[test]
fn a_server_of_an_own_authority_is_trusted_by_its_certificate() {
    require_tool!("openssl");
    let env = TestEnv::new();
    let directory = certificates::in_new_directory(&env);
    fs::write(directory.join("x"), "one\n").unwrap();
    let server = certificates::FilesByTls::serve(&directory);
    let address = server.address();
    env.dockerfile(&format!("FROM scratch\nADD https://{address}/x /\n"));
    let untrusted = env.rbuild(&["."]).run();
    let trusted = env.rbuild(&["-t", "app", "."]).env("SSL_CERT_FILE", directory.join("ca.crt")).run();
    untrusted.code(5).says(&["no trusted TLS connection", "SSL_CERT_FILE"]);
    trusted.success();
    assert_eq!(env.image("app").text("x"), "one\n");
}

#[test]
fn a_file_that_is_said_to_be_endless_is_refused_before_it_comes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nbegin").unwrap();
        // Whoever refuses closes the connection.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let env = TestEnv::new();
    env.dockerfile(&format!("FROM scratch\nADD http://{address}/x /\n"));
    env.rbuild(&["."]).run().code(5).says(&["larger than the", "Dockerfile:2"]);
    server.join().unwrap();
    env.has_no_leftovers();
}
