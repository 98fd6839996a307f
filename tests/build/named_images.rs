//! Named contexts that are images: of the store, of a registry, of an OCI layout.

use std::fs;

use serde_json::Value;

use crate::support::{Registry, TestEnv, assert_tree, require_busybox, require_tool, tree};

/// An image `other:1` with a file, a variable and a label.
fn env() -> TestEnv {
    let env = TestEnv::new();
    env.write("f", "of other");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(env.context().join("f"), mode).unwrap();
    env.dockerfile("FROM scratch\nCOPY f /\nENV OTHER=1\nLABEL from=other\nWORKDIR /w\nCMD [\"x\"]\n");
    env.rbuild(&["-q", "-t", "other:1", "."]).run().success();
    env
}

const OF_OTHER: [&str; 2] = ["f644 f: of other", "d755 w"];

#[test]
fn an_image_stands_for_another() {
    let env = env();
    env.dockerfile("FROM alpine\nLABEL more=$OTHER\nCOPY --from=alpine f /copied\n");
    let words = ["-t", "app", "--build-context", "alpine=docker-image://other:1", "."];
    env.rbuild(&words).run().success().omits(&["WARN"]);
    let image = env.image("app");
    assert_tree(&image, &[&OF_OTHER[..], &["f644 copied: of other"]].concat(), "");
    let config = &image.config.config;
    assert_eq!((&*config.labels["from"], &*config.labels["more"]), ("other", "1"));
    assert!(config.env.contains(&"OTHER=1".to_owned()), "{:?}", config.env);
    assert_eq!((config.working_dir.as_str(), config.cmd.as_deref()), ("/w", Some(&["x".to_owned()][..])));
    assert_eq!(env.rbuild(&words).run().success().outcome("COPY"), Some("CACHED"));
}

#[test]
fn an_image_stands_for_a_stage() {
    let env = env();
    env.dockerfile(
        "FROM nowhere AS build\nENV LOST=1\nRUN false\n\nFROM build AS more\nLABEL other=$OTHER lost=$LOST\n\n\
         FROM more\nCOPY --from=build f /from-name\nCOPY --from=0 f /from-number\n",
    );
    let words = ["-t", "app", "--build-context", "build=docker-image://other:1", "."];
    env.rbuild(&words).run().success();
    let expected = [&OF_OTHER[..], &["f644 from-name: of other", "f644 from-number: of other"]].concat();
    assert_tree(&env.image("app"), &expected, "");
    let labels = env.image("app").config.config.labels.clone();
    assert_eq!((&*labels["other"], &*labels["lost"]), ("1", ""));
}

#[test]
fn nothing_stands_for_an_image() {
    let env = env();
    env.dockerfile(
        "FROM base AS one\nCOPY f /\n\nFROM base\nCOPY --from=one f /g\nCOPY --from=base . /none/\n",
    );
    env.rbuild(&["-t", "app", "--build-context", "base=docker-image://scratch", "."]).run().success();
    let image = env.image("app");
    assert_tree(&image, &["f644 g: of other", "d755 none"], "");
    assert_eq!(image.config.rootfs.diff_ids.len(), 2);
    env.dockerfile("FROM nowhere AS base\nRUN x\nFROM base\nCOPY f /\n");
    env.rbuild(&["-t", "app", "--build-context", "base=docker-image://scratch", "."]).run().success();
    assert_tree(&env.image("app"), &["f644 f: of other"], "");
}

#[test]
fn an_image_of_a_registry_is_pinned_by_its_digest() {
    require_tool!("docker-registry");
    let (env, registry) = (env(), Registry::start());
    let name = format!("{}/other:1", registry.address());
    env.rbuild(&["tag", "other:1", &name]).run().success();
    let pushed = env.rbuild(&["push", "-q", &name]).run().success();
    let digest = pushed.stdout().trim().rsplit('@').next().unwrap().to_owned();
    assert!(digest.starts_with("sha256:"), "{digest}");
    env.rbuild(&["rmi", &name]).run().success();
    env.dockerfile("FROM base\nCOPY --from=files f /g\n");
    let base = format!("base=docker-image://{name}@{digest}");
    let files = format!("files=docker-image://{name}");
    let words = ["-t", "app", "--build-context", &base, "--build-context", &files, "."];
    env.rbuild(&words).run().success();
    assert_tree(&env.image("app"), &[&OF_OTHER[..], &["f644 g: of other"]].concat(), "");
    let missing = format!("base=docker-image://{}/missing:1", registry.address());
    let failed = env.rbuild(&["--build-context", &missing, "--build-context", &files, "."]).run().code(5);
    failed.says(&["missing", "1 | >>> FROM base"]);
}

#[test]
fn triggers_of_a_named_image_see_named_contexts() {
    let env = env();
    env.dockerfile("FROM scratch\nCOPY f /base\nONBUILD COPY --from=src f /triggered\n");
    env.rbuild(&["-q", "-t", "trigger", "."]).run().success();
    env.dockerfile("FROM base\n");
    let words =
        ["--build-context", "base=docker-image://trigger", "--build-context", "src=docker-image://other:1"];
    let built = env.rbuild(&[&["-t", "app"], &words[..], &["."]].concat()).run().success();
    built.omits(&["nothing in the Dockerfile"]);
    assert_tree(&env.image("app"), &["f644 base: of other", "f644 triggered: of other"], "");
}

/// Writes the image `other:1` into the layout `lay`, and empties the store.
fn layout(env: &TestEnv, tag: &str) -> String {
    let path = env.path("lay");
    let output = format!("type=oci,tar=false,dest={},name={tag}", path.display());
    env.write("g", tag).dockerfile(&format!("FROM other:1\nCOPY --chmod=644 g /\nENV TAG={tag}\n"));
    env.rbuild(&["-q", "--output", &output, "."]).run().success();
    let index: Value = serde_json::from_slice(&fs::read(path.join("index.json")).unwrap()).unwrap();
    let manifest = index["manifests"].as_array().unwrap().last().unwrap();
    manifest["digest"].as_str().unwrap().to_owned()
}

fn empty_store(env: &TestEnv) {
    env.rbuild(&["prune", "--all", "--force"]).run().success();
    for tag in env.rbuild(&["images", "-q"]).run().success().stdout().lines() {
        env.rbuild(&["rmi", "-f", tag]).run().success();
    }
}

#[test]
fn an_image_of_a_layout_is_a_base() {
    let env = env();
    let first = layout(&env, "app:one");
    let second = layout(&env, "app:latest");
    empty_store(&env);
    env.dockerfile("FROM base AS b\nCOPY --from=base g /copied\n");
    let build = |value: &str| {
        let context = format!("base=oci-layout://../lay{value}");
        env.rbuild(&["-t", "app", "--build-context", &context, "."]).run()
    };
    for (value, tag) in [
        (":one", "app:one"),
        ("", "app:latest"),
        (":latest", "app:latest"),
        (&*format!("@{first}"), "app:one"),
        (&*format!(":anything@{second}"), "app:latest"),
    ] {
        build(value).success();
        let image = env.image("app");
        let found = tree(&image);
        for line in [format!("f644 g: {tag}"), format!("f644 copied: {tag}"), OF_OTHER[0].to_owned()] {
            assert!(found.contains(&line), "{line}: {found:#?}");
        }
        // The config comes along.
        let config = &image.config.config;
        assert!(config.env.contains(&format!("TAG={tag}")) && config.env.contains(&"OTHER=1".to_owned()));
        assert_eq!(build(value).success().outcome("COPY"), Some("CACHED"), "{value}");
    }
    build(":two").code(3).says(&[
        "oci-layout://../lay:two",
        "two is not there",
        "one",
        "latest",
        "1 | >>> FROM base",
    ]);
    let unknown = "0".repeat(64);
    build(&format!("@sha256:{unknown}")).code(3).says(&[&unknown, "No such file"]);
    fs::write(env.path("lay/index.json"), "{").unwrap();
    build("").code(3).says(&["is no index of an OCI layout"]);
    fs::remove_dir_all(env.path("lay")).unwrap();
    let gone = build("").code(3);
    gone.says(&["--build-context base=oci-layout://../lay: ", "lay is no OCI layout: it does not exist"]);
}

#[test]
fn the_only_image_of_a_layout_needs_no_name() {
    let env = env();
    layout(&env, "app:one");
    env.dockerfile("FROM base\n");
    env.rbuild(&["-t", "app", "--build-context", "base=oci-layout://../lay", "."]).run().success();
    assert!(env.image("app").config.config.env.contains(&"TAG=app:one".to_owned()));
}

#[test]
fn the_image_of_the_wanted_platform_is_taken_from_an_index() {
    let env = env();
    let own = rbuild::image::Platform::host().architecture;
    let foreign = if own == "s390x" { "amd64" } else { "s390x" };
    // As several platforms lie in a layout: an index that the tag leads to.
    let blobs = env.path("lay/blobs/sha256");
    let index = |entries: &[String]| {
        let (kind, entries) = ("application/vnd.oci.image.index.v1+json", entries.join(","));
        format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{entries}]}}"#)
    };
    let entry = |architecture: &str| {
        let platform = format!("linux/{architecture}");
        let output = format!("type=oci,tar=false,dest={},name=one:{architecture}", env.path("lay").display());
        env.dockerfile(&format!("FROM scratch\nCOPY f /\nENV BUILT={architecture}\n"));
        env.rbuild(&["-q", "--platform", &platform, "--output", &output, "."]).run().success();
        let listed: Value = serde_json::from_slice(&fs::read(env.path("lay/index.json")).unwrap()).unwrap();
        let mut entry = listed["manifests"].as_array().unwrap().last().unwrap().clone();
        entry["platform"] = serde_json::json!({ "os": "linux", "architecture": architecture });
        entry.as_object_mut().unwrap().remove("annotations");
        entry.to_string()
    };
    let entries = [entry(foreign), entry(&own)];
    let lay = |platforms: &str| {
        let digest = rbuild::image::Digest::of(platforms.as_bytes());
        fs::write(blobs.join(digest.hex()), platforms).unwrap();
        let (kind, size) = ("application/vnd.oci.image.index.v1+json", platforms.len());
        let name = r#""annotations":{"org.opencontainers.image.ref.name":"multi"}"#;
        let top = format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size},{name}}}"#);
        fs::write(env.path("lay/index.json"), index(&[top])).unwrap();
    };
    lay(&index(&entries));
    let build = |dockerfile: &str, more: &[&str]| {
        env.dockerfile(dockerfile);
        let words = ["-t", "app", "--build-context", "base=oci-layout://../lay:multi"];
        env.rbuild(&[&words[..], more, &["."]].concat()).run()
    };
    let taken = |architecture: &str| {
        let image = env.image("app");
        assert_eq!(image.config.architecture, architecture);
        assert!(image.config.config.env.contains(&format!("BUILT={architecture}")));
    };
    build("FROM base\n", &[]).success();
    taken(&own);
    build("FROM base\n", &["--platform", &format!("linux/{foreign}")]).success();
    taken(foreign);
    build(&format!("FROM --platform=linux/{foreign} base\n"), &[]).success();
    taken(foreign);
    build(&format!("FROM --platform=linux/{foreign} nowhere AS base\nRUN false\n"), &[]).success();
    taken(foreign);
    lay(&index(&entries[..1]));
    build("FROM base\n", &[]).code(3).says(&["no match for platform", foreign]);
}

#[test]
fn a_layer_of_a_layout_that_is_damaged_ends_the_build() {
    require_busybox!();
    let env = env();
    layout(&env, "app:one");
    empty_store(&env);
    for blob in fs::read_dir(env.path("lay/blobs/sha256")).unwrap().flatten() {
        let bytes = fs::read(blob.path()).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            fs::write(blob.path(), vec![b'x'; bytes.len()]).unwrap();
        }
    }
    env.dockerfile("FROM scratch\nCOPY --from=base g /\n");
    let failed = env.rbuild(&["--build-context", "base=oci-layout://../lay", "."]).run();
    assert!(matches!(failed.exit_code(), Some(3 | 5)), "{failed}");
    failed.code(5).says(&["lay"]);
    env.has_no_leftovers();
}

#[test]
fn a_layer_that_a_layout_lacks_is_told_with_the_context() {
    let env = env();
    layout(&env, "app:one");
    let is_layer = |bytes: &[u8]| bytes.starts_with(&[0x1f, 0x8b]);
    let remove_layers = || {
        for blob in fs::read_dir(env.path("lay/blobs/sha256")).unwrap().flatten() {
            if is_layer(&fs::read(blob.path()).unwrap()) {
                fs::remove_file(blob.path()).unwrap();
            }
        }
    };
    env.dockerfile("FROM base\nCOPY --from=base g /copied\n");
    let build = || env.rbuild(&["--build-context", "base=oci-layout://../lay", "."]).run();
    // What the store has of it nobody looks for.
    remove_layers();
    build().success();
    empty_store(&env);
    let failed = build().code(3);
    failed
        .says(&["--build-context base=oci-layout://../lay: the layer sha256:", "neither in the layout nor"]);
    env.has_no_leftovers();
}

#[test]
fn what_is_no_layout_is_told() {
    let env = env();
    fs::create_dir_all(env.path("pipe")).unwrap();
    fs::create_dir_all(env.path("nothing")).unwrap();
    fs::write(env.path("file"), "").unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(env.path("pipe/index.json")).status();
    assert!(pipe.unwrap().success());
    env.dockerfile("FROM base\n");
    for (name, problem) in [
        ("pipe", "its index.json is no regular file"),
        ("nothing", "it has no index.json"),
        ("file", "it is no directory"),
    ] {
        let failed = env.rbuild(&["--build-context", &format!("base=oci-layout://../{name}"), "."]).run();
        failed.code(3).says(&[&format!("{name} is no OCI layout: {problem}")]).omits(&["os error"]);
    }
}

#[test]
fn a_named_image_changes_no_time() {
    let env = env();
    env.dockerfile("FROM base\nCOPY f /own\n");
    let words = [
        "-t",
        "app",
        "--build-context",
        "base=docker-image://other:1",
        "--build-arg",
        "SOURCE_DATE_EPOCH=1000",
    ];
    env.rbuild(&[&words[..], &["."]].concat()).run().success();
    let image = env.image("app");
    let created = image.config.history.iter().map(|entry| entry.created.as_ref().map(ToString::to_string));
    let created: Vec<_> = created.collect();
    let of_base = env.image("other:1").config.history.len();
    // Those of the image stay, and what is new is of the time asked for.
    let then = "1970-01-01T00:16:40Z";
    assert!(created[of_base..].iter().all(|time| time.as_deref() == Some(then)), "{created:?}");
    assert!(created[..of_base].iter().all(|time| time.as_deref() != Some(then)), "{created:?}");
}
