//! `rbuild prune`, and the limit that builds keep.

use std::time::{Duration, Instant};

use crate::support::{TestEnv, require_busybox};
use crate::{age, descriptions, du, is_sound, is_swept};

/// A store with a tagged image, an untagged one, and steps of a build that failed.
fn world() -> TestEnv {
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN echo tagged > a\n").rbuild(&["-t", "app", "."]).run().success();
    env.dockerfile("FROM base:1\nRUN echo nameless > a\n").rbuild(&["."]).run().success();
    env.dockerfile("FROM base:1\nRUN echo step > a\nRUN echo on top > b\nRUN false\n")
        .rbuild(&["."])
        .run()
        .code(1);
    env
}

const KEPT: [&str; 4] = ["[1/1] COPY rootfs/ /", "[2/2] RUN echo tagged > a", "app:latest", "base:1"];

#[test]
fn names_keep_images_and_what_they_need() {
    require_busybox!();
    let env = world();
    let dry = env.rbuild(&["prune", "--dry-run"]).run().success();
    assert!(dry.stdout().contains("RUN echo step") && !dry.stdout().contains("nameless"), "{dry}");
    assert_eq!(du(&env, &[])["items"].as_array().unwrap().len(), 8);
    let pruned = env.rbuild(&["prune", "--force"]).run().success();
    assert!(pruned.stdout().contains("RUN echo on top") && pruned.stdout().contains("Total:"), "{pruned}");
    let mut left = KEPT.to_vec();
    left.extend(["", "[2/2] RUN echo nameless > a"]);
    left.sort_unstable();
    assert_eq!(descriptions(&du(&env, &[])), left);
    // Without a name and unused for a day, or asked for.
    env.rbuild(&["prune", "-f", "--all"]).run().success();
    assert_eq!(descriptions(&du(&env, &[])), KEPT);
    is_swept(&env);
    is_sound(&env);
    env.rbuild(&["run", "--rm", "app", "cat", "/a"]).run().success().prints("tagged\n");
    env.dockerfile("FROM base:1\nRUN echo tagged > a\nRUN echo step > c\n");
    let built = env.rbuild(&["."]).run().success();
    assert_eq!(built.outcome("RUN echo tagged"), Some("CACHED"), "{built}");
}

#[test]
fn an_image_without_a_name_goes_after_a_day() {
    require_busybox!();
    let env = world();
    age(&env, 23);
    env.rbuild(&["prune", "-f"]).run().success();
    assert_eq!(du(&env, &["--filter", "type=image"])["items"].as_array().unwrap().len(), 3);
    age(&env, 25);
    env.rbuild(&["prune", "-f"]).run().success();
    assert_eq!(descriptions(&du(&env, &[])), KEPT);
}

#[test]
fn filters_and_limits_say_what_stays() {
    require_busybox!();
    let env = world();
    age(&env, 5);
    // Used again just now.
    env.dockerfile("FROM base:1\nRUN echo step > a\nRUN false\n").rbuild(&["."]).run().code(1);
    let private = || descriptions(&du(&env, &["--filter", "private,type=regular"]));
    assert_eq!(private(), ["[2/4] RUN echo step > a", "[3/4] RUN echo on top > b"]);
    env.rbuild(&["prune", "-f", "--filter", "unused-for=6h"]).run().success();
    env.rbuild(&["prune", "-f", "--keep-duration", "6h"]).run().success();
    env.rbuild(&["prune", "-f", "--filter", "type=blob"]).run().success();
    env.rbuild(&["prune", "-f", "--filter", "id=nothing"]).run().success();
    env.rbuild(&["prune", "-f", "--keep-storage", "10GB"]).run().success();
    env.rbuild(&["prune", "-f", "--max-used-space", "10GB"]).run().success();
    env.rbuild(&["prune", "-f", "--min-free-space", "1MB"]).run().success();
    assert_eq!(private().len(), 2);
    // Just below what there is: one goes, the least recently used.
    let total = du(&env, &[])["total"].as_u64().unwrap();
    env.rbuild(&["prune", "-f", "--max-used-space", &(total - 1).to_string()]).run().success();
    assert_eq!(private(), ["[2/4] RUN echo step > a"]);
    env.rbuild(&["prune", "-f", "--min-free-space", "8000TB", "--reserved-space", "10GB"]).run().success();
    assert_eq!(private().len(), 1);
    env.rbuild(&["prune", "-f", "--min-free-space", "8000TB"]).run().success();
    assert!(private().is_empty());
    env.rbuild(&["prune", "-f", "--max-used-space", "much"]).run().code(2).says(&["is no size"]);
    env.rbuild(&["prune", "-f", "--filter", "unused-for=soon"]).run().code(2).says(&["is no duration"]);
}

#[test]
fn it_asks_and_does_not_take_silence_for_a_yes() {
    require_busybox!();
    let env = world();
    env.rbuild(&["prune"]).input("y\n").run().code(2).says(&["there is no terminal to ask", "--force"]);
    let at_terminal = |answer: &str| {
        let line = format!("{} prune", crate::support::binary().display());
        env.program("script", &["-qec", &line, "/dev/null"]).input(format!("{answer}\n")).run().success()
    };
    if !crate::support::is_installed("script") {
        crate::support::skip!("script is not installed");
    }
    assert!(at_terminal("n").stdout().contains("nothing was removed"));
    assert_eq!(du(&env, &[])["items"].as_array().unwrap().len(), 8);
    assert!(at_terminal("y").stdout().contains("Total:"));
    assert_eq!(du(&env, &[])["items"].as_array().unwrap().len(), 6);
}

#[test]
fn a_running_container_keeps_its_image() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN echo here > a\n");
    let id = env.rbuild(&["-q", "."]).run().success().stdout().trim().to_owned();
    let script = "echo begun; sleep 1; cat /a";
    let mut run = env.rbuild(&["run", "--rm", &id, "sh", "-c", script]).into_command();
    let mut run = run.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut output = std::io::BufReader::new(run.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "begun\n");
    env.rbuild(&["prune", "-fa"]).run().success();
    let used = du(&env, &["--filter", "inuse"]);
    assert!(descriptions(&used).contains(&"[2/2] RUN echo here > a".to_owned()), "{used:#}");
    is_swept_but_for_one(&env);
    let rest = std::io::read_to_string(output).unwrap();
    assert!(run.wait().unwrap().success());
    assert_eq!(rest, "here\n");
    env.rbuild(&["prune", "-fa"]).run().success();
    assert_eq!(descriptions(&du(&env, &[])), ["[1/1] COPY rootfs/ /", "base:1"]);
}

/// The running container has a directory of its own.
fn is_swept_but_for_one(env: &TestEnv) {
    let patience = Instant::now() + Duration::from_secs(5);
    while std::fs::read_dir(env.store().join("tmp")).unwrap().count() > 1 && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn builds_keep_a_limit_behind_their_own_work() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let total = || du(&env, &[])["total"].as_u64().unwrap();
    let base = total();
    for number in 0..6 {
        env.dockerfile(&format!("FROM base:1\nRUN head -c 1000000 /dev/urandom > a{number}\n"));
        env.rbuild(&["-t", "app", "."]).run().success();
    }
    assert!(total() > base + 6_000_000);
    let limit = base + 2_500_000;
    let patience = Instant::now() + Duration::from_secs(10);
    env.dockerfile("FROM base:1\nRUN echo small > a\n");
    env.rbuild(&["--max-used-space", &limit.to_string(), "-t", "small", "."]).run().success();
    while total() > limit {
        assert!(Instant::now() < patience, "{} is more than {limit}", total());
        std::thread::sleep(Duration::from_millis(20));
    }
    // The newest stay, and what has a name.
    env.rbuild(&["run", "--rm", "app", "ls", "/a5"]).run().success();
    let left = descriptions(&du(&env, &["--filter", "type=regular"]));
    assert!(left.len() > 3 && !left.iter().any(|step| step.contains("a0")), "{left:?}");
    is_swept(&env);
    is_sound(&env);
    // The environment says the same; one that is no size is an error.
    env.rbuild(&["--no-cache", "."])
        .env("RBUILD_MAX_USED_SPACE", "x")
        .run()
        .code(2)
        .says(&["RBUILD_MAX_USED_SPACE"]);
    env.dockerfile("FROM base:1\nRUN head -c 1000000 /dev/urandom > c\n");
    env.rbuild(&["."]).env("RBUILD_MAX_USED_SPACE", "1").run().success();
    let patience = Instant::now() + Duration::from_secs(10);
    while !descriptions(&du(&env, &["--filter", "private,type=regular"])).is_empty() {
        assert!(Instant::now() < patience, "something is left that no name keeps");
        std::thread::sleep(Duration::from_millis(20));
    }
}
