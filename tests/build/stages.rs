//! Which stages are built, when, and on what.

use crate::support::{TestEnv, require_busybox};

#[test]
fn independent_stages_run_at_the_same_time() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile(
        "FROM base:1 AS left\nRUN sleep 1; echo left > /l\n\
         FROM base:1 AS right\nRUN sleep 1; echo right > /r\n\
         FROM scratch\nCOPY --from=left /l /\nCOPY --from=right /r /\n",
    );
    let built = env.rbuild(&["."]).run().success();
    // Order rather than time: both have begun before either is over, however slow the machine.
    let lines: Vec<_> = built.stderr().lines().collect();
    let number =
        |text: &str| lines.iter().find(|line| line.contains(text)).and_then(|line| line.split(' ').next());
    let (left, right) = (number("echo left").unwrap(), number("echo right").unwrap());
    let begin = |step: &str| lines.iter().position(|line| line.starts_with(&format!("{step} ["))).unwrap();
    let end = |step: &str| lines.iter().position(|line| line.starts_with(&format!("{step} DONE"))).unwrap();
    assert!(begin(left).max(begin(right)) < end(left).min(end(right)), "{built}");
}

#[test]
fn a_stage_that_nothing_needs_is_not_built() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile(
        "FROM base:1 AS lost\nRUN exit 1\nFROM no-such-image:1 AS lost2\nFROM base:1\nRUN echo reached\n",
    );
    env.rbuild(&["."]).run().success().says(&["reached"]).omits(&["no-such-image", "exit 1"]);
}

#[test]
fn a_local_tag_is_a_base_without_any_registry() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base");
    env.dockerfile("FROM base\nRUN echo on the local base\n");
    env.rbuild(&["-t", "next", "."]).run().success().says(&["on the local base"]);
    env.dockerfile("FROM next:latest\nRUN echo on the next\n");
    env.rbuild(&["."]).run().success().says(&["on the next"]);
}

#[test]
fn a_stage_builds_on_an_earlier_one() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile(
        "ARG WORD=global\nFROM base:1 AS one\nENV A=1\nRUN echo one > /one\n\
         FROM one AS two\nARG WORD\nRUN echo $A $WORD $(cat /one) > /two\nCMD cat /two\n",
    );
    env.rbuild(&["-t", "app", "."]).run().success();
    env.rbuild(&["run", "--rm", "app"]).run().success().prints("1 global one\n");
}

#[test]
fn a_run_sees_a_clean_world() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    // The host's environment and standard input stay outside; names resolve through files that no layer keeps.
    env.dockerfile("FROM base:1\nRUN test -z \"$SECRET\" && ! read line && test -s /etc/hosts && test -e /etc/resolv.conf\n");
    env.rbuild(&["-t", "app", "."]).env("SECRET", "x").input("typed\n").run().success();
}
