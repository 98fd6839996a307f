//! Contexts from standard input, and Dockerfiles from elsewhere than the context.

use std::io::Write as _;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{TestEnv, assert_tree, require_busybox, require_tool, tar};

/// A file of a tar with any content: the lines of [`tar`] end at blanks.
fn file(name: &str, content: &str) -> String {
    format!("{name} 644 {content}")
}

/// What a program makes of bytes.
fn through(program: &str, arguments: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, bytes) = (child.stdin.take().unwrap(), bytes.to_vec());
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program}");
    output.stdout
}

/// A tar with a Dockerfile and what lines say.
fn archive(dockerfile: &str, lines: &[&str]) -> Vec<u8> {
    let dockerfile = file("Dockerfile", dockerfile);
    tar(&[&[&*dockerfile], lines].concat())
}

const ALL: &str = "FROM scratch\nCOPY . /\n";

#[test]
fn archives_are_contexts_however_they_are_compressed() {
    let plain = archive(ALL, &["a", "d/b", "l -> a", "h == a", "d/empty/"]);
    let expected = [
        "f644 Dockerfile: FROM scratch\nCOPY . /",
        "f644 a: a",
        "d755 d",
        "f644 d/b: d/b",
        "d755 d/empty",
        "h == a",
        "l l -> a",
    ];
    let ways: [(&str, &[&str]); 5] =
        [("cat", &[]), ("gzip", &["-c"]), ("bzip2", &["-c"]), ("xz", &["-c"]), ("zstd", &["-c"])];
    let env = TestEnv::new();
    for (program, arguments) in ways {
        let bytes = through(program, arguments, &plain);
        env.rbuild(&["-t", program, "-"]).input(bytes.clone()).run().success();
        assert_tree(&env.image(program), &expected, program);
        // Nothing of it is done twice.
        let again = env.rbuild(&["-t", program, "-"]).input(bytes).run().success();
        for step in ["unpack standard input", "COPY"] {
            assert_eq!(again.outcome(step), Some("CACHED"), "{program}\n{again}");
        }
    }
    env.has_no_leftovers();
}

#[test]
fn owners_modes_times_and_kinds_are_those_of_the_archive() {
    let env = TestEnv::new();
    let lines = ["own/ 711 5:6", "own/f 4755 1:2 x", "p | 600 3:4", "l -> own/f", "x 640 7:8 y", "same == x"];
    env.rbuild(&["-t", "app", "-"]).input(archive(ALL, &lines)).run().success();
    let expected = [
        "f644 Dockerfile: FROM scratch\nCOPY . /",
        "d711 5:6 own",
        "f4755 1:2 own/f: x",
        "p600 3:4 p",
        "l l -> own/f",
        "same == x",
    ];
    let image = env.image("app");
    let found = image.files();
    assert_eq!(found["own/f"].modified, 1_000_000_000);
    // What the archive says of the last name of a file counts for all of them.
    assert_eq!(
        (found["x"].mode, found["x"].uid, found["x"].gid),
        (found["same"].mode, found["same"].uid, found["same"].gid)
    );
    let tree = crate::support::tree(&image);
    for line in expected.iter().filter(|line| !line.contains("==")) {
        assert!(tree.contains(&(*line).to_owned()), "{line} is not in {tree:#?}");
    }
    assert_eq!(tree.len(), 7, "{tree:#?}");
    // COPY --chown wins, as it does over a stage's owners.
    let chowned = "FROM scratch\nCOPY --chown=9:9 own/f /\n";
    env.rbuild(&["-t", "app", "-"]).input(archive(chowned, &lines)).run().success();
    assert_tree(&env.image("app"), &["f4755 9:9 f: x"], "");
}

#[test]
fn the_ignore_file_of_an_archive_counts() {
    let env = TestEnv::new();
    let lines = [
        ".dockerignore 644 secret\n*.log\n!kept.log\nDockerfile*",
        "secret/key",
        "a.log",
        "kept.log",
        "d/b.log",
    ];
    env.rbuild(&["-t", "app", "-"]).input(archive(ALL, &lines)).run().success();
    let expected = [
        "f644 .dockerignore: secret\n*.log\n!kept.log\nDockerfile*",
        "d755 d",
        "f644 d/b.log: d/b.log",
        "f644 kept.log: kept.log",
    ];
    assert_tree(&env.image("app"), &expected, "");
    // That of the Dockerfile goes before, and is found beside it.
    let lines = [
        &lines[..],
        &["sub/x.Dockerfile 644 FROM scratch\nCOPY a.log /\n", "sub/x.Dockerfile.dockerignore 644 d"],
    ]
    .concat();
    let build = |file: &str| env.rbuild(&["-t", "app", "-f", file, "-"]).input(archive(ALL, &lines)).run();
    build("sub/x.Dockerfile").success();
    assert_tree(&env.image("app"), &["f644 a.log: a.log"], "");
    // By the name that was given, wherever that links to.
    let all = "sub/all 644 FROM scratch\nCOPY . /\n";
    let linked = tar(&[
        &["l -> sub/all", all, "l.dockerignore 644 sub\nl*"],
        &["a", "sub/all.dockerignore 644 a"][..],
    ]
    .concat());
    env.rbuild(&["-t", "app", "-f", "l", "-"]).input(linked).run().success();
    assert_tree(&env.image("app"), &["f644 a: a"], "");
    // What is hidden is told with the rule, by a name that means something.
    let hidden = archive("FROM scratch\nCOPY a.log /\n", &lines);
    let failed = env.rbuild(&["-"]).input(hidden).run().code(3);
    failed.says(&["\"/a.log\": not found", "standard input/.dockerignore", "*.log"]).omits(&["snapshots"]);
    // What takes something back in cannot be judged by names.
    let hidden = archive("FROM scratch\nCOPY a.log /\n", &["a.log", ".dockerignore 644 *.log"]);
    let checked = env.rbuild(&["--check", "-"]).input(hidden).run().code(1);
    assert!(checked.stdout().contains("CopyIgnoredFile"), "{checked}");
}

#[test]
fn a_dockerfile_alone_has_an_empty_context() {
    let env = TestEnv::new();
    env.write("a", "not seen");
    let text = "\u{feff}FROM scratch\nLABEL a=b\nCOPY <<x /\nhere\nx\nCOPY . /nothing/\n";
    let build = || env.rbuild(&["-t", "app", "-"]).input(text).run().success();
    build();
    assert_tree(&env.image("app"), &["d755 nothing", "f644 x: here"], "");
    assert_eq!(build().outcome("COPY . /nothing/"), Some("CACHED"));
    let failed = env.rbuild(&["-"]).input("FROM scratch\nCOPY a /\n").run().code(3);
    failed
        .says(&["\"/a\": not found (in the build context, which has no files", "standard input:2"])
        .says(&[">>> COPY a /"])
        .omits(&[&env.store().display().to_string()]);
    env.rbuild(&["-"]).input("FROM scratch\nRUM x\n").run().code(3).says(&["standard input:2"]);
    env.rbuild(&["-"]).input(vec![0xff; 2000]).run().code(3).says(&["standard input is not text in UTF-8"]);
}

#[test]
fn a_dockerfile_on_standard_input_goes_with_a_directory() {
    let env = TestEnv::new();
    env.write("a", "a").write("b", "b").write(".dockerignore", "b\n").dockerfile("FROM nowhere\n");
    env.rbuild(&["-t", "app", "-f", "-", "."]).input("FROM scratch\nCOPY a* b* /\n").run().success();
    assert_tree(&env.image("app"), &["f644 a: a"], "");
    let again = env.rbuild(&["-t", "app", "-f-", "."]).input("FROM scratch\nCOPY a* b* /\n").run().success();
    assert_eq!(again.outcome("COPY"), Some("CACHED"));
    env.rbuild(&["-f", "-", "."]).run().code(3).says(&["standard input is empty"]);
}

#[test]
fn the_dockerfile_of_an_archive_may_have_any_name() {
    let env = TestEnv::new();
    let build = |lines: &[&str], arguments: &[&str]| {
        let words = [&["-t", "app"], arguments, &["-"]].concat();
        env.rbuild(&words).input(tar(lines)).run()
    };
    let text = "FROM scratch\nCOPY a /\n";
    let lines = ["a", &file("sub/My.file", text), "top -> /sub/link", "sub/link -> ../../../sub/My.file"];
    for name in ["sub/My.file", "./sub/My.file", "top", "sub/link"] {
        build(&lines, &["-f", name]).success();
        assert_tree(&env.image("app"), &["f644 a: a"], name);
    }
    build(&["a", &file("dockerfile", text)], &[]).success();
    // An absolute path is one of this machine, with the ignore file that is beside it.
    env.write("out/Dockerfile", "FROM scratch\nCOPY . /\n")
        .write("out/Dockerfile.dockerignore", "sub\ntop\n");
    let outside = env.context().join("out/Dockerfile");
    build(&lines, &["-f", outside.to_str().unwrap()]).success();
    assert_tree(&env.image("app"), &["f644 a: a"], "outside");
    build(&lines, &["-f", "out/Dockerfile"])
        .code(3)
        .says(&["no out/Dockerfile in standard input", "absolute"]);
    build(&lines, &["-f", "sub/My.fil"]).code(3).says(&["there is /sub/My.file; name it with --file"]);
    build(&["p/a", &file("p/Dockerfile", text)], &[]).code(3).says(&["there is /p/Dockerfile"]);
}

#[test]
fn nothing_leads_out_of_an_archive() {
    let env = TestEnv::new();
    std::fs::write(env.path("outside"), "outside").unwrap();
    let outside = env.path("outside");
    let outside = outside.to_str().unwrap();
    let climbing = |line: &str| env.rbuild(&["-"]).input(archive(ALL, &[line])).run().code(3);
    climbing("../../evil").says(&["../../evil, which leads out of it"]);
    climbing(&format!("evil == {outside}")).says(&["which is no file there"]);
    climbing("evil == ../../outside").says(&["which leads out of it"]);
    // Links stay what they are, and lead to what is in the archive.
    let lines =
        [&*format!("abs -> {outside}"), "up -> ../../../../../../etc", "up/passwd 644 mine", "/d/x 644 x"];
    env.rbuild(&["-t", "app", "-"])
        .input(archive("FROM scratch\nCOPY up/passwd d /\n", &lines))
        .run()
        .success();
    assert_tree(&env.image("app"), &["f644 passwd: mine", "f644 x: x"], "");
    let failed = env.rbuild(&["-"]).input(archive("FROM scratch\nCOPY abs /\n", &lines)).run().code(3);
    failed.says(&[&format!("\"/abs\" links to {outside}: not found")]);
    assert!(!env.path("evil").exists());
    env.has_no_leftovers();
}

#[test]
fn devices_of_an_archive_are_those_of_the_image_only() {
    let env = TestEnv::new();
    let input = archive("FROM scratch\nCOPY null /\n", &["null c 666 1:3"]);
    env.rbuild(&["-t", "app", "-"]).input(input).run().success();
    assert_tree(&env.image("app"), &["c666 null 1:3"], "");
}

#[test]
fn what_is_no_whole_archive_is_told() {
    let env = TestEnv::new();
    let whole = archive(ALL, &[&file("large", &"x".repeat(5000))]);
    let fails = |input: &[u8], says: &[&str]| {
        drop(env.rbuild(&["-"]).input(input).run().code(3).says(says).says(&["standard input"]));
    };
    fails(&[], &["is empty"]);
    fails(&whole[..3000], &["damaged", "ends in the middle of a file"]);
    fails(&[0; 1024], &["it has no entries"]);
    let packed = through("gzip", &["-c"], &whole);
    fails(&packed[..packed.len() / 2], &["damaged"]);
    fails(&through("gzip", &["-c"], b"FROM scratch\n"), &["damaged"]);
    env.has_no_leftovers();
}

#[test]
fn what_no_file_system_could_take_of_an_archive_is_told() {
    let env = TestEnv::new();
    let long = "n".repeat(256);
    let mut with_long = tar::Builder::new(Vec::new());
    for (name, content) in [("Dockerfile", ALL), (&*long, "")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        with_long.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let endless = "whose path leads through links without end";
    for (archive, said) in [
        (archive(ALL, &["a -> b", "b -> a", "a/x"]), format!("it contains a/x, {endless}")),
        (archive(ALL, &["s -> s", "s/"]), format!("it contains s/, {endless}")),
        (with_long.into_inner().unwrap(), "which has a longer name or target than there can be".to_owned()),
    ] {
        let failed = env.rbuild(&["-"]).input(archive.clone()).run().code(3);
        failed.says(&["cannot load standard input: cannot unpack it: ", &said]).omits(&["os error"]);
        // The same of one that is added.
        std::fs::write(env.context().join("a.tar"), archive).unwrap();
        env.dockerfile("FROM scratch\nADD a.tar /d/\n");
        let failed = env.rbuild(&["."]).run().code(3);
        failed.says(&["cannot unpack /a.tar: ", &said]).omits(&["os error"]);
    }
    env.has_no_leftovers();
}

#[test]
fn what_an_archive_has_instead_of_a_dockerfile_is_told() {
    let env = TestEnv::new();
    for (line, said) in [
        ("Dockerfile/", "Dockerfile in standard input is a directory, and no regular file"),
        ("Dockerfile |", "Dockerfile in standard input is a pipe, and no regular file"),
        (
            "Dockerfile -> /no/where",
            "Dockerfile in standard input is a link to /no/where, which is not there",
        ),
    ] {
        let failed = env.rbuild(&["-"]).input(tar(&[line, "a"])).run().code(3);
        failed.says(&[said]).omits(&["there is /Dockerfile"]);
        // The other usual name counts all the same.
        let other = file("dockerfile", ALL);
        env.rbuild(&["-"]).input(tar(&[line, &other])).run().success();
    }
}

#[test]
fn standard_input_is_one_thing_only() {
    let empty = TestEnv::new();
    empty.dockerfile("FROM scratch\n");
    for words in [&["-"][..], &["-f", "Dockerfile", "-"]] {
        empty.rbuild(words).input("").run().code(3).says(&["standard input is empty"]);
    }
    let env = TestEnv::new();
    env.dockerfile(ALL);
    let both = env.rbuild(&["-f", "-", "-"]).input("FROM scratch\n").run().code(2);
    both.says(&["standard input cannot be the context and the Dockerfile at once"]);
    let two = env.rbuild(&["-f", "Dockerfile", "-"]).input("FROM scratch\n").run().code(2);
    two.says(&["standard input is no archive", "--file names another one"]);
}

#[test]
fn what_is_asked_about_a_dockerfile_is_answered_for_archives() {
    let env = TestEnv::new();
    let input = || archive("FROM scratch AS one\nARG A=1\nCOPY a /\n", &["a"]);
    let ask = |words: &[&str]| {
        let words = [words, &["-"]].concat();
        env.rbuild(&words).input(input()).run().success().stdout().to_owned()
    };
    assert!(ask(&["--check"]).contains("no warnings found"));
    assert!(ask(&["--call=outline"]).contains("BUILD ARG"));
    assert!(ask(&["--call=targets"]).contains("one (default)"));
    assert!(ask(&["--dump=ast"]).contains("COPY"));
    assert!(ask(&["--dump=plan"]).contains("one: vertex"));
    assert!(ask(&["--dump=graph"]).contains("context context"));
    // What a step is known by depends on the files.
    let other = env.rbuild(&["--dump=keys", "-"]);
    let other =
        other.input(archive("FROM scratch AS one\nARG A=1\nCOPY a /\n", &["a 644 b"])).run().success();
    assert!(ask(&["--dump=keys"]).contains("content ") && ask(&["--dump=keys"]) != other.stdout());
    let wrong = env.rbuild(&["--check", "-"]).input(archive("FROM scratch\nRUM x\n", &[])).run();
    wrong.code(3).says(&["RUM"]);
}

#[test]
fn changed_archives_change_what_reads_them() {
    let env = TestEnv::new();
    let text = "FROM scratch\nCOPY a /\nCOPY b /\n";
    let build = |lines: &[&str]| env.rbuild(&["-t", "app", "-"]).input(archive(text, lines)).run().success();
    build(&["a", "b"]);
    let second = build(&["a", "b 644 changed", "unread"]);
    assert_eq!(second.outcome("COPY a"), Some("CACHED"));
    assert!(second.outcome("COPY b").unwrap().starts_with("DONE"));
    assert_tree(&env.image("app"), &["f644 a: a", "f644 b: changed"], "");
    // Owners count, unlike those of directories.
    let third = build(&["a 644 1:1 a", "b 644 changed", "unread"]);
    assert!(third.outcome("COPY a").unwrap().starts_with("DONE"));
    assert_tree(&env.image("app"), &["f644 1:1 a: a", "f644 b: changed"], "");
    // The same files are the same step, wherever they come from.
    env.write("a", "a").write("b", "changed").dockerfile(text);
    for name in ["a", "b"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(env.context().join(name), mode).unwrap();
    }
    let local = env.rbuild(&["-t", "app", "."]).run().success();
    assert_eq!(local.outcome("COPY a"), Some("CACHED"));
}

#[test]
fn caches_of_elsewhere_know_the_files_of_an_archive() {
    let env = TestEnv::new();
    let input = || archive("FROM scratch\nCOPY a /\nCOPY d /d\n", &["a 600 5:6 x", "d/", "d/b"]);
    let words = ["-t", "app", "--cache-to", "type=local,dest=../cache,mode=max", "-"];
    env.rbuild(&words).input(input()).run().success();
    let first = env.image("app");
    let other = env.path("other-store");
    let words =
        ["--root", other.to_str().unwrap(), "-t", "app", "--cache-from", "type=local,src=../cache", "-"];
    let second = env.rbuild(&words).input(input()).run().success();
    assert_eq!(
        (second.outcome("COPY a"), second.outcome("COPY d")),
        (Some("CACHED"), Some("CACHED")),
        "{second}"
    );
    let saved = env.path("other-saved");
    let words = ["save", "-q", "--format", "oci-dir", "-o", saved.to_str().unwrap(), "app"];
    env.rbuild(&[&["--root", other.to_str().unwrap()], &words[..]].concat()).run().success();
    assert_eq!(crate::support::Image::open(&saved).listing(), first.listing());
}

#[test]
fn steps_see_the_files_of_an_archive() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let text = "FROM base:1\nRUN --mount=target=/c stat -c '%a %u:%g %n' /c/f /c/own > /out; ls /c >> /out\n\
                RUN --mount=type=bind,source=own,target=/c,rw touch /c/new\n\
                ADD inner.tar /inner/\n";
    let inner = String::from_utf8(tar(&["deep 600 4:4 x"])).unwrap();
    let lines =
        [".dockerignore 644 hidden", "hidden", "own/ 700 1:2", "f 640 3:4 x", &file("inner.tar", &inner)];
    env.rbuild(&["-t", "app", "-"]).input(archive(text, &lines)).run().success();
    let out = env.rbuild(&["run", "--rm", "app", "cat", "/out"]).run().success();
    out.prints("640 3:4 /c/f\n700 1:2 /c/own\nDockerfile\nf\ninner.tar\nown\n");
    let deep = "f600 4:4 inner/deep: x".to_owned();
    assert!(crate::support::tree(&env.image("app")).contains(&deep));
}

#[test]
fn an_interrupted_stream_leaves_nothing() {
    let env = TestEnv::new();
    let mut command = env.rbuild(&["-"]).into_command();
    let mut build =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = build.stdin.take().unwrap();
    stdin.write_all(&archive(ALL, &[&file("x", &"x".repeat(100_000))])[..50_000]).unwrap();
    // It has begun to read, and is never told that there is no more.
    let mut stderr = build.stderr.take().unwrap();
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains("read standard input") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stderr, &mut byte).unwrap();
        shown.extend(byte);
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    let began = std::time::Instant::now();
    kill_process(Pid::from_child(&build), Signal::INT).unwrap();
    assert_eq!(build.wait().unwrap().code(), Some(130));
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    drop(stdin);
    env.has_no_leftovers();
}

#[test]
fn files_that_stand_on_standard_input_are_read_from_where_they_are() {
    require_tool!("sh");
    let env = TestEnv::new();
    std::fs::write(env.path("context.tar"), archive(ALL, &["a"])).unwrap();
    let line = format!("exec {} -t app - < context.tar", crate::support::binary().display());
    env.program("sh", &["-c", &line]).directory(env.path("")).run().success();
    let expected = ["f644 Dockerfile: FROM scratch\nCOPY . /", "f644 a: a"];
    assert_tree(&env.image("app"), &expected, "");
}
