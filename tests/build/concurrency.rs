//! Several builds in one store at the same time.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::support::{TestEnv, require_busybox, started};

#[test]
fn two_builds_at_the_same_time_share_their_steps() {
    require_busybox!();
    builds_share_their_steps(2);
}

#[test]
fn eight_builds_at_the_same_time_share_their_steps() {
    require_busybox!();
    builds_share_their_steps(8);
}

fn builds_share_their_steps(count: usize) {
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("a.txt", "a");
    env.dockerfile(
        "FROM base:1 AS first\nCOPY a.txt /\nRUN sleep 0.3; echo first > /b.txt\n\
         FROM base:1\nCOPY --from=first /b.txt /\nRUN sleep 0.3; echo second > /c.txt\n",
    );
    let finished: Vec<_> = thread::scope(|scope| {
        let build = |number| {
            let tag = format!("app:{number}");
            let rbuild = env.rbuild(&["-t", &tag, "."]);
            scope.spawn(move || rbuild.run().success())
        };
        let builds: Vec<_> = (0..count).map(build).collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    for step in ["COPY a.txt", "RUN sleep 0.3; echo first", "COPY --from=first", "RUN sleep 0.3; echo second"]
    {
        let done = finished
            .iter()
            .filter(|built| !built.outcome(step).is_some_and(|outcome| outcome.starts_with("CACHED")))
            .count();
        assert_eq!(done, 1, "{step} was executed {done} times\n{}", finished[0]);
    }
    let id = |text: &str| text.lines().find(|line| line.starts_with("image ")).map(str::to_owned);
    let ids: Vec<_> = finished.iter().map(|built| id(built.stderr())).collect();
    assert!(ids[0].is_some() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    env.has_no_leftovers();
    assert_eq!(fs::read_dir(env.store().join("locks")).unwrap().count(), 0, "a lock outlived its holder");
    env.rbuild(&["run", "--rm", "app:0", "cat", "/b.txt", "/c.txt"])
        .run()
        .success()
        .prints("first\nsecond\n");
}

#[test]
fn a_build_without_cache_does_not_wait_for_another() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN sleep 0.5; echo made > /a.txt\n");
    let builds: Vec<_> = thread::scope(|scope| {
        let build = |_| {
            let rbuild = env.rbuild(&["--no-cache", "."]);
            scope.spawn(move || rbuild.run().success())
        };
        let builds: Vec<_> = (0..3).map(build).collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    for built in &builds {
        let outcome = built.outcome("RUN sleep").unwrap_or_default();
        assert!(outcome.starts_with("DONE"), "{outcome}\n{built}");
    }
    env.has_no_leftovers();
}

#[test]
fn who_waits_takes_over_from_a_build_that_is_killed() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN echo begun; sleep 1; echo made > /made\n");
    let mut first = started(env.rbuild(&["."]), "begun");
    let second = started(env.rbuild(&["-t", "app", "."]), "waiting for another build that makes this step");
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(second.wait_with_output().unwrap().status.success());
    env.rbuild(&["run", "--rm", "app", "cat", "/made"]).run().success().prints("made\n");
    let again = env.rbuild(&["."]).run().success();
    assert_eq!(again.outcome("RUN echo begun"), Some("CACHED"), "{again}");
}

#[test]
fn who_waits_can_be_interrupted() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN echo begun; sleep 60\n");
    let mut first = started(env.rbuild(&["."]), "begun");
    let mut second = started(env.rbuild(&["."]), "waiting for another build that makes this step");
    let pid = rustix::process::Pid::from_child(&second);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(130));
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_store_is_made_by_whoever_comes_first() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\nENV A=b\n");
    let store = env.path("home/new/store");
    thread::scope(|scope| {
        for _ in 0..6 {
            let rbuild = env.rbuild(&["-t", "app", "."]).env("RBUILD_ROOT", &store);
            scope.spawn(move || rbuild.run().success());
        }
    });
}

/// Each of the copies has the result of another stage to read that is being copied just then, in the same way.
#[test]
fn stages_that_are_alike_do_not_wait_for_each_other() {
    let env = TestEnv::new();
    env.write("a.txt", "a");
    env.write("b.txt", "b");
    env.dockerfile(
        "FROM scratch AS a\nCOPY a.txt /f\nFROM scratch AS b\nCOPY b.txt /f\n\
         FROM scratch AS first\nCOPY --from=a /f /f\nFROM scratch AS second\nCOPY --from=b /f /f\n\
         FROM first\nCOPY --from=second /f /g\n",
    );
    for (count, outcome) in [(1, "DONE"), (2, "CACHED")] {
        let built = env.rbuild(&["."]).limit(Duration::from_secs(20)).run().success();
        assert!(!built.stderr().contains("waiting for"), "there is no other build\n{built}");
        let copies = ["COPY --from=a", "COPY --from=b", "COPY --from=second"].map(|step| built.outcome(step));
        assert!(copies.iter().flatten().all(|is| is.starts_with(outcome)), "{count}: {built}");
    }
}

/// What they are upon is large and hashed late, so all that follows is made before anything is known to be the same.
#[test]
fn stages_that_turn_out_to_be_the_same_are_found_by_the_next_build() {
    let env = TestEnv::new();
    for name in ["a.txt", "b.txt", "c.txt"] {
        env.write(name, "the same");
    }
    env.write("large", &"x".repeat(16 << 20));
    env.dockerfile(
        "FROM scratch AS a\nCOPY a.txt /f\nFROM scratch AS b\nCOPY b.txt /f\nFROM scratch AS base\nCOPY large /\n\
         FROM base AS first\nCOPY --from=a /f /f\nCOPY c.txt /c\nFROM base AS second\nCOPY --from=b /f /f\nCOPY c.txt /d\n\
         FROM scratch\nCOPY --from=first / /first\nCOPY --from=second / /second\n",
    );
    let limit = Duration::from_secs(60);
    let id = |text: &str| text.lines().find(|line| line.starts_with("image ")).map(str::to_owned);
    let first = env.rbuild(&["."]).limit(limit).run().success();
    let again = env.rbuild(&["."]).limit(limit).run().success();
    for step in ["COPY --from=a", "COPY --from=b", "COPY c.txt /c", "COPY c.txt /d", "COPY --from=second"] {
        assert_eq!(again.outcome(step), Some("CACHED"), "{step}\n{again}");
    }
    assert_eq!(id(first.stderr()), id(again.stderr()));
}
