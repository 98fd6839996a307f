//! What COPY makes of what is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Image, Kind, Registry, TestEnv, binary, require_busybox, require_tool};

#[test]
fn a_link_to_what_was_replaced_is_no_link_any_more() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("x/f", "A").write("y/f", "B").write("package.json", "{}");
    fs::create_dir_all(env.context().join("z")).unwrap();
    fs::hard_link(env.context().join("x/f"), env.context().join("z/g")).unwrap();
    fs::hard_link(env.context().join("package.json"), env.context().join("elsewhere")).unwrap();
    env.dockerfile("FROM base:1\nCOPY x/ y/ z/ /dst/\nCOPY package.json package*.json /dst/\n");
    env.rbuild(&["-t", "app", "."]).run().success();
    env.rbuild(&["run", "--rm", "app", "cat", "/dst/f", "/dst/g", "/dst/package.json"])
        .run()
        .success()
        .prints("BA{}");
}

#[test]
fn directories_below_the_destination_get_the_owner_of_the_source() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("src/sub/file", "x");
    env.dockerfile(
        "FROM base:1\n\
         RUN mkdir -p /d/sub && chown -R 1000:1000 /d && chmod 700 /d\n\
         COPY src/ /d/\n\
         RUN test \"$(stat -c %u:%g:%a /d /d/sub | tr '\\n' ' ')\" = '1000:1000:700 0:0:755 '\n",
    );
    env.rbuild(&["."]).run().success();
}

#[test]
fn layers_below_show_through_as_if_they_were_mounted() {
    require_tool!("docker-registry");
    require_busybox!();
    let env = TestEnv::new();
    let registry = Registry::start();
    env.busybox_image("base:1");
    env.write("new", "new").write("tree/in/file", "tree");
    env.dockerfile(
        "FROM base:1\n\
         RUN mkdir -p /real/in /gone /swap && ln -s /real /link && ln -s ../real/in /real/up && chmod 711 /real && touch /gone/x\n\
         RUN rm -r /gone && rm -r /swap && mkdir /swap && ln -s nowhere /dangling\n\
         COPY new /link/a\n\
         COPY new /real/up/b\n\
         COPY new /dangling\n\
         COPY tree /gone/tree\n\
         COPY tree /link/\n\
         WORKDIR /link/work\n\
         RUN test \"$(ls /gone /real /real/in | tr '\\n' ' ')\" = '/gone: tree  /real: a in up work  /real/in: b file '\n",
    );
    let tag = format!("{}/app:1", registry.address());
    env.rbuild(&["-t", &tag, "--push", "."]).run().success();
    let image = Image::fetch(&registry, "app:1").sound();
    let files = image.files();
    assert_eq!(files["nowhere"].kind, Kind::File { content: b"new".to_vec() });
    // A directory that a layer has only to hold something keeps what it was.
    assert_eq!(files["real"].mode & 0o7777, 0o711);
    assert!(files.contains_key("gone/tree/in/file") && !files.contains_key("gone/x"));
}

#[test]
fn the_umask_of_whoever_builds_is_not_in_the_image() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("file", "x");
    fs::set_permissions(env.context().join("file"), PermissionsExt::from_mode(0o644)).unwrap();
    env.dockerfile("FROM base:1\nCOPY <<E /made/heredoc\nx\nE\nCOPY file /made/too/\nWORKDIR /w\n");
    let build = format!("umask 077; exec {} -t app {}", binary().display(), env.context().display());
    env.program("sh", &["-c", &build]).run().success();
    env.rbuild(&["run", "--rm", "app", "stat", "-c", "%a", "/made", "/made/heredoc", "/made/too", "/w"])
        .run()
        .success()
        .prints("755\n644\n755\n755\n");
}
