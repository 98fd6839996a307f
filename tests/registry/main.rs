//! Registries as they are in the world: with logins, certificates, tokens, mirrors and proxies.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../support/mod.rs"]
mod support;

mod caches;
mod interchange;
mod login;
mod names;
mod recorder;
mod sources;
mod tls;
mod tokens;

use support::TestEnv;

/// Builds an image of one small file, without any base, under a name.
fn small_image(env: &TestEnv, name: &str) {
    env.write("content", name).dockerfile("FROM scratch\nCOPY content /content\n");
    env.rbuild(&["-q", "-t", name, "."]).run().success();
}
