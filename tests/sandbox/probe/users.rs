//! Who a step and a container run as: what the image's own files say of `USER`.

use super::{of_run, of_step};
use crate::support::TestEnv;

/// `USER`, then user, group, further groups and home.
const USERS: [(&str, &str, &str, &str, &str); 8] = [
    ("app", "1000 1000 1000", "1000 1000 1000", "50", "/home/app"),
    ("1000", "1000 1000 1000", "1000 1000 1000", "50", "/home/app"),
    ("daemon", "1 1 1", "1 1 1", "", "/usr/sbin"),
    ("app:daemon", "1000 1000 1000", "1 1 1", "", "/home/app"),
    ("app:77", "1000 1000 1000", "77 77 77", "", "/home/app"),
    ("4711", "4711 4711 4711", "0 0 0", "", "/"),
    ("4711:staff", "4711 4711 4711", "50 50 50", "", "/"),
    ("nobody", "65534 65534 65534", "65534 65534 65534", "", "/nonexistent"),
];

#[test]
fn users_are_those_of_the_image() {
    let env = TestEnv::new();
    env.probe_image("probe:1");
    for (user, uid, gid, groups, home) in USERS {
        let step = of_step(&env, &format!("USER {user}\nRUN [\"/bin/probe\"]"));
        for report in [step, of_run(&env, &["-u", user])] {
            let found = ["uid", "gid", "groups", "variable.HOME"].map(|name| report.get(name));
            assert_eq!(found, [uid, gid, groups, home], "USER {user}\n{report}");
        }
    }
}

#[test]
fn who_is_not_root_has_no_capabilities() {
    let env = TestEnv::new();
    env.probe_image("probe:1");
    let report = of_step(&env, "USER app\nRUN [\"/bin/probe\"]");
    // With one id all users are root to the kernel, and what they may not do is not refused.
    if crate::best_rung() != "single" {
        for set in ["permitted", "effective", "inheritable", "ambient"] {
            assert_eq!(report.get(&format!("capabilities.{set}")), "0000000000000000", "{report}");
        }
        assert_eq!(report.get("capabilities.bounding"), "00000000a80425fb");
        for call in ["chroot", "chown.other", "setuid.back", "setgroups", "mknod.null", "socket.packet"] {
            assert_eq!(report.get(&format!("call.{call}")), "EPERM", "{call}\n{report}");
        }
    }
    // The streams are pipes that the user may open again by their names.
    env.dockerfile("FROM probe:1\nUSER app\nRUN echo out > /dev/stdout && echo err > /dev/stderr && id -u\n");
    env.rbuild(&["."]).run().success().says(&[" out\n", " err\n", " 1000\n"]);
}
