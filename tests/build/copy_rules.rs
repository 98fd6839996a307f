//! Where COPY puts what, and what becomes of what is there: each case is a whole image, compared file by file.

use crate::support::{TestEnv, assert_tree, lay};

/// A context, a Dockerfile, and all that is in the image then.
type Case<'a> = (&'a str, &'a [&'a str], &'a str, &'a [&'a str]);

#[track_caller]
fn check(cases: &[Case<'_>]) {
    for (about, context, dockerfile, expected) in cases {
        let env = TestEnv::new();
        lay(&env.context(), context);
        env.dockerfile(dockerfile);
        env.rbuild(&["-q", "-t", "app", "."]).run().success();
        assert_tree(&env.image("app"), expected, about);
    }
}

#[test]
fn a_file_is_named_by_its_destination_or_lies_in_it() {
    check(&[
        ("a new name", &["a"], "FROM scratch\nCOPY a /b\n", &["f644 b: a"]),
        ("a slash is a directory", &["a"], "FROM scratch\nCOPY a /d/\n", &["d755 d", "f644 d/a: a"]),
        ("the root", &["a"], "FROM scratch\nCOPY a /\n", &["f644 a: a"]),
        ("a dot", &["a"], "FROM scratch\nWORKDIR /w\nCOPY a .\n", &["d755 w", "f644 w/a: a"]),
        ("a dot at the end", &["a"], "FROM scratch\nCOPY a /d/.\n", &["d755 d", "f644 d/a: a"]),
        (
            "parents are made",
            &["a"],
            "FROM scratch\nCOPY a /x/y/z\n",
            &["d755 x", "d755 x/y", "f644 x/y/z: a"],
        ),
        (
            "a directory that is there",
            &["a", "base/d/"],
            "FROM scratch\nCOPY base /\nCOPY a /d\n",
            &["d755 d", "f644 d/a: a"],
        ),
        (
            "relative to WORKDIR",
            &["a"],
            "FROM scratch\nWORKDIR /w/x\nCOPY a b\nCOPY a ../c\nCOPY a ./d/e\n",
            &["d755 w", "d755 w/x", "f644 w/x/b: a", "f644 w/c: a", "d755 w/x/d", "f644 w/x/d/e: a"],
        ),
        (
            "nothing is WORKDIR",
            &["a"],
            "FROM scratch\nARG NOTHING\nWORKDIR /w\nCOPY a $NOTHING\n",
            &["d755 w", "f644 w/a: a"],
        ),
        ("several onto one name: the last stays", &["a", "b"], "FROM scratch\nCOPY a b /c\n", &["f644 c: b"]),
        (
            "several into a directory",
            &["a", "b", "d/x"],
            "FROM scratch\nCOPY a b d /c/\n",
            &["d755 c", "f644 c/a: a", "f644 c/b: b", "f644 c/x: d/x"],
        ),
        (
            "the one match of a wildcard",
            &["sub/dir1/dir2/foo"],
            "FROM scratch\nCOPY sub/*/dir2/foo /subdest/bar\n",
            &["d755 subdest", "f644 subdest/bar: sub/dir1/dir2/foo"],
        ),
        (
            "names that look encoded",
            &["äöü", "%C3%A4", "a+b"],
            "FROM scratch\nCOPY äöü /x/\nCOPY %C3%A4 /x/\nCOPY a+b /x/\n",
            &["d755 x", "f644 x/äöü: äöü", "f644 x/%C3%A4: %C3%A4", "f644 x/a+b: a+b"],
        ),
        (
            "names with blanks",
            &["with%20blank"],
            "FROM scratch\nCOPY [\"with blank\", \"/to a/\"]\n",
            &["d755 to a", "f644 to a/with blank: with%20blank"],
        ),
    ]);
}

#[test]
fn of_a_directory_the_contents_are_copied() {
    let context: &[&str] = &["d/a", "d/sub/b 600", "d/sub/deep/ 711", "d/.hidden"];
    let contents: &[&str] = &[
        "d755 x",
        "f644 x/a: d/a",
        "d755 x/sub",
        "f600 x/sub/b: d/sub/b",
        "d711 x/sub/deep",
        "f644 x/.hidden: d/.hidden",
    ];
    for source in ["d", "d/", "d/.", "/d", "./d", "../../d", "x/../d", "[d]"] {
        check(&[(source, context, &format!("FROM scratch\nCOPY [\"{source}\", \"/x\"]\n"), contents)]);
    }
    check(&[
        (
            "all of the context",
            &["a", "d/b", ".dockerignore 644 Dockerfile\n.dockerignore"],
            "FROM scratch\nCOPY . /x/\n",
            &["d755 x", "f644 x/a: a", "d755 x/d", "f644 x/d/b: d/b"],
        ),
        ("an empty directory", &["d/ 700"], "FROM scratch\nCOPY d /x/y\n", &["d755 x", "d755 x/y"]),
        (
            "a new destination is none of the source",
            &["d/ 700", "d/a"],
            "FROM scratch\nCOPY d /x\n",
            &["d755 x", "f644 x/a: d/a"],
        ),
    ]);
}

#[test]
fn wildcards_take_what_matches_component_by_component() {
    let context: &[&str] = &[
        "a.txt",
        "b.txt",
        "c.md",
        ".d.txt",
        "sub/e.txt",
        "dir1/x",
        "dir2/y",
        "dir2/dir3/z",
        "a1 644 1",
        "a-b",
    ];
    check(&[
        (
            "a star",
            context,
            "FROM scratch\nCOPY *.txt /o/\n",
            &["d755 o", "f644 o/a.txt: a.txt", "f644 o/b.txt: b.txt", "f644 o/.d.txt: .d.txt"],
        ),
        ("a question mark", context, "FROM scratch\nCOPY ?.md /o/\n", &["d755 o", "f644 o/c.md: c.md"]),
        (
            "a class",
            context,
            "FROM scratch\nCOPY [a-b].txt /o/\n",
            &["d755 o", "f644 o/a.txt: a.txt", "f644 o/b.txt: b.txt"],
        ),
        (
            "a negated class",
            context,
            "FROM scratch\nCOPY [^a.]*.txt /o/\n",
            &["d755 o", "f644 o/b.txt: b.txt"],
        ),
        (
            "an escape",
            &["a*b", "axb"],
            "FROM scratch\nCOPY [\"[a]\\\\\\\\*b\", \"/o/\"]\n",
            &["d755 o", "f644 o/a*b: a*b"],
        ),
        (
            "directories",
            context,
            "FROM scratch\nCOPY dir* /o/\n",
            &["d755 o", "f644 o/x: dir1/x", "f644 o/y: dir2/y", "d755 o/dir3", "f644 o/dir3/z: dir2/dir3/z"],
        ),
        ("on the way", context, "FROM scratch\nCOPY */e.txt /o/\n", &["d755 o", "f644 o/e.txt: sub/e.txt"]),
        ("no crossing", context, "FROM scratch\nCOPY d*z /o/\nCOPY a1 /\n", &["f644 a1: 1"]),
        ("no match is nothing", context, "FROM scratch\nCOPY nothing* /o/\nCOPY a1 /\n", &["f644 a1: 1"]),
        ("two stars are one", context, "FROM scratch\nCOPY **/z /o/\nCOPY a1 /\n", &["f644 a1: 1"]),
    ]);
}

#[test]
fn links_to_a_source_are_followed_and_those_inside_it_copied() {
    let context: &[&str] = &[
        "real/f",
        "real/inner -> f",
        "real/dangling -> /nowhere",
        "file 600",
        "to-file -> file",
        "chain -> to-file",
        "to-dir -> real",
        "absolute -> /real",
        "out -> ../../../../file",
        "d/up -> ../real",
    ];
    let real: &[&str] = &["d755 o", "f644 o/f: real/f", "l o/inner -> f", "l o/dangling -> /nowhere"];
    check(&[
        (
            "a link to a file",
            context,
            "FROM scratch\nCOPY to-file /o/\n",
            &["d755 o", "f600 o/to-file: file"],
        ),
        ("a chain", context, "FROM scratch\nCOPY chain /o/\n", &["d755 o", "f600 o/chain: file"]),
        ("a link to a directory", context, "FROM scratch\nCOPY to-dir /o\n", real),
        ("an absolute one", context, "FROM scratch\nCOPY absolute /o\n", real),
        ("on the way", context, "FROM scratch\nCOPY to-dir/f /o\n", &["f644 o: real/f"]),
        ("on the way, upwards", context, "FROM scratch\nCOPY d/up/f /o\n", &["f644 o: real/f"]),
        ("never out of the root", context, "FROM scratch\nCOPY out /o\n", &["f600 o: file"]),
        (
            "matches are followed",
            context,
            "FROM scratch\nCOPY to-* /o/\n",
            &[
                "d755 o",
                "f644 o/f: real/f",
                "l o/inner -> f",
                "l o/dangling -> /nowhere",
                "f600 o/to-file: file",
            ],
        ),
        ("not inside a directory", context, "FROM scratch\nCOPY d /o\n", &["d755 o", "l o/up -> ../real"]),
        (
            "of a stage, too",
            context,
            "FROM scratch AS s\nCOPY . /\nFROM scratch\nCOPY --from=s /to-dir/f /one\nCOPY --from=s absolute /two\n",
            &[
                "f644 one: real/f",
                "d755 two",
                "f644 two/f: real/f",
                "l two/inner -> f",
                "l two/dangling -> /nowhere",
            ],
        ),
    ]);
}

#[test]
fn what_is_there_is_merged_or_replaced() {
    let base: &[&str] = &[
        "base/d/ 711",
        "base/d/kept",
        "base/d/sub/ 700",
        "base/d/sub/kept",
        "base/file 600 old",
        "base/link -> file",
        "base/dirlink -> d",
        "base/nowhere -> /later",
        "new/kept 640 new",
        "new/sub/more",
        "one 640",
    ];
    let unchanged = |changed: &[&'static str], without: &[&str]| -> Vec<&'static str> {
        let all = [
            "d711 d",
            "f644 d/kept: base/d/kept",
            "d700 d/sub",
            "f644 d/sub/kept: base/d/sub/kept",
            "f600 file: old",
            "l link -> file",
            "l dirlink -> d",
            "l nowhere -> /later",
        ];
        let kept = all.into_iter().filter(|line| !without.contains(line));
        kept.chain(changed.iter().copied()).collect()
    };
    let merged = unchanged(
        &["f640 d/kept: new", "d755 d/sub", "f644 d/sub/more: new/sub/more"],
        &["f644 d/kept: base/d/kept", "d700 d/sub"],
    );
    let cases: &[(&str, &str, Vec<&str>)] = &[
        ("a directory onto a directory", "COPY new /d\n", merged.clone()),
        ("through a link at the destination", "COPY new /dirlink\n", merged.clone()),
        ("through a link with a slash", "COPY new /dirlink/\n", merged),
        ("a file onto a file", "COPY one /file\n", unchanged(&["f640 file: one"], &["f600 file: old"])),
        (
            "what a link at the destination leads to",
            "COPY one /link\n",
            unchanged(&["f640 file: one"], &["f600 file: old"]),
        ),
        (
            "where a link leads that leads nowhere",
            "COPY one /nowhere\n",
            unchanged(&["f640 later: one"], &[]),
        ),
        ("into what a link leads to", "COPY one /dirlink\n", unchanged(&["f640 d/one: one"], &[])),
        (
            "below what a link leads to",
            "COPY one /dirlink/x/y\n",
            unchanged(&["d755 d/x", "f640 d/x/y: one"], &[]),
        ),
    ];
    for (about, line, expected) in cases {
        let dockerfile = format!("FROM scratch AS base\nCOPY base /\nFROM base\n{line}");
        check(&[(about, base, &dockerfile, expected)]);
    }
    check(&[
        (
            "below the destination a link is replaced",
            &["base/link -> other", "base/other", "new/link 600 mine"],
            "FROM scratch\nCOPY base /d/\nCOPY new /d/\n",
            &["d755 d", "f600 d/link: mine", "f644 d/other: base/other"],
        ),
        (
            "a file by a link",
            &["base/x", "new/x -> y"],
            "FROM scratch\nCOPY base /d/\nCOPY new /d/\n",
            &["d755 d", "l d/x -> y"],
        ),
        (
            "the same twice",
            &["new/a", "new/sub/b"],
            "FROM scratch\nCOPY new /d\nCOPY new /d\n",
            &["d755 d", "f644 d/a: new/a", "d755 d/sub", "f644 d/sub/b: new/sub/b"],
        ),
    ]);
}

#[test]
fn what_cannot_be_put_there_is_refused() {
    for (context, line, said) in [
        (&["base/d/", "f"][..], "COPY f /d\nCOPY d /d\n", "\"/d\": not found"),
        (
            &["base/x/d/", "new/d"],
            "COPY new /x\n",
            "cannot copy to /x/d: a file cannot take the place of the directory there",
        ),
        (
            &["base/x/d", "new/d/f"],
            "COPY new /x\n",
            "cannot copy to /x/d: a directory cannot take the place of what is no directory there",
        ),
        (&["base/x/d -> y", "base/x/y/", "new/d/f"], "COPY new /x\n", "cannot copy to /x/d: a directory"),
        (&["base/f", "new/a"], "COPY new /f\n", "cannot copy to /f: it is not a directory"),
        (&["base/f", "a"], "COPY a /f/\n", "cannot copy to /f: it is not a directory"),
        (&["base/f", "a"], "COPY a /f/g/h\n", "cannot copy to /f: it is not a directory"),
    ] {
        let env = TestEnv::new();
        lay(&env.context(), context);
        lay(&env.context(), &["base/loop -> loop"]);
        env.dockerfile(&format!("FROM scratch\nCOPY base /\n{line}"));
        let failed = env.rbuild(&["."]).run();
        assert_ne!(failed.exit_code(), Some(0), "{line}");
        let failed = failed.to_string();
        assert!(failed.contains(said), "{said}\n{failed}");
    }
}

#[test]
fn links_without_end_are_told_where_they_are() {
    let env = TestEnv::new();
    lay(&env.context(), &["base/a -> b", "base/b -> a", "base/f", "f"]);
    let endless = "it leads through links without end";
    for (line, said) in [
        ("COPY f /a", "cannot copy to /a: "),
        ("COPY f /a/", "cannot copy to /a/: "),
        ("COPY f /a/x/y", "cannot copy to /a/x/y: "),
        ("COPY f f /b/", "cannot copy to /b/: "),
        ("COPY base /a", "cannot copy to /a: "),
        ("COPY <<E /a\ntext\nE", "cannot copy to /a: "),
        ("ADD f /b/x", "cannot copy to /b/x: "),
        ("WORKDIR /a/x", "cannot make the working directory /a/x: "),
    ] {
        env.dockerfile(&format!("FROM scratch\nCOPY base /\n{line}\n"));
        let failed = env.rbuild(&["."]).run().code(3).omits(&["os error"]);
        failed.says(&[&format!("{said}{endless}"), &format!("3 | >>> {}", line.lines().next().unwrap())]);
    }
    // What knows nothing of the layers below takes their place.
    env.dockerfile("FROM scratch\nCOPY base /\nCOPY --link f /a\n");
    env.rbuild(&["."]).run().success();
    // Of what is copied, and of what is shown.
    for (line, said) in [
        ("COPY base/a /x", "base/b leads through links without end (in the build context "),
        ("COPY base/a/x /x", "leads through links without end (in the build context "),
        ("COPY --from=base a /x", "/b leads through links without end"),
        ("RUN --mount=from=base,source=a,target=/m [\"/f\"]", "/a leads through links without end"),
    ] {
        env.dockerfile(&format!("FROM scratch AS base\nCOPY base /\nFROM base\n{line}\n"));
        let failed = env.rbuild(&["."]).run().code(3).omits(&["os error"]);
        failed.says(&[said, &format!("4 | >>> {line}")]);
    }
    env.dockerfile("FROM scratch\nCOPY base /\nWORKDIR /f\n");
    env.rbuild(&["."]).run().code(3).says(&["cannot make the working directory /f: it is not a directory"]);
    env.has_no_leftovers();
}

#[test]
fn a_missing_source_names_what_is_there_and_what_hides_it() {
    let env = TestEnv::new();
    lay(&env.context(), &["src/main.rs", "secret/key", ".dockerignore 644 # nothing for images\nsecret\n"]);
    env.dockerfile("FROM scratch\nCOPY src/mian.rs /\n");
    let place = format!("(in the build context {})", env.context().display());
    env.rbuild(&["."]).run().code(3).says(&[
        "\"/src/mian.rs\": not found",
        "/src/main.rs",
        "COPY src/mian.rs /",
    ]);
    env.dockerfile("FROM scratch\nCOPY secret/key /\n");
    env.rbuild(&["."]).run().code(3).says(&[
        "\"/secret/key\": not found, ignored by \"secret\" in",
        ":2",
        "a line !secret/key behind",
    ]);
    env.dockerfile("FROM scratch\nCOPY --parents src/mian.rs /\n");
    env.rbuild(&["."]).run().code(3).says(&["\"/src/mian.rs\": not found", "/src/main.rs", &place]);
    env.dockerfile("FROM scratch AS s\nCOPY src /\nFROM scratch\nCOPY --from=s /main.sr /\n");
    env.rbuild(&["."]).run().code(3).says(&["\"/main.sr\": not found", "/main.rs"]);
}
