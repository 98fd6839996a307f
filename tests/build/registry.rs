//! Pulling from and pushing to a real registry, and what other tools make of the result.

use crate::support::{BaseImage, Image, Registry, TestEnv, require_busybox, require_tool};

#[test]
fn an_image_of_other_tools_is_a_base() {
    for tool in ["docker-registry", "umoci", "skopeo"] {
        require_tool!(tool);
    }
    require_busybox!();
    let env = TestEnv::new();
    let registry = Registry::start();
    let base = BaseImage::busybox().push_by_peers(&env, &registry);
    env.dockerfile(&format!("FROM {base}\nRUN id -un > /who\n"));
    let tag = format!("{}/app:1", registry.address());
    env.rbuild(&["-t", &tag, "--push", "."]).run().success();
    assert_eq!(Image::fetch(&registry, "app:1").sound().text("who"), "root\n");
}

#[test]
fn other_tools_accept_what_was_pushed() {
    for tool in ["docker-registry", "umoci", "skopeo"] {
        require_tool!(tool);
    }
    require_busybox!();
    let env = TestEnv::new();
    let registry = Registry::start();
    let reference = format!("docker://{}", env.push_busybox(&registry));
    let inspected = env.program("skopeo", &["inspect", "--tls-verify=false", &reference]).run().success();
    assert!(inspected.stdout().contains("\"Layers\""), "{inspected}");
    let layout = env.path("layout");
    let to = format!("oci:{}:base", layout.display());
    env.program("skopeo", &["--insecure-policy", "copy", "--src-tls-verify=false", &reference, &to])
        .run()
        .success();
    assert!(Image::open(&layout).sound().files().contains_key("bin/busybox"));
    let from = format!("{}:base", layout.display());
    let bundle = env.path("bundle");
    env.program("umoci", &["unpack", "--rootless", "--image", &from, bundle.to_str().unwrap()])
        .run()
        .success();
    assert!(bundle.join("rootfs/bin/busybox").exists());
}

#[test]
fn a_base_in_the_store_asks_no_registry_unless_told_to_pull() {
    require_tool!("docker-registry");
    require_busybox!();
    let registry = Registry::start();
    let reference = format!("{}/base:1", registry.address());
    let publish = |version: &str| {
        let publisher = TestEnv::new();
        publisher.busybox_image("busybox:local");
        publisher.dockerfile(&format!("FROM busybox:local\nRUN echo {version} > /version\n"));
        publisher.rbuild(&["-t", &reference, "--push", "."]).run().success();
    };
    let env = TestEnv::new();
    env.dockerfile(&format!("FROM {reference}\nRUN cat /version > /seen\n"));
    let seen = || env.rbuild(&["run", "--rm", "app", "cat", "/seen"]).run().success().stdout().to_owned();

    publish("old");
    env.rbuild(&["-t", "app", "."]).run().success();
    assert_eq!(seen(), "old\n");

    publish("new");
    let before = registry.requests().len();
    env.rbuild(&["-t", "app", "."]).run().success();
    assert_eq!(
        registry.requests()[before..],
        [] as [String; 0],
        "a registry was asked for an image that is here"
    );
    assert_eq!(seen(), "old\n");

    env.rbuild(&["--pull", "-t", "app", "."]).run().success();
    assert_eq!(seen(), "new\n");
}

#[test]
fn what_the_registry_has_is_not_sent_again() {
    require_tool!("docker-registry");
    require_busybox!();
    let env = TestEnv::new();
    let registry = Registry::start();
    let base = env.push_busybox(&registry);
    env.dockerfile(&format!("FROM {base}\nRUN echo more > /more\n"));
    let tag = format!("{}/busybox:more", registry.address());
    env.rbuild(&["-t", &tag, "--push", "."]).run().success();
    let before = registry.requests().len();
    env.rbuild(&["-t", &tag, "--push", "."]).run().success();
    let requests = registry.requests();
    let uploads: Vec<_> = requests[before..].iter().filter(|it| it.contains("/blobs/uploads/")).collect();
    assert!(uploads.is_empty(), "{uploads:?}");
}

#[test]
fn a_mirror_serves_in_place_of_the_named_registry() {
    for tool in ["docker-registry", "umoci", "skopeo"] {
        require_tool!(tool);
    }
    require_busybox!();
    let env = TestEnv::new();
    let registry = Registry::start();
    BaseImage::busybox().push_by_peers(&env, &registry);
    env.registries_conf(&format!(
        "[[registry]]\nprefix = \"docker.io/library\"\nlocation = \"127.0.0.1:1/library\"\n\
         [[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n",
        registry.address()
    ));
    env.dockerfile("FROM busybox:peer\nRUN echo from the mirror\n");
    env.rbuild(&["."]).run().success().says(&["from the mirror"]);
}
