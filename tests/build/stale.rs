//! What must not be taken for cached: each of these once was.

use crate::support::{TestEnv, require_busybox, started};

const NONCE: &str = "cat /proc/sys/kernel/random/uuid > /nonce";

fn same(env: &TestEnv, tag: &str, one: &str, other: &str) {
    env.rbuild(&["run", "--rm", tag, "busybox", "cmp", one, other]).run().success();
}

#[test]
fn a_context_that_changes_during_a_build_spoils_no_later_one() {
    require_busybox!();
    for (file, path) in [
        ("COPY f /f\n", "f"),
        ("COPY d /d\n", "d/f"),
        ("RUN --mount=source=d,target=/m cat /m/f > /g\n", "d/f"),
    ] {
        let env = TestEnv::new();
        env.busybox_image("base:1");
        env.write("f", "old").write("d/f", "old");
        env.dockerfile(&format!("FROM base:1\nRUN echo begun; sleep 1\n{file}"));
        let build = started(env.rbuild(&["-t", "first", "."]), "begun");
        env.write(path, "new");
        assert!(build.wait_with_output().unwrap().status.success());
        env.write(path, "old");
        let built = env.rbuild(&["-t", "second", "."]).run().success();
        assert!(!built.stderr().contains("have changed during"), "{built}");
        let place = if file.starts_with("RUN") { "/g" } else { &*format!("/{path}") };
        env.rbuild(&["run", "--rm", "second", "cat", place]).run().success().prints("old");
    }
}

#[test]
fn what_lies_below_counts_though_the_uppermost_layer_is_the_same() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("f", "f");
    for middle in ["COPY --link f /f\n", "RUN true\n"] {
        env.dockerfile(&format!(
            "FROM base:1 AS a0\nRUN {NONCE}\nFROM a0 AS a\n{middle}RUN cat /nonce > /copy\n\
             FROM a\nCOPY --from=a /nonce /one\nRUN --mount=from=a,target=/m cat /m/nonce > /two\n"
        ));
        env.rbuild(&["-t", "m", "."]).run().success();
        for again in [&["--no-cache", "--target", "a0", "."] as &[&str], &["--no-cache-filter", "a0", "."]] {
            env.rbuild(again).run().success();
            env.rbuild(&["-t", "m", "."]).run().success();
            for copy in ["/copy", "/one", "/two"] {
                same(&env, "m", "/nonce", copy);
            }
        }
    }
}

#[test]
fn which_source_goes_where_counts() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("a/f", "A").write("b/f", "B").write("d/a/f", "A").write("d/b/f", "B");
    for (one, other, expected) in [
        ("COPY a/f b/f /out/\n", "COPY b/f a/f /out/\n", ["B", "A"]),
        ("COPY d d/a/f /out/\n", "COPY d d/b/f /out/\n", ["A", "B"]),
        (
            "RUN --mount=source=a,target=/x --mount=source=b,target=/y mkdir /out; cat /x/f > /out/f\n",
            "RUN --mount=source=b,target=/x --mount=source=a,target=/y mkdir /out; cat /x/f > /out/f\n",
            ["A", "B"],
        ),
        (
            "RUN --mount=target=/ctx --mount=source=a,target=/m mkdir /out; cat /m/f > /out/f\n",
            "RUN --mount=target=/ctx --mount=source=b,target=/m mkdir /out; cat /m/f > /out/f\n",
            ["A", "B"],
        ),
    ] {
        for (file, expected) in [one, other].iter().zip(expected) {
            env.dockerfile(&format!("FROM base:1\n{file}"));
            env.rbuild(&["-t", "app", "."]).run().success();
            env.rbuild(&["run", "--rm", "app", "cat", "/out/f"]).run().success().prints(expected);
        }
    }
}

#[test]
fn a_cache_from_elsewhere_is_not_mixed_with_what_was_made_here() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile(&format!(
        "FROM base:1 AS a\nRUN {NONCE}\nFROM a AS b\nRUN cat /nonce > /copy\n\
         FROM base:1\nCOPY --from=a /nonce /n\nCOPY --from=b /copy /c\n"
    ));
    let cache = env.path("cache");
    let theirs = env.path("theirs");
    let base = env.path("base.tar");
    env.rbuild(&["save", "-q", "-o", base.to_str().unwrap(), "base:1"]).run().success();
    let elsewhere = |arguments: &[&str]| env.rbuild(arguments).env("RBUILD_ROOT", &theirs).run().success();
    elsewhere(&["load", "-q", "-i", base.to_str().unwrap()]);
    elsewhere(&["--cache-to", &format!("type=local,mode=max,dest={}", cache.display()), "."]);
    // One step is made here, and the rest is there.
    env.rbuild(&["--target", "a", "."]).run().success();
    let from = format!("type=local,src={}", cache.display());
    env.rbuild(&["-t", "mixed", "--cache-from", &from, "."]).run().success();
    for arguments in [&["--no-cache-filter", "a"] as &[&str], &[]] {
        env.rbuild(arguments).arguments(&["-t", "again", "."]).run().success();
        same(&env, "again", "/n", "/c");
    }
}
