//! ADD of git repositories that not everybody may have, and of what is in the way.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    GitServer, Output, Repository, TestEnv, certificates, git_world, is_gone, processes, require_tool,
    started, user_name,
};

const PASSWORD: &str = "t1ger-t1ger";
/// `x-access-token:t1ger-t1ger`, as servers get it.
const TOKEN: &str = "Basic eC1hY2Nlc3MtdG9rZW46dDFnZXItdDFnZXI=";

fn with_secret(env: &TestEnv, id: &str, value: &str, url: &str) -> Output {
    env.dockerfile(&format!("FROM scratch\nADD {url} /\n"));
    fs::write(env.path("secret"), value).unwrap();
    let secret = format!("id={id},src={}", env.path("secret").display());
    env.rbuild(&["--secret", &secret, "-t", "app", "."]).run()
}

/// Puts a program before all others.
fn program(env: &TestEnv, name: &str, script: &str) -> String {
    let path = env.path("bin").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/local/bin:/usr/bin:/bin", env.path("bin").display())
}

#[test]
fn secrets_authorize_and_are_found_nowhere() {
    let (env, server, repository) = git_world();
    let url = server.url("x.git");
    server.wants(Some(TOKEN));
    let host = server.address();
    let mut count = 0;
    for (id, value) in [
        ("GIT_AUTH_TOKEN".to_owned(), format!("{PASSWORD}\n")),
        (format!("GIT_AUTH_TOKEN.{host}"), PASSWORD.to_owned()),
        ("GIT_AUTH_TOKEN.127.0.0.1".to_owned(), PASSWORD.to_owned()),
        ("GIT_AUTH_HEADER".to_owned(), TOKEN.to_owned()),
        (format!("GIT_AUTH_HEADER.{host}"), TOKEN.to_owned()),
    ] {
        // Each time there is something to be fetched.
        count += 1;
        repository.write("file", &format!("text {count}\n")).commit("more");
        with_secret(&env, &id, &value, &url).success().omits(&[PASSWORD, TOKEN]);
        assert_eq!(env.image("app").text("file"), format!("text {count}\n"), "{id}");
    }
    // The address itself may say it.
    server.wants(Some("Basic YW5uOnQxZ2VyLXQxZ2Vy"));
    repository.write("file", "by name\n").commit("more");
    env.dockerfile(&format!("FROM scratch\nADD http://ann:{PASSWORD}@{host}/x.git /\n"));
    env.rbuild(&["-t", "app", "."]).run().success().omits(&[PASSWORD]);
    assert_eq!(env.image("app").text("file"), "by name\n");
    let found = env
        .program("grep", &["-rlE", &format!("{PASSWORD}|{TOKEN}|YW5uOnQx"), env.store().to_str().unwrap()]);
    let _ = found.run().code(1);
    let history = env.rbuild(&["history", "app"]).run().success();
    assert!(!history.stdout().contains(PASSWORD), "{history}");
}

#[test]
fn without_the_right_secret_a_build_fails_and_says_what_to_give() {
    let (env, server, _repository) = git_world();
    let url = server.url("x.git");
    server.wants(Some(TOKEN));
    env.dockerfile(&format!("FROM scratch\nADD {url} /\n"));
    env.rbuild(&["."]).run().code(5).says(&["cannot ask", "for its refs", "GIT_AUTH_TOKEN", "2 | >>> ADD"]);
    with_secret(&env, "GIT_AUTH_TOKEN", "wrong", &url).code(5).says(&["GIT_AUTH_TOKEN"]).omits(&["wrong"]);
    with_secret(&env, "GIT_AUTH_TOKEN.localhost", PASSWORD, &url).code(5).omits(&[PASSWORD]);
    with_secret(&env, "GIT_AUTH_TOKEN", "a\nb", &url).code(3).says(&["no text, or has an end of line"]);
    env.has_no_leftovers();
}

#[test]
fn secrets_are_in_no_arguments() {
    let (env, server, _repository) = git_world();
    server.wants(Some(TOKEN));
    let log = env.path("arguments");
    let path = program(&env, "git", &format!("echo \"$@\" >> {}\nexec /usr/bin/git \"$@\"", log.display()));
    env.dockerfile(&format!("FROM scratch\nADD http://x:{PASSWORD}@{}/x.git /\n", server.address()));
    fs::write(env.path("secret"), PASSWORD).unwrap();
    let secret = format!("id=GIT_AUTH_TOKEN,src={}", env.path("secret").display());
    env.rbuild(&["--secret", &secret, "."]).env("PATH", path).run().success().omits(&[PASSWORD]);
    let arguments = fs::read_to_string(log).unwrap();
    assert!(arguments.contains("fetch") && !arguments.contains(PASSWORD), "{arguments}");
}

#[test]
fn secrets_stay_with_their_server() {
    let (env, server, _repository) = git_world();
    let other = GitServer::start(&env);
    // Sent on: without anything to be kept secret that is fine, otherwise it is not.
    server.moved_to(&other);
    env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url("x.git")));
    env.rbuild(&["."]).run().success();
    other.requests();
    let refused = with_secret(&env, "GIT_AUTH_TOKEN", PASSWORD, &server.url("x.git"));
    refused.code(5).says(&["has moved", "write its new address"]);
    assert!(other.requests().is_empty());
    // Submodules of another server get nothing of it, those of the same do.
    let (env, server, repository) = git_world();
    let other = GitServer::start(&env);
    let library = Repository::new(&env, "library.git");
    let commit = library.write("inner", "inner\n").commit("library");
    let submodule = |url: &str| {
        repository.write(".gitmodules", &format!("[submodule \"a\"]\n\tpath = a\n\turl = {url}\n"));
        repository.git(&["add", "-A"]);
        repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},a")]);
        repository.git(&["commit", "-q", "-m", "submodule"]);
    };
    server.wants(Some(TOKEN));
    other.wants(Some(TOKEN));
    submodule(&other.url("library.git"));
    with_secret(&env, "GIT_AUTH_TOKEN", PASSWORD, &server.url("x.git")).code(5).says(&["GIT_AUTH_TOKEN"]);
    submodule("../library.git");
    with_secret(&env, "GIT_AUTH_TOKEN", PASSWORD, &server.url("x.git")).success();
    assert_eq!(env.image("app").text("a/inner"), "inner\n");
}

#[test]
fn ssh_asks_the_callers_agent_and_knows_the_callers_hosts() {
    let (env, _server, repository) = git_world();
    let log = env.path("ssh");
    // Instead of a connection: what would be run at its other end.
    let script = format!(
        "echo \"agent $SSH_AUTH_SOCK\" >> {0}\nfor word; do echo \"word $word\" >> {0}; last=$word; done\nexec sh -c \"$last\"",
        log.display()
    );
    let path = program(&env, "ssh", &script);
    let (short, long) = (
        format!("git@h.example:{}", repository.path().display()),
        format!("ssh://ann@h.example:2222{}", repository.path().display()),
    );
    let nobody = format!("ssh://nobody.example{}", repository.path().display());
    env.dockerfile(&format!(
        "FROM scratch\nADD {short} /short/\nADD {long}#main /long/\nADD {nobody} /nobody/\n"
    ));
    env.rbuild(&["."])
        .env("PATH", &path)
        .run()
        .code(3)
        .says(&["no SSH agent \"default\" is forwarded", "--ssh default"]);
    let agent = env.path("agent");
    let _listener = UnixListener::bind(&agent).unwrap();
    fs::create_dir(env.path("home/.ssh")).unwrap();
    fs::write(env.path("home/.ssh/known_hosts"), "").unwrap();
    let build = env.rbuild(&["--ssh", "default", "-t", "app", "."]).env("PATH", &path);
    build.env("SSH_AUTH_SOCK", &agent).run().success();
    let image = env.image("app");
    assert_eq!(
        (image.text("short/file"), image.text("long/file")),
        ("text\n".to_owned(), "text\n".to_owned())
    );
    let said = fs::read_to_string(log).unwrap();
    for expected in [
        format!("agent {}", agent.display()),
        "word StrictHostKeyChecking=yes".to_owned(),
        "word BatchMode=yes".to_owned(),
        format!("word UserKnownHostsFile=\"{}\"", env.path("home/.ssh/known_hosts").display()),
        "word git@h.example".to_owned(),
        "word ann@h.example".to_owned(),
        "word 2222".to_owned(),
        format!("word {}", user_name()),
        "word nobody.example".to_owned(),
    ] {
        assert!(said.lines().any(|line| line == expected), "{expected} is not in\n{said}");
    }
}

#[test]
fn a_server_of_an_own_authority_is_trusted_by_its_certificate() {
    require_tool!("openssl");
    let env = TestEnv::new();
    let directory = certificates::in_new_directory(&env);
    // A repository that is nothing but files, for a server that knows nothing but files.
    let repository = Repository::new(&env, "x");
    repository.write("file", "text\n").commit("first");
    repository.git(&["update-server-info"]);
    let served = directory.join("x.git");
    fs::rename(repository.path().join(".git"), &served).unwrap();
    fs::copy(served.join("info/refs"), served.join("info/refs?service=git-upload-pack")).unwrap();
    let server = certificates::FilesByTls::serve(&directory);
    env.dockerfile(&format!("FROM scratch\nADD https://{}/x.git /\n", server.address()));
    let authority = directory.join("ca.crt");
    let others = directory.join("client.cert");
    env.rbuild(&["."]).run().code(5).says(&["certificate", "SSL_CERT_FILE"]);
    env.rbuild(&["."]).env("SSL_CERT_FILE", others).run().code(5).says(&["certificate", "SSL_CERT_FILE"]);
    env.rbuild(&["."]).env("SSL_CERT_FILE", "/no/such.pem").run().code(5).says(&["SSL_CERT_FILE"]);
    // As it is for other programs, the name of a file may begin where the caller is.
    fs::copy(&authority, env.context().join("own.crt")).unwrap();
    for (variable, value) in [
        ("SSL_CERT_FILE", authority.display().to_string()),
        ("SSL_CERT_FILE", "own.crt".to_owned()),
        ("SSL_CERT_DIR", "trusted".to_owned()),
    ] {
        let trusted = env.context().join("trusted");
        fs::create_dir_all(&trusted).unwrap();
        fs::copy(&authority, trusted.join("ca.pem")).unwrap();
        certificates::openssl(&trusted, &["rehash", "."]);
        env.rbuild(&["--no-cache", "-t", "app", "."]).env(variable, value).run().success();
        assert_eq!(env.image("app").text("file"), "text\n", "{variable}");
        env.rbuild(&["prune", "-a", "-f"]).run().success();
    }
}

#[test]
fn a_machine_without_git_says_so() {
    let (env, server, _repository) = git_world();
    env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url("x.git")));
    let failed = env.rbuild(&["."]).env("PATH", env.path("nothing")).run().code(5);
    failed.says(&["the program git is not installed", "install git", "2 | >>> ADD"]);
    env.has_no_leftovers();
}

#[test]
fn nothing_goes_on_when_a_build_has_ended() {
    let (env, _server, _repository) = git_world();
    // A server that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mark = format!("git://{}/x.git", silent.local_addr().unwrap());
    env.dockerfile(&format!("FROM scratch\nADD {mark} /\n"));
    let is_running = || {
        let patience = Instant::now() + Duration::from_secs(10);
        while processes(&mark) == 0 {
            assert!(Instant::now() < patience, "git has not been started");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    for (signal, code) in [(Signal::INT, Some(130)), (Signal::TERM, Some(130)), (Signal::KILL, None)] {
        let mut build = started(env.rbuild(&["."]), &format!("fetch {mark}"));
        is_running();
        kill_process(Pid::from_child(&build), signal).unwrap();
        assert_eq!(build.wait().unwrap().code(), code);
        is_gone(&mark);
    }
    let failed = env.rbuild(&["--timeout", "1s", "."]).run().code(124);
    failed.says(&["took longer than the 1s"]);
    is_gone(&mark);
}

#[test]
fn a_fetch_that_is_killed_at_any_moment_does_no_harm() {
    let (env, server, repository) = git_world();
    for number in 0..300 {
        repository
            .write(&format!("d{}/f{number}", number % 7), &format!("{number} {}\n", "x".repeat(number * 20)));
    }
    repository.commit("many");
    for milliseconds in [5, 10, 15, 20, 25, 30, 35, 40, 50, 60, 80] {
        env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url("x.git")));
        let mut build = env.rbuild(&["."]).into_command();
        let mut build = build.stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        build.kill().unwrap();
        build.wait().unwrap();
        // Each time it has to be fetched again.
        repository.write("file", &format!("{milliseconds}\n")).commit("next");
    }
    env.rbuild(&["-t", "app", "."]).run().success();
    let image = env.image("app");
    assert_eq!(image.text("file"), "80\n");
    assert_eq!(image.files().len(), 300 + 7 + 1);
    env.rbuild(&["store", "check"]).run().success();
}

#[test]
fn builds_at_the_same_time_share_what_they_fetch() {
    let (env, server, _repository) = git_world();
    env.dockerfile(&format!("FROM scratch\nADD {} /\n", server.url("x.git")));
    let builds: Vec<_> = (0..6)
        .map(|_| {
            let mut command = env.rbuild(&["."]).into_command();
            command.stderr(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut build in builds {
        assert!(build.wait().unwrap().success());
    }
    let fetched = server.requests().into_iter().filter(|request| request.starts_with("files"));
    assert_eq!(fetched.count(), 1);
}
