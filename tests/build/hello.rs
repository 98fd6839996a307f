//! The README's example.

use std::time::Duration;

use crate::support::{TestEnv, binary, source_directory};

#[test]
fn the_readmes_example_works() {
    let env = TestEnv::new();
    let build = env.program(source_directory().join("fixtures/hello/build"), &[]);
    let build = build.env("RBUILD", binary()).limit(Duration::from_secs(300)).run().success();
    assert!(build.stdout().contains("-t hello fixtures/hello"), "{build}");
    let ran = env.rbuild(&["run", "--rm", "hello"]).run().success();
    assert!(ran.stdout().starts_with("Hello, world!\n"), "{ran}");
}
