//! A step that fails: what the user is told, and what is left.

use crate::support::{TestEnv, require_busybox};

#[test]
fn a_failing_run_shows_its_line_and_its_last_output() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\n\nRUN echo fine\nRUN echo the reason; exit 7\nRUN echo never\n");
    let failed = env.rbuild(&["-t", "app:1", "."]).run().code(1);
    let failed = failed.says(&["Dockerfile:4", "the reason", "exit code: 7"]).prints("").omits(&["#never"]);
    let marked: Vec<_> = failed.stderr().lines().filter(|line| line.contains(">>>")).collect();
    assert_eq!(marked.len(), 1, "{failed}");
    assert!(marked[0].contains("RUN echo the reason; exit 7"), "{failed}");
    assert!(
        failed.outcome("RUN echo the reason").is_some_and(|outcome| outcome.starts_with("ERROR")),
        "{failed}"
    );
    assert_eq!(failed.outcome("RUN echo never").unwrap_or_default(), "", "{failed}");
    env.has_no_leftovers();
    env.rbuild(&["run", "--rm", "app:1"]).run().code(125);
}

#[test]
fn a_wrapped_instruction_is_marked_on_all_its_lines() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN true && \\\n    false\n");
    let failed = env.rbuild(&["."]).run().code(1);
    let marked = failed.stderr().lines().filter(|line| line.contains(">>>")).count();
    assert_eq!(marked, 2, "{failed}");
}

#[test]
fn what_was_done_before_the_failure_is_kept() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN echo first > /first\nRUN test -e /second\n");
    env.rbuild(&["."]).run().code(1);
    let again = env.rbuild(&["."]).run().code(1);
    assert_eq!(again.outcome("RUN echo first"), Some("CACHED"), "{again}");
}

#[test]
fn a_missing_program_is_a_failed_step() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN [\"/no/such/program\"]\n");
    env.rbuild(&["."]).run().code(1).says(&["/no/such/program", "Dockerfile:2"]);
}
