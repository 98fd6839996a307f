//! Where names lead: registries.conf and the files beside it.

use std::fs;

use crate::recorder::{Recorder, Reply};
use crate::support::{Registry, TestEnv, require_tool};

#[test]
fn a_short_name_is_docker_hubs_and_who_expects_something_else_is_told() {
    let env = TestEnv::new();
    let text = fs::read_to_string(env.path("registries.conf")).unwrap();
    let search = "unqualified-search-registries = [\"registry.example\", \"docker.io\"]\n";
    let aliases = "[aliases]\n\"hello\" = \"quay.example/hello\"\n\"fine\" = \"docker.io/library/fine\"\n";
    env.registries_conf(&format!("{search}{text}{aliases}"));
    let pull = |name: &str| env.rbuild(&["pull", name]).run().code(5);
    pull("app:1").says(&["app:1 means docker.io/library/app:1", "podman would ask for registry.example/app"]);
    pull("hello").says(&["podman would ask for quay.example/hello"]);
    pull("fine").omits(&["podman"]);
    pull("team/app").omits(&["podman"]);
}

#[test]
fn files_of_the_user_and_fragments_are_read_and_blocked_is_refused_without_asking() {
    let env = TestEnv::new();
    let containers = env.path("home/.config/containers");
    fs::create_dir_all(containers.join("registries.conf.d")).unwrap();
    fs::write(
        containers.join("registries.conf"),
        "[[registry]]\nlocation = \"one.example\"\nblocked = true\n",
    )
    .unwrap();
    let fragment = "[[registry]]\nlocation = \"two.example/team\"\nblocked = true\n";
    fs::write(containers.join("registries.conf.d/50-two.conf"), fragment).unwrap();
    let world = Recorder::start(|_| Reply::new(404, ""));
    let pull = |name: &str| {
        let proxy = format!("http://{}", world.address);
        let rbuild = env.rbuild(&["pull", "--tls-verify=false", name]).env("CONTAINERS_REGISTRIES_CONF", "");
        rbuild.env("http_proxy", proxy).env("https_proxy", "http://127.0.0.1:1").run().code(5)
    };
    pull("one.example/app").says(&["blocked", "\"one.example\""]);
    pull("two.example/team/app").says(&["blocked", "two.example/team"]);
    assert!(world.requests().is_empty());
    pull("two.example/other/app").says(&["not found"]);
}

#[test]
fn only_what_is_insecure_is_asked_in_plain_http() {
    let env = TestEnv::new();
    env.registries_conf("[[registry]]\nlocation = \"plain.example\"\ninsecure = true\n");
    let world = Recorder::start(|_| Reply::new(404, ""));
    let pull = |arguments: &[&str]| {
        let proxy = format!("http://{}", world.address);
        let rbuild = env.rbuild(&["pull"]).arguments(arguments);
        rbuild.env("http_proxy", proxy).env("https_proxy", "http://127.0.0.1:1").run().code(5)
    };
    pull(&["plain.example/app"]).says(&["not found"]);
    let before = world.requests().len();
    assert!(before > 0);
    // Both are tried for a while.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pull(&["other.example/app"]).says(&["cannot connect", "a proxy is set for other.example"]);
        });
        pull(&["--tls-verify", "plain.example/app"]).says(&["cannot connect"]);
    });
    assert_eq!(world.requests().len(), before, "nothing went in plain HTTP");
    pull(&["--tls-verify=false", "other.example/app"]).says(&["not found", "other.example has no TLS"]);
}

#[test]
fn a_mirror_serves_by_digest_or_by_tag_as_it_says() {
    require_tool!("docker-registry");
    let (env, mirror, origin) = (TestEnv::new(), Registry::start(), Registry::start());
    for registry in [&mirror, &origin] {
        let name = format!("{}/app:1", registry.address());
        env.write("content", "same").dockerfile("FROM scratch\nCOPY content /content\n");
        env.rbuild(&["-q", "-t", &name, "--push", "."]).env("SOURCE_DATE_EPOCH", "1").run().success();
    }
    let name = format!("{}/app", origin.address());
    let digest = env.rbuild(&["pull", "-q", &format!("{name}:1")]).run().success().stdout().trim().to_owned();
    let pulled = |kind: &str, version: &str| {
        env.registries_conf(&format!(
            "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}\"\npull-from-mirror = \"{kind}\"\n",
            origin.address(),
            mirror.address()
        ));
        let manifests = || mirror.requests().iter().filter(|request| request.contains("/manifests/")).count();
        let before = manifests();
        env.rbuild(&["pull", "-q", &format!("{name}{version}")]).run().success();
        manifests() > before
    };
    let by_digest = format!("@{digest}");
    assert!(pulled("all", ":1") && pulled("all", &by_digest));
    assert!(!pulled("digest-only", ":1") && pulled("digest-only", &by_digest));
    assert!(pulled("tag-only", ":1") && !pulled("tag-only", &by_digest));
}
