//! `rbuild store check`: every damage that it claims to find is planted, found, and mended.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Registry, TestEnv, require_busybox};

/// A store with a tagged image that was built and pushed here.
struct World {
    env: TestEnv,
    _registry: Registry,
}

impl World {
    fn new() -> Self {
        let (env, registry) = (TestEnv::new(), Registry::start());
        env.busybox_image("base:1");
        env.dockerfile("FROM base:1\nRUN echo a > a\nRUN mkdir d && echo b > d/b\n");
        let name = format!("{}/app:1", registry.address());
        env.rbuild(&["-t", &name, "--push", "."]).run().success();
        env.rbuild(&["-t", "app:1", "."]).run().success();
        let world = Self { env, _registry: registry };
        world.is_sound(&[]);
        world
    }

    fn is_sound(&self, depth: &[&str]) {
        let checked = self.env.rbuild(&[&["store", "check"], depth].concat()).run().success();
        assert!(checked.stdout().ends_with("the store is sound\n"), "{checked}");
    }

    fn path(&self, place: &str) -> PathBuf {
        self.env.store().join(place)
    }

    /// The first file of a directory that holds a text.
    fn with(&self, directory: &str, text: &str) -> PathBuf {
        let files = fs::read_dir(self.path(directory)).unwrap().flatten().map(|entry| entry.path());
        let has =
            |path: &PathBuf| fs::read(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text));
        files.into_iter().find(has).unwrap_or_else(|| panic!("nothing in {directory} has {text:?}"))
    }

    /// The snapshot of a step.
    fn snapshot(&self, step: &str) -> PathBuf {
        let record: Value =
            serde_json::from_slice(&fs::read(self.with("records/steps", step)).unwrap()).unwrap();
        self.path("snapshots").join(record["value"]["snapshot"].as_str().unwrap())
    }

    /// As root of the namespace, to whom every file of a snapshot belongs.
    fn shell(&self, script: &str) {
        self.env.rbuild(&["unshare", "sh", "-c", script]).run().success();
    }

    /// Damage is found as such, mended, and the next build works.
    fn finds_and_mends(self, depth: &[&str], problem: &str) {
        let check = [&["store", "check"], depth].concat();
        let found = self.env.rbuild(&check).run().code(6);
        assert!(found.stdout().contains(problem), "{found}");
        self.mends(depth, problem);
    }

    /// What was left over is found as such, and removed.
    fn finds_and_removes(self, problem: &str) {
        let found = self.env.rbuild(&["store", "check"]).run().success();
        assert!(found.stdout().contains(problem) && found.stdout().contains("left over:"), "{found}");
        self.mends(&[], problem);
    }

    fn mends(self, depth: &[&str], problem: &str) {
        let mended = self.env.rbuild(&[&["store", "check", "--repair"], depth].concat()).run().success();
        assert!(mended.stdout().contains("mended:") && mended.stdout().contains(problem), "{mended}");
        crate::is_swept(&self.env);
        self.is_sound(depth);
        let base = self.env.path("base-busybox");
        self.env.rbuild(&["-q", "-t", "base:1", base.to_str().unwrap()]).run().success();
        self.env.rbuild(&["-t", "app:1", "."]).run().success();
        self.env.rbuild(&["run", "--rm", "app:1", "cat", "/a", "/d/b"]).run().success().prints("a\nb\n");
        self.is_sound(&["--deep"]);
    }
}

fn overwrite(path: &Path, content: &[u8]) {
    assert!(path.exists(), "{}", path.display());
    fs::write(path, content).unwrap();
}

/// Changes a byte in the middle.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

macro_rules! damage {
    ($($name:ident: $depth:expr, $problem:expr, $plant:expr;)*) => {$(
        #[test]
        fn $name() {
            require_busybox!();
            let world = World::new();
            let plant: fn(&World) = $plant;
            plant(&world);
            world.finds_and_mends($depth, $problem);
        }
    )*};
}

damage! {
    a_step_record_that_cannot_be_read: &[], "a record that cannot be read",
        |world| overwrite(&world.with("records/steps", "echo a"), b"{\"boot\":");
    a_layer_record_that_cannot_be_read: &[], "a record that cannot be read", |world| {
        for layer in fs::read_dir(world.path("records/layers")).unwrap().flatten() {
            overwrite(&layer.path(), b"");
        }
    };
    an_image_record_that_cannot_be_read: &[], "a record that cannot be read",
        |world| overwrite(&world.with("records/images", "manifest.v1"), b"[]");
    a_tag_that_cannot_be_read: &[], "a record that cannot be read",
        |world| overwrite(&world.with("records/tags", "app:1"), b"\xff");
    a_step_whose_snapshot_is_gone: &[], "a result that is not there",
        |world| world.shell(&format!("rm -r {}", world.snapshot("echo a").display()));
    a_layer_whose_snapshot_is_gone: &[], "a layer that should be unpacked and is not",
        |world| world.shell(&format!("rm -r {}", world.snapshot("mkdir d").display()));
    a_blob_that_is_gone: &[], "a blob that is not there",
        |world| fs::remove_file(blob(world, "gzip")).unwrap();
    a_blob_that_is_cut_off: &["--quick"], "a blob of 5 bytes instead of",
        |world| overwrite(&blob(world, "gzip"), b"short");
    a_blob_that_has_changed: &[], "a blob whose content is sha256:",
        |world| flip(&blob(world, "gzip"));
    a_config_that_has_changed: &[], "a blob whose content is sha256:",
        |world| flip(&world.with("blobs/sha256", "\"diff_ids\""));
    a_config_that_is_gone: &[], "an image whose config is not there",
        |world| fs::remove_file(world.with("blobs/sha256", "\"diff_ids\"")).unwrap();
    a_manifest_that_is_gone: &[], "an image whose manifest is not there",
        |world| fs::remove_file(world.with("blobs/sha256", "image.manifest.v1")).unwrap();
    an_image_whose_layer_is_gone: &[], "an image with a layer that is neither here nor known to be elsewhere",
        |world| world.shell("cd $RBUILD_ROOT; rm -r snapshots/*; for blob in blobs/sha256/*; do grep -q '^{' $blob || rm $blob; done");
    a_layer_record_that_is_gone: &[], "an image with a layer that is neither here nor known to be elsewhere",
        |world| fs::remove_dir_all(world.path("records/layers")).unwrap();
    a_tag_of_an_image_that_is_gone: &[], "a tag of an image that is not there",
        |world| fs::remove_dir_all(world.path("records/images")).unwrap();
    a_tag_in_a_wrong_place: &[], "a tag under the file name of another one", |world| {
        let tag = world.with("records/tags", "library/app:1");
        fs::rename(&tag, tag.with_file_name("0".repeat(64))).unwrap();
    };
    a_snapshot_that_has_changed: &["--deep"], "a snapshot that is not the layer",
        |world| world.shell(&format!("echo evil > {}/d/b", world.snapshot("mkdir d").display()));
    a_snapshot_with_another_owner_or_mode: &["--deep"], "a snapshot that is not the layer",
        |world| world.shell(&format!("chmod 4755 {}/a", world.snapshot("echo a").display()));
}

/// The file of a compressed layer that was packed here.
fn blob(world: &World, media_type: &str) -> PathBuf {
    let layer = world.with("records/layers", media_type);
    let record: Value = serde_json::from_slice(&fs::read(layer).unwrap()).unwrap();
    let digest = record["value"]["blobs"][0]["blob"]["digest"].as_str().unwrap().to_owned();
    world.path("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())
}

macro_rules! left_over {
    ($($name:ident: $problem:expr, $plant:expr;)*) => {$(
        #[test]
        fn $name() {
            require_busybox!();
            let world = World::new();
            let plant: fn(&World) = $plant;
            plant(&world);
            world.finds_and_removes($problem);
        }
    )*};
}

left_over! {
    a_snapshot_that_nothing_leads_to: "a snapshot that nothing leads to", |world| {
        let made = world.snapshot("echo a");
        let lone = made.with_file_name(format!("{}-{}", map_of(&made), "0".repeat(32)));
        fs::create_dir_all(lone.join("d")).unwrap();
    };
    a_blob_without_record: "a blob without a record",
        |world| fs::write(world.path("blobs/sha256").join("0".repeat(64)), "x").unwrap();
    a_size_of_a_snapshot_that_is_gone: "a record of a snapshot that is gone", |world| {
        let seals = world.path("records/seals");
        let seal = fs::read_dir(&seals).unwrap().flatten().next().unwrap().path();
        fs::copy(seal, seals.join("00000000-0")).unwrap();
    };
    a_record_that_a_loss_of_power_has_undone: "a record from before a loss of power", |world| {
        let step = world.with("records/steps", "echo a");
        let text = fs::read_to_string(&step).unwrap();
        let mut record: Value = serde_json::from_str(&text).unwrap();
        record["boot"] = "another".into();
        fs::write(step.with_file_name("1".repeat(64)), record.to_string()).unwrap();
    };
    a_lock_of_nobody: "a lock that nobody holds", |world| fs::write(world.path("locks/left"), "").unwrap();
    work_of_nobody: "unfinished work of a process that is gone", |world| {
        fs::create_dir_all(world.path("tmp/0123456789abcdef/deep")).unwrap();
    };
}

fn map_of(snapshot: &Path) -> String {
    let name = snapshot.file_name().unwrap().to_string_lossy().into_owned();
    name.split_once('-').unwrap().0.to_owned()
}

#[test]
fn a_format_that_cannot_be_read_is_made_anew() {
    require_busybox!();
    let world = World::new();
    overwrite(&world.path("format"), b"{");
    world.env.rbuild(&["store", "check"]).run().code(6).says(&["is not a store of rbuild", "--repair"]);
    let mended = world.env.rbuild(&["store", "check", "--repair"]).run().success();
    assert!(mended.stdout().contains("format"), "{mended}");
    world.is_sound(&[]);
    // A newer one is not touched.
    overwrite(&world.path("format"), b"{\"version\":99}");
    world.env.rbuild(&["store", "check", "--repair"]).run().code(6).says(&["has format 99"]);
}

#[test]
fn a_layer_that_a_registry_has_is_no_loss() {
    require_busybox!();
    let (env, registry) = (TestEnv::new(), Registry::start());
    let base = env.push_busybox(&registry);
    let store = env.path("other");
    let rbuild = |arguments: &[&str]| env.rbuild(arguments).env("RBUILD_ROOT", &store);
    env.dockerfile(&format!("FROM {base}\nRUN echo a > a\n"));
    rbuild(&["-t", "app", "."]).run().success();
    rbuild(&["store", "check", "--deep"]).run().success();
    // Neither unpacked nor as a blob.
    let script = "cd \"$RBUILD_ROOT\"; for seal in $(grep -l '\"packed\":false' records/seals/*); do rm -r snapshots/${seal##*/}; done; for blob in blobs/sha256/*; do grep -q '^{' $blob || rm $blob; done";
    rbuild(&["unshare", "sh", "-c", script]).run().success();
    rbuild(&["store", "check"]).run().code(6);
    rbuild(&["store", "check", "--repair"]).run().success();
    rbuild(&["store", "check"]).run().success();
    rbuild(&["run", "--rm", "app", "sh", "-c", "cat /a; test -e /bin/busybox"]).run().success().prints("a\n");
}

#[test]
fn layers_whose_times_were_cut_are_proved_as_they_were_packed() {
    require_busybox!();
    let world = World::new();
    let build = ["-o", "type=image,rewrite-timestamp=true", "-t", "cut", "."];
    for epoch in ["1000000000", "1100000000"] {
        world.env.rbuild(&build).env("SOURCE_DATE_EPOCH", epoch).run().success();
    }
    world.is_sound(&["--deep"]);
    assert!(fs::read_dir(world.path("records/seals")).unwrap().count() > 5);
    world.shell(&format!("touch -d 2000-01-01 {}/a", world.snapshot("echo a").display()));
    world.finds_and_mends(&["--deep"], "a snapshot that is not the layer");
}

#[test]
fn the_same_is_said_to_programs() {
    require_busybox!();
    let world = World::new();
    let said = |arguments: &[&str], code: i32| -> Value {
        let checked =
            world.env.rbuild(&[&["store", "check", "--format", "json"], arguments].concat()).run().code(code);
        serde_json::from_str(checked.stdout()).unwrap()
    };
    assert_eq!(said(&[], 0)["sound"], true);
    flip(&blob(&world, "gzip"));
    let found = said(&[], 6);
    assert_eq!((&found["sound"], &found["findings"][0]["damage"]), (&false.into(), &true.into()));
    assert_eq!(said(&["--quick"], 0)["sound"], true, "its content is not read");
    let mended = said(&["--repair"], 0);
    assert_eq!((&mended["sound"], mended["findings"].as_array().unwrap().len()), (&true.into(), 0));
    assert!(mended["mended"][0]["done"].as_str().unwrap().starts_with("removed "));
}
