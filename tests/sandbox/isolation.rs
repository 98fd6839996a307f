//! `--isolation`: a rung by name, or a refusal that helps.

use crate::support::{TestEnv, has_subuid_range, is_root, require_busybox};
use crate::{best_rung, where_namespaces_are_forbidden};

const COUNT_IDS: [&str; 5] = [
    "unshare",
    "--",
    "awk",
    "{ count += $3 } END { print (count > 1 ? \"several\" : count) }",
    "/proc/self/uid_map",
];

#[test]
fn the_best_rung_is_taken_unless_told_otherwise() {
    let env = TestEnv::new();
    let expected = if best_rung() == "single" { "1\n" } else { "several\n" };
    env.rbuild(&COUNT_IDS).run().success().prints(expected);
    env.rbuild(&["--isolation", "auto"]).arguments(&COUNT_IDS).run().success().prints(expected);
    env.rbuild(&["--isolation", best_rung()]).arguments(&COUNT_IDS).run().success().prints(expected);
}

#[test]
fn a_single_id_is_enough_for_who_has_more() {
    require_busybox!();
    let env = TestEnv::new();
    env.rbuild(&["--isolation=single"]).arguments(&COUNT_IDS).run().success().prints("1\n");
    let context = crate::support::BaseImage::busybox().context(&env);
    env.rbuild(&["--isolation", "single", "build", "-q", "-t", "base:1", context.to_str().unwrap()])
        .run()
        .success();
    env.dockerfile("FROM base:1\nRUN touch /f && chown 7:50 /f\nRUN test $(stat -c %u:%g /f) = 7:50\n");
    env.rbuild(&["-t", "app", "--isolation", "single", "."]).run().success();
    env.rbuild(&["run", "--isolation", "single", "--rm", "app", "stat", "-c", "%u:%g", "/f"])
        .run()
        .success()
        .prints("7:50\n");
}

#[test]
fn a_rung_that_is_not_here_is_refused_with_the_reason() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\n");
    if !is_root() {
        let refused = env.rbuild(&["--isolation", "root", "."]).run().code(4);
        refused.says(&["error: isolation `root` is not possible here", "is not root", "hint: "]);
    }
    if !has_subuid_range() {
        let refused = env.rbuild(&["--isolation", "range", "."]).run().code(4);
        refused.says(&["error: isolation `range`", "lend no ids", "hint: ", "usermod --add-subuids "]);
    }
    env.rbuild(&["--isolation", "other", "."]).run().code(2).says(&["auto, root, range, single"]);
    // `run` has the codes from 0 to 124 for its container.
    let words = ["--isolation", "single", "run", "--rm", "app"];
    where_namespaces_are_forbidden(&env, &words).run().code(125).says(&["sysctl user.max_user_namespaces="]);
}

#[test]
fn where_no_namespace_can_be_made_the_setting_is_named() {
    let env = TestEnv::new();
    for rung in ["auto", "single"] {
        let refused = where_namespaces_are_forbidden(&env, &["--isolation", rung, "unshare", "id"]).run();
        refused.code(4).says(&["error: ", "hint: ", "sysctl user.max_user_namespaces=15000"]);
    }
}

#[test]
fn root_that_may_not_mount_hands_its_ids_on() {
    let env = TestEnv::new();
    // Root with all other capabilities, as in a container; an ordinary user becomes that in a namespace with all its ids.
    let limited = "exec setpriv --inh-caps=-all --bounding-set=-sys_admin \"$0\" \"$@\"";
    let binary = crate::support::binary();
    let mut words: Vec<&str> = match best_rung() {
        "root" => vec![],
        "range" => vec!["--map-auto", "--map-root-user"],
        _ => vec!["--map-root-user"],
    };
    words.extend(["sh", "-c", limited, binary.to_str().unwrap()]);
    words.extend(COUNT_IDS);
    let ran = if is_root() { env.program("sh", &words[1..]) } else { env.program("unshare", &words) };
    let expected = if best_rung() == "single" { "1\n" } else { "several\n" };
    ran.run().success().prints(expected);
}
