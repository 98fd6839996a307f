//! Images as values on the command line: listed, named, removed, described, saved, loaded, pulled and pushed.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../support/mod.rs"]
mod support;

mod archive;
mod listing;
mod names;
mod platform;
mod transfer;

use support::TestEnv;

/// Builds an image of one small file, without any base.
fn small_image(env: &TestEnv, content: &str, names: &[&str]) -> String {
    let context = env.path(format!("small-{content}"));
    std::fs::create_dir_all(&context).unwrap();
    std::fs::write(context.join("content"), content).unwrap();
    std::fs::write(
        context.join("Dockerfile"),
        "FROM scratch\nLABEL made=here\nCOPY content /content\nENV A=1\n",
    )
    .unwrap();
    let mut build = env.rbuild(&["-q", context.to_str().unwrap()]);
    for name in names {
        build = build.arguments(&["-t", name]);
    }
    build.run().success().stdout().trim_end().to_owned()
}
