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

/// Requests since `before` that moved the bytes of a blob, but for the config that every push has anew.
fn moved<'a>(requests: &'a [String], config: &str) -> Vec<&'a String> {
    let moves = |request: &&String| {
        let download = request.starts_with("GET ") && request.contains("/blobs/sha256:");
        let upload = request.starts_with("PATCH ") || request.starts_with("PUT ");
        (download || upload && request.contains("/blobs/uploads/"))
            && !request.contains(config)
            && !request.contains(&config.replace(':', "%3A"))
    };
    requests.iter().filter(moves).collect()
}

#[test]
fn layers_that_the_registry_has_are_neither_downloaded_nor_uploaded() {
    require_tool!("docker-registry");
    require_busybox!();
    let (publisher, registry) = (TestEnv::new(), Registry::start());
    let base = publisher.push_busybox(&registry);
    // A step looks into the base, but none of the target's does; the target's own base is not looked into at all.
    publisher.dockerfile(&format!("FROM {base}\nRUN seq 1 1000 > /numbers\n"));
    let tools = format!("{}/team/tools:1", registry.address());
    publisher.rbuild(&["-t", &tools, "--push", "."]).run().success();
    let env = TestEnv::new();
    let text = format!("FROM {tools} AS unused\nRUN false\nFROM {tools}\nENV A=b\nLABEL c=d\nCMD [\"x\"]\n");
    env.dockerfile(&text);
    let names = ["team/app:1", "team/app:2", "other:1"].map(|name| format!("{}/{name}", registry.address()));
    let tags = ["-t", &names[0], "-t", &names[1], "-t", &names[2]];
    let before = registry.requests().len();
    env.rbuild(&[&tags[..], &["--push", "."]].concat()).run().success();
    let id = env.rbuild(&["images", "-q", "--no-trunc", &names[0]]).run().success();
    let requests = registry.requests()[before..].to_vec();
    let base_config = Image::fetch(&registry, "team/tools:1").sound().manifest.config.digest.to_string();
    let rest: Vec<_> = moved(&requests, id.stdout().trim_end())
        .into_iter()
        .filter(|request| !request.contains(&base_config))
        .collect();
    assert!(rest.is_empty(), "{rest:#?}");
    let mounts = requests.iter().filter(|request| request.contains("mount=sha256"));
    assert!(mounts.count() >= 4, "{requests:#?}");
    let tags_last = requests.iter().rposition(|request| request.contains("/blobs/")).unwrap();
    assert!(requests[tags_last..].iter().any(|request| request.starts_with("PUT /v2/")), "{requests:#?}");
    for name in ["team/app:1", "team/app:2", "other:1"] {
        let image = Image::fetch(&registry, name).sound();
        assert_eq!(image.text("numbers").lines().count(), 1000, "{name}");
    }
    assert_eq!(std::fs::read_dir(env.store().join("snapshots")).map_or(0, Iterator::count), 0);
}

#[test]
fn a_large_layer_is_sent_while_it_is_packed() {
    require_tool!("docker-registry");
    require_busybox!();
    let (env, registry) = (TestEnv::new(), Registry::start());
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN head -c 12000000 /dev/urandom > /noise && seq 1 9 > /last\n");
    let names = ["app:1", "copy:1"].map(|name| format!("{}/{name}", registry.address()));
    env.rbuild(&["-t", &names[0], "-t", &names[1], "--push", "."]).run().success().says(&[" pushed"]);
    let count = |start: &str| registry.requests().iter().filter(|it| it.starts_with(start)).count();
    assert_eq!(count("PATCH /v2/app/"), 1, "{:#?}", registry.requests());
    assert_eq!(count("PATCH /v2/copy/"), 0, "the other repository mounts: {:#?}", registry.requests());
    for name in ["app:1", "copy:1"] {
        let image = Image::fetch(&registry, name).sound();
        assert!(image.files()["noise"].describe("").contains(" 12000000 bytes"), "{name}");
    }
    // What is built on it elsewhere, and later, is mounted, too.
    env.dockerfile(&format!("FROM {}\nENV A=b\n", names[0]));
    let child = format!("{}/child:1", registry.address());
    env.rbuild(&["-t", &child, "."]).run().success();
    env.rbuild(&["push", &child]).run().success().says(&[" mounted"]);
    assert_eq!(count("POST /v2/child/blobs/uploads/?mount="), 2, "{:#?}", registry.requests());
    Image::fetch(&registry, "child:1").sound();
    // The same by `push`, of an image that nobody has packed yet.
    env.dockerfile("FROM base:1\nRUN head -c 9000000 /dev/urandom > /noise\n");
    let name = format!("{}/later:1", registry.address());
    env.rbuild(&["-t", &name, "."]).run().success();
    env.rbuild(&["push", &name]).run().success();
    assert_eq!(count("PATCH /v2/later/"), 1, "{:#?}", registry.requests());
    Image::fetch(&registry, "later:1").sound();
    env.has_no_leftovers();
}

#[test]
fn an_image_in_dockers_media_types_has_no_others() {
    for tool in ["docker-registry", "skopeo"] {
        require_tool!(tool);
    }
    require_busybox!();
    let (env, registry) = (TestEnv::new(), Registry::start());
    let base = env.push_busybox(&registry);
    env.dockerfile(&format!("FROM {base}\nRUN seq 1 1000 > /numbers\n"));
    let push = |name: &str, options: &str| {
        let name = format!("name={}/{name}", registry.address());
        let output = format!("type=image,{name},push=true,{options}");
        env.rbuild(&["--output", &output, "."]).run()
    };
    push("docker:1", "oci-mediatypes=false").success();
    push("plain:1", "oci-mediatypes=false,compression=uncompressed,force-compression=true").success();
    for name in ["docker:1", "plain:1"] {
        let image = Image::fetch(&registry, name).sound();
        let kinds = image.manifest.layers.iter().map(|layer| &layer.media_type);
        let kinds: Vec<_> = kinds.chain([&image.manifest.config.media_type]).collect();
        assert!(kinds.iter().all(|kind| kind.contains("vnd.docker.")), "{name}: {kinds:?}");
        assert!(image.manifest.media_type.as_deref().is_some_and(|kind| kind.contains("vnd.docker.")));
        let (from, to) =
            (format!("docker://{}/{name}", registry.address()), env.path(name.replace(':', "-")));
        let to = format!("oci:{}:x", to.display());
        env.program("skopeo", &["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &from, &to])
            .run()
            .success();
        let other = TestEnv::new();
        let name = format!("{}/{name}", registry.address());
        other.rbuild(&["run", "--rm", &name, "tail", "-n", "1", "/numbers"]).run().success().prints("1000\n");
    }
    // A layer that has no name there is refused, and not misnamed.
    push("docker:2", "oci-mediatypes=false,compression=zstd").code(2).says(&["no name for zstd"]);
    push("zstd:1", "compression=zstd,force-compression=true").success();
    let zstd = format!("{}/zstd:1", registry.address());
    env.dockerfile(&format!("FROM {zstd}\nENV A=b\n"));
    let other = TestEnv::new();
    other.dockerfile(&format!("FROM {zstd}\nENV A=b\n"));
    let output = format!("type=image,name={}/no:1,push=true,oci-mediatypes=false", registry.address());
    other.rbuild(&["--output", &output, "."]).run().code(2).says(&["zstd", "force-compression"]);
}

#[test]
fn what_other_tools_push_in_any_form_is_run_and_built_on() {
    for tool in ["docker-registry", "skopeo", "umoci"] {
        require_tool!(tool);
    }
    require_busybox!();
    let (env, registry) = (TestEnv::new(), Registry::start());
    let base = format!("docker://{}", BaseImage::busybox().push_by_peers(&env, &registry));
    let flags = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
    // What is compressed already stays as it is: it is compressed anew from this.
    let plain = format!("dir:{}", env.path("plain").display());
    env.program("skopeo", &flags).arguments(&["--dest-decompress", &base, &plain]).run().success();
    for (form, compression) in [("v2s2", "gzip"), ("oci", "gzip"), ("oci", "zstd")] {
        // skopeo remembers of a registry which blobs are the same layer, and would use those.
        let registry = Registry::start();
        let name = format!("{}/{form}-{compression}:1", registry.address());
        let how = ["--format", form, "--dest-compress-format", compression];
        let to = format!("docker://{name}");
        env.program("skopeo", &flags).arguments(&how).arguments(&[&plain, &to]).run().success();
        let there = Image::fetch(&registry, &format!("{form}-{compression}:1")).sound();
        assert!(there.manifest.layers[0].media_type.ends_with(compression), "{:?}", there.manifest);
        let other = TestEnv::new();
        other.rbuild(&["pull", "-q", &name]).run().success();
        other.rbuild(&["run", "--rm", &name, "echo", "here"]).run().success().prints("here\n");
        other.dockerfile(&format!("FROM {name}\nRUN echo built > /built\n"));
        let built = format!("{}-built", name.rsplit_once(':').unwrap().0);
        other.rbuild(&["-t", &built, "--push", "."]).run().success();
        let inspected =
            other.program("skopeo", &["inspect", "--tls-verify=false", &format!("docker://{built}")]);
        inspected.run().success();
    }
}
