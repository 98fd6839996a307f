//! Skips that are counted and say why. The reason names what is missing, not what the test wanted to do.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use super::source_directory;

/// Leaves the test with a reason: `skip!("no IPv6 on this host")`.
macro_rules! skip {
    ($($why:tt)*) => {{
        $crate::support::skip::record(&format!($($why)*));
        return;
    }};
}
pub(crate) use skip;

/// Leaves the test when a program is not installed: `require_tool!("skopeo")`.
macro_rules! require_tool {
    ($tool:expr) => {
        if !$crate::support::is_installed($tool) {
            $crate::support::skip!("{} is not installed", $tool);
        }
    };
}
pub(crate) use require_tool;

/// Leaves the test where the busybox base image cannot be made.
macro_rules! require_busybox {
    () => {
        if !$crate::support::BaseImage::busybox().is_possible() {
            $crate::support::skip!("there is no static /bin/busybox");
        }
    };
}
pub(crate) use require_busybox;

/// Writes the skip down; panics where skips are failures and this one is not on the list of those that may be.
pub(crate) fn record(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?");
    eprintln!("SKIP {test}: {why}");
    if let Some(log) = std::env::var_os("RBUILD_TEST_SKIP_LOG") {
        let mut log = OpenOptions::new().append(true).create(true).open(log).unwrap();
        // One write, so that lines of tests that run at the same time do not mix.
        log.write_all(format!("{test}\t{why}\n").as_bytes()).unwrap();
    }
    if std::env::var("RBUILD_TEST_SKIPS").is_ok_and(|value| value == "fail") {
        assert!(is_allowed(why), "skips are failures here, and tests/allowed-skips.txt does not list: {why}");
    }
}

fn is_allowed(why: &str) -> bool {
    let list = fs::read_to_string(source_directory().join("tests/allowed-skips.txt")).unwrap();
    list.lines().any(|line| !line.starts_with('#') && line == why)
}
