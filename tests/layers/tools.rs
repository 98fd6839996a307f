//! The same files as tar, umoci and buildah put them into layers, and our layers as they read them.

use std::fs;
use std::path::Path;
use std::process::Command;

use rbuild::layer::unpack;

use crate::inside::is_inside;
use crate::listing::{assert_same, list};
use crate::support::{Image, TestEnv, has_subuid_range, is_root, require_tool, skip};
use crate::tree::set_time;
use crate::world::World;

/// Files that show how a program writes what does not fit into a plain header.
fn make_files(root: &Path) {
    let long = "l".repeat(150);
    let deep = root.join(&long).join(&long);
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join(&long), "deep").unwrap();
    fs::write(root.join("file"), "content").unwrap();
    fs::hard_link(root.join("file"), root.join("again")).unwrap();
    std::os::unix::fs::symlink("x".repeat(150), root.join("link")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    for at in [1 << 20, 3 << 20, 5 << 20, 7 << 20, 9 << 20, 11 << 20] {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", at).unwrap();
    }
    sparse.set_len(13 << 20).unwrap();
    rustix::fs::setxattr(root.join("file"), "user.kept", b"v\n=", rustix::fs::XattrFlags::empty()).unwrap();
    // Whole seconds: Go's programs round what others cut.
    for place in
        [deep.join(&long), deep, root.join(&long), root.join("file"), root.join("link"), root.join("sparse")]
    {
        set_time(&place, (1_234_567_890, 0));
    }
}

#[test]
fn every_form_of_gnu_tar_is_read() {
    require_tool!("tar");
    if !is_inside("tools::every_form_of_gnu_tar_is_read") {
        return;
    }
    let world = World::new();
    let files = world.directory("files");
    make_files(&files);
    let expected = list(&files);
    let forms = [
        ["--format=gnu", "--no-xattrs"],
        ["--format=gnu", "--sparse"],
        ["--format=posix", "--xattrs"],
        ["--format=posix", "--sparse-version=0.0"],
        ["--format=posix", "--sparse-version=0.1"],
        ["--format=posix", "--sparse-version=1.0"],
    ];
    for (index, form) in forms.iter().enumerate() {
        let mut command = Command::new("tar");
        command.args(form).arg("-C").arg(&files).args(["--numeric-owner", "-cf", "-", "."]);
        if form[1].starts_with("--sparse") {
            command.arg("--sparse");
        }
        let made = command.output().unwrap();
        assert!(made.status.success(), "{form:?}: {}", String::from_utf8_lossy(&made.stderr));
        let layer = world.directory(&index.to_string());
        unpack(&made.stdout[..], &layer).unwrap_or_else(|error| panic!("{form:?}: {error}"));
        let mut found = list(&layer);
        if form[1] != "--xattrs" {
            // It writes no attributes unless asked to.
            for name in ["file", "again"] {
                let entry = found.get_mut(Path::new(name)).unwrap();
                entry.what.clone_from(&expected[Path::new(name)].what);
            }
        }
        assert_same(&found, &expected);
    }
}

#[test]
fn umoci_and_rbuild_read_each_others_layers() {
    require_tool!("umoci");
    require_tool!("skopeo");
    let env = TestEnv::new();
    let files = env.context().join("files");
    fs::create_dir(&files).unwrap();
    make_files(&files);
    let program =
        |name: &str, words: &[&str]| drop(env.program(name, words).directory(env.path(".")).run().success());
    let rootless: &[&str] = if is_root() { &[] } else { &["--rootless"] };
    let umoci = |words: &[&str]| program("umoci", &[words, rootless].concat());
    program("umoci", &["init", "--layout", "theirs"]);
    program("umoci", &["new", "--image", "theirs:1"]);
    umoci(&["unpack", "--image", "theirs:1", "bundle"]);
    program("cp", &["-a", "context/files/.", "bundle/rootfs/"]);
    program("rm", &["bundle/rootfs/again"]);
    program("ln", &["bundle/rootfs/file", "bundle/rootfs/again"]);
    program("umoci", &["repack", "--image", "theirs:1", "bundle"]);
    program(
        "skopeo",
        &["--insecure-policy", "copy", "-q", "oci:theirs:1", "oci-archive:theirs.tar:theirs:1"],
    );
    env.rbuild(&["load", "-i", env.path("theirs.tar").to_str().unwrap()]).run().success();
    env.dockerfile("FROM theirs:1\nCOPY files /copied/\n");
    env.rbuild(&["-t", "ours:1", "."]).run().success();
    // And back: what they unpack of ours is twice the same.
    env.rbuild(&["save", "-o", env.path("ours.tar").to_str().unwrap(), "ours:1"]).run().success();
    program("skopeo", &["--insecure-policy", "copy", "-q", "docker-archive:ours.tar:ours:1", "oci:ours:1"]);
    let image = Image::open(&env.path("ours")).sound();
    assert_eq!(image.manifest.layers.len(), 2);
    umoci(&["unpack", "--image", "ours:1", "result"]);
    let root = env.path("result/rootfs");
    let copied = list(&root.join("copied"));
    let mut unpacked = list(&root);
    unpacked.retain(|path, _| !path.starts_with("copied"));
    let what = |listing: &crate::listing::Listing| {
        listing.iter().map(|(path, entry)| (path.clone(), entry.what.clone())).collect::<Vec<_>>()
    };
    assert_eq!(what(&unpacked), what(&copied));
}

#[test]
fn a_layer_of_buildah_is_read() {
    require_tool!("buildah");
    if !is_root() && !has_subuid_range() {
        skip!("this user has no range of subordinate ids, so all users of a container are one");
    }
    let env = TestEnv::new();
    let files = env.context().join("files");
    fs::create_dir(&files).unwrap();
    make_files(&files);
    let (state, run) = (env.path("state"), env.path("run"));
    let buildah = |words: &[&str]| {
        let global = [
            "--root",
            state.to_str().unwrap(),
            "--runroot",
            run.to_str().unwrap(),
            "--storage-driver",
            "vfs",
        ];
        env.program("buildah", &[&global[..], words].concat()).directory(env.path(".")).run().success()
    };
    let container = buildah(&["from", "scratch"]).stdout().trim().to_owned();
    buildah(&["copy", &container, "context/files", "/f"]);
    let archive = format!("oci-archive:{}:theirs:1", env.path("theirs.tar").display());
    buildah(&["commit", "-q", "--disable-compression=false", &container, &archive]);
    env.rbuild(&["load", "-i", env.path("theirs.tar").to_str().unwrap()]).run().success();
    env.dockerfile("FROM theirs:1\nCOPY files /copied/\n");
    env.rbuild(&["-t", "ours:1", "."]).run().success();
    env.rbuild(&["save", "-o", env.path("ours.tar").to_str().unwrap(), "ours:1"]).run().success();
    fs::create_dir(env.path("ours")).unwrap();
    env.program("tar", &["-xf", "ours.tar", "-C", "ours"]).directory(env.path(".")).run().success();
    let files = Image::open(&env.path("ours")).sound().files();
    let copied = files.iter().filter_map(|(path, entry)| Some((path.strip_prefix("copied/")?, entry)));
    for (path, entry) in copied {
        let theirs = &files[&format!("f/{path}")];
        assert_eq!((theirs.mode, theirs.uid, theirs.gid), (entry.mode, entry.uid, entry.gid), "{path}");
    }
    assert!(files.contains_key("f/file"));
}
