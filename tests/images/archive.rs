//! `save` and `load`, and what skopeo and umoci make of them.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use rbuild::image::{Descriptor, Digest, Index, Manifest, annotation, media_type};

use crate::small_image;
use crate::support::{Image, TestEnv, require_busybox, require_tool};

/// A store of its own in the same world.
fn other_store(env: &TestEnv, name: &str) -> String {
    env.path(name).to_str().unwrap().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn an_archive_is_the_same_each_time_and_loads_as_the_same_image() {
    let env = TestEnv::new();
    let id = small_image(&env, "a", &["app:1", "reg.example/team/app:2"]);
    let (one, two) = (env.path("one.tar"), env.path("two.tar"));
    let images = ["app:1", "reg.example/team/app:2"];
    env.rbuild(&["save", "-q", "-o", text(&one)]).arguments(&images).run().success().prints("");
    let other = other_store(&env, "other");
    let loaded = env.rbuild(&["--root", &other, "load", "-q", "-i", text(&one)]).run().success();
    loaded.prints("Loaded image: app:1\nLoaded image: reg.example/team/app:2\n");
    let ids = env.rbuild(&["--root", &other, "images", "-q", "--no-trunc"]).run().success();
    ids.prints(&format!("{id}\n"));
    env.rbuild(&["--root", &other, "save", "-o", text(&two)]).arguments(&images).run().success();
    assert_eq!(Digest::of(&fs::read(&one).unwrap()), Digest::of(&fs::read(&two).unwrap()));
    let left = fs::read_dir(env.path(".")).unwrap().flatten();
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().ends_with(".tmp")));
    env.has_no_leftovers();
}

#[test]
fn an_archive_goes_through_pipes() {
    let env = TestEnv::new();
    small_image(&env, "a", &["app:1"]);
    let pipe = "\"$0\" save -q app:1 | eval \"$2\" | \"$0\" --root \"$1\" load -q";
    let binary = crate::support::binary();
    let through = |program: &str| {
        let other = other_store(&env, &format!("other-{program}"));
        env.program("sh", &["-c", pipe, text(&binary), &other, program]).run()
    };
    for program in ["gzip", "bzip2", "xz", "cat"] {
        require_tool!(program);
        through(program).success().prints("Loaded image: app:1\n");
    }
    // Cut off in the middle.
    for program in ["gzip", "bzip2", "xz"] {
        through(&format!("{program} | head -c 400")).code(3).says(&["cannot be read"]);
    }
}

#[test]
fn a_loaded_image_runs_and_is_built_on() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let archive = env.path("base.tar");
    env.rbuild(&["save", "-o", text(&archive), "base:1"]).run().success();
    let other = other_store(&env, "other");
    env.rbuild(&["--root", &other, "load", "-i", text(&archive)]).run().success();
    env.rbuild(&["--root", &other, "run", "--rm", "base:1", "echo", "loaded"])
        .run()
        .success()
        .prints("loaded\n");
    env.dockerfile("FROM base:1\nRUN echo built > /built\n");
    env.rbuild(&["--root", &other, "-t", "app", "."]).run().success();
    env.rbuild(&["--root", &other, "run", "--rm", "app", "cat", "/built"]).run().success().prints("built\n");
}

#[test]
fn skopeo_reads_every_form() {
    require_tool!("skopeo");
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let copy = |from: &str, name: &str| {
        let layout = env.path(name);
        let to = format!("oci:{}:x", layout.display());
        env.program("skopeo", &["--insecure-policy", "copy", "-q", from, &to]).run().success();
        Image::open(&layout).sound()
    };
    let path = |name: &str| text(&env.path(name)).to_owned();
    env.rbuild(&["save", "-o", &path("docker.tar"), "base:1"]).run().success();
    env.rbuild(&["save", "--format", "oci-archive", "-o", &path("oci.tar"), "base:1"]).run().success();
    env.rbuild(&["save", "--format", "oci-dir", "-o", &path("oci"), "base:1"]).run().success();
    let docker = copy(&format!("docker-archive:{}:base:1", path("docker.tar")), "from-docker");
    let archive = copy(&format!("oci-archive:{}:1", path("oci.tar")), "from-archive");
    let both = copy(&format!("oci-archive:{}", path("docker.tar")), "from-both");
    let directory = copy(&format!("oci:{}:1", path("oci")), "from-directory");
    assert!(docker.files().contains_key("bin/busybox"));
    assert_eq!(docker.listing(), archive.listing());
    assert_eq!(docker.config, archive.config);
    for image in [archive, both] {
        assert_eq!(image.manifest_digest, directory.manifest_digest);
    }
    let own = Image::open(&env.path("oci")).sound();
    assert_eq!(own.config, directory.config);
}

#[test]
fn what_skopeo_writes_is_loaded() {
    require_tool!("skopeo");
    let env = TestEnv::new();
    let id = small_image(&env, "a", &["app:1"]);
    let layout = env.path("layout");
    env.rbuild(&["save", "--format", "oci-dir", "-o", text(&layout), "app:1"]).run().success();
    for (index, (form, expected)) in [
        ("docker-archive:PATH:skopeo:1", "Loaded image: skopeo:1\n".to_owned()),
        ("oci-archive:PATH:skopeo:1", "Loaded image: skopeo:1\n".to_owned()),
        ("oci:PATH", format!("Loaded image ID: {id}\n")),
    ]
    .into_iter()
    .enumerate()
    {
        let path = env.path(format!("skopeo-{index}"));
        let to = form.replace("PATH", text(&path));
        let from = format!("oci:{}:1", layout.display());
        env.program("skopeo", &["--insecure-policy", "copy", "-q", &from, &to]).run().success();
        let store = other_store(&env, &format!("store-{index}"));
        let loaded = env.rbuild(&["--root", &store, "load", "-i", text(&path)]).run().success();
        loaded.prints(&expected);
        let ids = env.rbuild(&["--root", &store, "images", "-q", "--no-trunc"]).run().success();
        ids.prints(&format!("{id}\n"));
    }
}

#[test]
fn umoci_unpacks_what_was_saved_and_what_it_makes_is_loaded() {
    require_tool!("umoci");
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let layout = env.path("layout");
    env.rbuild(&["save", "--format", "oci-dir", "-o", text(&layout), "base:1"]).run().success();
    let (from, bundle) = (format!("{}:1", layout.display()), env.path("bundle"));
    env.program("umoci", &["unpack", "--rootless", "--image", &from, text(&bundle)]).run().success();
    assert!(bundle.join("rootfs/bin/busybox").exists());
    fs::write(bundle.join("rootfs/added"), "by umoci\n").unwrap();
    let to = format!("{}:changed", layout.display());
    env.program("umoci", &["repack", "--image", &to, text(&bundle)]).run().success();
    let loaded = env.rbuild(&["load", "-i", text(&layout)]).run().success();
    let changed = loaded.stdout().lines().find_map(|line| line.strip_prefix("Loaded image ID: "));
    let changed = changed.unwrap_or_else(|| panic!("no image without a name\n{loaded}"));
    env.rbuild(&["run", "--rm", changed, "cat", "/added"]).run().success().prints("by umoci\n");
}

#[test]
fn layers_in_zstd_are_carried_untouched() {
    require_tool!("docker-registry");
    let env = TestEnv::new();
    small_image(&env, "a", &["app:1"]);
    let path = |name: &str| text(&env.path(name)).to_owned();
    env.rbuild(&["save", "--format", "oci-dir", "-o", &path("gzip"), "app:1"]).run().success();
    compress_again(&env.path("gzip"), "docker.io/library/zstd:1");
    env.rbuild(&["load", "-i", &path("gzip")]).run().success();
    env.rbuild(&["save", "--format", "oci-dir", "-o", &path("saved"), "zstd:1"]).run().success();
    let saved = Image::open(&env.path("saved")).sound();
    assert!(saved.manifest.layers[0].media_type.ends_with("zstd"), "{:?}", saved.manifest);
    let registry = crate::support::Registry::start();
    let name = format!("{}/zstd:1", registry.address());
    env.rbuild(&["tag", "zstd:1", &name]).run().success();
    env.rbuild(&["push", &name]).run().success();
    assert_eq!(Image::fetch(&registry, "zstd:1").manifest, saved.manifest);
}

#[test]
fn a_layer_that_is_not_what_the_image_says_is_not_loaded() {
    let env = TestEnv::new();
    small_image(&env, "a", &["app:1"]);
    let layout = env.path("layout");
    env.rbuild(&["save", "--format", "oci-dir", "-o", text(&layout), "app:1"]).run().success();
    let mut blobs = fs::read_dir(layout.join("blobs/sha256")).unwrap().flatten().map(|entry| entry.path());
    let layer = blobs.find(|path| fs::read(path).unwrap().starts_with(&[0x1f, 0x8b])).unwrap();
    let mut bytes = fs::read(&layer).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&layer, bytes).unwrap();
    let other = other_store(&env, "other");
    let refused = env.rbuild(&["--root", &other, "load", "-i", text(&layout)]).run().code(3);
    refused.says(&["does not match its digest"]).prints("");
    env.rbuild(&["--root", &other, "images", "-q"]).run().success().prints("");
}

#[test]
fn what_cannot_be_saved_or_loaded_is_said() {
    let env = TestEnv::new();
    small_image(&env, "a", &["app:1"]);
    fs::create_dir(env.path("full")).unwrap();
    fs::write(env.path("full/file"), "").unwrap();
    fs::write(env.path("garbage"), vec![7; 4096]).unwrap();
    let (full, garbage) = (env.path("full"), env.path("garbage"));
    env.rbuild(&["save", "nothing"]).run().code(3).says(&["no image nothing"]).prints("");
    env.rbuild(&["save", "--format", "oci-dir", "app:1"]).run().code(2).says(&["-o DIR"]);
    env.rbuild(&["save", "-o", text(&full), "app:1"]).run().code(2).says(&["is a directory"]);
    env.rbuild(&["save", "--format", "oci-dir", "-o", text(&full), "app:1"])
        .run()
        .code(2)
        .says(&["not an empty"]);
    env.rbuild(&["save", "-o", "/nowhere/x.tar", "app:1"]).run().code(6).says(&["/nowhere"]);
    env.rbuild(&["load", "-i", text(&garbage)]).run().code(3).says(&["cannot be read"]);
    env.rbuild(&["load", "-i", text(&full)]).run().code(3).says(&["no images in it"]);
    env.rbuild(&["load", "-i", "/nowhere"]).run().code(3).says(&["/nowhere"]);
    env.has_no_leftovers();
}

/// Makes the layer of a layout's image one in zstd, and gives the image another name.
fn compress_again(layout: &Path, name: &str) {
    let blobs = layout.join("blobs/sha256");
    let write = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        (digest, bytes.len() as u64)
    };
    let read = |digest: &Digest| fs::read(blobs.join(digest.hex())).unwrap();
    let mut index: Index = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let mut manifest: Manifest = serde_json::from_slice(&read(&index.manifests[0].digest)).unwrap();
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(&read(&manifest.layers[0].digest)[..]).read_to_end(&mut tar).unwrap();
    let (digest, size) = write(&zstd::bulk::compress(&tar, 3).unwrap());
    manifest.layers[0] = Descriptor::new(media_type::OCI_LAYER_ZSTD, digest, size);
    let (digest, size) = write(&manifest.to_bytes());
    let mut entry = Descriptor::new(media_type::OCI_MANIFEST, digest, size);
    entry.annotations.insert(annotation::FULL_NAME.to_owned(), name.to_owned());
    index.manifests = vec![entry];
    fs::write(layout.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
}

#[test]
fn what_is_given_up_leaves_no_archive() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\nCOPY large /\n");
    // A pipe that nobody reads: the archive is larger than what fits in.
    let pipe = env.path("pipe");
    env.program("mkfifo", &[text(&pipe)]).run().success();
    let save =
        "exec 3<>\"$1\"; \"$0\" save --format oci-archive -o \"$1\" app & sleep 0.5; kill -INT $!; wait $!";
    let random = "head -c 3000000 /dev/urandom > large";
    env.program("sh", &["-c", random]).run().success();
    env.rbuild(&["-q", "-t", "app", "."]).run().success();
    let binary = crate::support::binary();
    env.program("sh", &["-c", save, text(&binary), text(&pipe)]).run().code(130).says(&["interrupted"]);
    assert!(pipe.exists(), "a pipe stays what it is");
    let file = env.path("saved.tar");
    env.rbuild(&["save", "-o", text(&file), "app"]).run().success();
    let names = fs::read_dir(env.path(".")).unwrap().flatten().map(|entry| entry.file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".tmp")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What came from an archive is whole as the store sees it, and collected when nobody needs it any more.
#[test]
fn the_store_is_whole_after_loading_and_empty_after_collecting() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let archive = env.path("base.tar");
    env.rbuild(&["save", "-o", text(&archive), "base:1"]).run().success();
    let other = other_store(&env, "other");
    let rbuild = |arguments: &[&str]| env.rbuild(&["--root", &other]).arguments(arguments).run().success();
    rbuild(&["load", "-i", text(&archive)]);
    rbuild(&["store", "check"]);
    rbuild(&["prune", "-f", "--all"]);
    rbuild(&["run", "--rm", "base:1", "echo", "kept"]).prints("kept\n");
    rbuild(&["rmi", "base:1"]);
    rbuild(&["prune", "-f", "--all"]);
    rbuild(&["store", "check"]);
    assert_eq!(fs::read_dir(format!("{other}/blobs/sha256")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(format!("{other}/snapshots")).unwrap().count(), 0);
}

#[test]
fn an_image_that_another_rung_made_is_not_taken_for_damaged() {
    use crate::support::{has_subuid_range, is_root};
    let made_on = match (is_root(), has_subuid_range()) {
        (true, _) => "root",
        (false, true) => "range",
        // Whoever has a single id has rungs that understand each other.
        (false, false) => return,
    };
    let env = TestEnv::new();
    env.write("a.txt", "a").dockerfile("FROM scratch\nCOPY a.txt .\n");
    env.rbuild(&["--isolation", made_on, "-t", "app:1", "."]).run().success();
    let save = |rung: &str| {
        env.rbuild(&["--isolation", rung, "save", "-o", text(&env.path("app.tar")), "app:1"]).run()
    };
    save("single").code(4).says(&["another rung of isolation", "--isolation"]);
    assert!(!env.path("app.tar").exists());
    save(made_on).success();
}
