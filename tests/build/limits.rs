//! Limits of steps and containers: what they are inside, what they do, and what is refused.

use std::time::{Duration, Instant};

use crate::support::{TestEnv, is_root, require_busybox};

fn world() -> TestEnv {
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env
}

#[track_caller]
fn run(env: &TestEnv, options: &[&str], script: &str) -> String {
    let words = [&["run", "--rm"], options, &["base:1", "sh", "-c", script]].concat();
    env.rbuild(&words).run().success().stdout().to_owned()
}

#[test]
fn ulimits_hold_in_steps_and_containers() {
    require_busybox!();
    let env = world();
    // The last word counts; a limit this low leaves no room for whatever is done beside the program itself.
    let options = ["--ulimit", "nofile=99", "--ulimit", "nofile=5:77", "--ulimit", "core=0"];
    assert_eq!(run(&env, &options, "ulimit -n; ulimit -Hn; ulimit -c; id -u"), "5\n77\n0\n0\n");
    env.dockerfile("FROM base:1\nUSER app\nRUN test $(ulimit -n):$(ulimit -Hn) = 20:30\n");
    env.rbuild(&["--ulimit", "nofile=20:30", "."]).run().success();
    // It decides about the key, as in BuildKit.
    env.rbuild(&["--ulimit", "nofile=21:30", "."]).run().code(1);
}

#[test]
fn a_ulimit_above_the_own_takes_the_right_to_raise_it() {
    require_busybox!();
    let env = world();
    let lowered = |hard: &str| {
        let script =
            format!("ulimit -n 500; exec \"$0\" run --rm --ulimit nofile={hard} base:1 sh -c 'ulimit -n'");
        let binary = crate::support::binary();
        env.program("sh", &["-c", &script, binary.to_str().unwrap()]).run()
    };
    lowered("500").success().prints("500\n");
    // Root may, unless it is a container's.
    if env.program("sh", &["-c", "ulimit -n 500; ulimit -n 600"]).run().succeeded() {
        lowered("600").success().prints("600\n");
    } else {
        let refused = lowered("600").code(125).prints("");
        refused.says(&["--ulimit nofile=600:600", "above the hard limit of this process, 500", "hint: "]);
    }
    // Above what the kernel knows for anybody.
    let options = ["--ulimit", "nofile=99999999999", "."];
    env.dockerfile("FROM base:1\nRUN true\n");
    env.rbuild(&options).run().code(4).says(&["--ulimit nofile=99999999999"]).omits(&["RUN true"]);
}

#[test]
fn shared_memory_has_the_size_that_is_asked_for() {
    require_busybox!();
    let env = world();
    let script = "df -k /dev/shm | tail -n 1 | awk '{ print $2 }'; grep -c ' /dev/shm .*noexec' /proc/mounts";
    assert_eq!(run(&env, &["--shm-size", "3m"], &format!("{script}; true")), "3072\n0\n");
    assert_eq!(run(&env, &[], script), "65536\n1\n");
    env.dockerfile(
        "FROM base:1\nRUN test $(df -k /dev/shm | tail -n 1 | awk '{ print $2 }') = 2048\n\
         RUN grep ' /dev/shm ' /proc/mounts | grep nosuid | grep -v nodev\n",
    );
    env.rbuild(&["--shm-size=2m", "."]).run().success();
}

#[test]
fn what_is_no_limit_is_refused_by_name() {
    let env = TestEnv::new();
    for (options, says) in [
        (["--shm-size", "0"], "--shm-size"),
        (["--shm-size", "much"], "\"much\" is not a size"),
        (["--ulimit", "files=1"], "there is no ulimit \"files\""),
        (["--ulimit", "nofile=2:1"], "the soft limit is above the hard one"),
        (["--timeout", "0"], "--timeout"),
        (["--timeout", "1d"], "unknown unit"),
        (["--memory", "1m"], "at least 6m"),
        (["--memory-swap", "1g"], "--memory has to be given"),
        (["--cpus", "none"], "--cpus"),
        (["--cpu-shares", "1"], "--cpu-shares"),
        (["--cpuset-cpus", "a"], "--cpuset-cpus"),
        (["--pids-limit", "few"], "--pids-limit"),
    ] {
        env.rbuild(&options).arguments(&["."]).run().code(2).says(&[says]);
        env.rbuild(&["run", "--rm"]).arguments(&options).arguments(&["base:1"]).run().code(2).says(&[says]);
    }
}

#[test]
fn a_step_that_takes_too_long_is_killed() {
    require_busybox!();
    let env = world();
    // Deaf, with a child of its own, and with work that is to be removed.
    env.dockerfile(
        "FROM base:1\nRUN true\nRUN trap '' TERM INT; mkdir /d; sleep 4321 & echo said; while :; do echo x >> /d/x; done\n",
    );
    let killed = env.rbuild(&["--timeout", "1s", "."]).run().code(124);
    assert!(killed.took() < Duration::from_secs(8), "{killed}");
    assert!(killed.outcome("RUN trap").is_some_and(|outcome| outcome.starts_with("ERROR")), "{killed}");
    killed.says(&["Dockerfile:3", ">>> RUN trap", "longer than the 1s", "--timeout", "said"]);
    env.has_no_leftovers();
    // Each step has its own time.
    env.dockerfile("FROM base:1\nRUN sleep 0.7\nRUN sleep 0.8\n");
    env.rbuild(&["--timeout", "1500ms", "."]).run().success();
}

#[test]
fn a_container_that_takes_too_long_is_killed() {
    require_busybox!();
    let env = world();
    let words =
        ["run", "--rm", "--timeout", "1", "base:1", "sh", "-c", "trap '' TERM; echo on; while :; do :; done"];
    let killed = env.rbuild(&words).run().code(124).prints("on\n").says(&["longer than the 1s"]);
    assert!(killed.took() < Duration::from_secs(8), "{killed}");
    env.has_no_leftovers();
}

#[test]
fn control_groups_of_the_host_are_hidden() {
    require_busybox!();
    let env = world();
    // Version 1 has a line for each hierarchy; every one ends with the group's name.
    let script = "cut -d: -f3 /proc/self/cgroup | sort -u; cut -d: -f3 /proc/1/cgroup | sort -u";
    assert_eq!(run(&env, &[], script), "/\n/\n");
    let script = "test -e /sys/fs/cgroup/cgroup.procs && ! mkdir /sys/fs/cgroup/new 2> /dev/null && \
                  grep -c ' /sys/fs/cgroup cgroup2 ro,' /proc/mounts";
    assert_eq!(run(&env, &[], script), "1\n");
    env.dockerfile("FROM base:1\nRUN test \"$(cut -d: -f3 /proc/self/cgroup | sort -u)\" = /\n");
    env.rbuild(&["."]).run().success();
}

#[test]
fn limits_of_control_groups_hold_or_are_refused() {
    require_busybox!();
    let env = world();
    env.dockerfile("FROM base:1\nRUN echo ran\n");
    let doctor = env.rbuild(&["doctor"]).run().success();
    let groups = doctor.stdout().lines().find(|line| line.contains("cgroup limits")).unwrap();
    for (options, controller, file, content) in [
        (["--memory", "64m"], "memory", "memory.max", "67108864\n"),
        (["--cpus", "0.5"], "cpu", "cpu.max", "50000 100000\n"),
        (["--pids-limit", "16"], "pids", "pids.max", "16\n"),
    ] {
        let build = env.rbuild(&["--no-cache"]).arguments(&options).arguments(&["."]).run();
        let is_missing = groups.split(" (not ").nth(1).is_some_and(|lacks| lacks.contains(controller));
        if groups.starts_with("ok") && !is_missing {
            build.success();
            assert_eq!(run(&env, &options, &format!("cat /sys/fs/cgroup/{file}")), content);
            if controller == "memory" {
                let hungry = env.rbuild(&["run", "--rm", "-m", "16m", "base:1", "tail", "/dev/zero"]).run();
                hungry.code(137).says(&["out of memory, at the limit of --memory"]);
            }
            continue;
        }
        build.code(4).says(&[options[0], "cannot be kept here", "hint: "]).omits(&["RUN echo"]);
        let words = [&["run", "--rm"], &options[..], &["base:1", "true"]].concat();
        env.rbuild(&words).run().code(125).says(&[options[0], "hint: "]);
    }
    // No limit is none to keep.
    env.rbuild(&["--pids-limit", "-1", "."]).run().success();
}

#[test]
fn deaths_are_reported_as_what_they_were() {
    require_busybox!();
    let env = world();
    for (command, says) in [
        ("sh -c 'kill -SEGV $$'", "exit code: 139, as after SIGSEGV"),
        ("sh -c 'kill -KILL $$'", "exit code: 137, as after SIGKILL, perhaps for want of memory"),
        ("exit 3", "exit code: 3\n"),
    ] {
        env.dockerfile(&format!("FROM base:1\nRUN {command}; exit $?\n"));
        env.rbuild(&["."]).run().code(1).says(&[says]);
    }
}

#[test]
fn want_of_space_is_told_from_want_of_shared_memory() {
    require_busybox!();
    let env = world();
    env.dockerfile("FROM base:1\nRUN dd if=/dev/zero of=/dev/shm/x bs=1M count=2\n");
    let failed = env.rbuild(&["--shm-size", "1m", "."]).run().code(1);
    let store = env.store();
    failed.says(&[
        "No space left on device",
        "hint: the file system of the store",
        store.to_str().unwrap(),
        "--shm-size",
    ]);
}

#[test]
fn a_full_store_says_so() {
    require_busybox!();
    let env = TestEnv::new();
    let context = crate::support::BaseImage::busybox().context(&env);
    env.dockerfile("FROM base:1\nRUN dd if=/dev/zero of=/big bs=1M count=64\n");
    // A store on a small file system of its own, which only a mount namespace has.
    let small = env.path("small");
    std::fs::create_dir(&small).unwrap();
    let script = "mount -t tmpfs -o size=24m small \"$1\" && \"$0\" --root \"$1\" -q -t base:1 \"$2\" >/dev/null && \
                  exec \"$0\" --root \"$1\" .";
    let binary = crate::support::binary();
    let words = ["-c", script, binary.to_str().unwrap(), small.to_str().unwrap(), context.to_str().unwrap()];
    let apart: &[&str] = if is_root() { &["-m"] } else { &["-Urm"] };
    let words = [apart, &["sh"], &words[..]].concat();
    let failed = env.program("unshare", &words).run().code(1);
    failed.says(&[
        "No space left on device",
        "hint: the file system of the store",
        "free some space",
        "of 24 MiB",
    ]);
}

#[test]
fn a_canceled_step_leaves_nothing() {
    require_busybox!();
    let env = world();
    // One step fails while another one writes and writes.
    env.dockerfile(
        "FROM base:1 AS a\nRUN i=0; while :; do i=$(((i+1)%50)); mkdir -p /d$i; echo x >> /d$i/x; done\n\
         FROM base:1 AS b\nRUN sleep 1; exit 9\n\
         FROM base:1\nCOPY --from=a /d1 /d1\nCOPY --from=b /etc /etc2\n",
    );
    let began = Instant::now();
    let failed = env.rbuild(&["."]).run().code(1).says(&["exit code: 9", "CANCELED"]);
    assert!(began.elapsed() < Duration::from_secs(30), "{failed}");
    env.has_no_leftovers();
}
