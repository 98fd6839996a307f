//! `RUN --device`: devices of the host, as descriptions (CDI) say.

use std::fs;

use crate::support::{Output, TestEnv, require_busybox};

const DESCRIPTION: &str = r#"{
  "cdiVersion": "0.6.0",
  "kind": "vendor.example/thing",
  "containerEdits": {"env": ["ALL=yes"]},
  "devices": [
    {"name": "one", "containerEdits": {
      "env": ["ONE=1", "GIVEN=device"],
      "deviceNodes": [{"path": "/dev/things/one", "hostPath": "/dev/zero"}],
      "mounts": [{"hostPath": "DIRECTORY/library", "containerPath": "/usr/lib/thing", "options": ["ro", "nosuid", "rbind"]}]
    }},
    {"name": "two", "containerEdits": {"env": ["TWO=2"]}}
  ]
}"#;

struct World {
    env: TestEnv,
    descriptions: String,
}

impl World {
    fn new() -> Self {
        let env = TestEnv::new();
        env.busybox_image("base:1");
        let directory = env.path("cdi");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("library"), "code\n").unwrap();
        let descriptions = directory.to_str().unwrap().to_owned();
        fs::write(directory.join("thing.json"), DESCRIPTION.replace("DIRECTORY", &descriptions)).unwrap();
        Self { env, descriptions }
    }

    fn describe(&self, name: &str, edits: &str) {
        let text = format!(
            r#"{{"cdiVersion":"0.6.0","kind":"other.example/it","devices":[{{"name":"x","containerEdits":{edits}}}]}}"#
        );
        fs::write(format!("{}/{name}", self.descriptions), text).unwrap();
    }

    fn build(&self, run: &str, arguments: &[&str]) -> Output {
        self.env.dockerfile(&format!("FROM base:1\nENV GIVEN=env\nRUN {run}\n"));
        self.env
            .rbuild(&["--cdi-spec-dir", &self.descriptions, "--no-cache", "-t", "app"])
            .arguments(arguments)
            .arguments(&["."])
            .run()
    }
}

#[test]
fn a_device_brings_its_node_its_files_and_its_variables() {
    require_busybox!();
    let world = World::new();
    world
        .build(
            "--device=vendor.example/thing=one \
             test -c /dev/things/one && head -c 3 /dev/things/one | od -An -tx1 > /out && \
             cat /usr/lib/thing >> /out && ! sh -c 'echo > /usr/lib/thing' 2>/dev/null && \
             echo $ALL $ONE $TWO $GIVEN >> /out",
            &["--allow", "device"],
        )
        .success();
    let image = world.env.image("app").sound();
    assert_eq!(image.text("out"), " 00 00 00\ncode\nyes 1 device\n");
    // Nothing of it stays.
    let of_step: Vec<String> = image.layer(1).into_iter().map(|(path, _)| path).collect();
    assert_eq!(of_step, ["out"], "{of_step:?}");
    assert_eq!(image.config.config.variable("GIVEN"), Some("env"));
}

#[test]
fn names_mean_one_all_or_the_first() {
    require_busybox!();
    let world = World::new();
    for (name, expected) in [
        ("vendor.example/thing=two", "yes  2"),
        ("vendor.example/thing=*", "yes 1 2"),
        ("name=vendor.example/thing", "yes 1 "),
    ] {
        let run = format!("--device={name},required echo \"$ALL $ONE $TWO\" > /out");
        world.build(&run, &["--allow", "device"]).success();
        assert_eq!(world.env.image("app").text("out"), format!("{expected}\n"), "{name}");
    }
}

#[test]
fn a_device_has_to_be_allowed_and_may_be_missing_unless_it_is_required() {
    require_busybox!();
    let world = World::new();
    let one = "--device=vendor.example/thing=one true";
    world.build(one, &[]).code(3).says(&[
        "entitlement device=vendor.example/thing=one is not allowed",
        "--allow device=vendor.example/thing=one",
    ]);
    world.build(one, &["--allow", "device=vendor.example/thing=one"]).success();
    world.build(one, &["--allow", "device=vendor.example/thing=two"]).code(3);
    let missing = "--device=vendor.example/thing=three";
    world
        .build(&format!("{missing} true"), &["--allow", "device"])
        .success()
        .says(&["goes without device vendor.example/thing=three"]);
    world.build(&format!("{missing},required true"), &["--allow", "device"]).code(3).says(&[
        "no device vendor.example/thing=three",
        "Dockerfile:3",
        "--cdi-spec-dir",
    ]);
}

#[test]
fn descriptions_that_cannot_be_followed_are_refused() {
    require_busybox!();
    let world = World::new();
    let it = "--device=other.example/it=x true";
    let refused = |said: &str| {
        world.build(it, &["--allow", "device"]).code(3).says(&[said]);
    };
    world.describe("it.json", r#"{"hooks":[{"hookName":"createContainer","path":"/x"}]}"#);
    refused("asks for hooks, which is not supported");
    world.describe("it.json", r#"{"mounts":[{"hostPath":"/","containerPath":"/x","options":["sync"]}]}"#);
    refused("the mount option sync");
    world.describe("it.json", r#"{"deviceNodes":[{"path":"/dev/not-there"}]}"#);
    refused("asks for /dev/not-there");
    world.describe("it.json", r#"{"deviceNodes":[{"path":"/dev/x","hostPath":"/etc/passwd"}]}"#);
    refused("says that /etc/passwd is a device, which it is not");
    world.describe("it.json", r#"{"env":["=x"]}"#);
    refused("not NAME=VALUE");
    world.describe("it.json", "{}");
    refused("says nothing of the device x");
    world.describe("it.json", r#"{"env":"x"}"#);
    refused("it.json: is no description of devices");
    world.describe("it.json", r#"{"hooks":[],"env":["A=b"]}"#);
    world.describe("again.json", r#"{"env":["A=b"]}"#);
    refused("described twice");
    fs::remove_file(format!("{}/again.json", world.descriptions)).unwrap();
    world.build(it, &["--allow", "device"]).success();
    let version = r#"{"cdiVersion":"9.0.0","kind":"other.example/it","devices":[]}"#;
    fs::write(format!("{}/a.json", world.descriptions), version).unwrap();
    refused("a version that is not known: 9.0.0");
    fs::remove_file(format!("{}/a.json", world.descriptions)).unwrap();
    let pipe = format!("{}/pipe.json", world.descriptions);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &*pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    refused("is no regular file");
    fs::remove_file(pipe).unwrap();
    fs::write(format!("{}/z.yaml", world.descriptions), "kind: \"other.example/it\"\n").unwrap();
    refused("is YAML");
    world.build("--device=it true", &["--allow", "device"]).code(3).says(&["vendor/class=device"]);
    world.env.rbuild(&["--allow", "devce", "."]).run().code(2).says(&["did you mean device?"]);
}
