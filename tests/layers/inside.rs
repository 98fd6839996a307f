//! Tests that have to be root of a namespace run themselves again in the one that builds use.

use std::env::current_exe;
use std::time::Duration;

use crate::support::{TestEnv, is_root};

const INSIDE: &str = "RBUILD_TEST_INSIDE";

/// Whether the test is to go on here. If not, it has been run on each rung that whoever runs the tests can stand on, and
/// has not failed.
#[track_caller]
pub(crate) fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // Root needs no namespace, and runs it in the narrowest one, too.
    let rungs: &[&str] = if is_root() { &["single"] } else { &["auto", "single"] };
    for rung in rungs {
        let env = TestEnv::new();
        let program = current_exe().unwrap();
        let words = ["--isolation", rung, "unshare", "--", program.to_str().unwrap(), "--exact", test];
        let mut command = env.rbuild(&words).env(INSIDE, rung).limit(Duration::from_secs(300));
        if let Some(cases) = std::env::var_os("PROPTEST_CASES") {
            command = command.env("PROPTEST_CASES", cases);
        }
        let ran = command.run().success();
        assert!(ran.stdout().contains("1 passed"), "{ran}");
    }
    is_root()
}
