//! ADD of archives: told by their content, and unpacked where they land.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::{
    Finished, Image, Registry, TestEnv, assert_tree, binary, is_root, lay, require_tool, tar, tree,
};

const LINES: &[&str] = &[
    "d/ 750 1:2",
    "d/f 640 3:4 text",
    "d/same == d/f",
    "d/link -> f",
    "implied/g",
    "pipe | 600 5:6",
    "node c 620 1:3 7:8",
    "setuid 4755",
];

const UNPACKED: &[&str] = &[
    "d755 x",
    "d750 1:2 x/d",
    "f644 x/d/f: text",
    "x/d/same == x/d/f",
    "l x/d/link -> f",
    "d755 x/implied",
    "f644 x/implied/g: implied/g",
    "p600 5:6 x/pipe",
    "c620 7:8 x/node 1:3",
    "f4755 x/setuid: setuid",
];

/// Builds with files that the context has beside others, and compares what comes out.
#[track_caller]
fn check(about: &str, files: &[(&str, &[u8])], context: &[&str], lines: &str, expected: &[&str]) {
    let env = world(files, context);
    env.dockerfile(&format!("FROM scratch\n{lines}\n"));
    env.rbuild(&["-q", "-t", "app", "."]).run().success();
    assert_tree(&env.image("app"), expected, about);
}

fn world(files: &[(&str, &[u8])], context: &[&str]) -> TestEnv {
    let env = TestEnv::new();
    lay(&env.context(), context);
    for (name, content) in files {
        fs::write(env.context().join(name), content).unwrap();
    }
    env
}

fn packed(program: &str, arguments: &[&str], content: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(content).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn archives_are_unpacked_as_they_are() {
    check("plain", &[("a", &tar(LINES))], &[], "ADD a /x", UNPACKED);
    check("a slash", &[("a", &tar(LINES))], &[], "ADD a /x/", UNPACKED);
    let owned: Vec<String> = UNPACKED.iter().map(|line| owned(line)).collect();
    let owned: Vec<&str> = owned.iter().map(String::as_str).collect();
    check("given away", &[("a", &tar(LINES))], &[], "ADD --chown=9:9 a /x", &owned);
    check("modes stay", &[("a", &tar(LINES))], &[], "ADD --chmod=700 a /x", UNPACKED);
}

/// A line of [`UNPACKED`] when all is given to 9:9, but for directories that the archive only implies.
fn owned(line: &str) -> String {
    if line.contains(" == ") || line == "d755 x/implied" {
        return line.to_owned();
    }
    let mut words: Vec<&str> = line.split(' ').collect();
    if words[1].contains(':') && words[1].as_bytes()[0].is_ascii_digit() {
        words[1] = "9:9";
    } else {
        words.insert(1, "9:9");
    }
    words.join(" ")
}

#[test]
fn compressed_ones_are_known_whatever_they_are_called() {
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        require_tool!(program);
    }
    for (program, arguments) in
        [("gzip", &["-c"][..]), ("bzip2", &["-c"]), ("xz", &["-c"]), ("zstd", &["-c", "-q"])]
    {
        let archive = packed(program, arguments, &tar(LINES));
        check(program, &[("a.txt", &archive)], &[], "ADD a.txt /x", UNPACKED);
        let env = world(&[("a.txt", &archive)], &[]);
        env.dockerfile("FROM scratch\nCOPY a.txt /copied\nADD --unpack=false a.txt /added\n");
        env.rbuild(&["-q", "-t", "app", "."]).run().success();
        let files = env.image("app").files();
        let content = crate::support::Kind::File { content: archive };
        assert!(files.len() == 2 && files["copied"].kind == content && files["added"].kind == content);
    }
}

#[test]
fn what_is_no_archive_is_copied() {
    require_tool!("gzip");
    let text = b"x".repeat(600);
    let gzip = packed("gzip", &["-c", "-n"], &text);
    let mut damaged = tar(&["a"]);
    damaged[3] ^= 1;
    for (about, content) in [
        ("text", &b"text"[..]),
        ("longer text", &text),
        ("nothing", b""),
        ("a compressed text", &gzip),
        ("an archive without entries", &[0; 1024]),
        ("a wrong checksum", &damaged),
        ("what only begins like gzip", b"\x1f\x8b\x08 and so on"),
    ] {
        let env = world(&[("a.tar.gz", content)], &[]);
        env.dockerfile("FROM scratch\nADD a.tar.gz /x/\n");
        env.rbuild(&["-q", "-t", "app", "."]).run().success();
        let files = env.image("app").files();
        let expected = crate::support::Kind::File { content: content.to_vec() };
        assert!(files.len() == 2 && files["x/a.tar.gz"].kind == expected, "{about}");
    }
}

#[test]
fn several_sources_may_be_of_both_kinds() {
    let (one, two) = (tar(&["one", "both 644 first"]), tar(&["two", "both 600 second"]));
    check(
        "a wildcard unpacks each match",
        &[("1.tar", &one), ("2.tar", &two)],
        &["3.tar 644 text"],
        "ADD *.tar /x/",
        &["d755 x", "f644 x/one: one", "f644 x/two: two", "f600 x/both: second", "f644 x/3.tar: text"],
    );
    check(
        "a directory is copied, with the archives in it",
        &[],
        &["d/a.tar 644 text", "d/b"],
        "ADD d /x/",
        &["d755 x", "f644 x/a.tar: text", "f644 x/b: d/b"],
    );
    let linking = tar(&["other == a", "again == other"]);
    check(
        "a hard link to what has just been copied is no link to its source",
        &[("linking.tar", &linking)],
        &["d/a 600 text", "d/b == d/a"],
        "ADD d linking.tar /x/",
        &["d755 x", "f644 x/a: text", "x/again == x/a", "x/other == x/a", "f600 x/b: text"],
    );
    check(
        "through a link",
        &[("1.tar", &one)],
        &["link -> 1.tar"],
        "ADD link /x/",
        &["d755 x", "f644 x/one: one", "f644 x/both: first"],
    );
}

#[test]
fn archives_merge_with_what_is_there() {
    let base: &[&str] = &[
        "base/etc/ 711",
        "base/etc/passwd",
        "base/usr/lib/kept",
        "base/lib -> usr/lib",
        "base/run/lock/",
        "base/var/run -> /run",
        "base/tree/deep/file",
        "base/file",
    ];
    let kept = [
        "f644 etc/passwd: base/etc/passwd",
        "d755 usr",
        "d755 usr/lib",
        "f644 usr/lib/kept: base/usr/lib/kept",
        "l lib -> usr/lib",
        "d755 run",
        "d755 run/lock",
        "d755 var",
        "l var/run -> /run",
    ];
    let tree = [
        "d711 etc",
        "d755 tree",
        "d755 tree/deep",
        "f644 tree/deep/file: base/tree/deep/file",
        "f644 file: base/file",
    ];
    let rest = |without: &[&str]| -> Vec<&str> {
        tree.into_iter().filter(|line| !without.iter().any(|other| line.ends_with(other))).collect()
    };
    let cases: &[(&str, &[&str], Vec<&str>)] = &[
        (
            "a directory takes what the archive says of it",
            &["./ 700 9:9", "etc/ 700 1:1", "etc/new"],
            [rest(&[" etc"]), vec!["d700 1:1 etc", "f644 etc/new: etc/new"]].concat(),
        ),
        (
            "links to directories are followed",
            &["lib/ 755", "lib/new", "var/run/pid", "var/run/lock/x"],
            [
                rest(&[]),
                vec![
                    "f644 usr/lib/new: lib/new",
                    "f644 run/pid: var/run/pid",
                    "f644 run/lock/x: var/run/lock/x",
                ],
            ]
            .concat(),
        ),
        (
            "a file replaces a directory",
            &["tree 600"],
            [rest(&["tree", "deep", "deep/file"]), vec!["f600 tree: tree"]].concat(),
        ),
        (
            "and a directory that comes again is empty",
            &["tree 600", "tree/ 700", "tree/new"],
            [rest(&["tree", "deep", "deep/file"]), vec!["d700 tree", "f644 tree/new: tree/new"]].concat(),
        ),
        (
            "a directory replaces a file",
            &["file/", "file/in"],
            [rest(&[" base/file"]), vec!["d755 file", "f644 file/in: file/in"]].concat(),
        ),
        (
            "a link replaces what it is named as",
            &["file -> etc/passwd", "tree -> etc"],
            [
                rest(&[" base/file", "tree", "deep", "deep/file"]),
                vec!["l file -> etc/passwd", "l tree -> etc"],
            ]
            .concat(),
        ),
        (
            "the last of several counts",
            &["new", "new 600 again", "new -> file", "new 640 last"],
            [rest(&[]), vec!["f640 new: last"]].concat(),
        ),
        (
            "a hard link may mean what was there",
            &["etc/other == file", "usr/lib/other == lib/kept"],
            [rest(&[" base/file"]), vec!["etc/other == file"]].concat(),
        ),
        (
            "marks of deletions are names here",
            &["d/", ".whx"],
            [rest(&[]), vec!["d755 d", "f644 .whx: .whx"]].concat(),
        ),
    ];
    for (about, lines, expected) in cases {
        let env = world(&[("a", &tar(lines))], base);
        env.dockerfile("FROM scratch AS base\nCOPY base /\nFROM base\nADD a /\n");
        env.rbuild(&["-q", "-t", "app", "."]).run().success();
        let mut expected = [&kept[..], expected].concat();
        if *about == "a hard link may mean what was there" {
            // Which of the names is the file is the order of the layer.
            expected.retain(|line| !line.starts_with("f644 usr/lib/kept") && !line.starts_with("etc/other"));
            expected.extend(["f644 etc/other: base/file", "file == etc/other"]);
            expected.extend(["f644 usr/lib/kept: base/usr/lib/kept", "usr/lib/other == usr/lib/kept"]);
        }
        assert_tree(&env.image("app"), &expected, about);
    }
}

/// The destination is the archive's root: links in it lead nowhere else, be they absolute or climbing.
#[test]
fn nothing_lands_outside_the_destination() {
    let base: &[&str] = &["base/etc/passwd 644 mine", "base/x/up -> ../../../etc", "base/x/abs -> /etc"];
    for (about, lines, expected) in [
        ("an absolute path", &["/etc/passwd 600"][..], &["d755 x/etc", "f600 x/etc/passwd: /etc/passwd"][..]),
        ("dots inside", &["a/../b", "./c/./d"], &["f644 x/b: a/../b", "d755 x/c", "f644 x/c/d: ./c/./d"]),
        (
            "through a link that was there",
            &["up/passwd", "abs/passwd 600"],
            &["d755 x/etc", "f600 x/etc/passwd: abs/passwd"],
        ),
        (
            "through a link of the archive",
            &["l -> /etc", "l/passwd 600"],
            &["l x/l -> /etc", "d755 x/etc", "f600 x/etc/passwd: l/passwd"],
        ),
        (
            "through links to links",
            &["l -> m", "m -> ../../..", "l/etc/passwd 600"],
            &["l x/l -> m", "l x/m -> ../../..", "d755 x/etc", "f600 x/etc/passwd: l/etc/passwd"],
        ),
        ("a directory over a link", &["l -> /etc", "l/ 700"], &["l x/l -> /etc", "d700 x/etc"]),
        ("a link's own name", &["up -> elsewhere"], &["l x/up -> elsewhere"]),
    ] {
        let env = world(&[("a", &tar(lines))], base);
        env.dockerfile("FROM scratch AS base\nCOPY base /\nFROM base\nADD a /x\n");
        env.rbuild(&["-q", "-t", "app", "."]).run().success();
        let kept =
            ["d755 etc", "f644 etc/passwd: mine", "d755 x", "l x/up -> ../../../etc", "l x/abs -> /etc"];
        let kept = kept.into_iter().filter(|line| about != "a link's own name" || !line.contains("x/up"));
        let expected: Vec<&str> = kept.chain(expected.iter().copied()).collect();
        assert_tree(&env.image("app"), &expected, about);
    }
}

#[test]
fn archives_that_lead_out_or_nowhere_are_refused() {
    let mut cut = tar(&["a", "b 644 much text"]);
    cut.truncate(1024 + 512 + 3);
    let mut wrong = tar(&["a", "b"]);
    wrong[1024] ^= 1;
    for (archive, said) in [
        (tar(&["a", "../b"]), "it contains ../b, which leads out of it"),
        (tar(&["a", "b/../../c"]), "which leads out of it"),
        (tar(&["a", "b == ../etc/passwd"]), "it contains ../etc/passwd, which leads out of it"),
        (tar(&["a", "b == nothing"]), "it contains b, a link to nothing, which is no file there"),
        (tar(&["d/", "b == d"]), "it contains b, a link to d, which is no file there"),
        (tar(&["d/a", "d == d/a"]), "it contains d, a link to d/a, which is no file there"),
        (tar(&["a", "a/b"]), "cannot copy to /x/a: it is not a directory"),
        (tar(&["l -> l", "l/b"]), "it contains l/b, whose path leads through links without end"),
        (cut, "cannot unpack /a: it is damaged: the archive ends in the middle of a file"),
        (wrong, "cannot unpack /a: it is damaged"),
    ] {
        let env = world(&[("a", &archive)], &[]);
        env.dockerfile("FROM scratch\nADD a /x\n");
        let failed = env.rbuild(&["."]).run();
        assert_ne!(failed.exit_code(), Some(0), "{said}");
        let failed = failed.to_string();
        assert!(failed.contains(said) && failed.contains("ADD a /x"), "{said}\n{failed}");
        env.has_no_leftovers();
    }
}

#[test]
fn times_and_attributes_come_with_it() {
    let mut builder = tar::Builder::new(Vec::new());
    let records = [
        ("mtime", &b"1234567890.5"[..]),
        ("SCHILY.xattr.user.note", b"kept"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.rbuild.owner", b"9 9 644 0"),
    ];
    builder.append_pax_extensions(records).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("d/f").unwrap();
    header.set_size(1);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append(&header, &b"x"[..]).unwrap();
    let written = builder.into_inner().unwrap();
    // Without its end, which is 1024 zeros; and what is said of the directory comes after what is in it.
    let archive = [&written[..written.len() - 1024], &tar(&["d/ 700"])].concat();
    let env = world(&[("a", &archive)], &[]);
    env.dockerfile("FROM scratch\nADD a /\n");
    env.rbuild(&["-q", "-t", "app", "."]).run().success();
    let files = env.image("app").files();
    assert_eq!((files["d"].modified, files["d"].mode), (1_000_000_000, 0o700));
    assert_eq!((files["d/f"].modified, files["d/f"].mode, files["d/f"].uid), (1_234_567_890, 0o644, 0));
    let attributes: Vec<(&str, &[u8])> =
        files["d/f"].attributes.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    assert_eq!(attributes, [("user.note", &b"kept"[..])]);
}

#[test]
fn a_destination_that_is_no_directory_is_refused() {
    let env = world(&[("a", &tar(&["f"]))], &["file"]);
    env.dockerfile("FROM scratch\nCOPY file /file\nADD a /file\n");
    let failed: Finished = env.rbuild(&["."]).run().code(3);
    failed.says(&["cannot copy to /file: it is not a directory"]);
}

#[test]
fn an_archive_is_known_by_its_content() {
    let env = world(&[("a.tar", &tar(&["f"]))], &[]);
    env.dockerfile("FROM scratch\nADD a.tar /\n");
    env.rbuild(&["."]).run().success();
    let again = env.rbuild(&["."]).run().success();
    assert_eq!(again.outcome("ADD a.tar"), Some("CACHED"), "{again}");
    fs::write(env.context().join("a.tar"), tar(&["g"])).unwrap();
    env.rbuild(&["-q", "-t", "app", "."]).run().success();
    assert_tree(&env.image("app"), &["f644 g: g"], "");
    // Copied and unpacked are two things.
    env.dockerfile("FROM scratch\nADD --unpack=false a.tar /\n");
    env.rbuild(&["-q", "-t", "app", "."]).run().success();
    assert_eq!(env.image("app").files().keys().collect::<Vec<_>>(), ["a.tar"]);
}

/// Also where nothing can be isolated, and where rbuild itself is kept out by the modes of what it unpacks.
#[test]
fn every_rung_makes_the_same_of_it() {
    require_tool!("docker-registry");
    let lines = [
        LINES,
        &[
            "closed/ 111 5:5",
            "closed/in 0 6:6",
            "closed/ 0 5:5",
            "closed/later/ 555",
            "closed/later/more 4111 1:1",
            "closed/named == closed/in",
            "d/deep/er/file",
            "d 600 9:9 a file now",
            "d/ 700",
        ],
    ]
    .concat();
    let env = world(&[("a.tar", &tar(&lines))], &["tree/a 600", "tree/sub/b"]);
    env.dockerfile(
        "FROM scratch AS s\n\
         ADD a.tar /x\n\
         ADD --chown=70000:7 a.tar /x/y\n\
         FROM s\n\
         ADD --link a.tar /x/\n\
         COPY --link --chown=8:9 --exclude=a tree /x/closed/later\n\
         COPY --chmod=a-w,u+s --from=s /x/ /z\n\
         COPY --parents --from=s /x/./y/closed /z\n",
    );
    let registry = Registry::start();
    let build = |isolation: &str, limits: &str| {
        let name = format!("{isolation}:1");
        let output = format!("type=registry,name={}/{name},rewrite-timestamp=true", registry.address());
        let store = env.path(isolation.to_owned() + &limits.len().to_string());
        let rbuild = binary();
        let arguments =
            [rbuild.to_str().unwrap(), "--root", store.to_str().unwrap(), "--isolation", isolation];
        let script = format!("exec {limits} \"$@\"");
        let words = [&["-c", &script, "sh"], &arguments[..], &["--output", &output, "."]].concat();
        env.program("sh", &words).env("SOURCE_DATE_EPOCH", "1100000000").run().success();
        Image::fetch(&registry, &name).sound()
    };
    let isolated = build("auto", "");
    let files = isolated.files();
    let of = |path: &str| (files[path].uid, files[path].gid, files[path].mode);
    assert_eq!(of("x/closed"), (8, 9, 0o755), "made anew by the link");
    assert_eq!(of("x/closed/in"), (0, 0, 0o644), "a hard link's own word is the last");
    assert_eq!(of("x/y/closed"), (70000, 7, 0));
    assert_eq!(of("x/closed/later/sub/b"), (8, 9, 0o644));
    assert_eq!(of("z/setuid"), (0, 0, 0o4555));
    let powerless = match is_root() {
        true => "setpriv --inh-caps=-all --bounding-set=-all",
        false => "unshare -Ur setpriv --inh-caps=-all --bounding-set=-all",
    };
    for way in ["", powerless] {
        let bare = build("none", way);
        assert_eq!(tree(&isolated), tree(&bare), "{way}");
        assert_eq!(isolated.manifest_digest, bare.manifest_digest, "{way}");
        assert!(!bare.mentions("user.rbuild"), "a record of the store got into a layer");
    }
}
