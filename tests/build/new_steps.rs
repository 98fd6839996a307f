//! Steps like none that was ever done: they are made before anybody looks at what they read, and known by the same as others.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::{Duration, Instant};

use crate::support::{TestEnv, require_busybox, started};

const DOCKERFILE: &str = "FROM base:1 AS a\nCOPY d /d\nCOPY --chmod=600 --chown=3:4 large small /\nRUN cp -r /d /e && touch -d @1 /e\n\
    COPY lin[k] /\nCOPY --exclude=s* d /f\n\
    FROM base:1 AS b\nCOPY --from=a /d/large /e /\nRUN --mount=from=a,source=d,target=/m cp /m/large /copy\n\
    FROM b\nCOPY --link --from=a /d /linked\nCOPY --parents d/./large /\nADD small large /added/\nCOPY --from=b /copy /again\n\
    RUN true\n";

fn write_context(env: &TestEnv, letter: &str) {
    let exactly = |size: usize| letter.repeat(size);
    for (name, size) in [("small", 10), ("empty", 0), ("limit", 65_536), ("over", 65_537), ("large", 3 << 20)]
    {
        env.write(&format!("d/{name}"), &exactly(size));
    }
    env.write("large", &exactly(100_000)).write("small", "small");
    let at = |name: &str| env.context().join(name);
    fs::set_permissions(at("d/small"), fs::Permissions::from_mode(0o4711)).unwrap();
    let _ = fs::remove_file(at("d/link"));
    symlink("small", at("d/link")).unwrap();
    let _ = fs::remove_file(at("link"));
    symlink("d", at("link")).unwrap();
    let _ = fs::remove_file(at("d/other"));
    fs::hard_link(at("d/large"), at("d/other")).unwrap();
}

fn keys(store: &std::path::Path) -> BTreeSet<String> {
    let names = fs::read_dir(store.join("records/steps")).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_step_is_known_by_the_same_whether_it_was_looked_for_or_not() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile(DOCKERFILE);
    let base = env.path("base.tar");
    env.rbuild(&["save", "-q", "-o", base.to_str().unwrap(), "base:1"]).run().success();
    let build = |store: &str, flags: &[&str]| {
        let root = env.path(store);
        if !root.exists() {
            env.rbuild(&["load", "-q", "-i", base.to_str().unwrap()])
                .env("RBUILD_ROOT", &root)
                .run()
                .success();
        }
        let built =
            env.rbuild(flags).arguments(&["-t", "app", "."]).env("RBUILD_ROOT", &root).run().success();
        (keys(&root), built)
    };
    write_context(&env, "b");
    let (heard_of, _) = build("heard-of", &[]);
    write_context(&env, "a");
    let (new, _) = build("new", &[]);
    let (both, _) = build("heard-of", &[]);
    let (explained, _) = build("explained", &["--explain"]);
    let (anew, _) = build("anew", &["--no-cache"]);
    assert_eq!(new.len(), 12);
    assert_eq!(new, explained);
    assert_eq!(new, anew);
    // WORKDIR and the like read nothing that has changed; everything else was made in both ways.
    assert_eq!(heard_of.intersection(&new).count(), 0);
    assert_eq!(&both - &heard_of, new);
    let (again, built) = build("new", &[]);
    assert_eq!((again, built.stderr().matches("DONE").count()), (new, 4), "{built}");
}

#[test]
fn what_was_made_before_a_failure_is_remembered() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    write_context(&env, "x");
    env.dockerfile("FROM base:1\nCOPY d /d\nCOPY large /\nRUN true\nRUN false\n");
    env.rbuild(&["."]).run().code(1);
    let again = env.rbuild(&["."]).run().code(1);
    for step in ["COPY d", "COPY large", "RUN true"] {
        assert_eq!(again.outcome(step), Some("CACHED"), "{again}");
    }
}

#[test]
fn what_was_made_is_remembered_while_later_steps_go_on() {
    require_busybox!();
    for rest in [
        "COPY d /d\nRUN echo begun; sleep 60\n",
        // One that has all it builds upon and waits for what it reads.
        "COPY d /d\nCOPY --from=slow /d /e\n",
    ] {
        let env = TestEnv::new();
        env.busybox_image("base:1");
        write_context(&env, "x");
        env.dockerfile(&format!(
            "FROM base:1 AS slow\nRUN mkdir /d; echo begun; sleep 60\nFROM base:1\n{rest}"
        ));
        let before = keys(&env.store()).len();
        let mut build = started(env.rbuild(&["."]), "begun");
        let began = Instant::now();
        while keys(&env.store()).len() == before {
            assert!(began.elapsed() < Duration::from_secs(20), "nothing is remembered");
            std::thread::sleep(Duration::from_millis(10));
        }
        build.kill().unwrap();
        build.wait().unwrap();
        env.dockerfile("FROM base:1\nCOPY d /d\nRUN true\n");
        let again = env.rbuild(&["."]).run().success();
        assert_eq!(again.outcome("COPY d"), Some("CACHED"), "{again}");
    }
}

/// Large files are hashed when they have been copied, and then they may be other ones already.
#[test]
fn a_file_that_changes_between_copy_and_look_spoils_no_later_build() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    for number in 0..8 {
        let large = format!("large-{number}");
        env.write(&large, &"old ".repeat(20 << 20));
        env.dockerfile(&format!("FROM base:1\nCOPY {large} /f\n"));
        let build = started(env.rbuild(&["."]), &format!("COPY {large} /f"));
        // At another moment each time, while it is copied or hashed.
        std::thread::sleep(Duration::from_millis(15 * number));
        let mut file = fs::OpenOptions::new().write(true).open(env.context().join(&large)).unwrap();
        // What is read last of it.
        file.seek(SeekFrom::End(-3)).unwrap();
        file.write_all(b"new").unwrap();
        drop(file);
        assert!(build.wait_with_output().unwrap().status.success());
        env.rbuild(&["-t", "app", "."]).run().success();
        env.rbuild(&["run", "--rm", "app", "tail", "-c", "3", "/f"]).run().success().prints("new");
    }
}

#[test]
fn a_missing_source_ends_the_build_at_once_though_nobody_looks_at_the_others() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN sleep 60\nCOPY nowhere /\n");
    let began = Instant::now();
    env.rbuild(&["."]).run().code(3).says(&["\"/nowhere\": not found"]);
    assert!(began.elapsed() < Duration::from_secs(20), "it has waited for the step before");
}
