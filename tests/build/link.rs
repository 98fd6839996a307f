//! `--link`: layers that know nothing of what is below them.

use crate::support::{Image, Registry, TestEnv, assert_tree, lay, require_busybox, require_tool};

/// Builds an image of one directory of the context.
fn base(env: &TestEnv, directory: &str, tag: &str) {
    env.write("base.dockerfile", &format!("FROM scratch\nCOPY {directory}/ /\n"));
    env.rbuild(&["-q", "-f", "base.dockerfile", "-t", tag, "."]).run().success();
}

#[test]
fn a_linked_layer_survives_a_changed_base() {
    let env = TestEnv::new();
    lay(&env.context(), &["one/a", "two/b", "two/x/c 600", "f", "d/g"]);
    base(&env, "one", "base:1");
    env.dockerfile("FROM base:1\nCOPY --link f /x/\nADD --link --chown=7:8 d /x/y\n");
    env.rbuild(&["-t", "app:1", "."]).run().success();
    base(&env, "two", "base:1");
    let again = env.rbuild(&["-t", "app:2", "."]).run().success();
    for step in ["COPY --link", "ADD --link"] {
        assert_eq!(again.outcome(step), Some("CACHED"), "{step}\n{again}");
    }
    let (one, two) = (env.image("app:1"), env.image("app:2"));
    assert_eq!(one.config.rootfs.diff_ids[1..], two.config.rootfs.diff_ids[1..]);
    assert_ne!(one.config.rootfs.diff_ids[0], two.config.rootfs.diff_ids[0]);
    let linked = ["d755 x", "f644 x/f: f", "d755 7:8 x/y", "f644 7:8 x/y/g: d/g"];
    // What has to be made for the copy is the copy's.
    let linked = linked.map(|line| if line == "d755 x" { "d755 7:8 x" } else { line });
    assert_tree(&one, &[&["f644 a: one/a"][..], &linked].concat(), "on one base");
    assert_tree(&two, &[&["f644 b: two/b", "f600 x/c: two/x/c"][..], &linked].concat(), "on the other");
    let history = |image: &Image| {
        let entries = image.config.history.iter().filter(|entry| !entry.empty_layer);
        entries.filter_map(|entry| entry.created_by.clone()).skip(1).collect::<Vec<_>>()
    };
    assert_eq!(history(&two), ["COPY f /x/ # buildkit", "ADD --chown=7:8 d /x/y # buildkit"]);
}

#[test]
fn nothing_of_the_base_is_downloaded() {
    require_tool!("docker-registry");
    let (registry, maker) = (Registry::start(), TestEnv::new());
    lay(&maker.context(), &["one/a"]);
    maker.dockerfile("FROM scratch\nCOPY one /\n");
    let name = format!("{}/base:1", registry.address());
    maker.rbuild(&["-q", "-t", &name, "--push", "."]).run().success();
    let env = TestEnv::new();
    lay(&env.context(), &["f"]);
    env.dockerfile(&format!("FROM {name}\nCOPY --link f /\n"));
    env.rbuild(&["-t", "app", "."]).run().success().omits(&["load layers of images"]);
    // Whereas a copy onto it has to look.
    env.dockerfile(&format!("FROM {name}\nCOPY f /\n"));
    env.rbuild(&["-t", "other", "."]).run().success().says(&["load layers of images"]);
    assert_tree(&env.image("app"), &["f644 a: one/a", "f644 f: f"], "linked");
}

#[test]
fn links_of_the_base_are_replaced_instead_of_followed() {
    let env = TestEnv::new();
    let files = [
        "base/usr/lib/x",
        "base/lib -> usr/lib",
        "base/d/ 711",
        "base/d/kept",
        "base/file/was/a",
        "f",
        "new/file",
    ];
    lay(&env.context(), &files);
    env.dockerfile(
        "FROM scratch AS base\nCOPY base /\n\
         FROM base AS linked\nCOPY --link f /lib/\nCOPY --link f /d/\nCOPY --link new /file/was\n\
         FROM base AS copied\nCOPY --link --chmod=640 f /lib/\n",
    );
    env.rbuild(&["-q", "--target", "linked", "-t", "linked", "."]).run().success();
    env.rbuild(&["-q", "--target", "copied", "-t", "copied", "."]).run().success();
    let linked = [
        "d755 usr",
        "d755 usr/lib",
        "f644 usr/lib/x: base/usr/lib/x",
        "d755 lib",
        "f644 lib/f: f",
        "d755 d",
        "f644 d/kept: base/d/kept",
        "f644 d/f: f",
        "d755 file",
        "d755 file/was",
        "f644 file/was/a: base/file/was/a",
        "f644 file/was/file: new/file",
    ];
    assert_tree(&env.image("linked"), &linked, "linked");
    let copied = [
        "d755 usr",
        "d755 usr/lib",
        "f644 usr/lib/x: base/usr/lib/x",
        "f640 usr/lib/f: f",
        "l lib -> usr/lib",
        "d711 d",
        "f644 d/kept: base/d/kept",
        "d755 file",
        "d755 file/was",
        "f644 file/was/a: base/file/was/a",
    ];
    assert_tree(&env.image("copied"), &copied, "with --chmod it is a plain copy");
}

#[test]
fn what_is_linked_is_there_for_what_follows() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    lay(&env.context(), &["f", "g"]);
    env.dockerfile(
        "FROM base:1 AS a\n\
         COPY --link f /data/f\n\
         RUN cat /data/f > /data/seen && rm /data/f\n\
         COPY --link g /data/f\n\
         COPY g /data/beside\n\
         FROM a\n\
         COPY --link --from=a /data /copied\n\
         RUN ls /copied /data | tr '\\n' ' ' > /ls; cat /data/f >> /ls\n",
    );
    for arguments in [&["-t", "app", "."][..], &["-t", "app", "--no-cache", "."]] {
        env.rbuild(arguments).run().success();
        env.rbuild(&["run", "--rm", "app", "cat", "/ls", "/data/seen"])
            .run()
            .success()
            .prints("/copied: beside f seen  /data: beside f seen gf");
    }
    let again = env.rbuild(&["-t", "app", "."]).run().success();
    for step in ["COPY --link f", "RUN cat", "COPY --link g", "COPY g", "COPY --link --from", "RUN ls"] {
        assert_eq!(again.outcome(step), Some("CACHED"), "{step}\n{again}");
    }
}

#[test]
fn destinations_are_as_without_it() {
    for (line, expected) in [
        ("COPY --link f .", &["d755 w", "f644 w/f: f"][..]),
        ("COPY --link f ./", &["d755 w", "f644 w/f: f"]),
        ("COPY --link f $NOTHING", &["d755 w", "f644 w/f: f"]),
        ("COPY --link f x", &["d755 w", "f644 w/x: f"]),
        ("COPY --link d /d/", &["d755 w", "d755 d", "f644 d/g: d/g"]),
        ("COPY --link --exclude=g d /d/", &["d755 w", "d755 d"]),
        ("COPY --link --parents d/g /p/", &["d755 w", "d755 p", "d755 p/d", "f644 p/d/g: d/g"]),
        ("COPY --link <<E /e\nhi\nE", &["d755 w", "f644 e: hi"]),
        ("ADD --link a.tar /t", &["d755 w", "d755 t", "f644 t/in: in"]),
        ("COPY --link --if-exists nothing /x", &["d755 w"]),
        ("COPY --link --chown=0 f /", &["d755 w", "f644 f: f"]),
        ("COPY --link --chown=root:root f /", &["d755 w", "f644 f: f"]),
        ("COPY --link --chown=5 f /", &["d755 w", "f644 5:5 f: f"]),
    ] {
        let env = TestEnv::new();
        lay(&env.context(), &["f", "d/g"]);
        std::fs::write(env.context().join("a.tar"), crate::support::tar(&["in"])).unwrap();
        env.dockerfile(&format!("FROM scratch\nARG NOTHING\nWORKDIR /w\n{line}\n"));
        env.rbuild(&["-q", "-t", "app", "."]).run().success();
        assert_tree(&env.image("app"), expected, line);
    }
}

#[test]
fn a_linked_copy_may_be_all_there_is() {
    let env = TestEnv::new();
    lay(&env.context(), &["f", "g"]);
    env.dockerfile("FROM scratch AS a\nCOPY --link f /x/\nCOPY --link f /x/\nFROM scratch\nCOPY --link --from=a / /\nCOPY --link g /x/\n");
    env.rbuild(&["-q", "-t", "app", "."]).run().success();
    let image = env.image("app");
    assert_tree(&image, &["d755 x", "f644 x/f: f", "f644 x/g: g"], "");
    assert_eq!(image.config.rootfs.diff_ids.len(), 2);
}
