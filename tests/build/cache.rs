//! What is not done again.

use crate::support::{TestEnv, binary, has_subuid_range, is_root, require_busybox};

#[test]
fn an_unchanged_build_is_cached_whole() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("a.txt", "a").dockerfile("FROM base:1\nWORKDIR /w\nCOPY a.txt .\nRUN cat a.txt > b.txt\n");
    env.rbuild(&["-t", "app:1", "."]).run().success();
    let again = env.rbuild(&["-t", "app:2", "."]).run().success();
    for step in ["WORKDIR /w", "COPY a.txt .", "RUN cat a.txt"] {
        assert_eq!(again.outcome(step), Some("CACHED"), "{step}\n{again}");
    }
}

#[test]
fn a_touched_file_is_the_same_file() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("a.txt", "a").dockerfile("FROM base:1\nCOPY a.txt /\n");
    env.rbuild(&["."]).run().success();
    env.program("touch", &["-d", "2001-01-01", "a.txt"]).run().success();
    let again = env.rbuild(&["."]).run().success();
    assert_eq!(again.outcome("COPY a.txt"), Some("CACHED"), "{again}");
}

#[test]
fn a_changed_file_redoes_its_copy_and_what_follows_only() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("a.txt", "a").write("b.txt", "b");
    env.dockerfile("FROM base:1\nCOPY a.txt /\nCOPY b.txt /\nRUN cat /a.txt /b.txt > /c.txt\n");
    env.rbuild(&["."]).run().success();
    env.write("b.txt", "changed");
    let again = env.rbuild(&["-t", "app", "."]).run().success();
    assert_eq!(again.outcome("COPY a.txt"), Some("CACHED"), "{again}");
    for step in ["COPY b.txt", "RUN cat"] {
        assert!(again.outcome(step).is_some_and(|outcome| outcome.starts_with("DONE")), "{step}\n{again}");
    }
    env.rbuild(&["run", "--rm", "app", "cat", "/c.txt"]).run().success().prints("achanged");
}

#[test]
fn no_cache_does_every_step_again() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN echo again\n");
    env.rbuild(&["."]).run().success();
    let again = env.rbuild(&["--no-cache", "."]).run().success();
    assert!(again.outcome("RUN echo again").is_some_and(|outcome| outcome.starts_with("DONE")), "{again}");
}

#[test]
fn the_steps_of_some_stages_can_be_done_again() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile(
        "FROM base:1 AS one\nRUN cat /proc/sys/kernel/random/uuid > /one\n\
         FROM base:1 AS two\nRUN echo two > /two\n\
         FROM base:1\nCOPY --from=two /two /\nCOPY --from=one /one /\nRUN cat /one > /copy\n",
    );
    env.rbuild(&["."]).run().success();
    let again = env.rbuild(&["-t", "app", "--no-cache-filter", "ONE", "."]).run().success();
    let is_done = |step| again.outcome(step).is_some_and(|outcome| outcome.starts_with("DONE"));
    for step in ["RUN cat /proc", "COPY --from=one", "RUN cat /one"] {
        assert!(is_done(step), "{step}\n{again}");
    }
    for step in ["RUN echo two", "COPY --from=two"] {
        assert_eq!(again.outcome(step), Some("CACHED"), "{step}\n{again}");
    }
    // What was made anew is what is found from now on, by all that follows.
    let third = env.rbuild(&["."]).run().success();
    for step in ["RUN cat /proc", "COPY --from=one", "RUN cat /one"] {
        assert_eq!(third.outcome(step), Some("CACHED"), "{step}\n{third}");
    }
    env.rbuild(&["run", "--rm", "app", "busybox", "cmp", "/one", "/copy"]).run().success();
    env.rbuild(&["--no-cache-filter", "on", "."])
        .run()
        .success()
        .says(&["--no-cache-filter on", "did you mean one?"]);
    env.rbuild(&["--no-cache-filter", "one", "--no-cache", "."]).run().code(2);
}

#[test]
fn a_source_that_is_made_again_and_equal_changes_nothing_behind_it() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile(
        "FROM base:1 AS one\nRUN echo one > /one\nFROM base:1\nCOPY --from=one /one /\nRUN cat /one\n",
    );
    env.rbuild(&["."]).run().success();
    env.dockerfile(
        "FROM base:1 AS one\nRUN echo  one  > /one\nFROM base:1\nCOPY --from=one /one /\nRUN cat /one\n",
    );
    let again = env.rbuild(&["."]).run().success();
    assert!(again.outcome("RUN echo").is_some_and(|outcome| outcome.starts_with("DONE")), "{again}");
    for step in ["COPY --from=one", "RUN cat /one"] {
        assert_eq!(again.outcome(step), Some("CACHED"), "{step}\n{again}");
    }
}

#[test]
fn a_miss_is_explained() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let file =
        |value: &str, command: &str| format!("FROM base:1\nENV FOO={value}\nRUN echo one\nRUN {command}\n");
    env.dockerfile(&file("a", "echo two"));
    let first = env.rbuild(&["--explain", "."]).run().success();
    first.says(&["not cached: nothing like it has been built here"]);
    env.dockerfile(&file("b", "echo two"));
    let changed = env.rbuild(&["--explain", "."]).run().success();
    changed.says(&[
        "not cached: env FOO changed a ▸ b\n",
        "env FOO changed a ▸ b; [2/3] RUN echo one was made anew\n",
    ]);
    env.dockerfile(&file("b", "echo  2"));
    let told = env.rbuild(&["--explain=json", "."]).run().success();
    let lines: Vec<serde_json::Value> =
        told.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1, "{told}");
    assert_eq!(lines[0]["step"], "[3/3] RUN echo  2");
    let expected = serde_json::json!([{"what": "command", "before": "echo two", "after": "echo  2"}]);
    assert_eq!(lines[0]["differences"], expected, "{told}");
    env.rbuild(&["--explain", "--no-cache", "."]).run().success().says(&["it was to be done anew"]);
    let cached = env.rbuild(&["--explain=json", "."]).run().success();
    cached.prints("");
}

#[test]
fn nothing_is_left_of_what_was_pruned() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1 AS a\nRUN echo a > /a\nFROM base:1\nCOPY --from=a /a /\nCOPY <<E /e\nx\nE\n");
    env.rbuild(&["."]).run().success();
    let records = |kind: &str| std::fs::read_dir(env.store().join("records").join(kind)).unwrap().count();
    assert!(records("links") > 0);
    env.rbuild(&["prune", "--all", "--force"]).run().success();
    // The base has a name, and the one step that made it with it.
    assert_eq!((records("links"), records("steps")), (0, 1));
    env.rbuild(&["store", "check"]).run().success();
}

#[test]
fn what_has_changed_in_files_is_told_one_by_one() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("src/x.rs", "x").write("src/run.sh", "r").write("src/old", "o");
    let mode = |mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(env.context().join("src/run.sh"), permissions).unwrap();
    };
    mode(0o755);
    let file = |text: &str| {
        format!("FROM base:1 AS a\nRUN echo {text} > /a\nFROM base:1\nCOPY src /src\nCOPY --from=a /a /a\n")
    };
    env.dockerfile(&file("one"));
    env.rbuild(&["."]).run().success();
    env.write("src/x.rs", "y").write("src/new", "n");
    std::fs::remove_file(env.context().join("src/old")).unwrap();
    mode(0o775);
    env.dockerfile(&file("two"));
    let told = env.rbuild(&["--explain", "."]).run().success();
    told.says(&[
        "not cached: src/new: new; mode of src/run.sh changed 0755 ▸ 0775; src/x.rs: content; src/old: gone",
        "; a: content",
    ]);
}

#[test]
fn damaged_records_are_misses() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("a.txt", "a").dockerfile(
        "FROM base:1 AS a\nCOPY a.txt /\nRUN cat /a.txt > /b\nFROM base:1\nCOPY --from=a /b /\nRUN cat /b > /c\n",
    );
    env.rbuild(&["."]).run().success();
    for kind in ["steps", "links", "listings", "views", "seals"] {
        for (number, damage) in
            [b"".as_slice(), b"{", b"{\"boot\":\"x\",\"at\":1,\"value\":7}"].iter().enumerate()
        {
            let records = std::fs::read_dir(env.store().join("records").join(kind)).unwrap();
            let mut count = 0;
            for record in records.map(Result::unwrap) {
                std::fs::write(record.path(), damage).unwrap();
                count += 1;
            }
            assert!(count > 0, "{kind} {number}");
            env.rbuild(&["-t", "app", "."]).run().success();
            let again = env.rbuild(&["."]).run().success();
            assert_eq!(again.outcome("RUN cat /b"), Some("CACHED"), "{kind} {number}\n{again}");
            env.rbuild(&["run", "--rm", "app", "cat", "/c"]).run().success().prints("a");
        }
    }
}

/// Lent ids take a program that is not run with new privileges: without it another namespace would be entered, in which nothing
/// of what was made means anything. The other rungs need nothing that could be taken away.
#[test]
fn what_is_all_cached_enters_no_namespace() {
    require_busybox!();
    if is_root() || !has_subuid_range() {
        return;
    }
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("a.txt", "a").dockerfile("FROM base:1\nCOPY a.txt /\nRUN cat /a.txt > /b.txt\n");
    env.rbuild(&["-t", "app", "."]).run().success();
    let binary = binary();
    let held = |arguments: &[&str]| {
        let arguments = [&["--no-new-privs", binary.to_str().unwrap()], arguments].concat();
        env.program("setpriv", &arguments).run()
    };
    let again = held(&["-t", "again", "."]).success();
    for step in ["COPY a.txt", "RUN cat"] {
        assert_eq!(again.outcome(step), Some("CACHED"), "{step}\n{again}");
    }
    env.write("a.txt", "b");
    held(&["."]).code(4).says(&["only another rung of isolation can read it"]);
}
