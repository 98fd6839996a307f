//! As in a container that covers parts of /proc: in namespaces below it nobody may mount a fresh one.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::best_rung;
use crate::support::{BaseImage, Rbuild, TestEnv, binary, is_gone, mark, started};

/// rbuild below a /proc of which something is covered.
fn covered(env: &TestEnv, arguments: &[&str]) -> Rbuild {
    within(env, "exec setpriv --inh-caps=-all --bounding-set=-sys_admin \"$0\" \"$@\"", arguments)
}

/// The same as root of a namespace below, which may mount anything but that.
fn covered_as_root(env: &TestEnv, arguments: &[&str]) -> Rbuild {
    let enter = "exec setpriv --inh-caps=-all --bounding-set=-sys_admin \"$0\" unshare \"$0\" \"$@\"";
    within(env, enter, arguments)
}

fn within(env: &TestEnv, then: &str, arguments: &[&str]) -> Rbuild {
    let cover = format!("mount --bind /dev/null /proc/timer_list && {then}");
    let binary = binary();
    let namespaces: &[&str] = match best_rung() {
        "root" => &["-m"],
        "range" => &["-m", "--map-auto", "--map-root-user"],
        _ => &["-m", "--map-root-user"],
    };
    let script = ["sh", "-c", &cover, binary.to_str().unwrap()];
    env.program("unshare", &[namespaces, &script, arguments].concat())
}

fn world() -> TestEnv {
    let env = TestEnv::new();
    let context = BaseImage::probe().context(&env);
    covered(&env, &["-q", "-t", "probe:1", context.to_str().unwrap()]).run().success();
    env
}

#[test]
fn steps_run_and_it_is_said_once() {
    let env = world();
    env.dockerfile(
        "FROM probe:1\nRUN test -r /proc/self/status && test \"$(readlink /proc/self/cwd)\" = / && echo first\n\
         USER app\nRUN test $(id -u) = 1000 && echo second\nRUN --network=none test -d /sys/class/net/lo && echo third\n",
    );
    for covered in [covered, covered_as_root] {
        let built = covered(&env, &["--no-cache", "."]).run().success();
        let built = built.says(&[" first\n", " second\n", " third\n"]);
        assert_eq!(built.stderr().matches("covers parts of /proc").count(), 1, "{built}");
    }
    // Where nothing is covered nothing is said, and processes are their own.
    let free = env.rbuild(&["--isolation", "single", "doctor"]).run().success();
    assert!(!free.stdout().contains("steps share"), "{free}");
}

#[test]
fn what_was_hidden_is_hidden_and_processes_around_are_closed() {
    let env = world();
    let said = covered(&env, &["run", "--rm", "probe:1", "/bin/probe"]).run().success();
    for line in [
        "hidden./proc/keys empty",
        "hidden./proc/timer_list empty",
        "capabilities.effective 00000000a80425fb",
    ] {
        assert!(said.stdout().lines().any(|said| said == line), "{line}\n{said}");
    }
    assert!(!said.stdout().lines().any(|line| line.starts_with("call.mount ok")), "{said}");
    // Whoever can be seen cannot be looked into: rbuild itself runs as the same user.
    let look = "for process in /proc/[0-9]*; do \
                cat $process/environ 2>/dev/null | grep -q RBUILD_ROOT && \
                    { echo $process; grep -e Uid -e Cap -e Name $process/status; readlink $process/ns/user; }; \
                ls -d $process/root/STORE $process/cwd/STORE; readlink $process/exe | grep /rbuild; \
                done 2>/dev/null; true";
    let look = look.replace("/STORE", env.store().to_str().unwrap());
    covered(&env, &["run", "--rm", "probe:1", "sh", "-c", &look]).run().success().prints("");
}

#[test]
fn what_a_step_leaves_running_ends_with_it() {
    let env = world();
    let mark = mark(11);
    env.dockerfile(&format!(
        "FROM probe:1\n\
         RUN sleep {mark} & (sleep {mark} &) & sh -c 'trap \"\" TERM INT HUP; sleep {mark} & sleep {mark}' & \
             (while true; do sh -c 'sleep {mark} & sleep 0.01'; done) & sleep 0.1; echo done\n\
         RUN echo next\n"
    ));
    // What is just being started when the step ends is the hardest to catch.
    for _ in 0..10 {
        let built = covered(&env, &["--no-cache", "."]).run().success().says(&[" done\n", " next\n"]);
        assert!(built.took() < Duration::from_secs(10), "{built}");
        is_gone(&mark);
    }
}

#[test]
fn exit_codes_and_signals_arrive() {
    let env = world();
    let run = |script: &str| covered(&env, &["run", "--rm", "probe:1", "sh", "-c", script]);
    run("exit 7").run().code(7);
    run("kill -TERM $$").run().code(143);
    covered(&env, &["run", "--rm", "probe:1", "/no/such"]).run().code(127);
    let mut running =
        started(run("trap 'exit 9' TERM; echo begun >&2; while true; do sleep 0.05; done"), "begun");
    kill_process(Pid::from_child(&running), Signal::TERM).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(9));
}

#[test]
fn whatever_ends_rbuild_ends_its_steps() {
    let env = world();
    let mark = mark(12);
    env.dockerfile(&format!(
        "FROM probe:1\nRUN trap '' INT TERM HUP; sleep {mark} & (sleep {mark} &); echo begun; sleep {mark}\n"
    ));
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut build = started(covered(&env, &["."]), "begun");
        let asked = Instant::now();
        kill_process(Pid::from_child(&build), signal).unwrap();
        let code = build.wait().unwrap().code();
        assert_eq!(code, (signal != Signal::KILL).then_some(130));
        assert!(asked.elapsed() < Duration::from_secs(3), "it took {:?}", asked.elapsed());
        is_gone(&mark);
    }
}

#[test]
fn doctor_says_what_is_shared() {
    let env = TestEnv::new();
    let said = covered(&env, &["doctor", "--format", "json"]).run().success();
    let said: serde_json::Value = serde_json::from_str(said.stdout()).unwrap();
    assert_eq!(said["works"].as_bool(), Some(true), "{said}");
    let checks = said["checks"].as_array().unwrap();
    let proc = checks.iter().find(|check| check["name"] == "proc").unwrap();
    assert_eq!(proc["state"], "missing", "{said}");
    assert!(proc["detail"].as_str().unwrap().ends_with("steps share the processes around them"), "{said}");
    assert!(said["hints"].to_string().contains("procMount: Unmasked"), "{said}");
}
