//! Getting into a namespace: the rungs of the ladder, each as whoever runs the tests.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../support/mod.rs"]
mod support;

mod covered_proc;
mod doctor;
mod escape;
mod isolation;
mod probe;
mod unshare;

use support::{Rbuild, TestEnv, has_subuid_range, is_root};

/// The rung that `auto` takes, as options name it.
fn best_rung() -> &'static str {
    match (is_root(), has_subuid_range()) {
        (true, _) => "root",
        (false, true) => "range",
        (false, false) => "single",
    }
}

/// rbuild as uid 0 without capabilities, where no user namespace can be made: its setting forbids them.
fn where_namespaces_are_forbidden(env: &TestEnv, arguments: &[&str]) -> Rbuild {
    let forbid = "echo 0 > /proc/sys/user/max_user_namespaces; \
                  exec setpriv --inh-caps=-all --bounding-set=-all \"$0\" \"$@\"";
    let binary = support::binary();
    let mut words = vec!["-Ur", "sh", "-c", forbid, binary.to_str().unwrap()];
    words.extend(arguments);
    env.program("unshare", &words)
}
