//! The tests' own tools, proven on peers before rbuild is judged with them.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../support/mod.rs"]
mod support;

use std::fs;

use support::{BaseImage, Image, Kind, Registry, TestEnv, require_busybox, require_tool, skip};

#[test]
fn an_image_that_peers_pushed_is_read_back_whole() {
    for tool in ["docker-registry", "umoci", "skopeo"] {
        require_tool!(tool);
    }
    require_busybox!();
    let env = TestEnv::new();
    let registry = Registry::start();
    let reference = BaseImage::busybox().push_by_peers(&env, &registry);
    assert_eq!(reference, format!("{}/busybox:peer", registry.address()));

    let image = Image::fetch(&registry, "busybox:peer").sound();
    assert!(image.text("etc/passwd").contains("app:x:1000:1000"));
    assert_eq!(image.files()["bin/sh"].kind, Kind::Symlink { target: "busybox".to_owned() });
    assert_eq!(image.files()["tmp"].mode, 0o1777);
    assert!(
        registry.requests().contains(&"GET /v2/busybox/manifests/peer".to_owned()),
        "{:?}",
        registry.requests()
    );
}

#[test]
fn the_hosts_shell_runs_from_its_copy() {
    let env = TestEnv::new();
    let context = BaseImage::host_shell().context(&env);
    let rootfs = context.join("rootfs");
    let files = fs::read_dir(rootfs.join("bin")).unwrap().count();
    assert!(files > 20, "only {files} programs");
    // Started through the copied loader, with the copied libraries and nothing else.
    let found = env.program("find", &[rootfs.to_str().unwrap(), "-name", "ld-linux*"]).run().success();
    let Some(loader) = found.stdout().lines().next() else { skip!("the host's shell is not of glibc") };
    let libraries = env
        .program("find", &[rootfs.to_str().unwrap(), "-name", "libc.so.6", "-printf", "%h"])
        .run()
        .success();
    let shell = rootfs.join("bin/sh");
    let arguments = ["--library-path", libraries.stdout(), shell.to_str().unwrap(), "-c", "echo ran"];
    env.program(loader, &arguments).run().success().prints("ran\n");
}

#[test]
fn a_world_is_gone_afterwards_with_everything_in_it() {
    let env = TestEnv::new();
    let root = env.path(".");
    env.program("mkdir", &["-p", "a/b"]).run().success();
    env.program("chmod", &["000", "a/b"]).run().success();
    assert!(root.exists());
    drop(env);
    assert!(!root.exists());
}

#[test]
fn a_program_sees_nothing_of_the_hosts_environment() {
    let env = TestEnv::new();
    let output = env.program("env", &[]).env("EXTRA", "1").run().success();
    let mut names: Vec<_> =
        output.stdout().lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.sort_unstable();
    let expected = [
        "CONTAINERS_REGISTRIES_CONF",
        "EXTRA",
        "HOME",
        "LANG",
        "PATH",
        "RBUILD_ROOT",
        "TMPDIR",
        "USER",
        "XDG_RUNTIME_DIR",
    ];
    assert_eq!(names, expected);
}
