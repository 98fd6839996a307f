//! Building for a machine of another kind: its base images, its name in the config, and programs that cannot be executed.

use rbuild::image::Platform;

use crate::support::{Image, Registry, TestEnv, layout_by_hand, push_index, require_busybox, require_tool};

/// One that no machine of ours is, and that no interpreter is registered for by accident.
const FOREIGN: &str = "linux/s390x";

/// A name that leads to an image for this machine and to one for [`FOREIGN`]; `/which` tells them apart.
fn push_both(env: &TestEnv, registry: &Registry) -> String {
    let address = registry.address();
    env.busybox_image("busybox:local");
    let host = Platform::host().to_string();
    for (base, platform, tag) in [("busybox:local", &*host, "native"), ("scratch", FOREIGN, "foreign")] {
        env.dockerfile(&format!("FROM {base}\nCOPY --chmod=644 <<E /which\n{tag}\nE\nLABEL which={tag}\n"));
        let name = format!("{address}/both:{tag}");
        env.rbuild(&["--platform", platform, "-t", &name, "--push", "."]).run().success();
        let pushed = Image::fetch(registry, &format!("both:{tag}")).sound();
        assert_eq!(pushed.config.platform().to_string(), platform);
        env.rbuild(&["rmi", &name]).run().success();
    }
    push_index(registry, "both:1", &[("native", &host), ("foreign", FOREIGN)])
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

/// Builds on an image whose config says `said`, with these flags; returns what the new config says of its platform.
fn built_on(said: &str, from: &str, flags: &[&str]) -> String {
    let env = TestEnv::new();
    let layout = layout_by_hand(&env, "base", said);
    env.dockerfile(&format!("FROM {from} base\nCOPY <<E /file\ntext\nE\n"));
    let context = format!("base=oci-layout://{}", layout.display());
    let words = [flags, &["-q", "-t", "app", "--build-context", &context, "."]].concat();
    env.rbuild(&words).env("DOCKER_DEFAULT_PLATFORM", "").run().success();
    let config = env.image("app").config_json();
    let of = |key: &str| config.get(key).map(|value| format!("{key}={value} ")).unwrap_or_default();
    ["os", "architecture", "variant", "os.version", "os.features"].map(of).concat().trim_end().to_owned()
}

#[test]
fn what_a_base_says_of_its_platform_is_kept() {
    let said =
        r#""os":"linux","architecture":"amd64","variant":"v3","os.version":"5.1","os.features":["a","b"]"#;
    let same = r#"os="linux" architecture="amd64" variant="v3" os.version="5.1" os.features=["a","b"]"#;
    let of_that = "--platform=linux/amd64/v3";
    assert_eq!(built_on(said, of_that, &[]), same);
    assert_eq!(built_on(said, "", &[of_that]), same);
    // What was asked for counts, and what it leaves open stays.
    assert_eq!(built_on(said, of_that, &["--platform=linux/amd64"]), same);
    assert_eq!(
        built_on(said, of_that, &["--platform=linux(6)/amd64/v2"]),
        r#"os="linux" architecture="amd64" variant="v2" os.version="6" os.features=["a","b"]"#
    );
    // Variants and versions of another kind of machine mean nothing.
    assert_eq!(
        built_on(said, of_that, &["--platform=linux/arm64"]),
        r#"os="linux" architecture="arm64" os.features=["a","b"]"#
    );
}

#[test]
fn a_platform_is_written_in_its_usual_form() {
    for (said, normal) in [
        (r#""os":"Linux","architecture":"aarch64","variant":"v8""#, r#"os="linux" architecture="arm64""#),
        (r#""os":"linux","architecture":"arm""#, r#"os="linux" architecture="arm" variant="v7""#),
        (
            r#""os":"linux","architecture":"x86_64","variant":"v1","os.version":"""#,
            r#"os="linux" architecture="amd64""#,
        ),
    ] {
        assert_eq!(built_on(said, "", &[]), normal, "{said}");
    }
}

#[test]
fn a_version_of_the_operating_system_is_an_argument_and_stays() {
    let env = TestEnv::new();
    env.dockerfile(
        "FROM scratch\nARG TARGETPLATFORM TARGETOS TARGETOSVERSION\nCOPY <<E /for\n$TARGETPLATFORM $TARGETOS $TARGETOSVERSION\nE\n",
    );
    env.rbuild(&["-q", "-t", "base", "--platform", "linux(10.0.3)/arm64", "."]).run().success();
    let image = env.image("base").sound();
    assert_eq!(image.text("for"), "linux(10.0.3)/arm64 linux 10.0.3\n");
    assert_eq!(image.config.os_version.as_deref(), Some("10.0.3"));
    env.dockerfile("FROM base\nLABEL more=1\n");
    for (platform, version) in [("linux/arm64", "10.0.3"), ("linux(11)/arm64", "11")] {
        env.rbuild(&["-q", "-t", "app", "--platform", platform, "."]).run().success();
        assert_eq!(env.image("app").config.os_version.as_deref(), Some(version), "{platform}");
    }
    env.rbuild(&["--platform", "linux(1/arm64", "."]).run().code(2).says(&["linux(1/arm64"]);
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
