//! What `--output` writes outside the store: images in archives and directories, files in tars and directories.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rbuild::image::{Index, Manifest, annotation};
use rustix::fs::XattrFlags;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    Disk, Entry, Image, Kind, Registry, TestEnv, binary, entries, is_root, lay, require_busybox,
    require_tool, tar,
};

/// Files of every kind.
const ALL: &[&str] = &[
    "s/ 750 1:2",
    "s/file 4755 1:2",
    "s/dir/ 1777 3:4",
    "s/dir/inner 600 5:6",
    "s/locked/ 555",
    "s/locked/x 444",
    "s/secret 0",
    "s/link -> file",
    "s/pipe | 640 7:8",
    "s/node c 620 1:3 9:10",
    "s/far 644 1000:70000",
    "s/one 644 11:12 same",
    "s/two == s/one",
    "s/dir/three == s/one",
    "gone",
    "replaced/",
    "replaced/a",
];

/// A build whose layers hide, replace and add to each other, without a step that has to be run.
fn world() -> TestEnv {
    let env = TestEnv::new();
    fs::write(env.context().join("all.tar"), tar(ALL)).unwrap();
    fs::write(env.context().join("over.tar"), tar(&["replaced 600 now a file", "s/dir/inner 640 8:9 new"]))
        .unwrap();
    let long = format!("long/{}/ä", "n".repeat(200));
    lay(&env.context(), &["noted", &format!("{long} 640 long")]);
    rustix::fs::setxattr(env.context().join("noted"), "user.note", b"kept", XattrFlags::empty()).unwrap();
    env.dockerfile(
        "FROM scratch\nADD all.tar /\nADD over.tar /\nCOPY --chown=5:6 noted long /c/\nWORKDIR /w\n\
         LABEL a=b\nCMD [\"x\"]\n",
    );
    env
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A place beside the context.
fn place(env: &TestEnv, name: &str) -> String {
    text(&env.path(name)).to_owned()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The files of a tar, each of which has a right place: no name twice, and directories before what is in them.
#[track_caller]
fn files_of(bytes: &[u8]) -> BTreeMap<String, Entry> {
    let listed = entries(bytes);
    let names: Vec<_> = listed.iter().map(|(name, _)| name.clone()).collect();
    let mut sorted = names.clone();
    sorted.sort_by(|a, b| a.split('/').cmp(b.split('/')));
    assert_eq!(names, sorted);
    let files: BTreeMap<_, _> = listed.into_iter().collect();
    assert_eq!(files.len(), names.len(), "a name stands there twice");
    files
}

#[test]
fn one_tar_has_the_files_of_all_layers() {
    let env = world();
    let out = place(&env, "out.tar");
    env.rbuild(&["-q", "-t", "app", "-o", &format!("type=tar,dest={out}"), "."]).run().success();
    let bytes = fs::read(&out).unwrap();
    let found = files_of(&bytes);
    assert_eq!(found, env.image("app").files());
    assert_eq!(found["replaced"].kind, Kind::File { content: b"now a file".to_vec() });
    assert_eq!((found["s/dir/inner"].uid, found["s/dir/inner"].mode), (8, 0o640));
    assert_eq!(found["s/two"].kind, Kind::Hardlink { to: "s/dir/three".to_owned() });
    assert_eq!(found["s/far"].gid, 70000);
    assert_eq!(found["s/node"].device, Some((1, 3)));
    assert_eq!(found["c/noted"].attributes["user.note"], b"kept");
    assert!(!found.contains_key("replaced/a"));
    // The same again, and again as a stream with nothing else in it.
    let script = "\"$0\" build -t again -o - . 2>../progress > ../stream.tar && \
                  \"$0\" build -q -o type=tar . 2>../id > ../quiet.tar";
    env.program("sh", &["-c", script, text(&binary())]).run().success().prints("");
    for name in ["stream.tar", "quiet.tar"] {
        assert!(fs::read(env.path(name)).unwrap() == bytes, "{name} is another tar");
    }
    assert!(fs::read_to_string(env.path("progress")).unwrap().contains("CACHED"));
    assert!(fs::read_to_string(env.path("id")).unwrap().starts_with("sha256:"));
}

#[test]
fn what_a_container_sees_is_what_a_tar_has() {
    require_busybox!();
    let env = world();
    env.busybox_image("base:1");
    let dockerfile = "FROM base:1\nADD all.tar /\nRUN rm /gone /s/one && mkdir /s/dir/new && echo x > /s/dir/new/f \
                      && chmod 711 /s/locked && chown 33:44 /s/link -h && rm -r /replaced\nRUN ln /s/file /s/again\n";
    env.dockerfile(dockerfile);
    let out = place(&env, "out.tar");
    env.rbuild(&["-q", "-t", "app", "-o", &format!("type=tar,dest={out}"), "."]).run().success();
    let found = files_of(&fs::read(&out).unwrap());
    let script = "find /s /bin ! -name node ! -name far -exec stat -c '%a %u:%g %n' {} + | sort";
    let seen = env.rbuild(&["run", "--rm", "app", "sh", "-c", script]).run().success();
    // A device, and an owner beyond a range of ids, are not always shown to a step as what they are.
    let in_tar = found.iter().filter(|(name, _)| {
        (["s", "bin"].contains(&&***name) || name.starts_with("s/") || name.starts_with("bin/"))
            && !["s/node", "s/far"].contains(&&***name)
    });
    let mut in_tar: Vec<_> =
        in_tar.map(|(name, entry)| format!("{:o} {}:{} /{name}", entry.mode, entry.uid, entry.gid)).collect();
    in_tar.sort();
    assert_eq!(seen.stdout().lines().collect::<Vec<_>>(), in_tar);
    assert!(!found.contains_key("gone") && !found.contains_key("replaced"));
    assert_eq!(found["s/file"].kind, Kind::Hardlink { to: "s/again".to_owned() });
    assert_eq!(found["s/two"].kind, Kind::Hardlink { to: "s/dir/three".to_owned() });
}

#[test]
fn a_directory_has_the_files_as_the_callers_own() {
    let env = world();
    let out = env.path("new/out");
    // 0 stands for all that is written: `s/secret` cannot be read by who is not root.
    let built = env.rbuild(&["-t", "app", "-o", text(&out), "."]).run().success();
    let image = env.image("app").files();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for (name, expected) in &image {
        if expected.device.is_some() && !is_root() {
            assert!(!out.join(name).exists(), "{name} is there");
            continue;
        }
        let found = fs::symlink_metadata(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((found.uid(), found.gid()), (uid, gid), "{name}");
        if !matches!(expected.kind, Kind::Hardlink { .. } | Kind::Symlink { .. }) {
            assert_eq!(found.mode() & 0o7777, expected.mode, "{name}");
        }
        assert_eq!(found.mtime(), i64::try_from(expected.modified).unwrap(), "{name}");
        match &expected.kind {
            Kind::File { content } if expected.mode != 0 => {
                assert_eq!(fs::read(out.join(name)).unwrap(), *content, "{name}");
            }
            Kind::File { .. } => {}
            Kind::Directory => assert!(found.is_dir(), "{name}"),
            Kind::Symlink { target } => {
                assert_eq!(fs::read_link(out.join(name)).unwrap(), Path::new(target), "{name}");
            }
            Kind::Hardlink { to } => assert_eq!(found.ino(), fs::metadata(out.join(to)).unwrap().ino()),
            Kind::Other(kind) => assert_eq!(found.rdev() != 0, *kind != b'6', "{name} is of another kind"),
        }
    }
    assert_eq!(fs::metadata(out.join("s/one")).unwrap().nlink(), 3);
    let mut note = [0; 8];
    let length = rustix::fs::getxattr(out.join("c/noted"), "user.note", &mut note).unwrap();
    assert_eq!(note[..length], *b"kept");
    let list = rustix::fs::listxattr(out.join("s/file"), &mut [0; 256]).unwrap();
    assert_eq!(list, 0, "records of the store are nobody else's");
    assert_eq!(names(&out), ["c", "gone", "replaced", "s", "w"]);
    match is_root() {
        true => built.omits(&["left out"]),
        false => built.says(&["left out of", "1 devices, which only the host's root may make"]),
    };
}

#[test]
fn a_directory_keeps_what_it_has_besides() {
    let env = world();
    let out = env.path("out");
    fs::create_dir(&out).unwrap();
    lay(&out, &["mine", "s/mine 600", "s/file 600 old", "gone/dir/x", "replaced/", "c/noted/deep"]);
    fs::create_dir(env.path("elsewhere")).unwrap();
    fs::write(env.path("elsewhere/inner"), "safe").unwrap();
    // A link in the place of a directory is not followed.
    symlink(env.path("elsewhere"), out.join("s/dir")).unwrap();
    let export =
        || env.rbuild(&["-q", "-o", &format!("type=local,dest={}", text(&out)), "."]).run().success();
    for _ in 0..2 {
        export();
        assert_eq!(names(&out), ["c", "gone", "mine", "replaced", "s", "w"]);
        assert_eq!(fs::read_to_string(out.join("mine")).unwrap(), "mine");
        assert_eq!(fs::read_to_string(out.join("s/mine")).unwrap(), "s/mine");
        assert_eq!(fs::read_to_string(out.join("gone")).unwrap(), "gone");
        assert_eq!(fs::read_to_string(out.join("replaced")).unwrap(), "now a file");
        assert_eq!(fs::read_to_string(out.join("s/dir/inner")).unwrap(), "new");
        assert_eq!(fs::metadata(out.join("s")).unwrap().mode() & 0o7777, 0o750);
        assert_eq!(fs::metadata(out.join("s/locked")).unwrap().mode() & 0o7777, 0o555);
        assert_eq!(fs::metadata(out.join("s/locked")).unwrap().mtime(), 1_000_000_000);
        assert_eq!(fs::metadata(out.join("s/two")).unwrap().nlink(), 3);
        assert_eq!(names(&env.path("elsewhere")), ["inner"]);
    }
    // What a killed process has left is removed; what somebody else writes just now stays.
    let (dead, alive) = (out.join(".rbuild-output.1-1.tmp"), out.join(".rbuild-output.2-2.tmp"));
    fs::create_dir_all(dead.join("x")).unwrap();
    fs::create_dir(&alive).unwrap();
    let held = fs::File::open(&alive).unwrap();
    held.lock().unwrap();
    export();
    assert!(!dead.exists() && alive.exists());
}

#[test]
fn times_are_that_of_the_epoch() {
    let env = world();
    let out = env.path("out");
    let tar = place(&env, "out.tar");
    let build = env.rbuild(&["-q", "-o", text(&out), "-o", &format!("type=tar,dest={tar}"), "."]);
    build.env("SOURCE_DATE_EPOCH", "86400").run().success();
    for name in ["s", "s/file", "s/link", "c/noted", "w"] {
        assert_eq!(fs::symlink_metadata(out.join(name)).unwrap().mtime(), 86400, "{name}");
    }
    assert!(files_of(&fs::read(&tar).unwrap()).values().all(|entry| entry.modified == 86400));
}

#[test]
fn nothing_but_a_root_is_an_empty_directory_and_an_empty_tar() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\nLABEL a=b\n");
    let (out, tar) = (env.path("out"), place(&env, "out.tar"));
    env.rbuild(&["-q", "-o", text(&out), "-o", &format!("type=tar,dest={tar}"), "."]).run().success();
    assert!(names(&out).is_empty());
    assert_eq!(fs::read(&tar).unwrap(), [0; 1024]);
}

/// The manifest of a layout's first image.
fn manifest(layout: &Path) -> (Index, Manifest) {
    let index: Index = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let blob = layout.join("blobs/sha256").join(index.manifests[0].digest.hex());
    let manifest = serde_json::from_slice(&fs::read(blob).unwrap()).unwrap();
    (index, manifest)
}

fn unpacked(env: &TestEnv, archive: &str) -> std::path::PathBuf {
    let to = env.path(format!("unpacked-{}", Path::new(archive).file_name().unwrap().to_str().unwrap()));
    fs::create_dir(&to).unwrap();
    env.program("tar", &["-x", "-f", archive, "-C", text(&to)]).run().success();
    to
}

#[test]
fn archives_have_the_image_its_names_and_the_media_types_of_their_kind() {
    let env = world();
    let (oci, docker, layout) = (place(&env, "oci.tar"), place(&env, "docker.tar"), place(&env, "layout"));
    env.rbuild(&["-q", "-t", "app:1", "-t", "reg.example/team/app:2"])
        .arguments(&["-o", &format!("type=oci,dest={oci}"), "-o", &format!("type=docker,dest={docker}")])
        .arguments(&["-o", &format!("type=oci,tar=false,dest={layout},name=more:3"), "."])
        .run()
        .success();
    let own = env.image("app:1");
    let mut names = vec!["docker.io/library/app:1", "reg.example/team/app:2"];
    for (place, form) in [
        (unpacked(&env, &oci), "application/vnd.oci.image."),
        (unpacked(&env, &docker), "application/vnd.docker."),
        (env.path("layout"), "application/vnd.oci.image."),
    ] {
        if place.ends_with("layout") {
            names.push("docker.io/library/more:3");
        }
        let image = Image::open(&place).sound();
        assert_eq!((image.config.to_bytes(), image.listing()), (own.config.to_bytes(), own.listing()));
        let (index, manifest) = manifest(&place);
        let types = [&index.manifests[0], &manifest.config].into_iter().chain(&manifest.layers);
        let types: Vec<_> = types.map(|it| it.media_type.clone()).collect();
        assert!(types.iter().all(|kind| kind.starts_with(form)), "{types:?}");
        assert_eq!(manifest.layers.len(), 4);
        let named: Vec<_> =
            index.manifests.iter().map(|entry| entry.annotations[annotation::FULL_NAME].as_str()).collect();
        assert_eq!(named, names);
    }
    let listed = fs::read_to_string(unpacked_file(&env, "unpacked-docker.tar/manifest.json")).unwrap();
    assert!(listed.contains(r#""RepoTags":["app:1","reg.example/team/app:2"]"#), "{listed}");
    // `name` is the archive's alone.
    env.rbuild(&["inspect", "more:3"]).run().code(3).says(&["more"]);
    // A store that has never seen it.
    let other = place(&env, "other");
    let loaded = env.rbuild(&["--root", &other, "load", "-q", "-i", &docker]).run().success();
    loaded.prints("Loaded image: app:1\nLoaded image: reg.example/team/app:2\n");
    env.rbuild(&[
        "-q",
        "-o",
        "type=docker,dest=../again.tar",
        "-t",
        "app:1",
        "-t",
        "reg.example/team/app:2",
        ".",
    ])
    .run()
    .success();
    assert!(
        fs::read(env.path("again.tar")).unwrap() == fs::read(&docker).unwrap(),
        "the same image, other bytes"
    );
}

fn unpacked_file(env: &TestEnv, name: &str) -> std::path::PathBuf {
    env.path(name)
}

#[test]
fn a_layout_takes_further_images() {
    let env = TestEnv::new();
    let build = |text: &str, names: &[&str]| {
        env.dockerfile(&format!("FROM scratch\nLABEL which={text}\nCOPY Dockerfile /\n"));
        let names = names.iter().flat_map(|name| ["-t", name]).collect::<Vec<_>>();
        env.rbuild(&["-q", "-o", "type=oci,tar=false,dest=../layout", "."]).arguments(&names).run().success();
        let (index, _) = manifest(&env.path("layout"));
        let name = |entry: &rbuild::image::Descriptor| {
            entry
                .annotations
                .get(annotation::FULL_NAME)
                .map_or("", |name| name.rsplit('/').next().unwrap())
                .to_owned()
        };
        let mut listed: Vec<_> = index.manifests.iter().map(name).collect();
        listed.sort();
        listed.join(" ")
    };
    assert_eq!(build("1", &["app:1"]), "app:1");
    let first = Image::open(&env.path("layout")).sound();
    assert_eq!(build("2", &["app:2", "more"]), "app:1 app:2 more:latest");
    assert_eq!(build("3", &[]), " app:1 app:2 more:latest");
    assert_eq!(build("3", &[]), " app:1 app:2 more:latest");
    // The first one in the index is another one than before.
    assert_eq!(build("4", &["app:1"]), " app:1 app:2 more:latest");
    let second = Image::open(&env.path("layout")).sound();
    assert_ne!(first.manifest_digest, second.manifest_digest);
    env.rbuild(&["--root", &place(&env, "other"), "load", "-q", "-i", "../layout"]).run().success();
    fs::write(env.path("layout/index.json"), "nothing").unwrap();
    env.rbuild(&["-o", "type=oci,tar=false,dest=../layout", "."])
        .run()
        .code(3)
        .says(&["is no index of an OCI layout"]);
}

#[test]
fn skopeo_and_umoci_read_what_is_written() {
    require_tool!("skopeo");
    require_tool!("umoci");
    let env = world();
    env.rbuild(&[
        "-q",
        "-t",
        "app:1",
        "-o",
        "type=oci,dest=../oci.tar",
        "-o",
        "type=docker,dest=../docker.tar",
    ])
    .arguments(&["-o", "type=oci,dest=../layout,tar=false", "."])
    .run()
    .success();
    let own = env.image("app:1");
    for (index, from) in [
        format!("oci-archive:{}:1", place(&env, "oci.tar")),
        format!("docker-archive:{}:app:1", place(&env, "docker.tar")),
        format!("oci:{}:1", place(&env, "layout")),
    ]
    .into_iter()
    .enumerate()
    {
        let copy = env.path(format!("copy-{index}"));
        let to = format!("oci:{}:x", copy.display());
        env.program("skopeo", &["--insecure-policy", "copy", "-q", &from, &to]).run().success();
        let image = Image::open(&copy).sound();
        assert_eq!(image.listing(), own.listing(), "{from}");
        assert_eq!(image.config.to_bytes(), own.config.to_bytes(), "{from}");
    }
    let (image, bundle) = (format!("{}:1", place(&env, "layout")), place(&env, "bundle"));
    let mut words = vec!["unpack", "--image", &image, &bundle];
    words.extend((!is_root()).then_some("--rootless"));
    env.program("umoci", &words).run().success();
    let rootfs = env.path("bundle/rootfs");
    assert_eq!(names(&rootfs), ["c", "gone", "replaced", "s", "w"]);
    assert_eq!(fs::read_to_string(rootfs.join("replaced")).unwrap(), "now a file");
    // Closed directories would outlive the test.
    fs::set_permissions(rootfs.join("s/locked"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn layers_in_archives_are_compressed_as_asked() {
    require_tool!("docker-registry");
    require_busybox!();
    let (env, registry) = (TestEnv::new(), Registry::start());
    let base = {
        let (elsewhere, name) = (TestEnv::new(), format!("{}/zstd:1", registry.address()));
        elsewhere.busybox_image("base:1");
        elsewhere.dockerfile("FROM base:1\n");
        let output = format!("type=registry,name={name},compression=zstd,force-compression=true");
        elsewhere.rbuild(&["-q", "-o", &output, "."]).run().success();
        name
    };
    // Nothing looks into the base image before its layer is written.
    env.dockerfile(&format!("FROM {base}\nLABEL a=b\nCOPY Dockerfile /\n"));
    let kinds = |output: &str| {
        let to = env.path("layout");
        let _ = fs::remove_dir_all(&to);
        let output = format!("{output},tar=false,dest={}", text(&to));
        env.rbuild(&["-q", "-o", &output, "."]).run().success();
        Image::open(&to).sound();
        let (_, manifest) = manifest(&to);
        let kind = |kind: &String| kind.rsplit(['.', '+']).next().unwrap().to_owned();
        manifest.layers.iter().map(|layer| kind(&layer.media_type)).collect::<Vec<_>>()
    };
    assert_eq!(kinds("type=oci"), ["zstd", "gzip"]);
    assert_eq!(kinds("type=oci,compression=uncompressed,force-compression=true"), ["tar", "tar"]);
    assert_eq!(kinds("type=oci,compression=zstd,compression-level=1,force-compression=true"), ["zstd"; 2]);
    env.rbuild(&["-o", "type=docker,dest=../d.tar", "."]).run().code(2).says(&[
        "compressed with zstd, which docker's media types have no name for",
        "compression=gzip,force-compression=true",
    ]);
    assert!(!env.path("d.tar").exists());
    assert_eq!(kinds("type=docker,compression=gzip,force-compression=true"), ["gzip"; 2]);
    assert_eq!(kinds("type=docker,oci-mediatypes=true,compression=zstd,force-compression=true"), ["zstd"; 2]);
    // Two ways of packing in one build, beside a push in a third one.
    let pushed = format!("type=registry,name={}/app:1,compression=uncompressed", registry.address());
    env.write("new", "in a layer of its own").dockerfile(&format!("FROM {base}\nCOPY new /\n"));
    env.rbuild(&[
        "-q",
        "-o",
        &pushed,
        "-o",
        "type=oci,dest=../a,tar=false,compression=zstd,force-compression=true",
    ])
    .arguments(&["-o", "type=docker,dest=../b,tar=false,force-compression=true", "."])
    .run()
    .success();
    let kind = |image: &Image| image.manifest.layers[1].media_type.clone();
    assert!(kind(&Image::fetch(&registry, "app:1").sound()).ends_with("tar"));
    assert!(kind(&Image::open(&env.path("a")).sound()).ends_with("zstd"));
    assert!(kind(&Image::open(&env.path("b")).sound()).ends_with("gzip"));
    // The files of a base that nobody has unpacked yet.
    let other = place(&env, "other");
    env.rbuild(&["--root", &other, "-q", "-o", "type=tar,dest=../files.tar", "."]).run().success();
    assert!(files_of(&fs::read(env.path("files.tar")).unwrap()).contains_key("bin/busybox"));
}

#[test]
fn a_build_that_is_cached_writes_its_outputs_all_the_same() {
    let env = world();
    for name in ["one", "two", "three"] {
        let output = format!("type=docker,dest=../{name}.tar");
        let out = format!("../{name}");
        env.rbuild(&["-t", "app", "-o", &output, "-o", &out, "."]).run().success();
        assert!(env.path(format!("{name}.tar")).exists() && env.path(name).join("s").exists());
    }
}

#[test]
fn what_fails_leaves_nothing() {
    require_tool!("unshare");
    require_tool!("nsenter");
    let env = world();
    env.write("big", &"x".repeat(1 << 20));
    env.dockerfile("FROM scratch\nADD all.tar /\nCOPY big /\n");
    // It works, but not where there is no room.
    env.rbuild(&["-q", "-o", "../there", "."]).run().success();
    let place = env.path("small");
    fs::create_dir(&place).unwrap();
    let disk = Disk::over(&env, &place, "size=200k");
    let small = text(&place);
    for output in [
        format!("{small}/new/out"),
        small.to_owned(),
        format!("type=tar,dest={small}/x.tar"),
        format!("type=oci,dest={small}/x.tar,compression=uncompressed"),
        format!("type=docker,dest={small}/x,tar=false,compression=uncompressed"),
    ] {
        let failed = disk.rbuild(&["-o", &output, "."]).run().code(6);
        failed.says(&["make room there, or write to another place", "ERROR"]);
        assert_eq!(disk.shell(&format!("ls -A {small}")), "", "{output}");
    }
    disk.shell(&format!("mkdir -p {small}/d/s; echo mine > {small}/d/s/file"));
    disk.rbuild(&["-o", &format!("{small}/d"), "."]).run().code(6);
    assert_eq!(disk.shell(&format!("cd {small} && find d | sort; cat d/s/file")), "d\nd/s\nd/s/file\nmine\n");
    env.rbuild(&["-o", "type=tar,dest=/dev/full", "."]).run().code(6).says(&["/dev/full"]);
    // A build that fails has no output.
    env.dockerfile("FROM scratch\nCOPY missing /\n");
    env.rbuild(&["-o", "../never", "-o", "type=tar,dest=../never.tar", "."]).run().code(3);
    assert!(!env.path("never").exists() && !env.path("never.tar").exists());
}

#[test]
fn a_build_that_is_killed_leaves_nothing_half_written() {
    let env = TestEnv::new();
    let lines: Vec<String> = (0..3000).map(|number| format!("d/{}/{number}", number % 40)).collect();
    lay(&env.context(), &lines.iter().map(String::as_str).collect::<Vec<_>>());
    env.dockerfile("FROM scratch\nCOPY d /d\n");
    env.rbuild(&["-q", "."]).run().success();
    let root = env.path("outputs");
    fs::create_dir(&root).unwrap();
    for signal in [Signal::INT, Signal::KILL] {
        for milliseconds in [5, 15, 25, 40, 60, 90, 130, 180] {
            let outputs = ["-o", "../outputs/files", "-o", "type=tar,dest=../outputs/files.tar"];
            let build = env.rbuild(&["-q"]).arguments(&outputs).arguments(&["."]);
            let mut build = build.into_command();
            let mut build = build.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(milliseconds));
            kill_process(Pid::from_child(&build), signal).unwrap();
            let is_over = build.wait().unwrap().success();
            let files = names(&root).into_iter().filter(|name| !name.starts_with('.'));
            let files: Vec<String> = files.collect();
            if signal == Signal::INT {
                assert_eq!(names(&root), files, "left behind after {milliseconds} ms");
            }
            let whole = |name: &str| names(&root.join(name)).iter().any(|name| !name.starts_with('.'));
            if files.iter().any(|name| name == "files") && (signal == Signal::INT || whole("files")) {
                assert_eq!(names(&root.join("files")), ["d"], "after {milliseconds} ms");
                assert_eq!(fs::read_dir(root.join("files/d")).unwrap().count(), 40);
            }
            if files.iter().any(|name| name == "files.tar") {
                assert_eq!(files_of(&fs::read(root.join("files.tar")).unwrap()).len(), 3041);
            }
            assert!(!is_over || files.len() == 2);
            fs::remove_dir_all(&root).unwrap();
            fs::create_dir(&root).unwrap();
        }
    }
}

#[test]
fn outputs_that_cannot_be_are_refused_before_anything_is_built() {
    let env = world();
    fs::create_dir_all(env.path("full/x")).unwrap();
    for (outputs, said) in [
        (&["type=oci,dest=../full"][..], "full is a directory"),
        (&["type=tar,dest=../full"], "full is a directory"),
        (&["type=oci,tar=false,dest=../full"], "is neither an OCI layout nor an empty directory"),
        (&["type=docker,tar=false,dest=../full"], "exists and is not an empty directory"),
        (&["type=oci,dest=../no/x.tar"], "there is no directory for ../no/x.tar"),
        (&["type=local,dest=all.tar"], "all.tar is no directory"),
        (&["type=oci,dest=x", "type=tar,dest=x"], "two outputs cannot go to x"),
        (&["-", "type=oci"], "two outputs cannot go to standard output"),
        (&["type=image", "type=registry"], "one output of type=image"),
        (&["type=local"], "type=local needs dest=DIR"),
        (&["type=docker"], "docker load"),
        (&["type=oci,dest=x,unpack=true"], "the key \"unpack\" is not supported for type=oci"),
        (&["type=docker,dest=x,compression=zstd"], "no name for zstd"),
        (&["type=cacheonly"], "not supported yet"),
    ] {
        let words: Vec<&str> = outputs.iter().flat_map(|output| ["-o", output]).collect();
        env.rbuild(&words).arguments(&["."]).run().code(2).says(&[said]).prints("");
    }
    assert!(!env.store().join("snapshots").exists(), "something was made");
    let typed = format!("{} build -o - .", text(&binary()));
    let shown = env.program("script", &["-q", "-e", "-c", &typed, "/dev/null"]).run().code(2);
    assert!(shown.stdout().contains("an archive is nothing for a terminal"), "{shown}");
}
