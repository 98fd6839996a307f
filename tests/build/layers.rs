//! What a step changed, and only that, is its layer.

use std::fmt::Write as _;

use crate::support::{Image, Kind, Registry, TestEnv, require_busybox, require_tool};

#[test]
fn removing_and_replacing_become_whiteouts() {
    require_tool!("docker-registry");
    require_busybox!();
    let env = TestEnv::new();
    let registry = Registry::start();
    env.busybox_image("base:1");
    env.dockerfile(
        "FROM base:1\n\
         RUN mkdir -p /d/sub /e && touch /d/sub/old /d/keep /file /e/x\n\
         RUN rm -r /d/sub && rm /file && mkdir /file && touch /file/in && rm -r /e && touch /e\n\
         RUN mkdir /d/again && touch /d/again/old\n\
         RUN rm -r /d && mkdir -p /d/again && touch /d/new\n",
    );
    let tag = format!("{}/app:1", registry.address());
    env.rbuild(&["-t", &tag, "--push", "."]).run().success();
    let image = Image::fetch(&registry, "app:1").sound();
    let files = image.files();
    for gone in ["d/sub", "d/sub/old", "d/keep", "d/again/old", "e/x"] {
        assert!(!files.contains_key(gone), "{gone} is still there\n{}", image.listing().join("\n"));
    }
    assert_eq!(files["file"].kind, Kind::Directory);
    assert_eq!(files["e"].kind, Kind::File { content: Vec::new() });
    assert!(files.contains_key("file/in") && files.contains_key("d/new"));
    // The container sees the same.
    env.rbuild(&["run", "--rm", &tag, "sh", "-c", "ls -d /d/* /e /file/*"])
        .run()
        .success()
        .prints("/d/again\n/d/new\n/e\n/file/in\n");
}

#[test]
fn a_layer_has_what_changed_and_its_parents() {
    require_tool!("docker-registry");
    require_busybox!();
    let env = TestEnv::new();
    let registry = Registry::start();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN mkdir -p /a/b && echo deep > /a/b/c\nRUN echo deeper > /a/b/d\n");
    let tag = format!("{}/app:1", registry.address());
    env.rbuild(&["-t", &tag, "--push", "."]).run().success();
    let image = Image::fetch(&registry, "app:1").sound();
    let last = image.layer(image.manifest.layers.len() - 1);
    let paths: Vec<_> = last.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["a", "a/b", "a/b/d"]);
}

#[test]
fn modes_links_and_odd_names_survive() {
    require_tool!("docker-registry");
    require_busybox!();
    let env = TestEnv::new();
    let registry = Registry::start();
    env.busybox_image("base:1");
    let long = "n".repeat(200);
    env.dockerfile(&format!(
        "FROM base:1\nRUN mkdir /x && cd /x && echo 1 > file && chmod 4751 file && ln file hard && ln -s ../bin/sh soft && \
         mkfifo pipe && touch 'with space' 'ü' {long}\n"
    ));
    let tag = format!("{}/app:1", registry.address());
    env.rbuild(&["-t", &tag, "--push", "."]).run().success();
    let files = Image::fetch(&registry, "app:1").sound().files();
    assert_eq!(files["x/soft"].kind, Kind::Symlink { target: "../bin/sh".to_owned() });
    assert_eq!(files["x/pipe"].kind, Kind::Other(b'6'));
    assert_eq!(files["x/file"].mode, 0o4751);
    let linked = matches!(&files["x/hard"].kind, Kind::Hardlink { to } if to == "x/file")
        || matches!(&files["x/file"].kind, Kind::Hardlink { to } if to == "x/hard");
    assert!(linked, "the two names are no longer one file");
    for name in ["with space", "ü", &long] {
        assert!(files.contains_key(&format!("x/{name}")), "{name}");
    }
}

#[test]
fn an_image_may_have_more_layers_than_the_kernel_takes() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base");
    env.write("file", "copied");
    let mut text =
        "FROM base AS made\nRUN mkdir /shared && touch /shared/gone /shared/0\nRUN rm /shared/gone\n"
            .to_owned();
    for number in 1..=520 {
        writeln!(text, "COPY --chown={number} file /shared/{number}").unwrap();
    }
    text += "RUN rm /shared/7 && ls /shared | wc -l > /seen && stat -c %u /shared/1 /shared/520 >> /seen\n\
             FROM scratch\nCOPY --from=made /seen /shared/519 /\n\
             FROM base\nCOPY --from=made /seen /shared/300 /\n";
    env.dockerfile(&text);
    env.rbuild(&["-t", "app", "."]).run().success();
    let seen = ["run", "--rm", "app", "cat", "/seen", "/300"];
    env.rbuild(&seen).run().success().prints("520\n1\n520\ncopied");
    env.has_no_leftovers();
}
