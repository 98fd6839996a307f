//! `pull --platform`: images for machines of another kind.

use rbuild::image::Platform;
use serde_json::Value;

use crate::support::{Finished, Registry, TestEnv, push_index, require_tool};

/// One that no machine of ours is.
const FOREIGN: &str = "linux/s390x";

/// Pushes `app:native`, `app:foreign`, and `app:1`, which is both; returns the name of the latter.
fn push_both(registry: &Registry) -> String {
    let (env, host) = (TestEnv::new(), Platform::host().to_string());
    for (tag, platform) in [("native", &*host), ("foreign", FOREIGN)] {
        env.dockerfile(&format!("FROM scratch\nCOPY --chmod=644 <<E /which\n{tag}\nE\n"));
        let name = format!("{}/app:{tag}", registry.address());
        env.rbuild(&["-q", "--platform", platform, "-t", &name, "--push", "."]).run().success();
    }
    push_index(registry, "app:1", &[("native", &host), ("foreign", FOREIGN)])
}

/// The id of the image that was pulled.
fn id(pulled: &Finished) -> String {
    let line = pulled.stderr().lines().find_map(|line| line.strip_prefix("image "));
    line.unwrap_or_else(|| panic!("no image was named: {pulled}")).to_owned()
}

fn architecture(env: &TestEnv, image: &str) -> String {
    let inspected = env.rbuild(&["inspect", image]).run().success();
    let document: Value = serde_json::from_str(inspected.stdout()).unwrap();
    document[0]["Architecture"].as_str().unwrap().to_owned()
}

#[test]
fn an_image_for_another_machine_is_what_builds_for_it_find() {
    require_tool!("docker-registry");
    let (env, registry) = (TestEnv::new(), Registry::start());
    let name = push_both(&registry);
    let here = id(&env.rbuild(&["pull", &name]).run().success());
    let pulled = env.rbuild(&["pull", "--platform", FOREIGN, &name]).run().success().says(&["pulled"]);
    assert_ne!(id(&pulled), here);
    // Also by itself, without an image for this machine.
    let other = TestEnv::new();
    let same = other.rbuild(&["pull", &name]).env("DOCKER_DEFAULT_PLATFORM", FOREIGN).run().success();
    assert_eq!((id(&same), same.stdout()), (id(&pulled), pulled.stdout()));
    other.rbuild(&["inspect", &name]).run().code(3);
    drop(registry);

    // The name goes on to lead to what runs here.
    let host = Platform::host();
    assert_eq!(architecture(&env, &name), host.architecture);
    assert_eq!(architecture(&env, &id(&pulled)), "s390x");
    let from = |from: &str, flags: &[&str], which: &str| {
        env.dockerfile(&format!("FROM {from} {name} AS base\nFROM scratch\nCOPY --from=base /which /\n"));
        env.rbuild(&[flags, &["-q", "-t", "app", "."]].concat()).run().success();
        assert_eq!(env.image("app").text("which"), format!("{which}\n"), "FROM {from} with {flags:?}");
    };
    from(&format!("--platform={FOREIGN}"), &[], "foreign");
    from("", &["--platform", FOREIGN], "foreign");
    from("", &[], "native");
    from("--platform=$BUILDPLATFORM", &["--platform", FOREIGN], "native");

    // With a name of its own it can be handed on, and stays.
    env.rbuild(&["tag", &id(&pulled), "foreign:1"]).run().success();
    env.rbuild(&["rmi", "app"]).run().success();
    env.rbuild(&["prune", "--all", "--force"]).run().success();
    from("", &["--platform", FOREIGN], "foreign");
    let archive = env.path("foreign.tar");
    env.rbuild(&["save", "-q", "-o", archive.to_str().unwrap(), "foreign:1"]).run().success();
    env.rbuild(&["store", "check"]).run().success();
}

#[test]
fn the_platform_of_this_machine_may_be_named() {
    require_tool!("docker-registry");
    let (env, registry) = (TestEnv::new(), Registry::start());
    let (name, host) = (push_both(&registry), Platform::host());
    for platform in [host.to_string(), host.architecture.clone(), "local".to_owned()] {
        let pulled = env.rbuild(&["pull", "--platform", &platform, &name]).run().success();
        assert_eq!(architecture(&env, &name), host.architecture);
        env.rbuild(&["rmi", &name]).run().success();
        env.rbuild(&["inspect", &id(&pulled)]).run().code(3);
    }
}

#[test]
fn a_platform_that_an_image_is_not_for_is_told() {
    require_tool!("docker-registry");
    let (env, registry) = (TestEnv::new(), Registry::start());
    let name = push_both(&registry);
    let pull = |platform: &str, name: &str| env.rbuild(&["pull", "--platform", platform, name]).run();
    let host = Platform::host().to_string();
    pull("linux/riscv64", &name).code(5).prints("").says(&[
        "no match for platform linux/riscv64",
        FOREIGN,
        &host,
    ]);
    pull("linux/s390x/z16", &name).code(5).says(&["no match for platform linux/s390x/z16"]);
    // One that is no list is for what it says.
    let single = format!("{}/app:foreign", registry.address());
    let refused = pull(&host, &single).code(5).prints("");
    refused.says(&[&single, &format!("no match for platform {host}"), "an image for linux/s390x alone"]);
    pull(FOREIGN, &single).success();
    pull("linux/amd64,linux/arm64", &name)
        .code(2)
        .says(&["several platforms at once", "one after the other"]);
    pull("a/b/c/d", &name).code(2).says(&["a/b/c/d"]);
    env.has_no_leftovers();
}
