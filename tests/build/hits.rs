//! What counts for the key of a step: every ingredient changed alone, once so that the step has to be found, once so that it must
//! not be.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{TestEnv, require_busybox};

/// A change between two builds.
type Change = fn(&TestEnv);

struct Case {
    name: &'static str,
    dockerfile: &'static str,
    /// Of the second build; the same if empty.
    changed: &'static str,
    arguments: &'static [&'static str],
    changed_arguments: &'static [&'static str],
    change: Change,
    /// The step that it is about.
    step: &'static str,
}

const NOTHING: Change = |_| {};

const CASE: Case = Case {
    name: "",
    dockerfile: "",
    changed: "",
    arguments: &[],
    changed_arguments: &[],
    change: NOTHING,
    step: "",
};

fn mode(env: &TestEnv, path: &str, mode: u32) {
    fs::set_permissions(env.context().join(path), fs::Permissions::from_mode(mode)).unwrap();
}

fn write(env: &TestEnv, path: &str, text: &str) {
    env.write(path, text);
}

fn outcome(env: &TestEnv, case: &Case) -> String {
    let files = [("src/a", "a"), ("src/b", "b"), ("other", "o"), ("run.sh", "#!/bin/sh\n"), ("x.txt", "x")];
    files.iter().for_each(|(name, text)| write(env, name, text));
    for directory in ["", "src"] {
        mode(env, directory, 0o755);
    }
    files.iter().for_each(|(name, _)| mode(env, name, 0o644));
    env.dockerfile(case.dockerfile);
    env.rbuild(case.arguments).arguments(&["."]).run().success();
    (case.change)(env);
    if !case.changed.is_empty() {
        env.dockerfile(case.changed);
    }
    let same = case.changed_arguments.is_empty();
    let arguments = if same { case.arguments } else { case.changed_arguments };
    let again = env.rbuild(arguments).arguments(&["."]).run().success();
    let outcome = again.outcome(case.step).unwrap_or_else(|| panic!("{}: {again}", case.name));
    outcome.split(' ').next().unwrap_or_default().to_owned()
}

fn check(cases: &[Case], expected: &str) {
    for case in cases {
        let env = TestEnv::new();
        env.busybox_image("base:1");
        assert_eq!(outcome(&env, case), expected, "{}", case.name);
    }
}

#[test]
fn what_does_not_count_is_found() {
    require_busybox!();
    let copy = Case { dockerfile: "FROM base:1\nCOPY src /src\n", step: "COPY src", ..CASE };
    check(
        &[
            Case {
                name: "times of files",
                change: |env| {
                    drop(env.program("touch", &["-d", "2001-01-01", "src/a", "src"]).run().success())
                },
                ..copy
            },
            Case {
                name: "a file written again",
                change: |env| {
                    fs::remove_file(env.context().join("src/a")).unwrap();
                    env.write("src/a", "a");
                    mode(env, "src/a", 0o644);
                },
                ..copy
            },
            Case {
                name: "the order of files on the disk",
                change: |env| {
                    for name in ["src/a", "src/b"] {
                        fs::remove_file(env.context().join(name)).unwrap();
                    }
                    env.write("src/b", "b").write("src/a", "a");
                    mode(env, "src/a", 0o644);
                    mode(env, "src/b", 0o644);
                },
                ..copy
            },
            Case { name: "a file that is not copied", change: |env| write(env, "other", "changed"), ..copy },
            Case {
                name: "a file that is ignored",
                change: |env| {
                    write(env, ".dockerignore", "src/new\n");
                    write(env, "src/new", "new");
                },
                ..copy
            },
            Case {
                name: "how the destination is written",
                changed: "FROM base:1\nCOPY src //src/../src\n",
                ..copy
            },
            Case {
                name: "how the source is written",
                changed: "FROM base:1\nCOPY ./src /src\n",
                step: " /src",
                ..copy
            },
            Case { name: "a later instruction", changed: "FROM base:1\nCOPY src /src\nRUN true\n", ..copy },
            Case { name: "a comment", changed: "# words\nFROM base:1\n# more\nCOPY src /src\n", ..copy },
            Case {
                name: "a label before it",
                changed: "FROM base:1\nLABEL a=b\nEXPOSE 1\nCMD x\nENTRYPOINT [\"y\"]\nCOPY src /src\n",
                ..copy
            },
            Case {
                name: "a variable before a copy",
                changed: "FROM base:1\nENV A=1\nCOPY src /src\n",
                ..copy
            },
            Case { name: "a user before a copy", changed: "FROM base:1\nUSER 7\nCOPY src /src\n", ..copy },
            Case { name: "the name of the stage", changed: "FROM base:1 AS named\nCOPY src /src\n", ..copy },
            Case {
                name: "an argument that is declared after it",
                dockerfile: "FROM base:1\nRUN echo 1\nARG A=1\n",
                changed: "FROM base:1\nRUN echo 1\nARG A=2\n",
                step: "RUN echo 1",
                ..CASE
            },
            Case {
                name: "an argument that is not declared",
                dockerfile: "FROM base:1\nRUN echo 1\n",
                arguments: &["--build-arg", "A=1"],
                changed_arguments: &["--build-arg", "A=2"],
                step: "RUN echo 1",
                ..CASE
            },
            Case {
                name: "a proxy",
                dockerfile: "FROM base:1\nRUN echo 1\n",
                changed_arguments: &["--build-arg", "HTTP_PROXY=http://127.0.0.1:1"],
                step: "RUN echo 1",
                ..CASE
            },
            Case {
                name: "the address of a host",
                dockerfile: "FROM base:1\nRUN echo 1\n",
                arguments: &["--add-host", "db:10.0.0.1"],
                changed_arguments: &["--add-host", "db:10.0.0.2"],
                step: "RUN echo 1",
                ..CASE
            },
            Case {
                name: "a limit of time",
                dockerfile: "FROM base:1\nRUN echo 1\n",
                changed_arguments: &["--timeout", "5m"],
                step: "RUN echo 1",
                ..CASE
            },
            Case {
                name: "the place of the context",
                dockerfile: "FROM base:1\nCOPY src /src\n",
                change: |env| {
                    let moved = env.path("moved");
                    fs::rename(env.context(), &moved).unwrap();
                    crate::support::copy_tree(&moved, &env.context());
                },
                step: "COPY src",
                ..CASE
            },
            Case {
                name: "a stage that nothing needs",
                dockerfile: "FROM base:1 AS a\nRUN echo a\nFROM base:1\nRUN echo 1\n",
                changed: "FROM base:1 AS a\nRUN echo b\nFROM base:1\nRUN echo 1\n",
                step: "RUN echo 1",
                ..CASE
            },
            Case {
                name: "another file of a stage",
                dockerfile: "FROM base:1 AS a\nRUN echo a > /a; echo 1 > /b\nFROM base:1\nCOPY --from=a /a /a\n",
                changed: "FROM base:1 AS a\nRUN echo a > /a; echo 2 > /b\nFROM base:1\nCOPY --from=a /a /a\n",
                step: "COPY --from=a",
                ..CASE
            },
            Case {
                name: "the words of a heredoc's name",
                dockerfile: "FROM base:1\nRUN <<ONE\necho 1\nONE\n",
                changed: "FROM base:1\nRUN <<TWO\necho 1\nTWO\n",
                step: "RUN <<",
                ..CASE
            },
        ],
        "CACHED",
    );
}

#[test]
fn what_counts_is_not_found() {
    require_busybox!();
    let copy = Case { dockerfile: "FROM base:1\nCOPY src /src\n", step: "COPY", ..CASE };
    let run = Case { dockerfile: "FROM base:1\nRUN echo 1\n", step: "RUN echo", ..CASE };
    let workdir = Case { dockerfile: "FROM base:1\nWORKDIR /a\n", step: "WORKDIR", ..CASE };
    check(
        &[
            Case { name: "bytes", change: |env| write(env, "src/a", "A"), ..copy },
            Case { name: "a mode", change: |env| mode(env, "src/a", 0o755), ..copy },
            Case { name: "the mode of a directory", change: |env| mode(env, "src", 0o700), ..copy },
            Case { name: "a new file", change: |env| write(env, "src/c", "c"), ..copy },
            Case {
                name: "a file that is gone",
                change: |env| fs::remove_file(env.context().join("src/b")).unwrap(),
                ..copy
            },
            Case {
                name: "a file of another name",
                change: |env| fs::rename(env.context().join("src/b"), env.context().join("src/c")).unwrap(),
                ..copy
            },
            Case {
                name: "a link instead of a file",
                change: |env| {
                    fs::remove_file(env.context().join("src/b")).unwrap();
                    std::os::unix::fs::symlink("a", env.context().join("src/b")).unwrap();
                },
                ..copy
            },
            Case {
                name: "a file that is ignored now",
                change: |env| write(env, ".dockerignore", "src/b\n"),
                ..copy
            },
            Case { name: "the destination", changed: "FROM base:1\nCOPY src /dst\n", ..copy },
            Case { name: "a slash behind the destination", changed: "FROM base:1\nCOPY src /src/\n", ..copy },
            Case { name: "an owner", changed: "FROM base:1\nCOPY --chown=1 src /src\n", ..copy },
            Case { name: "a chmod", changed: "FROM base:1\nCOPY --chmod=700 src /src\n", ..copy },
            Case {
                name: "ADD instead of COPY",
                changed: "FROM base:1\nADD src /src\n",
                step: "/src",
                ..copy
            },
            Case {
                name: "a directory that it is relative to",
                changed: "FROM base:1\nWORKDIR /w\nCOPY src src\n",
                ..copy
            },
            Case { name: "a step before it", changed: "FROM base:1\nRUN true\nCOPY src /src\n", ..copy },
            Case { name: "a second source", changed: "FROM base:1\nCOPY src other /src/\n", ..copy },
            Case { name: "a command", changed: "FROM base:1\nRUN echo  1\n", ..run },
            Case { name: "exec form", changed: "FROM base:1\nRUN [\"echo\", \"1\"]\n", step: "RUN", ..run },
            Case { name: "a variable", changed: "FROM base:1\nENV A=1\nRUN echo 1\n", ..run },
            Case { name: "an argument", changed: "FROM base:1\nARG A=1\nRUN echo 1\n", ..run },
            Case {
                name: "the value of an argument",
                dockerfile: "FROM base:1\nARG A=1\nRUN echo 1\n",
                changed_arguments: &["--build-arg", "A=2"],
                ..run
            },
            Case {
                name: "the order of variables",
                dockerfile: "FROM base:1\nENV A=1\nENV B=1\nRUN echo 1\n",
                changed: "FROM base:1\nENV B=1\nENV A=1\nRUN echo 1\n",
                ..run
            },
            Case { name: "a directory", changed: "FROM base:1\nWORKDIR /tmp\nRUN echo 1\n", ..run },
            Case { name: "a user", changed: "FROM base:1\nUSER 7\nRUN echo 1\n", ..run },
            Case {
                name: "a shell",
                changed: "FROM base:1\nSHELL [\"/bin/sh\", \"-ec\"]\nRUN echo 1\n",
                ..run
            },
            Case {
                name: "a network",
                changed: "FROM base:1\nRUN --network=none echo 1\n",
                step: "echo 1",
                ..run
            },
            Case { name: "a host", changed_arguments: &["--add-host", "db:10.0.0.1"], ..run },
            Case { name: "a limit of its processes", changed_arguments: &["--ulimit", "nofile=512"], ..run },
            Case { name: "a step before it", changed: "FROM base:1\nRUN true\nRUN echo 1\n", ..run },
            Case {
                name: "the base",
                change: |env| {
                    env.dockerfile("FROM base:1\nRUN echo more > /more\n");
                    env.rbuild(&["-t", "base:1", "."]).run().success();
                    env.dockerfile("FROM base:1\nRUN echo 1\n");
                },
                ..run
            },
            Case {
                name: "a file of a stage",
                dockerfile: "FROM base:1 AS a\nRUN echo a > /a\nFROM base:1\nCOPY --from=a /a /a\n",
                changed: "FROM base:1 AS a\nRUN echo b > /a\nFROM base:1\nCOPY --from=a /a /a\n",
                ..copy
            },
            Case {
                name: "the content of a heredoc",
                dockerfile: "FROM base:1\nCOPY <<E /e\n1\nE\n",
                changed: "FROM base:1\nCOPY <<E /e\n2\nE\n",
                ..copy
            },
            Case {
                name: "the name of a heredoc that is copied into a directory",
                dockerfile: "FROM base:1\nCOPY <<E /e/\n1\nE\n",
                changed: "FROM base:1\nCOPY <<F /e/\n1\nF\n",
                ..copy
            },
            Case { name: "a path", changed: "FROM base:1\nWORKDIR /b\n", ..workdir },
            Case { name: "whose it is", changed: "FROM base:1\nUSER 7\nWORKDIR /a\n", ..workdir },
        ],
        "DONE",
    );
}
