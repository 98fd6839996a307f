//! Processes that are killed, interrupted or left behind: the store stays whole, and nothing runs on.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{TestEnv, is_gone, mark, processes, require_busybox, started};

#[test]
fn a_build_that_is_killed_at_any_moment_does_no_harm() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("a.txt", &"content\n".repeat(100_000));
    env.dockerfile(
        "FROM base:1 AS first\nCOPY a.txt /\nRUN cp /a.txt /b.txt\nFROM base:1\nWORKDIR /w\n\
         COPY --from=first /b.txt .\nRUN echo last > c.txt\n",
    );
    for milliseconds in [1, 2, 3, 5, 7, 10, 13, 17, 22, 30, 40, 60] {
        let mut build = env.rbuild(&["--no-cache", "-t", "app", "."]).into_command();
        let mut build = build.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        build.kill().unwrap();
        build.wait().unwrap();
    }
    env.rbuild(&["-t", "app", "."]).run().success();
    let check = "cat c.txt; wc -c < b.txt";
    env.rbuild(&["run", "--rm", "app", "sh", "-c", check]).run().success().prints("last\n800000\n");
}

#[test]
fn an_interrupted_build_ends_at_once_and_its_steps_with_it() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let mark = mark(1);
    // Deaf to what a terminal sends, and with a child of its own.
    env.dockerfile(&format!(
        "FROM base:1\nRUN trap '' INT TERM HUP; sleep {mark} & echo begun; sleep {mark}\n"
    ));
    for signal in [Signal::INT, Signal::TERM] {
        let mut build = started(env.rbuild(&["."]), "begun");
        let asked = Instant::now();
        kill_process(Pid::from_child(&build), signal).unwrap();
        assert_eq!(build.wait().unwrap().code(), Some(130));
        assert!(asked.elapsed() < Duration::from_secs(3), "it took {:?}", asked.elapsed());
        is_gone(&mark);
        env.has_no_leftovers();
    }
}

#[test]
fn an_interrupted_step_that_writes_leaves_nothing() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let mark = mark(5);
    env.dockerfile(&format!(
        "FROM base:1\nRUN trap '' INT TERM; sleep {mark} & echo begun; \
         i=0; while :; do i=$(((i+1)%50)); mkdir -p /d$i; echo x >> /d$i/x; done\n"
    ));
    for _ in 0..3 {
        let mut build = started(env.rbuild(&["."]), "begun");
        std::thread::sleep(Duration::from_millis(300));
        kill_process(Pid::from_child(&build), Signal::INT).unwrap();
        assert_eq!(build.wait().unwrap().code(), Some(130));
        // Not soon: when the command is over, so is all of it.
        assert_eq!(processes(&mark), 0);
        env.has_no_leftovers();
    }
}

#[test]
fn a_container_that_is_asked_three_times_leaves_nothing() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let mark = mark(6);
    let script = format!("trap '' INT TERM; sleep {mark} & echo begun >&2; while :; do echo x >> /x; done");
    let mut run = started(env.rbuild(&["run", "--rm", "base:1", "sh", "-c", &script]), "begun");
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(100));
        kill_process(Pid::from_child(&run), Signal::TERM).unwrap();
    }
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(processes(&mark), 0);
    env.has_no_leftovers();
}

#[test]
fn a_step_dies_with_a_build_that_is_killed() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let mark = mark(2);
    env.dockerfile(&format!("FROM base:1\nRUN sleep {mark} & echo begun; sleep {mark}\n"));
    let mut build = started(env.rbuild(&["."]), "begun");
    build.kill().unwrap();
    build.wait().unwrap();
    is_gone(&mark);
}

#[test]
fn a_container_dies_with_the_run_that_is_killed() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let mark = mark(3);
    let script = format!("sleep {mark} & echo begun >&2; sleep {mark}");
    let mut run = started(env.rbuild(&["run", "--rm", "base:1", "sh", "-c", &script]), "begun");
    run.kill().unwrap();
    run.wait().unwrap();
    is_gone(&mark);
}

#[test]
fn what_a_step_leaves_running_ends_with_it() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let mark = mark(4);
    env.dockerfile(&format!("FROM base:1\nRUN sleep {mark} & setsid sleep {mark} & echo done\n"));
    let built = env.rbuild(&["."]).run().success();
    assert!(built.took() < Duration::from_secs(10), "{built}");
    is_gone(&mark);
}
