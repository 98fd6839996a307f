//! Contexts and Dockerfiles from addresses, by a real server.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{FileServer, Served, TestEnv, assert_tree, tar};

const ALL: &str = "FROM scratch\nCOPY . /\n";

fn archive(dockerfile: &str, lines: &[&str]) -> Vec<u8> {
    let dockerfile = format!("Dockerfile 644 {dockerfile}");
    tar(&[&[&*dockerfile], lines].concat())
}

#[test]
fn an_archive_at_an_address_is_a_context() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    let lines = [".dockerignore 644 Docker*\nhidden", "hidden", "own/f 600 5:6 x"];
    server.file("/archive?v=1", &["ETag: \"1\""], archive(ALL, &lines));
    let build = || env.rbuild(&["-t", "app", &server.url("/archive?v=1")]).run().success();
    build();
    let expected = ["f644 .dockerignore: Docker*\nhidden", "d755 own", "f600 5:6 own/f: x"];
    assert_tree(&env.image("app"), &expected, "");
    assert_eq!(server.requests(), ["GET /archive?v=1 200"]);
    let again = build();
    assert_eq!(server.requests(), ["GET /archive?v=1 304"]);
    for step in ["unpack", "COPY"] {
        assert_eq!(again.outcome(step), Some("CACHED"), "{again}");
    }
    // Other bytes are another context; the first ones are still known.
    server.file("/archive?v=1", &["ETag: \"2\""], archive(ALL, &["other"]));
    build();
    assert_tree(&env.image("app"), &["f644 Dockerfile: FROM scratch\nCOPY . /", "f644 other: other"], "");
    server.file("/archive?v=1", &["ETag: \"3\""], archive(ALL, &lines));
    assert_eq!(build().outcome("COPY"), Some("CACHED"));
    assert_tree(&env.image("app"), &expected, "");
    env.has_no_leftovers();
}

#[test]
fn the_same_archive_is_the_same_context_wherever_it_comes_from() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    let bytes = archive(ALL, &["a"]);
    server.file("/x.tar", &[], bytes.clone());
    env.rbuild(&[&server.url("/x.tar")]).run().success();
    let piped = env.rbuild(&["-"]).input(bytes).run().success();
    assert_eq!(piped.outcome("unpack"), Some("CACHED"), "{piped}");
}

#[test]
fn a_dockerfile_at_an_address_has_an_empty_context() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    env.write("a", "not seen");
    server.file("/x", &["ETag: \"1\""], "\u{feff}FROM scratch\nCOPY . /n/\nCOPY <<f /\nx\nf\n");
    for _ in 0..2 {
        env.rbuild(&["-t", "app", &server.url("/x")]).run().success();
        assert_tree(&env.image("app"), &["f644 f: x", "d755 n"], "");
    }
    assert_eq!(server.requests(), ["GET /x 200", "GET /x 304"]);
    let two = env.rbuild(&["-f", "Dockerfile", &server.url("/x")]).run().code(2);
    two.says(&["is a Dockerfile, and --file names another one"]);
    server.file("/bad", &[], "FROM scratch\nCOPY a /\n");
    let failed = env.rbuild(&[&server.url("/bad")]).run().code(3);
    failed.says(&["\"/a\": not found", "/bad:2", ">>> COPY a /"]);
}

#[test]
fn a_dockerfile_at_an_address_goes_with_a_directory() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    env.write("a", "a").write("b", "b").write(".dockerignore", "b\n").dockerfile("FROM nowhere\n");
    server.file("/x", &["ETag: \"1\""], "FROM scratch\nCOPY a* b* /\n");
    for _ in 0..2 {
        env.rbuild(&["-t", "app", "-f", &server.url("/x"), "."]).run().success();
        assert_tree(&env.image("app"), &["f644 a: a"], "");
    }
    assert_eq!(server.requests(), ["GET /x 200", "GET /x 304"]);
    server.file("/x", &["ETag: \"2\""], "FROM scratch\nCOPY a /changed\n");
    env.rbuild(&["-t", "app", "-f", &server.url("/x"), "."]).run().success();
    assert_tree(&env.image("app"), &["f644 changed: a"], "");
    server.file("/x.tar", &[], archive(ALL, &[]));
    let failed = env.rbuild(&["-f", &server.url("/x.tar"), "."]).run().code(3);
    failed.says(&["/x.tar is an archive, and not a Dockerfile"]);
}

#[test]
fn the_dockerfile_of_an_archive_may_be_elsewhere() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    let bytes = archive("FROM scratch\n", &["a", "b", "sub/Other 644 FROM scratch\nCOPY a /inside\n"]);
    server.file("/x.tar", &[], bytes.clone());
    server.file("/Dockerfile", &[], "FROM scratch\nCOPY a /fetched\n");
    env.write("D", "FROM scratch\nCOPY a* b* /outside/\n").write("D.dockerignore", "b\n");
    let outside = env.context().join("D");
    let context = server.url("/x.tar");
    let build = |file: &str, input: &str| {
        env.rbuild(&["-t", "app", "-f", file, &context]).input(input).run().success();
        env.image("app")
    };
    assert_tree(&build("sub/Other", ""), &["f644 inside: a"], "in the archive");
    let expected = ["d755 outside", "f644 outside/a: a"];
    assert_tree(&build(outside.to_str().unwrap(), ""), &expected, "of this machine");
    assert_tree(&build(&server.url("/Dockerfile"), ""), &["f644 fetched: a"], "at another address");
    let piped = build("-", "FROM scratch\nCOPY a /piped\n");
    assert_tree(&piped, &["f644 piped: a"], "on standard input");
    let piped = env.rbuild(&["-t", "app", "-f", &server.url("/Dockerfile"), "-"]).input(bytes).run();
    piped.success();
    assert_tree(&env.image("app"), &["f644 fetched: a"], "with an archive on standard input");
}

#[test]
fn what_cannot_be_fetched_is_told() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    let missing = env.rbuild(&[&server.url("/nothing.tar")]).run().code(5);
    missing.says(&["cannot fetch", "/nothing.tar", "404", "check the spelling"]);
    let missing = env.rbuild(&["-f", &server.url("/Dockerfil"), "."]).run().code(5);
    missing.says(&["cannot fetch", "/Dockerfil", "404"]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = env.rbuild(&[&format!("http://{closed}/x.tar")]).run().code(5);
    refused.says(&["cannot connect", "is a server running"]);
    let whole = archive(ALL, &["a"]);
    server.file("/cut.tar", &[], &whole[..700]);
    env.rbuild(&[&server.url("/cut.tar")]).run().code(3).says(&["/cut.tar", "damaged"]);
    server.file("/empty.tar", &[], vec![0; 1024]);
    env.rbuild(&[&server.url("/empty.tar")]).run().code(3).says(&["it has no entries"]);
    server.file("/nodockerfile.tar", &[], tar(&["app/Dockerfile"]));
    let none = env.rbuild(&[&server.url("/nodockerfile.tar")]).run().code(3);
    none.says(&["there is no Dockerfile in http://", "there is /app/Dockerfile"]);
    server.file("/empty", &[], "");
    env.rbuild(&[&server.url("/empty")]).run().code(3).says(&["the Dockerfile cannot be empty"]);
    env.has_no_leftovers();
}

#[test]
fn a_server_is_told_who_asks() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    let wants = Some("Bearer letmein".to_owned());
    server.serve("/x.tar", Served { status: 200, headers: Vec::new(), body: archive(ALL, &["a"]), wants });
    let refused = env.rbuild(&[&server.url("/x.tar")]).run().code(5);
    refused.says(&["401", "--secret id=HTTP_AUTH_TOKEN_"]);
    let id = format!("id=HTTP_AUTH_TOKEN_{},env=TOKEN", server.address());
    let words = ["--secret", &*id, &*server.url("/x.tar")];
    env.rbuild(&words).env("TOKEN", "letmein").run().success().omits(&["letmein"]);
    let refused = env.rbuild(&words).env("TOKEN", "old").run().code(5);
    refused.says(&["401", "was sent, and the server refused it"]).omits(&["is given with --secret"]);
    // Nor is anybody told of a password that is in an address.
    server.file("/y.tar", &[], archive("FROM scratch\nCOPY --from=file . /\n", &[]));
    server.file("/cut.tar", &[], archive(ALL, &[])[..700].to_vec());
    let address = |path: &str| server.url(path).replace("http://", "http://ann:pass@");
    let named = format!("file={}", address("/y.tar"));
    env.rbuild(&["--build-context", &named, &address("/y.tar")]).run().success().omits(&["pass"]);
    env.rbuild(&["-f", &address("/y.tar"), "."]).run().code(3).says(&["ann:xxxxx@"]).omits(&["pass"]);
    env.rbuild(&[&address("/cut.tar")]).run().code(3).says(&["ann:xxxxx@"]).omits(&["pass"]);
    env.rbuild(&[&address("/missing")]).run().code(5).says(&["ann:xxxxx@"]).omits(&["pass"]);
    env.rbuild(&[&address("/x.git")]).run().code(5).omits(&["pass"]);
}

#[test]
fn redirects_that_lead_nowhere_are_told() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    let moved = |headers: Vec<String>| Served { status: 302, headers, ..Served::default() };
    server.serve("/loop", moved(vec!["Location: /loop".to_owned()]));
    server.serve("/nowhere", moved(Vec::new()));
    for (path, said) in [("/loop", "too many redirects"), ("/nowhere", "a redirect leads nowhere")] {
        let failed = env.rbuild(&[&server.url(path)]).run().code(5);
        failed.says(&[said, "hint: the server is to blame"]).omits(&["--checksum"]);
    }
}

#[test]
fn addresses_that_cannot_be_are_wrong_input() {
    let env = TestEnv::new();
    for address in ["http://", "http://127.0.0.1:99999/x.tar"] {
        let failed = env.rbuild(&[address]).run().code(3);
        failed.says(&[&format!("{address} is not the address of a file")]);
    }
}

#[test]
fn what_is_asked_about_a_dockerfile_is_answered_for_addresses() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    server.file("/x.tar", &[], archive("FROM scratch AS one\nCOPY a /\n", &["a"]));
    server.file("/x", &[], "FROM scratch AS two\nCOPY <<a /\na\n");
    for (path, name) in [("/x.tar", "one"), ("/x", "two")] {
        let ask = |method: &str| env.rbuild(&[method, &server.url(path)]).run().success().stdout().to_owned();
        assert!(ask("--check").contains("no warnings found"));
        assert!(ask("--call=targets").contains(name));
        assert!(ask("--dump=graph").contains("COPY"));
        assert!(ask("--dump=keys").contains("key "));
        assert!(ask("--dump=ast").contains(name));
    }
}

#[test]
fn addresses_that_are_none_are_refused_by_name() {
    let env = TestEnv::new();
    env.dockerfile(ALL);
    let refused = |words: &[&str], says: &[&str]| drop(env.rbuild(words).run().code(2).says(says));
    refused(&["htpp://x/y.tar"], &["htpp://", "did you mean http://?"]);
    refused(&["ftp://x/y.tar"], &["nothing is known about ftp://"]);
    refused(&["docker-image://alpine"], &["docker-image:// cannot be the context", "--build-context"]);
    refused(&["-f", "https://h/x.git#main", "."], &["git repository"]);
    let missing = env.rbuild(&["nowhere"]).run().code(3);
    missing.says(&["build context nowhere does not exist"]);
    let file = env.rbuild(&["Dockerfile"]).run().code(3);
    file.says(&["build context Dockerfile is not a directory", "rbuild … - < Dockerfile"]);
}

#[test]
fn an_interrupted_fetch_leaves_nothing() {
    let env = TestEnv::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x.tar", silent.local_addr().unwrap());
    let mut command = env.rbuild(&[&url]).into_command();
    let mut build = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (mut asked, _) = silent.accept().unwrap();
    assert_ne!(asked.read(&mut [0; 100]).unwrap(), 0);
    let began = Instant::now();
    kill_process(Pid::from_child(&build), Signal::INT).unwrap();
    assert_eq!(build.wait().unwrap().code(), Some(130));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    env.has_no_leftovers();
}

#[test]
fn what_was_pruned_comes_again() {
    let (env, server) = (TestEnv::new(), FileServer::start());
    server.file("/x.tar", &["ETag: \"1\""], archive(ALL, &["a"]));
    let build = || env.rbuild(&["-t", "app", &server.url("/x.tar")]).run().success();
    build();
    let first = env.image("app");
    env.rbuild(&["rmi", "app"]).run().success();
    env.rbuild(&["prune", "--all", "--force"]).run().success();
    assert!(build().outcome("unpack").unwrap().starts_with("DONE"));
    assert_eq!(env.image("app").listing(), first.listing());
    assert_eq!(server.requests(), ["GET /x.tar 200", "GET /x.tar 200"]);
}
