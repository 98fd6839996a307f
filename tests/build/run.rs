//! `run --rm`: the image's command, or another, as asked.

use crate::support::{TestEnv, has_subuid_range, require_busybox, skip};

fn world() -> TestEnv {
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile(
        "FROM base:1\nENV A=image B=image\nWORKDIR /w\nENTRYPOINT [\"echo\", \"entry\"]\nCMD [\"default\"]\n",
    );
    env.rbuild(&["-t", "app", "."]).run().success();
    env
}

#[test]
fn the_command_follows_the_entrypoint() {
    require_busybox!();
    let env = world();
    env.rbuild(&["run", "--rm", "app"]).run().success().prints("entry default\n");
    env.rbuild(&["run", "--rm", "app", "given"]).run().success().prints("entry given\n");
    env.rbuild(&["run", "--rm", "--entrypoint", "pwd", "app"]).run().success().prints("/w\n");
}

#[test]
fn environment_directory_and_user_may_be_given() {
    require_busybox!();
    let env = world();
    let script = "echo $A $B $C; pwd";
    let arguments = [
        "run",
        "--rm",
        "-e",
        "B=given",
        "-e",
        "C=new",
        "-w",
        "/tmp",
        "--entrypoint",
        "sh",
        "app",
        "-c",
        script,
    ];
    env.rbuild(&arguments).run().success().prints("image given new\n/tmp\n");
    if !has_subuid_range() {
        skip!("this user has no range of subordinate ids, so all users of a container are one");
    }
    env.rbuild(&["run", "--rm", "-u", "app", "--entrypoint", "id", "app", "-u"])
        .run()
        .success()
        .prints("1000\n");
    env.rbuild(&["run", "--rm", "-u", "5:6", "--entrypoint", "sh", "app", "-c", "id -u; id -g"])
        .run()
        .success()
        .prints("5\n6\n");
}

#[test]
fn exit_codes_are_those_of_the_command_or_dockers() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.rbuild(&["run", "--rm", "base:1", "sh", "-c", "exit 7"]).run().code(7);
    // The first process of a sandbox ignores signals that it does not handle, so it is a child that dies here.
    env.rbuild(&["run", "--rm", "base:1", "sh", "-c", "sh -c 'kill -TERM $$'; exit $?"]).run().code(143);
    env.rbuild(&["run", "--rm", "base:1", "/no/such"]).run().code(127);
    env.rbuild(&["run", "--rm", "base:1", "/etc/passwd"]).run().code(126);
    env.rbuild(&["run", "--rm", "not-here:1"]).run().code(125);
}

#[test]
fn streams_are_passed_through() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let ran = env
        .rbuild(&["run", "--rm", "base:1", "sh", "-c", "echo out; echo err >&2"])
        .run()
        .success()
        .prints("out\n");
    assert_eq!(ran.stderr(), "err\n", "{ran}");
}

#[test]
fn what_a_container_writes_is_gone_with_it() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.rbuild(&["run", "--rm", "base:1", "sh", "-c", "touch /left /etc/left && rm /etc/passwd"])
        .run()
        .success();
    let check = "test ! -e /left && test ! -e /etc/left && test -e /etc/passwd";
    env.rbuild(&["run", "--rm", "base:1", "sh", "-c", check]).run().success();
}

#[test]
fn a_container_is_apart_from_the_host() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let run = |script: &str| {
        env.rbuild(&["run", "--rm", "base:1", "sh", "-c", script]).run().success().stdout().to_owned()
    };
    // The first process of its own process namespace, or the child of an init.
    assert_eq!(run("test $$ -lt 10 && echo first"), "first\n");
    assert_eq!(run("env | sort | cut -d= -f1 | grep -vx -e HOSTNAME -e PWD -e SHLVL"), "HOME\nPATH\n");
    assert_eq!(
        run(
            "test -r /proc/self/status && test -c /dev/null && echo x > /dev/null && ls /proc | grep -c '^[0-9]' > /dev/null && echo whole"
        ),
        "whole\n"
    );
}
