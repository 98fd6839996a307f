//! The whole way on one context: build, push to a real registry, run, build again.

use crate::support::{Image, Kind, Registry, TestEnv, has_subuid_range, require_busybox, require_tool};

#[test]
fn a_multi_stage_context_is_built_pushed_and_run() {
    require_tool!("docker-registry");
    require_busybox!();
    let env = TestEnv::new();
    let registry = Registry::start();
    let base = env.push_busybox(&registry);
    let context = env.fixture("skeleton");
    let tag = format!("{}/app:1", registry.address());
    let arguments =
        ["-t", &tag, "--build-arg", &format!("BASE={base}"), "--build-arg", "VERSION=3", "--push", "."];

    let built = env.rbuild(&arguments).directory(&context).run().success();
    let names: Vec<_> = built.steps().into_iter().map(|(name, _)| name.to_owned()).collect();
    assert!(
        names.iter().any(|name| name.starts_with("[tools 2/") || name.starts_with("[tools 3/")),
        "{names:?}"
    );
    assert!(!names.iter().any(|name| name.contains("unreachable")), "{names:?}");
    env.has_no_leftovers();
    it_is_the_image_that_was_asked_for(&Image::fetch(&registry, "app:1").sound());

    // Where one id is all there is, every user is that one.
    let user = if has_subuid_range() { ("app", "1000") } else { ("root", "0") };
    let greeting = format!("good day, world; version 3, as {} in /app\n", user.1);
    env.rbuild(&["run", "--rm", "-u", user.0, &tag]).run().success().prints(&greeting);
    env.rbuild(&["run", "--rm", "-u", user.0, &tag, "you", "42"]).run().code(42);

    let again = env.rbuild(&arguments).directory(&context).run().success();
    for (step, outcome) in again.steps() {
        let works = ["RUN ", "COPY ", "WORKDIR "].iter().any(|keyword| step.contains(keyword));
        assert!(!works || outcome == "CACHED", "{step}: {outcome}\n{again}");
    }
}

fn it_is_the_image_that_was_asked_for(image: &Image) {
    let config = &image.config.config;
    assert_eq!(config.entrypoint.as_deref(), Some(&["/app/entry.sh".to_owned()][..]));
    assert_eq!(config.cmd.as_deref(), Some(&["world".to_owned()][..]));
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("app", "/app"));
    assert_eq!((config.variable("APP"), config.variable("GREETING")), (Some("/app"), Some("good day")));
    assert_eq!(config.variable("VERSION"), None, "an ARG is no ENV");
    assert_eq!(config.exposed_ports.iter().collect::<Vec<_>>(), ["8080/tcp", "9090/udp"]);
    assert_eq!(config.labels["org.opencontainers.image.version"], "3");
    assert_eq!(config.labels["description"], "an app of several parts");

    let files = image.files();
    assert_eq!(image.text("app/files/version"), "3\n");
    assert_eq!(image.text("app/files/share/all.txt"), "first\nsecond\n");
    assert_eq!(image.text("app/files/share/nested/b.txt"), "second\n");
    assert_eq!((files["app/entry.sh"].mode, files["app/files/tool"].mode), (0o755, 0o750));
    assert_eq!(files["app/data/inner/empty"].kind, Kind::File { content: Vec::new() });
    for gone in ["app/conf/unwanted", "app/files/share/a.txt", "work/out/tool"] {
        assert!(!files.contains_key(gone), "{gone} is in the image");
    }
    for (path, entry) in files.iter().filter(|(path, _)| path.starts_with("app/")) {
        assert_eq!((entry.uid, entry.gid), (0, 0), "{path}");
    }
    let whiteouts = (0..image.manifest.layers.len()).flat_map(|index| image.layer(index));
    assert!(
        whiteouts.into_iter().any(|(path, _)| path == "app/conf/.wh.unwanted"),
        "no whiteout for what RUN removed"
    );
    for ours in ["etc/resolv.conf", "etc/hosts", "proc/self", "dev/null"] {
        assert!(!files.contains_key(ours), "{ours} came from the sandbox into a layer");
    }
}
