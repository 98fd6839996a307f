//! Named contexts that are files: directories and archives.

use crate::support::{FileServer, TestEnv, assert_tree, lay, require_busybox, tar, tree};

/// Directories `src` and `other` beside the context.
fn env() -> TestEnv {
    let env = TestEnv::new();
    ["src", "other"].iter().for_each(|name| std::fs::create_dir(env.path(name)).unwrap());
    lay(&env.path("src"), &["a", "d/b 600", "l -> a", "secret", ".dockerignore 644 secret"]);
    lay(&env.path("other"), &["a 644 of other"]);
    env
}

const OF_SRC: [&str; 5] = ["f644 .dockerignore: secret", "f644 a: a", "d755 d", "f600 d/b: d/b", "l l -> a"];

#[test]
fn a_directory_is_copied_from() {
    let env = env();
    env.write("a", "of the context").dockerfile("FROM scratch\nCOPY --from=src . /\n");
    let build = || env.rbuild(&["-t", "app", "--build-context", "src=../src", "."]).run().success();
    build().omits(&["WARN"]);
    assert_tree(&env.image("app"), &OF_SRC, "");
    assert_eq!(build().outcome("COPY"), Some("CACHED"));
    // What is ignored changes nothing, and neither does the context.
    std::fs::write(env.path("src/secret"), "changed").unwrap();
    env.write("a", "changed");
    assert_eq!(build().outcome("COPY"), Some("CACHED"));
    std::fs::write(env.path("src/a"), "changed").unwrap();
    assert!(build().outcome("COPY").unwrap().starts_with("DONE"));
    env.dockerfile("FROM scratch\nCOPY --from=src secret /\n");
    let failed = env.rbuild(&["--build-context", "src=../src", "."]).run().code(3);
    failed.says(&["\"/secret\": not found", "src/.dockerignore"]);
}

#[test]
fn each_context_counts_by_itself() {
    let env = env();
    env.write("a", "of the context");
    env.dockerfile(
        "FROM scratch AS one\nCOPY --from=src a /one\nCOPY --from=other a /other\nCOPY a /own\n\
         FROM scratch\nCOPY --from=one / /\nCOPY --from=other / /all/\nCOPY . /main/\n",
    );
    let words = ["-t", "app", "--build-context", "src=../src", "--build-context", "other=../other"];
    let build = |more: &[&str]| env.rbuild(&[&words[..], more, &["."]].concat()).run().success();
    let expected = [
        "d755 all",
        "f644 all/a: of other",
        "d755 main",
        "f644 main/Dockerfile: FROM scratch AS one\nCOPY --from=src a /one\nCOPY --from=other a /other\nCOPY a /own\n\
         FROM scratch\nCOPY --from=one / /\nCOPY --from=other / /all/\nCOPY . /main/",
        "f644 main/a: of the context",
        "f644 one: a",
        "f644 other: of other",
        "f644 own: of the context",
    ];
    for path in ["a", "Dockerfile"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(env.context().join(path), mode).unwrap();
    }
    build(&[]);
    assert_tree(&env.image("app"), &expected, "");
    build(&["--no-cache"]);
    assert_tree(&env.image("app"), &expected, "anew");
    // They change places: the same operations, and other files.
    let swapped = ["-t", "app", "--build-context", "other=../src", "--build-context", "src=../other", "."];
    env.rbuild(&swapped).run().success();
    let found = tree(&env.image("app"));
    for line in ["f644 one: of other", "f644 other: a", "f644 all/a: a", "f644 own: of the context"] {
        assert!(found.contains(&line.to_owned()), "{line} is not in {found:#?}");
    }
}

#[test]
fn one_directory_may_be_several_contexts() {
    let env = env();
    let text = "FROM scratch\nCOPY . /main/\nCOPY --from=again . /again/\nCOPY --from=alias a /alias\n";
    lay(&env.path("src"), &["Dockerfile.dockerignore 644 *\n!d", &format!("Dockerfile 644 {text}")]);
    let words = ["-t", "app", "--build-context", "again=.", "--build-context", "alias=../src", "."];
    for _ in 0..2 {
        env.rbuild(&words).directory(env.path("src")).run().success();
        let expected = [
            "d755 again",
            "f644 again/.dockerignore: secret",
            &format!("f644 again/Dockerfile: {}", text.trim_end()),
            "f644 again/Dockerfile.dockerignore: *\n!d",
            "f644 again/a: a",
            "d755 again/d",
            "f600 again/d/b: d/b",
            "l again/l -> a",
            "f644 alias: a",
            "d755 main",
            "d755 main/d",
            "f600 main/d/b: d/b",
        ];
        assert_tree(&env.image("app"), &expected, "");
    }
}

#[test]
fn steps_see_the_files_of_each_context() {
    require_busybox!();
    let env = env();
    env.busybox_image("base:1");
    env.write("a", "of the context");
    env.dockerfile(
        "FROM base:1\nRUN --mount=target=/m,source=a --mount=from=src,target=/s,source=a \
         --mount=from=other,target=/o,source=a cat /m /s /o > /out\n\
         RUN --mount=from=src,target=/s,rw ls -A /s >> /out && echo more > /s/new && stat -c %u:%g /s/a >> /out\n\
         RUN --mount=type=cache,from=other,target=/c cat /c/a >> /out; echo kept > /c/kept\n\
         RUN --mount=type=cache,from=src,target=/c,uid=5 stat -c %u:%a /c >> /out; ls /c >> /out\n",
    );
    let words = ["-t", "app", "--build-context", "src=../src", "--build-context", "other=../other", "."];
    env.rbuild(&words).run().success();
    let out = env.rbuild(&["run", "--rm", "app", "cat", "/out"]).run().success();
    out.prints("of the contextaof other.dockerignore\na\nd\nl\n0:0\nof other5:755\n");
    let again = env.rbuild(&words).run().success();
    assert!(
        again
            .steps()
            .iter()
            .filter(|(name, _)| name.contains("RUN"))
            .all(|(_, outcome)| *outcome == "CACHED")
    );
    // What a step has not seen is no matter of its key.
    std::fs::write(env.path("other/new"), "").unwrap();
    let third = env.rbuild(&words).run().success();
    assert_eq!(third.outcome("--mount=from=other"), Some("CACHED"), "{third}");
}

#[test]
fn a_stage_begins_with_a_directory() {
    require_busybox!();
    let env = env();
    env.busybox_image("base:1");
    env.dockerfile("FROM src\nENV A=b\nCOPY --from=base:1 /bin /bin\nRUN echo \"$PATH $PWD\" > /out\n");
    let build = || env.rbuild(&["-t", "app", "--build-context", "src=../src", "."]).run().success();
    build();
    let found = tree(&env.image("app"));
    for line in OF_SRC {
        assert!(found.contains(&line.to_owned()), "{line} is not in {found:#?}");
    }
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /\n";
    env.rbuild(&["run", "--rm", "app", "cat", "/out"]).run().success().prints(path);
    assert_eq!(build().outcome("FROM src"), Some("CACHED"));
    let history = env.rbuild(&["history", "app"]).run().success();
    assert!(history.stdout().contains("FROM src"), "{history}");
}

#[test]
fn a_directory_stands_for_a_stage() {
    let env = env();
    env.dockerfile(
        "FROM nowhere/at/all AS Build\nRUN false\n\nFROM build AS more\nCOPY --from=other a /more\n\n\
         FROM scratch\nCOPY --from=build a /name\nCOPY --from=0 d /number/\nCOPY --from=more / /all/\n",
    );
    let words = ["-t", "app", "--build-context", "build=../src", "--build-context", "other=../other", "."];
    let built = env.rbuild(&words).run().success();
    assert_eq!(built.outcome("RUN false"), None);
    let expected = [
        "d755 all",
        "f644 all/.dockerignore: secret",
        "f644 all/a: a",
        "d755 all/d",
        "f600 all/d/b: d/b",
        "l all/l -> a",
        "f644 all/more: of other",
        "f644 name: a",
        "d755 number",
        "f600 number/b: d/b",
    ];
    assert_tree(&env.image("app"), &expected, "");
    // And the target itself.
    env.rbuild(&["-t", "app", "--target", "build", "--build-context", "build=../other", "."]).run().success();
    assert_tree(&env.image("app"), &["f644 a: of other"], "");
}

#[test]
fn one_name_may_be_written_in_several_ways() {
    let env = env();
    for (given, written) in [
        ("alpine", "docker.io/library/alpine:latest"),
        ("docker.io/library/alpine", "alpine"),
        ("alpine:latest", "alpine"),
        ("reg.example/x:1", "reg.example/x:1"),
    ] {
        env.dockerfile(&format!("ARG FROM={written}\nFROM $FROM\nFROM scratch\nCOPY --from={written} a /\n"));
        let context = format!("{given}=../other");
        env.rbuild(&["-t", "app", "--build-context", &context, "."]).run().success();
        assert_tree(&env.image("app"), &["f644 a: of other"], given);
        env.rbuild(&["-t", "app", "--target", "0", "--build-context", &context, "."]).run().success();
        assert_tree(&env.image("app"), &["f644 a: of other"], given);
    }
    // Another tag is another image, which nobody has.
    env.dockerfile("FROM scratch\nCOPY --from=alpine:3 a /\n");
    let failed = env.rbuild(&["--build-context", "alpine=../other", "."]).run().code(5);
    failed.says(&["alpine:3"]);
    // An earlier stage goes before a context of the same name only if it has another name itself.
    env.dockerfile("FROM scratch AS x\nCOPY --from=src a /x\nFROM x\n");
    env.rbuild(&["-t", "app", "--build-context", "src=../src", "."]).run().success();
    assert_tree(&env.image("app"), &["f644 x: a"], "");
}

#[test]
fn the_last_of_one_name_counts() {
    let env = env();
    env.dockerfile("FROM scratch\nCOPY --from=x a /\n");
    let contexts = ["--build-context", "x=../src", "--build-context", "x=../other"];
    env.rbuild(&[&["-t", "app"], &contexts[..], &["."]].concat()).run().success();
    assert_tree(&env.image("app"), &["f644 a: of other"], "");
    let contexts = ["--build-context", "x=../src", "--build-context", "docker.io/library/x=../other"];
    let refused = env.rbuild(&[&contexts[..], &["."]].concat()).run().code(2);
    refused.says(&["docker.io/library/x and --build-context x name the same image"]);
}

#[test]
fn nobody_looks_at_what_nothing_uses() {
    let env = env();
    env.dockerfile("FROM scratch AS unused\nCOPY --from=late a /\nFROM scratch\nCOPY --from=src a /\n");
    let words = [
        "--build-context",
        "src=../src",
        "--build-context",
        "late=../nowhere",
        "--build-context",
        "scr=../nowhere",
        "--build-context",
        "img=docker-image://127.0.0.1:1/x",
        "--build-context",
        "url=http://127.0.0.1:1/x",
        "--build-context",
        "lay=oci-layout://../nowhere",
        "--build-context",
        "repo=https://127.0.0.1:1/x.git",
        ".",
    ];
    let built = env.rbuild(&words).run().success();
    let unused =
        |name: &str| format!("--build-context {name} was given, but nothing in the Dockerfile has that name");
    let lines = ["img", "url", "lay", "repo"].map(unused);
    let built =
        built.says(&lines.each_ref().map(|line| &**line)).says(&[&unused("scr"), "did you mean src?"]);
    built.omits(&[&unused("late"), &unused("src")]);
}

#[test]
fn an_archive_has_a_name_too() {
    let (env, server) = (env(), FileServer::start());
    let bytes = tar(&["x 600 7:8 x", "hidden", ".dockerignore 644 hidden\n.dockerignore"]);
    server.file("/files.tar", &["ETag: \"1\""], bytes);
    server.file("/plain.txt", &["ETag: \"1\""], "just a file\n");
    env.dockerfile("FROM scratch\nCOPY --from=tar . /\nCOPY --from=file . /\n");
    let (tar, file) =
        (format!("tar={}", server.url("/files.tar")), format!("file={}", server.url("/plain.txt")));
    let words = ["-t", "app", "--build-context", &tar, "--build-context", &file, "."];
    env.rbuild(&words).run().success();
    assert_tree(&env.image("app"), &["f600 plain.txt: just a file", "f600 7:8 x: x"], "");
    let mut requests = server.requests();
    requests.sort();
    assert_eq!(requests, ["GET /files.tar 200", "GET /plain.txt 200"]);
    let again = env.rbuild(&words).run().success();
    assert_eq!(again.outcome("COPY --from=tar"), Some("CACHED"));
    assert_eq!(again.outcome("COPY --from=file"), Some("CACHED"));
    assert_eq!(server.requests().len(), 2);
    let gone = format!("tar={}", server.url("/gone.tar"));
    let failed = env.rbuild(&["--build-context", &gone, "--build-context", &file, "."]).run().code(5);
    failed.says(&["--build-context tar", "404"]);
}

#[test]
fn named_contexts_go_with_contexts_from_elsewhere() {
    let env = env();
    let text = "FROM scratch\nCOPY --from=src a /named\n";
    env.rbuild(&["-t", "app", "--build-context", "src=../src", "-"]).input(text).run().success();
    assert_tree(&env.image("app"), &["f644 named: a"], "");
    let archive = tar(&[&format!("Dockerfile 644 {text}COPY a /own\n"), "a 644 1:1 archived"]);
    env.rbuild(&["-t", "app", "--build-context", "src=../src", "-"]).input(archive).run().success();
    assert_tree(&env.image("app"), &["f644 named: a", "f644 1:1 own: archived"], "");
}

#[test]
fn dumps_and_checks_know_named_contexts() {
    let env = env();
    env.dockerfile("FROM src AS one\nCOPY --from=other a /\n");
    let words = ["--build-context", "src=../src", "--build-context", "other=../other"];
    let ask = |word: &str| {
        let words = [&words[..], &[word, "."]].concat();
        env.rbuild(&words).run().success().stdout().to_owned()
    };
    assert!(ask("--dump=graph").contains("context src\n") && ask("--dump=graph").contains("context other\n"));
    assert!(ask("--dump=plan").contains("FROM src"));
    let keys = ask("--dump=keys");
    std::fs::write(env.path("other/a"), "x").unwrap();
    assert_ne!(keys, ask("--dump=keys"));
    assert!(ask("--check").contains("no warnings found") && ask("--call=targets").contains("one"));
}

#[test]
fn directories_that_are_none_are_told() {
    let env = env();
    env.write("file", "").dockerfile("FROM scratch\nCOPY --from=src a /\n");
    let failed = |value: &str, says: &[&str]| {
        let context = format!("src={value}");
        drop(env.rbuild(&["--build-context", &context, "."]).run().code(3).says(says));
    };
    failed("../sorce", &["--build-context src", "../sorce does not exist"]);
    failed("file", &["--build-context src", "file is not a directory"]);
    std::fs::write(env.path("other/.dockerignore"), "[\n").unwrap();
    failed("../other", &["--build-context src", "malformed pattern"]);
}

#[test]
fn values_that_mean_nothing_are_refused_by_name() {
    let env = env();
    env.dockerfile("FROM scratch\n");
    for (value, says) in [
        ("src", "has no name: write NAME=VALUE"),
        ("=x", "has no name"),
        ("src=", "the context src has no value"),
        ("src=-", "standard input can only be the context itself"),
        ("scratch=../src", "no context can be called scratch"),
        ("context=../src", "no context can be called context"),
        ("Src=../src", "cannot name a context"),
        ("a=docker-imag://x", "did you mean docker-image://?"),
        ("a=docker-image://X", "docker-image://X"),
        ("a=docker-image://", "docker-image://"),
        ("a=oci-layout://", "oci-layout://DIRECTORY[:TAG][@DIGEST]"),
        ("a=oci-layout://x@sha256:1", "oci-layout://x@sha256:1"),
        ("a=target:b", "only bake knows other targets"),
        ("a=input:b", "only bake knows other targets"),
    ] {
        env.rbuild(&["--build-context", value, "."]).run().code(2).says(&[says]);
    }
    let twice = ["--build-context", "a=../src", "--build-context", "docker.io/library/a=../other", "."];
    env.rbuild(&twice).run().code(2).says(&["docker.io/library/a and --build-context a name the same image"]);
}
