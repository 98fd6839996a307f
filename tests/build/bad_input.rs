//! What is wrong with the input or the machine is said clearly, by exit code, and leaves nothing behind.

use std::fs;

use crate::support::{TestEnv, binary, is_root, require_busybox, skip};

#[test]
fn a_missing_dockerfile_is_named() {
    let env = TestEnv::new();
    env.rbuild(&["."]).run().code(3).says(&["Dockerfile"]).prints("");
    env.rbuild(&["-f", "other.Dockerfile", "."]).run().code(3).says(&["other.Dockerfile"]);
    env.has_no_leftovers();
}

#[test]
fn a_missing_context_is_named() {
    let env = TestEnv::new();
    env.rbuild(&["no/such/context"]).run().code(3).says(&["build context no/such/context does not exist"]);
    env.write("file", "");
    env.rbuild(&["file"]).run().code(3).says(&["build context file is not a directory"]);
}

#[test]
fn what_stands_where_a_dockerfile_should_is_told() {
    let env = TestEnv::new();
    fs::create_dir(env.context().join("Dockerfile")).unwrap();
    env.rbuild(&["."]).run().code(3).says(&["Dockerfile is a directory, and no regular file"]);
    std::os::unix::fs::symlink("nowhere", env.context().join("link")).unwrap();
    env.rbuild(&["-f", "link", "."]).run().code(3).says(&["link is a link to nowhere, which is not there"]);
}

#[test]
fn a_source_that_links_to_nowhere_is_told() {
    let env = TestEnv::new();
    std::os::unix::fs::symlink("nowhere", env.context().join("dang")).unwrap();
    for source in ["dang", "dang/below"] {
        env.dockerfile(&format!("FROM scratch\nCOPY {source} /x\n"));
        let failed = env.rbuild(&["."]).run().code(3);
        failed.says(&["\"/dang\" links to nowhere: not found"]).omits(&["there is /dang"]);
    }
    // One that is ignored is as one that is not there.
    env.write(".dockerignore", "dang\n");
    env.rbuild(&["."]).run().code(3).says(&["\"/dang/below\": not found"]).omits(&["links to"]);
}

#[test]
fn an_ignore_file_that_is_no_file_is_told() {
    let env = TestEnv::new();
    env.write("a", "").dockerfile("FROM scratch\nCOPY a /\n");
    let own = env.context().join("Dockerfile.dockerignore");
    for path in [env.context().join(".dockerignore"), own] {
        fs::create_dir(&path).unwrap();
        let failed = env.rbuild(&["."]).run().code(3);
        failed.says(&["dockerignore: it is a directory, and no regular file"]).omits(&["os error"]);
        fs::remove_dir(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let failed = env.rbuild(&["."]).run().code(3);
        failed.says(&["dockerignore: it is a pipe, and no regular file"]).omits(&["os error"]);
        fs::remove_file(&path).unwrap();
    }
    // Who gives nothing at all wants nothing to be ignored.
    std::os::unix::fs::symlink("/dev/null", env.context().join("Dockerfile.dockerignore")).unwrap();
    env.rbuild(&["."]).run().success();
}

#[test]
fn an_empty_platform_is_told() {
    let env = TestEnv::new();
    env.dockerfile("FROM --platform=\"\" scratch\n");
    env.rbuild(&["."]).run().code(3).says(&["the value of --platform is empty"]);
}

#[test]
fn what_has_no_end_is_shown_in_part() {
    let env = TestEnv::new();
    env.dockerfile(&format!("FROM scratch\n{} a\n", "X".repeat(70_000)));
    let failed = env.rbuild(&["."]).run().code(3).says(&["Dockerfile:2:1", "XXX…", "^^^"]);
    assert!(failed.stderr().len() < 3000, "{failed}");
    env.dockerfile(&format!("FROM scratch\nCOPY {} /\n", "y".repeat(3000)));
    let failed = env.rbuild(&["."]).run().code(3);
    assert!(
        failed.stderr().lines().filter(|line| !line.starts_with('#')).all(|line| line.len() < 1000),
        "{failed}"
    );
}

#[test]
fn a_missing_copy_source_is_named_with_its_line() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\nCOPY missing.txt /\n");
    env.rbuild(&["."]).run().code(3).says(&["missing.txt", "Dockerfile:2", ">>>"]);
    env.has_no_leftovers();
}

#[test]
fn an_unknown_instruction_suggests_the_nearest() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\n\nCOYP a /\n");
    env.rbuild(&["."]).run().code(3).says(&["COYP", "did you mean", "COPY", "Dockerfile:3:1", "^^^^"]);
}

#[test]
fn what_is_wrong_between_instructions_is_said_beside_what_cannot_be_read() {
    let env = TestEnv::new();
    env.dockerfile("FROM 127.0.0.1:1/base:1 AS one\nCOYP a /\nFROM scratch\nCOPY --from=7 a /\nLABEL\n");
    env.rbuild(&["."]).run().code(3).says(&[
        "Dockerfile:2:1",
        "Dockerfile:4:13: invalid stage index 7",
        "Dockerfile:5:1",
        "3 errors",
    ]);
    // Of a stage whose FROM cannot be read, nobody knows what is missing.
    env.dockerfile("FORM 127.0.0.1:1/base:1 AS one\nFROM scratch\nCOPY --from=7 a /\n");
    let refused = env.rbuild(&["."]).run().code(3).says(&["FORM"]);
    assert!(!refused.stderr().contains("invalid stage index"), "{refused}");
    env.has_no_leftovers();
}

#[test]
fn an_empty_dockerfile_is_refused() {
    let env = TestEnv::new();
    env.dockerfile("# only a comment\n");
    env.rbuild(&["."]).run().code(3);
}

#[test]
fn an_unknown_stage_is_refused_before_anything_runs() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch AS only\n");
    env.rbuild(&["--target", "onyl", "."]).run().code(3).says(&["onyl"]);
}

#[test]
fn an_unreachable_registry_is_a_registry_error() {
    let env = TestEnv::new();
    env.dockerfile("FROM 127.0.0.1:1/base:1\n");
    env.rbuild(&["."]).run().code(5).says(&["127.0.0.1:1"]);
    env.write("a.txt", "a").dockerfile("FROM scratch\nCOPY a.txt /\n");
    env.rbuild(&["-t", "127.0.0.1:1/app:1", "--push", "."]).run().code(5).says(&["127.0.0.1:1"]);
    env.has_no_leftovers();
}

#[test]
fn a_push_without_a_tag_is_a_usage_error() {
    let env = TestEnv::new();
    env.write("a.txt", "a").dockerfile("FROM scratch\nCOPY a.txt /\n");
    env.rbuild(&["--push", "."]).run().code(2).says(&["--tag"]);
}

#[test]
fn a_store_that_cannot_be_is_a_store_error() {
    let env = TestEnv::new();
    env.write("a.txt", "a").dockerfile("FROM scratch\nCOPY a.txt /\n");
    let store = env.path("home/file/store");
    fs::write(env.path("home/file"), "no directory").unwrap();
    env.rbuild(&["."]).env("RBUILD_ROOT", &store).run().code(6).says(&["home/file"]);
    env.rbuild(&["--root", store.to_str().unwrap(), "."]).run().code(6).says(&["home/file"]);
}

#[test]
fn an_unwritable_store_is_a_store_error() {
    if is_root() {
        skip!("root may write everywhere");
    }
    let env = TestEnv::new();
    env.write("a.txt", "a").dockerfile("FROM scratch\nCOPY a.txt /\n");
    // Its own directory without the write bit would stop nobody: the namespace's root may write to all that its user owns.
    env.rbuild(&["."])
        .env("RBUILD_ROOT", "/usr/rbuild-test-store")
        .run()
        .code(6)
        .says(&["/usr/rbuild-test-store"]);
}

#[test]
fn wrong_usage_is_told_apart_from_wrong_input() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\n");
    env.rbuild(&["--no-such-flag", "."]).run().code(2).says(&["--no-such-flag"]);
    env.rbuild(&["-t", "UPPER/case", "."]).run().code(2).says(&["UPPER/case"]);
    env.rbuild(&["--progress", "loud", "."]).run().code(2).says(&["loud"]);
    env.rbuild(&["--platform", "plan9/vax", "."]).run().code(2).says(&["plan9/vax"]);
    env.rbuild(&["run", "--rm"]).run().code(2);
}

#[test]
fn a_host_that_cannot_isolate_is_told_what_would_help() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN true\n");
    // A namespace that may have no further ones, and root in it without any capability.
    let close = "echo 0 >/proc/sys/user/max_user_namespaces && \
        exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs \"$@\"";
    let closed = ["--user", "--map-root-user", "sh", "-c", close, "sh"];
    let world = |command: &[&str]| env.program("unshare", &[&closed[..], command].concat()).run();
    if !world(&["id", "-u"]).succeeded() {
        skip!("no user namespace can be made here to close the door of");
    }
    let rbuild = binary();
    let rbuild = rbuild.to_str().unwrap();
    world(&[rbuild, "."]).code(4).says(&["user.max_user_namespaces"]);
    world(&[rbuild, "run", "--rm", "base:1", "true"]).code(125).says(&["user.max_user_namespaces"]);
    env.has_no_leftovers();
}
