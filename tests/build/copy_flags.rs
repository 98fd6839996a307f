//! `--exclude`, `--parents`, `--if-exists`, and files that come from the Dockerfile itself.

use crate::support::{TestEnv, assert_tree, lay};

const FILES: &[&str] = &[
    "t/a.txt",
    "t/b.md",
    "t/README.md",
    "t/sub/c.md",
    "t/sub/d.txt",
    "t/sub/deep/e.md",
    "t/only/f.md",
    "u/a.txt",
    "top.md",
];

/// What lines make of [`FILES`], in an image of their own each.
#[track_caller]
fn check(cases: &[(&str, &[&str])]) {
    for (lines, expected) in cases {
        let env = TestEnv::new();
        lay(&env.context(), FILES);
        env.dockerfile(&format!("FROM scratch\n{lines}\n"));
        env.rbuild(&["-q", "-t", "app", "."]).run().success();
        assert_tree(&env.image("app"), expected, lines);
    }
}

#[test]
fn excluded_files_stay_behind() {
    check(&[
        (
            "COPY --exclude=*.md t /o",
            &[
                "d755 o",
                "f644 o/a.txt: t/a.txt",
                "d755 o/sub",
                "f644 o/sub/c.md: t/sub/c.md",
                "f644 o/sub/d.txt: t/sub/d.txt",
                "d755 o/sub/deep",
                "f644 o/sub/deep/e.md: t/sub/deep/e.md",
                "d755 o/only",
                "f644 o/only/f.md: t/only/f.md",
            ],
        ),
        (
            "COPY --exclude=**/*.md t /o",
            &[
                "d755 o",
                "f644 o/a.txt: t/a.txt",
                "d755 o/sub",
                "f644 o/sub/d.txt: t/sub/d.txt",
                "d755 o/sub/deep",
                "d755 o/only",
            ],
        ),
        (
            "COPY --exclude=**/*.md --exclude=!README.md --exclude=sub t /o",
            &["d755 o", "f644 o/a.txt: t/a.txt", "f644 o/README.md: t/README.md", "d755 o/only"],
        ),
        (
            "COPY --exclude=sub/deep --exclude=only t /o",
            &[
                "d755 o",
                "f644 o/a.txt: t/a.txt",
                "f644 o/b.md: t/b.md",
                "f644 o/README.md: t/README.md",
                "d755 o/sub",
                "f644 o/sub/c.md: t/sub/c.md",
                "f644 o/sub/d.txt: t/sub/d.txt",
            ],
        ),
        ("COPY --exclude=* t /o", &["d755 o"]),
        ("ADD --exclude=* t /o/", &["d755 o"]),
        // Of each source, relative to it.
        ("COPY --exclude=a.txt --exclude=sub --exclude=only --exclude=*.md t u /o", &["d755 o"]),
        // Also of what a wildcard takes.
        ("COPY --exclude=a.txt --exclude=sub --exclude=only --exclude=*.md [tu] /o", &["d755 o"]),
        // A source that is a file is meant.
        ("COPY --exclude=*.md top.md /o/", &["d755 o", "f644 o/top.md: top.md"]),
        ("COPY --exclude=c.md t/sub/c.md /o/", &["d755 o", "f644 o/c.md: t/sub/c.md"]),
    ]);
}

#[test]
fn a_stage_is_filtered_as_the_context_is() {
    let env = TestEnv::new();
    lay(&env.context(), FILES);
    env.dockerfile("FROM scratch AS s\nCOPY t /t\nFROM scratch\nCOPY --from=s --exclude=**/*.md /t /o\n");
    env.rbuild(&["-q", "-t", "app", "."]).run().success();
    let expected = [
        "d755 o",
        "f644 o/a.txt: t/a.txt",
        "d755 o/sub",
        "f644 o/sub/d.txt: t/sub/d.txt",
        "d755 o/sub/deep",
        "d755 o/only",
    ];
    assert_tree(&env.image("app"), &expected, "");
}

#[test]
fn what_is_excluded_changes_nothing() {
    let env = TestEnv::new();
    lay(&env.context(), FILES);
    env.dockerfile("FROM scratch\nCOPY --exclude=**/*.md t /o\n");
    env.rbuild(&["."]).run().success();
    lay(&env.context(), &["t/b.md 600 changed", "t/more.md", "u/more"]);
    let again = env.rbuild(&["."]).run().success();
    assert_eq!(again.outcome("COPY --exclude"), Some("CACHED"), "{again}");
    // Neither does which one it is: the patterns count, and so does what is copied.
    for change in [&["t/sub/d.txt 644 changed"][..], &["t/new.txt"]] {
        lay(&env.context(), change);
        let again = env.rbuild(&["."]).run().success();
        assert!(
            again.outcome("COPY --exclude").is_some_and(|outcome| outcome.starts_with("DONE")),
            "{again}"
        );
    }
}

#[test]
fn a_pattern_that_is_none_is_refused() {
    let env = TestEnv::new();
    lay(&env.context(), FILES);
    for (pattern, said) in [("[", "malformed pattern \"[\""), ("!", "illegal exclusion pattern: \"!\"")] {
        env.dockerfile(&format!("FROM scratch\nCOPY --exclude={pattern} t /o\n"));
        env.rbuild(&["."]).run().code(3).says(&[said, "COPY --exclude"]);
    }
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    check(&[
        (
            "COPY --parents t/sub/c.md /o/",
            &["d755 o", "d755 o/t", "d755 o/t/sub", "f644 o/t/sub/c.md: t/sub/c.md"],
        ),
        (
            "COPY --parents t/sub/c.md /o",
            &["d755 o", "d755 o/t", "d755 o/t/sub", "f644 o/t/sub/c.md: t/sub/c.md"],
        ),
        (
            "COPY --parents t/only u /o/",
            &[
                "d755 o",
                "d755 o/t",
                "d755 o/t/only",
                "f644 o/t/only/f.md: t/only/f.md",
                "d755 o/u",
                "f644 o/u/a.txt: u/a.txt",
            ],
        ),
        ("COPY --parents t/./sub/c.md /o/", &["d755 o", "d755 o/sub", "f644 o/sub/c.md: t/sub/c.md"]),
        (
            "COPY --parents t/./sub/./deep /o/",
            &["d755 o", "d755 o/sub", "d755 o/sub/deep", "f644 o/sub/deep/e.md: t/sub/deep/e.md"],
        ),
        (
            "COPY --parents ./t/sub/deep /o/",
            &[
                "d755 o",
                "d755 o/t",
                "d755 o/t/sub",
                "d755 o/t/sub/deep",
                "f644 o/t/sub/deep/e.md: t/sub/deep/e.md",
            ],
        ),
        (
            "COPY --parents t/./*/*.md /o/",
            &[
                "d755 o",
                "d755 o/sub",
                "f644 o/sub/c.md: t/sub/c.md",
                "d755 o/only",
                "f644 o/only/f.md: t/only/f.md",
            ],
        ),
        (
            "COPY --parents t/./**/e.md /o/",
            &["d755 o", "d755 o/sub", "d755 o/sub/deep", "f644 o/sub/deep/e.md: t/sub/deep/e.md"],
        ),
        (
            "COPY --parents **/a.txt /o/",
            &["d755 o", "d755 o/t", "f644 o/t/a.txt: t/a.txt", "d755 o/u", "f644 o/u/a.txt: u/a.txt"],
        ),
        ("COPY --parents */./a.txt /o/", &["d755 o", "f644 o/a.txt: u/a.txt"]),
        // Nothing that matches is fine; the destination is there.
        ("COPY --parents t/*.none /o/", &["d755 o"]),
        (
            "COPY --parents --exclude=**/sub --exclude=**/*.md t /o/",
            &["d755 o", "d755 o/t", "f644 o/t/a.txt: t/a.txt", "d755 o/t/only"],
        ),
    ]);
}

#[test]
fn kept_parents_are_as_they_were() {
    let env = TestEnv::new();
    lay(&env.context(), &["a/ 700", "a/b/ 711", "a/b/c 600", "base/o/a/ 777"]);
    env.dockerfile("FROM scratch\nCOPY base /\nCOPY --parents a/b/c /o/\nCOPY --parents --chown=3:4 --chmod=750 a/b/c /p/\n");
    env.rbuild(&["-q", "-t", "app", "."]).run().success();
    let expected = [
        "d755 o",
        "d700 o/a",
        "d711 o/a/b",
        "f600 o/a/b/c: a/b/c",
        "d750 3:4 p",
        "d750 3:4 p/a",
        "d750 3:4 p/a/b",
        "f750 3:4 p/a/b/c: a/b/c",
    ];
    assert_tree(&env.image("app"), &expected, "");
}

#[test]
fn what_need_not_exist_is_left_out() {
    check(&[
        ("COPY --if-exists nothing top.md /o/", &["d755 o", "f644 o/top.md: top.md"]),
        ("COPY --if-exists nothing /o/\nCOPY top.md /", &["f644 top.md: top.md"]),
        ("COPY --if-exists t/nothing/at/all u/* /o/", &["d755 o", "f644 o/a.txt: u/a.txt"]),
        (
            "COPY --if-exists --parents t/nothing u/a.txt /o/",
            &["d755 o", "d755 o/u", "f644 o/u/a.txt: u/a.txt"],
        ),
        ("COPY --if-exists --parents x/./nothing /o/\nCOPY top.md /", &["f644 top.md: top.md"]),
        ("COPY --if-exists u /o", &["d755 o", "f644 o/a.txt: u/a.txt"]),
    ]);
}

#[test]
fn what_need_not_exist_is_noticed_when_it_does() {
    let env = TestEnv::new();
    lay(&env.context(), &["there"]);
    env.dockerfile("FROM scratch AS s\nCOPY --if-exists there maybe /s/\nFROM scratch\nCOPY --if-exists --from=s /s/maybe /s/there /o/\n");
    env.rbuild(&["-t", "app", "."]).run().success();
    assert_tree(&env.image("app"), &["d755 o", "f644 o/there: there"], "missing");
    let again = env.rbuild(&["-t", "app", "."]).run().success();
    assert_eq!(again.outcome("COPY --if-exists there"), Some("CACHED"), "{again}");
    lay(&env.context(), &["maybe"]);
    env.rbuild(&["-t", "app", "."]).run().success();
    assert_tree(&env.image("app"), &["d755 o", "f644 o/there: there", "f644 o/maybe: maybe"], "there");
    std::fs::remove_file(env.context().join("maybe")).unwrap();
    let back = env.rbuild(&["-t", "app", "."]).run().success();
    assert_eq!(back.outcome("COPY --if-exists there"), Some("CACHED"), "{back}");
    assert_tree(&env.image("app"), &["d755 o", "f644 o/there: there"], "gone again");
    // Without the flag the same copy does not find what was made with it.
    env.dockerfile("FROM scratch AS s\nCOPY --if-exists there maybe /s/\nFROM scratch\nCOPY --from=s /s/maybe /s/there /o/\n");
    env.rbuild(&["."]).run().code(3).says(&["\"/s/maybe\": not found"]);
}

#[test]
fn documents_and_files_may_come_together() {
    check(&[
        (
            "ARG WHO=me\nCOPY --chmod=u=rw,go= --chown=1:2 u/a.txt <<one <<\"two\" top.md <<-three /o/\n$WHO\none\n$WHO\ntwo\n\t\t3\n\tthree",
            &[
                "d755 1:2 o",
                "f600 1:2 o/a.txt: u/a.txt",
                "f600 1:2 o/one: me",
                "f600 1:2 o/two: $WHO",
                "f600 1:2 o/top.md: top.md",
                "f600 1:2 o/three: 3",
            ],
        ),
        ("COPY <<a <<b /x\n1\na\n2\nb", &["f644 x: 2"]),
        ("COPY <<a /x/y\n1\na", &["d755 x", "f644 x/y: 1"]),
        ("ADD <<a u/a.txt /x/\n1\na", &["d755 x", "f644 x/a: 1", "f644 x/a.txt: u/a.txt"]),
        // A document is meant whatever is excluded.
        ("COPY --exclude=* <<a t /x/\n1\na", &["d755 x", "f644 x/a: 1"]),
    ]);
}
