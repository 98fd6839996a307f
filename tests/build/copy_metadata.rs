//! Owners, modes, times, links and kinds of what is copied.

use std::fs;
use std::os::unix::net::UnixListener;

use crate::support::{Kind, TestEnv, assert_tree, lay, tar};

/// Files of every kind, in an archive `all.tar` that a stage is made of.
const ALL: &[&str] = &[
    "s/",
    "s/file 4755 1:2",
    "s/dir/ 1777 3:4",
    "s/dir/inner 600 5:6",
    "s/link -> file",
    "s/pipe | 640 7:8",
    "s/node c 620 1:3 9:10",
    "s/one 644 11:12 same",
    "s/two == s/one",
    "s/dir/three == s/one",
    "etc/passwd 644 root:x:0:0::/:/bin/sh\nme:x:70:71::/:/bin/sh",
    "etc/group 644 root:x:0:\nus:x:90:",
];

fn world() -> TestEnv {
    let env = TestEnv::new();
    lay(&env.context(), &["f 640", "d/a 600", "d/sub/ 711", "d/sub/b", "x 755"]);
    fs::write(env.context().join("all.tar"), tar(ALL)).unwrap();
    env
}

/// What comes out of a stage `base` that has [`ALL`], built upon.
#[track_caller]
fn check(lines: &str, expected: &[&str]) {
    let env = world();
    env.dockerfile(&format!(
        "FROM scratch AS base\nADD all.tar /\nFROM scratch AS etc\nCOPY --from=base /etc /etc\nFROM {lines}\n"
    ));
    env.rbuild(&["-q", "-t", "app", "."]).run().success();
    assert_tree(&env.image("app"), expected, lines);
}

#[test]
fn what_a_stage_has_is_copied_as_it_is() {
    check(
        "scratch\nCOPY --from=base /s /o",
        &[
            "d755 o",
            "f4755 1:2 o/file: s/file",
            "d1777 3:4 o/dir",
            "f600 5:6 o/dir/inner: s/dir/inner",
            "l o/link -> file",
            "p640 7:8 o/pipe",
            "c620 9:10 o/node 1:3",
            "f644 o/dir/three: same",
            "o/one == o/dir/three",
            "o/two == o/dir/three",
        ],
    );
    check(
        "scratch\nCOPY --from=base /s/pipe /s/node /o/",
        &["d755 o", "p640 7:8 o/pipe", "c620 9:10 o/node 1:3"],
    );
    check("scratch\nCOPY --from=base /s/one /s/two /o/", &["d755 o", "f644 o/one: same", "f644 o/two: same"]);
    check(
        "scratch\nCOPY --from=base /s/dir/ /d/e\n",
        &["d755 d", "d755 d/e", "f600 5:6 d/e/inner: s/dir/inner", "f644 d/e/three: same"],
    );
}

#[test]
fn owners_may_be_named_or_numbered() {
    let etc = [
        "d755 etc",
        "f644 etc/passwd: root:x:0:0::/:/bin/sh\nme:x:70:71::/:/bin/sh",
        "f644 etc/group: root:x:0:\nus:x:90:",
    ];
    for (owner, ids) in [
        ("me", "70:71"),
        ("me:us", "70:90"),
        ("me:5", "70:5"),
        ("5:us", "5:90"),
        ("5", "5:5"),
        ("5:6", "5:6"),
        ("$WHO", "70:71"),
        ("root", ""),
        ("0:0", ""),
        ("\"\"", ""),
    ] {
        let owned = |mode: &str, rest: &str| match ids {
            "" => format!("{mode} {rest}"),
            ids => format!("{mode} {ids} {rest}"),
        };
        let expected = [
            owned("d755", "new"),
            owned("d755", "new/o"),
            owned("f640", "new/o/f: f"),
            owned("f600", "new/o/a: d/a"),
            owned("d711", "new/o/sub"),
            owned("f644", "new/o/sub/b: d/sub/b"),
        ];
        let expected: Vec<&str> = etc.into_iter().chain(expected.iter().map(String::as_str)).collect();
        check(&format!("etc\nARG WHO=me\nCOPY --chown={owner} f d /new/o/"), &expected);
    }
}

#[test]
fn an_owner_that_nobody_knows_is_refused() {
    let env = world();
    for (base, owner, said) in [
        ("etc", "you", "unable to find user you"),
        ("etc", "me:them", "unable to find group them"),
        ("scratch", "me", "unable to find user me"),
        ("etc", "4294967295", "no valid user or group id"),
    ] {
        env.dockerfile(&format!("FROM scratch AS base\nADD all.tar /\nFROM scratch AS etc\nCOPY --from=base /etc /etc\nFROM {base}\nCOPY --chown={owner} f /\n"));
        env.rbuild(&["."]).run().code(3).says(&[said, "COPY --chown"]);
    }
}

#[test]
fn what_is_there_keeps_its_owner_at_the_top_only() {
    check(
        "base AS old\nCOPY --from=base /s/dir/inner /keep/sub/x\nCOPY --chown=70:71 d /keep/\nFROM scratch\nCOPY --from=old /keep /keep",
        &[
            "d755 keep",
            "f600 70:71 keep/a: d/a",
            "d711 70:71 keep/sub",
            "f644 70:71 keep/sub/b: d/sub/b",
            "f600 5:6 keep/sub/x: s/dir/inner",
        ],
    );
}

#[test]
fn modes_are_set_for_all_that_is_copied() {
    for (mode, expected) in [
        ("644", ["f644 o/f: f", "f644 o/a: d/a", "d644 o/sub", "f644 o/sub/b: d/sub/b", "f644 o/x: x"]),
        (
            "04711",
            ["f4711 o/f: f", "f4711 o/a: d/a", "d4711 o/sub", "f4711 o/sub/b: d/sub/b", "f4711 o/x: x"],
        ),
        ("0", ["f0 o/f: f", "f0 o/a: d/a", "d0 o/sub", "f0 o/sub/b: d/sub/b", "f0 o/x: x"]),
        ("$MODE", ["f751 o/f: f", "f751 o/a: d/a", "d751 o/sub", "f751 o/sub/b: d/sub/b", "f751 o/x: x"]),
        (
            "u=rwX,go=rX",
            ["f644 o/f: f", "f644 o/a: d/a", "d755 o/sub", "f644 o/sub/b: d/sub/b", "f755 o/x: x"],
        ),
        ("go-rwx", ["f600 o/f: f", "f600 o/a: d/a", "d700 o/sub", "f600 o/sub/b: d/sub/b", "f700 o/x: x"]),
        (
            "g+s,o+t",
            ["f2640 o/f: f", "f2600 o/a: d/a", "d2711 o/sub", "f2644 o/sub/b: d/sub/b", "f2755 o/x: x"],
        ),
        (
            "a=rx,+t",
            ["f1555 o/f: f", "f1555 o/a: d/a", "d1555 o/sub", "f1555 o/sub/b: d/sub/b", "f1555 o/x: x"],
        ),
        ("\"\"", ["f640 o/f: f", "f600 o/a: d/a", "d711 o/sub", "f644 o/sub/b: d/sub/b", "f755 o/x: x"]),
    ] {
        // Directories that have to be made get an octal mode, too.
        let made = match mode {
            "644" | "0" => format!("d{mode} o"),
            "04711" => "d4711 o".to_owned(),
            "$MODE" => "d751 o".to_owned(),
            _ => "d755 o".to_owned(),
        };
        let expected: Vec<&str> = std::iter::once(made.as_str()).chain(expected).collect();
        check(&format!("scratch\nARG MODE=751\nCOPY --chmod={mode} f d x /o/"), &expected);
    }
    check(
        "scratch\nCOPY --chmod=777 f /p/\nCOPY --chmod=770 f /p/sub/g",
        &["d777 p", "f777 p/f: f", "d770 p/sub", "f770 p/sub/g: f"],
    );
    check(
        "scratch\nCOPY --chmod=u+x --from=base /s/file /s/link /s/pipe /",
        &["f4755 1:2 file: s/file", "f4755 1:2 link: s/file", "p740 7:8 pipe"],
    );
}

#[test]
fn times_are_those_of_the_source() {
    let env = world();
    let touch = |path: &str, when: &str| {
        env.program("touch", &["-d", when, path]).run().success();
    };
    lay(&env.context(), &["d/link -> a"]);
    touch("d/a", "@1000000001.7");
    touch("d/sub/b", "@1000000002");
    touch("d/sub", "@1000000003");
    touch("f", "@1000000004");
    touch("d", "@1000000005");
    env.program("touch", &["-h", "-d", "@1000000006", "d/link"]).run().success();
    env.dockerfile("FROM scratch\nCOPY d /new\nCOPY f /new/sub/deep/f\n");
    env.rbuild(&["-q", "-t", "app", "."]).run().success();
    let files = env.image("app").files();
    let times = ["new/a", "new/sub/b", "new/link", "new/sub/deep/f"].map(|path| files[path].modified);
    assert_eq!(times, [1_000_000_001, 1_000_000_002, 1_000_000_006, 1_000_000_004]);
    env.dockerfile("FROM scratch\nCOPY d /new\n");
    env.rbuild(&["-q", "-t", "app", "."]).run().success();
    let files = env.image("app").files();
    assert_eq!((files["new"].modified, files["new/sub"].modified), (1_000_000_005, 1_000_000_003));
}

#[test]
fn a_socket_becomes_an_empty_file() {
    let env = world();
    let _socket = UnixListener::bind(env.context().join("d/socket")).unwrap();
    env.dockerfile("FROM scratch\nCOPY d/socket /\nCOPY --chmod=600 d /o\n");
    env.rbuild(&["-q", "-t", "app", "."]).run().success();
    let files = env.image("app").files();
    assert_eq!(files["o/socket"].kind, Kind::File { content: Vec::new() });
    assert_eq!(files["o/socket"].mode, 0o600);
    assert_eq!(files["socket"].kind, Kind::File { content: Vec::new() });
}

#[test]
fn attributes_are_copied() {
    let env = world();
    let set = |path: &str| {
        rustix::fs::setxattr(env.context().join(path), "user.note", b"kept", rustix::fs::XattrFlags::empty())
    };
    set("f").unwrap();
    set("d/sub").unwrap();
    env.dockerfile("FROM scratch AS s\nCOPY f d /o/\nFROM scratch\nCOPY --from=s /o /p\n");
    env.rbuild(&["-q", "-t", "app", "."]).run().success();
    let files = env.image("app").files();
    for path in ["p/f", "p/sub"] {
        let names: Vec<_> = files[path].attributes.iter().collect();
        assert_eq!(names, [(&"user.note".to_owned(), &b"kept".to_vec())], "{path}");
    }
    assert!(files["p/a"].attributes.is_empty());
}
