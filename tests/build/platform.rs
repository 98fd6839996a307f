//! Building for a machine of another kind: its base images, its name in the config, and programs that cannot be executed.

use rbuild::image::{Platform, media_type};

use crate::support::{Image, Registry, TestEnv, http, require_busybox, require_tool};

/// One that no machine of ours is, and that no interpreter is registered for by accident.
const FOREIGN: &str = "linux/s390x";

/// A name that leads to an image for this machine and to one for [`FOREIGN`]; `/which` tells them apart.
fn push_both(env: &TestEnv, registry: &Registry) -> String {
    let address = registry.address();
    env.busybox_image("busybox:local");
    let mut manifests = Vec::new();
    for (base, platform, tag) in [
        ("busybox:local", Platform::host().to_string(), "native"),
        ("scratch", FOREIGN.to_owned(), "foreign"),
    ] {
        env.dockerfile(&format!("FROM {base}\nCOPY --chmod=644 <<E /which\n{tag}\nE\nLABEL which={tag}\n"));
        let name = format!("{address}/both:{tag}");
        env.rbuild(&["--platform", &platform, "-t", &name, "--push", "."]).run().success();
        let pushed = Image::fetch(registry, &format!("both:{tag}")).sound();
        assert_eq!(pushed.config.platform().to_string(), platform);
        let (os, architecture) = platform.split_once('/').unwrap();
        let size = registry.get(&format!("/v2/both/manifests/{tag}")).len();
        manifests.push(format!(
            r#"{{"mediaType":"{}","digest":"{}","size":{size},"platform":{{"os":"{os}","architecture":"{architecture}"}}}}"#,
            media_type::OCI_MANIFEST,
            pushed.manifest_digest
        ));
        env.rbuild(&["rmi", &name]).run().success();
    }
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
        media_type::OCI_INDEX,
        manifests.join(",")
    );
    let answer =
        http::put(address.parse().unwrap(), "/v2/both/manifests/1", media_type::OCI_INDEX, &index).unwrap();
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    format!("{address}/both:1")
}

#[test]
fn an_image_says_what_it_is_built_for() {
    let env = TestEnv::new();
    env.write("app", "any machine's").dockerfile(
        "FROM scratch\nARG TARGETPLATFORM BUILDPLATFORM\nENV FOR=$TARGETPLATFORM ON=$BUILDPLATFORM\nCOPY app /\nWORKDIR /w\n",
    );
    env.rbuild(&["--platform", "linux/arm/v6", "-t", "app", "."]).run().success();
    let image = env.image("app").sound();
    assert_eq!(image.config.platform().to_string(), "linux/arm/v6");
    let host = Platform::host();
    assert_eq!(image.config.config.variable("FOR"), Some("linux/arm/v6"));
    assert_eq!(image.config.config.variable("ON"), Some(host.to_string().as_str()));
    assert_eq!(image.text("app"), "any machine's");
    // A name that leads to an image of another platform is no base for this one.
    env.dockerfile("FROM app\n");
    let built = env.rbuild(&["."]).run().code(5);
    assert!(!built.stderr().contains("s390x"), "{built}");
    env.rbuild(&["--platform", "linux/arm/v6", "."]).run().success();
    env.rbuild(&["."]).env("DOCKER_DEFAULT_PLATFORM", "linux/arm/v6").run().success();
    env.rbuild(&["--platform", "local", "."]).env("DOCKER_DEFAULT_PLATFORM", "linux/arm/v6").run().code(5);
    env.rbuild(&["--platform", "windows/amd64", "."]).run().code(2).says(&["windows/amd64", "only Linux"]);
}

#[test]
fn base_images_are_chosen_for_the_platform_of_their_stage() {
    require_tool!("docker-registry");
    require_busybox!();
    let (publisher, env) = (TestEnv::new(), TestEnv::new());
    let registry = Registry::start();
    let base = push_both(&publisher, &registry);
    env.dockerfile(&format!(
        "FROM --platform=$BUILDPLATFORM {base} AS tools\nARG TARGETARCH\nRUN cat /which > /made && echo for $TARGETARCH >> /made\n\
         FROM tools AS more\nRUN echo more >> /made\n\
         FROM {base}\nCOPY --from=more /made /\nCOPY --from={base} /which /copied\nWORKDIR /w\n"
    ));
    let build = || env.rbuild(&["--platform", FOREIGN, "-t", "app", "."]).run();
    let built = build().success();
    let image = env.image("app").sound();
    assert_eq!(image.config.platform().to_string(), FOREIGN);
    assert_eq!(image.config.config.labels["which"], "foreign");
    assert_eq!(image.text("made"), "native\nfor s390x\nmore\n");
    assert_eq!(image.text("copied"), "foreign\n");
    let host = Platform::host();
    let cross = format!("[{host}->s390x tools 2/2] RUN cat /which");
    built.says(&[&cross, "[linux/s390x stage-2 2/4] COPY --from=more"]);

    // Both are remembered, and the name leads to what runs here.
    let before = registry.requests().len();
    build().success();
    env.dockerfile(&format!("FROM {base}\nRUN cat /which > /seen\n"));
    env.rbuild(&["-t", "here", "."]).run().success();
    assert_eq!(registry.requests()[before..], [] as [String; 0], "a registry was asked for what is here");
    assert_eq!(env.image("here").text("seen"), "native\n");
    env.rbuild(&["run", "--rm", &base, "cat", "/which"]).run().success();

    // What no name keeps may go, and comes back when it is needed again.
    env.rbuild(&["rmi", "app"]).run().success();
    env.rbuild(&["prune", "--all", "--force"]).run().success();
    env.rbuild(&["store", "check"]).run().success();
    env.dockerfile(&format!("FROM {base}\n"));
    build().success();
    assert_eq!(env.image("app").text("which"), "foreign\n");
}

#[test]
fn programs_of_another_machine_are_refused_with_what_is_missing() {
    require_busybox!();
    let env = TestEnv::new();
    env.dockerfile("FROM scratch AS image\nCMD [\"/program\"]\nFROM image\nRUN [\"/program\"]\n");
    env.rbuild(&["--platform", FOREIGN, "-t", "foreign", "--target", "image", "."]).run().success();
    env.rbuild(&["run", "--rm", "foreign"])
        .run()
        .code(125)
        .says(&["the image is for linux/s390x", "binfmt_misc"]);
    env.rbuild(&["--platform", FOREIGN, "."]).run().code(4).says(&[
        "programs of linux/s390x cannot be executed on",
        "binfmt_misc",
        "qemu-user-static",
        "Dockerfile:4",
    ]);
}
