//! What a build says on stdout and keeps in the store.

use rbuild::image::Digest;

use crate::support::{Image, Registry, TestEnv, require_busybox, require_tool};

#[test]
fn build_is_the_default_command() {
    let env = TestEnv::new();
    env.write("a.txt", "a").dockerfile("FROM scratch\nCOPY a.txt /\n");
    let short = env.rbuild(&["-q", "."]).run().success();
    let long = env.rbuild(&["build", "--quiet", "."]).run().success();
    assert_eq!(short.stdout(), long.stdout());
}

#[test]
fn quiet_prints_the_digest_and_nothing_else() {
    let env = TestEnv::new();
    env.write("a.txt", "a").dockerfile("FROM scratch\nCOPY a.txt /\n");
    let quiet = env.rbuild(&["-q", "-t", "app:1", "."]).run().success();
    assert!(quiet.stdout().trim_end().parse::<Digest>().is_ok(), "{quiet}");
    assert_eq!(quiet.stderr(), "", "{quiet}");
}

#[test]
fn quiet_prints_the_digest_that_was_pushed() {
    require_tool!("docker-registry");
    let env = TestEnv::new();
    let registry = Registry::start();
    env.write("a.txt", "a").dockerfile("FROM scratch\nCOPY a.txt /\n");
    let tag = format!("{}/app:1", registry.address());
    let quiet = env.rbuild(&["-q", "-t", &tag, "--push", "."]).run().success();
    let pushed = Image::fetch(&registry, "app:1").sound();
    quiet.prints(&format!("{}\n", pushed.manifest_digest));
}

#[test]
fn an_untagged_image_is_kept_under_the_id_that_was_said() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nCMD [\"echo\", \"kept\"]\n");
    let built = env.rbuild(&["."]).run().success();
    let mut words = built.stderr().split_whitespace().chain(built.stdout().split_whitespace());
    let id = words.rfind(|word| word.parse::<Digest>().is_ok()).unwrap_or_else(|| panic!("no id\n{built}"));
    env.rbuild(&["run", "--rm", id]).run().success().prints("kept\n");
}

#[test]
fn several_tags_name_one_image() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nCMD [\"echo\", \"same\"]\n");
    env.rbuild(&["-t", "one:1", "-t", "two:2", "."]).run().success();
    for tag in ["one:1", "two:2"] {
        env.rbuild(&["run", "--rm", tag]).run().success().prints("same\n");
    }
}

#[test]
fn another_file_and_another_target_may_be_named() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write(
        "sub/Other",
        "FROM base:1 AS first\nCMD [\"echo\", \"first\"]\nFROM first\nCMD [\"echo\", \"last\"]\n",
    );
    env.rbuild(&["-t", "app", "-f", "sub/Other", "--target", "first", "."]).run().success();
    env.rbuild(&["run", "--rm", "app"]).run().success().prints("first\n");
}

#[test]
fn labels_of_the_command_line_win() {
    require_tool!("docker-registry");
    let env = TestEnv::new();
    let registry = Registry::start();
    env.write("a.txt", "a").dockerfile("FROM scratch\nLABEL a=file b=file\nCOPY a.txt /\n");
    let tag = format!("{}/app:1", registry.address());
    env.rbuild(&["-t", &tag, "--label", "a=line", "--push", "."]).run().success();
    let labels = Image::fetch(&registry, "app:1").sound().config.config.labels;
    assert_eq!((labels["a"].as_str(), labels["b"].as_str()), ("line", "file"));
}

#[test]
fn a_build_argument_asks_for_the_cache_in_the_image() {
    let env = TestEnv::new();
    env.write("f", "x").dockerfile("FROM scratch\nCOPY f /\n");
    for (value, is_there) in [("1", true), ("true", true), ("0", false), ("", false)] {
        let argument = format!("BUILDKIT_INLINE_CACHE={value}");
        env.rbuild(&["--build-arg", &argument, "-t", "app", "."]).run().success();
        assert_eq!(env.image("app").config.cache.is_some(), is_there, "{value}");
    }
}
