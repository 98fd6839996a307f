//! What of mounts decides whether a step is done again.

use crate::support::{TestEnv, require_busybox};

fn world(dockerfile: &str) -> TestEnv {
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("src/a", "a").write("src/b", "b").write("other", "o");
    env.dockerfile(dockerfile);
    env
}

#[track_caller]
fn is(env: &TestEnv, arguments: &[&str], step: &str, cached: bool) {
    let built = env.rbuild(&["."]).arguments(arguments).env("VALUE", "v").run().success();
    assert_eq!(built.outcome(step) == Some("CACHED"), cached, "{built}");
}

#[test]
fn only_what_is_mounted_counts() {
    require_busybox!();
    let env = world("FROM base:1\nRUN --mount=source=src,target=/s cat /s/a\n");
    is(&env, &[], "RUN --mount", false);
    env.write("other", "changed").write("src-not", "new");
    is(&env, &[], "RUN --mount", true);
    env.program("touch", &["-d", "2001-01-01", "src/a"]).run().success();
    is(&env, &[], "RUN --mount", true);
    env.write("src/a", "changed");
    is(&env, &[], "RUN --mount", false);
    env.write("src/new", "new");
    is(&env, &[], "RUN --mount", false);
    // As it was before that file was there.
    env.write(".dockerignore", "src/new\n");
    is(&env, &[], "RUN --mount", true);
    env.program("chmod", &["600", "src/b"]).run().success();
    is(&env, &[], "RUN --mount", false);
    is(&env, &[], "RUN --mount", true);
}

#[test]
fn a_stage_that_makes_the_same_is_the_same() {
    require_busybox!();
    let text = |command: &str, extra: &str| {
        format!(
            "FROM base:1 AS made\nRUN {command} && mkdir /m && echo x > /m/f && touch -d 2001-01-01 /m/f /m\n{extra}\
             FROM base:1\nRUN --mount=from=made,source=/m,target=/m cat /m/f\n"
        )
    };
    let env = world(&text("true", ""));
    is(&env, &[], "RUN --mount", false);
    env.dockerfile(&text("echo beside > /beside", ""));
    is(&env, &[], "RUN --mount", true);
    env.dockerfile(&text("echo beside > /beside", "RUN echo y > /m/f\n"));
    is(&env, &[], "RUN --mount", false);
}

#[test]
fn secrets_and_caches_do_not_count_and_how_they_are_mounted_does() {
    require_busybox!();
    let text = |mount: &str| format!("FROM base:1\nRUN --mount={mount} echo done\n");
    let env = world(&text("type=secret,id=s"));
    is(&env, &["--secret", "id=s,env=VALUE"], "RUN --mount", false);
    is(&env, &["--secret", "id=s,src=other"], "RUN --mount", true);
    is(&env, &[], "RUN --mount", true);
    for other in [
        "type=secret,id=t",
        "type=secret,id=s,target=/s",
        "type=secret,id=s,mode=0444",
        "type=secret,id=s,env=S",
    ] {
        env.dockerfile(&text(other));
        is(&env, &[], "RUN --mount", false);
    }
    env.dockerfile(&text("type=cache,target=/c"));
    is(&env, &[], "RUN --mount", false);
    env.rbuild(&["cache", "rm", "--all"]).run().success();
    is(&env, &[], "RUN --mount", true);
    env.dockerfile(&text("type=cache,target=/c,sharing=locked"));
    is(&env, &[], "RUN --mount", false);
    // Which cache it is decides about nothing, unless it is the one that goes without saying.
    env.dockerfile(&text("type=cache,target=/c,id=other"));
    is(&env, &[], "RUN --mount", true);
    env.dockerfile(&text("type=tmpfs,target=/c"));
    is(&env, &[], "RUN --mount", false);
    env.dockerfile(&text("type=tmpfs,target=/c,size=1m"));
    is(&env, &[], "RUN --mount", false);
}
