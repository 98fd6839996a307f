//! What is not done again.

use crate::support::{TestEnv, require_busybox};

#[test]
fn an_unchanged_build_is_cached_whole() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("a.txt", "a").dockerfile("FROM base:1\nWORKDIR /w\nCOPY a.txt .\nRUN cat a.txt > b.txt\n");
    env.rbuild(&["-t", "app:1", "."]).run().success();
    let again = env.rbuild(&["-t", "app:2", "."]).run().success();
    for step in ["WORKDIR /w", "COPY a.txt .", "RUN cat a.txt"] {
        assert_eq!(again.outcome(step), Some("CACHED"), "{step}\n{again}");
    }
}

#[test]
fn a_touched_file_is_the_same_file() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("a.txt", "a").dockerfile("FROM base:1\nCOPY a.txt /\n");
    env.rbuild(&["."]).run().success();
    env.program("touch", &["-d", "2001-01-01", "a.txt"]).run().success();
    let again = env.rbuild(&["."]).run().success();
    assert_eq!(again.outcome("COPY a.txt"), Some("CACHED"), "{again}");
}

#[test]
fn a_changed_file_redoes_its_copy_and_what_follows_only() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("a.txt", "a").write("b.txt", "b");
    env.dockerfile("FROM base:1\nCOPY a.txt /\nCOPY b.txt /\nRUN cat /a.txt /b.txt > /c.txt\n");
    env.rbuild(&["."]).run().success();
    env.write("b.txt", "changed");
    let again = env.rbuild(&["-t", "app", "."]).run().success();
    assert_eq!(again.outcome("COPY a.txt"), Some("CACHED"), "{again}");
    for step in ["COPY b.txt", "RUN cat"] {
        assert!(again.outcome(step).is_some_and(|outcome| outcome.starts_with("DONE")), "{step}\n{again}");
    }
    env.rbuild(&["run", "--rm", "app", "cat", "/c.txt"]).run().success().prints("achanged");
}

#[test]
fn no_cache_does_every_step_again() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN echo again\n");
    env.rbuild(&["."]).run().success();
    let again = env.rbuild(&["--no-cache", "."]).run().success();
    assert!(again.outcome("RUN echo again").is_some_and(|outcome| outcome.starts_with("DONE")), "{again}");
}
