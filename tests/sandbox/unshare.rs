//! `unshare`: a look at the store from inside.

use crate::support::{TestEnv, has_subuid_range, require_busybox};

#[test]
fn a_command_runs_as_root_of_the_namespace() {
    let env = TestEnv::new();
    env.rbuild(&["unshare", "--", "id", "-u"]).run().success().prints("0\n");
    env.rbuild(&["unshare", "id", "-g"]).run().success().prints("0\n");
    let store = env.store();
    env.rbuild(&["unshare", "sh", "-c", "echo $RBUILD_ROOT"])
        .run()
        .success()
        .prints(&format!("{}\n", store.display()));
    env.rbuild(&["--root", "/elsewhere", "unshare", "sh", "-c", "echo $RBUILD_ROOT"])
        .run()
        .success()
        .prints("/elsewhere\n");
    env.rbuild(&["unshare", "sh", "-c", "cat; pwd"])
        .input("given\n")
        .run()
        .success()
        .prints(&format!("given\n{}\n", env.context().display()));
}

#[test]
fn the_exit_code_is_that_of_the_command() {
    let env = TestEnv::new();
    env.rbuild(&["unshare", "--", "sh", "-c", "exit 7"]).run().code(7);
    env.rbuild(&["unshare", "--", "/no/such"]).run().code(127).says(&["/no/such", "No such file"]);
    env.write("text", "no program");
    env.rbuild(&["unshare", "--", "./text"]).run().code(126).says(&["./text"]);
}

#[test]
fn without_a_command_the_shell_is_run() {
    let env = TestEnv::new();
    env.rbuild(&["unshare"]).input("id -u; exit 3\n").run().code(3).prints("0\n");
    env.rbuild(&["unshare"]).env("SHELL", "/bin/echo").run().success().prints("\n");
}

#[test]
fn files_of_other_users_of_a_container_can_be_removed() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile(
        "FROM base:1\nRUN mkdir /mine && touch /mine/f && chown -R 1000:1000 /mine && chmod 700 /mine\n",
    );
    env.rbuild(&["-t", "app", "."]).run().success();
    if has_subuid_range() {
        let owners =
            env.rbuild(&["unshare", "sh", "-c", "find $RBUILD_ROOT -name mine -exec stat -c %u {} +"]);
        let owners = owners.run().success();
        assert_eq!(owners.stdout(), "1000\n", "{owners}");
    }
    env.rbuild(&["unshare", "sh", "-c", "rm -r $RBUILD_ROOT/*"]).run().success();
    assert_eq!(std::fs::read_dir(env.store()).unwrap().count(), 0);
}
