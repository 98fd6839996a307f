//! `RUN --mount=type=cache`, and `rbuild cache`.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{TestEnv, require_busybox};

fn world(dockerfile: &str) -> TestEnv {
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile(dockerfile);
    env
}

/// A build that differs from others by an argument.
fn build(env: &TestEnv, n: &str) -> crate::support::Rbuild {
    env.rbuild(&["--build-arg", &format!("N={n}"), "."])
}

#[test]
fn a_cache_stays_from_step_to_step_and_from_build_to_build() {
    require_busybox!();
    let env = world(
        "FROM base:1\nARG N\n\
         RUN --mount=type=cache,target=/c echo $N >> /c/log && echo seen $(cat /c/log)\n\
         RUN --mount=type=cache,id=/c,target=/other echo also $(cat /other/log) $N\n\
         RUN ls /c /other 2>&1 | grep -c 'No such file'\n",
    );
    build(&env, "one").run().success().says(&["seen one\n", "also one one", " 2\n"]);
    build(&env, "two").run().success().says(&["seen one two", "also one two two"]);
    // What a step that fails has written stays.
    env.dockerfile("FROM base:1\nRUN --mount=type=cache,target=/c echo failed >> /c/log; exit 1\n");
    build(&env, "x").run().code(1);
    env.dockerfile("FROM base:1\nRUN --mount=type=cache,target=/c,readonly cat /c/log && ! touch /c/x\n");
    build(&env, "x").run().success().says(&["failed", "Read-only file system"]);
    env.has_no_leftovers();
}

#[test]
fn a_cache_has_the_owner_and_mode_that_it_was_made_with() {
    require_busybox!();
    let env = world(
        "FROM base:1\nRUN --mount=type=cache,target=/c stat -c 'plain %u:%g %a' /c\n\
         RUN --mount=type=cache,target=/c,uid=1000,gid=1001,mode=0770 stat -c 'own %u:%g %a' /c && ls -A /c | wc -l\n\
         USER 1000\nRUN --mount=type=cache,target=/c,uid=1000,gid=1001,mode=0770 echo mine > /c/mine\n\
         RUN --mount=type=cache,target=/c,uid=1000,gid=1001,mode=0770 stat -c 'file %u' /c/mine\n",
    );
    env.rbuild(&["."]).run().success().says(&["plain 0:0 755", "own 1000:1001 770", "file 1000"]);
}

#[test]
fn a_cache_begins_with_what_it_is_made_from() {
    require_busybox!();
    let text = |content: &str| {
        format!(
            "FROM base:1 AS seed\nRUN mkdir -p /s/d && echo {content} > /s/f && chown 7:8 /s/f && ln -s f /s/link && mkfifo /s/p\n\
             FROM base:1\nARG N\n\
             RUN --mount=type=cache,id=x,from=seed,source=/s,target=/c echo $N $(cat /c/link) $(stat -c %u:%g /c/f) && echo $N >> /c/f\n"
        )
    };
    let env = world(&text("one"));
    build(&env, "a").run().success().says(&["a one 7:8"]);
    build(&env, "b").run().success().says(&["b one a 7:8"]);
    // It begins with something else, and so is another one.
    env.dockerfile(&text("two"));
    build(&env, "c").run().success().says(&["c two 7:8"]);
    env.rbuild(&["cache", "export", "x"]).run().code(2).says(&["several caches", "name one by its key"]);
}

#[test]
fn a_part_of_a_cache_is_inside_of_it() {
    require_busybox!();
    let env = world(
        "FROM base:1\nRUN --mount=type=cache,id=x,target=/c mkdir /c/part && echo in > /c/part/f && ln -s ../../../../etc /c/out && ln -s part /c/link\n\
         RUN --mount=type=cache,id=x,source=link,target=/p cat /p/f\n",
    );
    env.rbuild(&["."]).run().success().says(&[" in"]);
    // A link that leads out of the cache leads nowhere.
    env.dockerfile("FROM base:1\nRUN --mount=type=cache,id=x,source=/out,target=/p ls /p\n");
    env.rbuild(&["."]).run().code(3).says(&["source /out is not in the cache"]);
}

#[test]
fn no_cache_begins_with_an_empty_one() {
    require_busybox!();
    let env = world(
        "FROM base:1\nARG N\nRUN --mount=type=cache,target=/c echo $N >> /c/log && echo first $(cat /c/log)\n\
         RUN --mount=type=cache,target=/c echo second $(cat /c/log) $N\n",
    );
    build(&env, "one").run().success().says(&["first one\n"]);
    let again = build(&env, "two").arguments(&["--no-cache"]).run().success();
    again.says(&["first two\n", "second two two"]);
    let listed = env.rbuild(&["cache", "ls"]).run().success();
    assert!(!listed.stdout().contains("given up"), "{listed}");
}

#[track_caller]
fn shows(output: &crate::support::Finished, texts: &[&str]) {
    let lacking: Vec<_> = texts.iter().filter(|text| !output.stdout().contains(**text)).collect();
    assert!(lacking.is_empty(), "{lacking:?} are not in\n{output}");
}

/// Starts a build that holds a cache until a file appears in its context's place.
fn holder(env: &TestEnv, sharing: &str) -> std::process::Child {
    let directory = env.path("holder");
    let text = format!(
        "FROM base:1\nRUN --mount=type=cache,id=x,target=/c,sharing={sharing} echo held > /c/held && echo ready && \
         while ! test -e /c/go && test -e /c/held; do sleep 0.05; done # {}\n",
        directory.exists()
    );
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("Dockerfile"), text).unwrap();
    let mut command = env.rbuild(&["."]).directory(&directory).into_command();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut seen = Vec::new();
    let mut byte = [0];
    let stderr = child.stderr.as_mut().unwrap();
    while !seen.ends_with(b" ready\n") {
        assert_eq!(stderr.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    child
}

#[test]
fn two_builds_share_a_cache_at_the_same_time() {
    require_busybox!();
    let env = world("FROM base:1\nRUN --mount=type=cache,id=x,target=/c cat /c/held && touch /c/go\n");
    let mut held = holder(&env, "shared");
    env.rbuild(&["."]).run().success().says(&[" held"]);
    assert!(held.wait().unwrap().success());
}

#[test]
fn a_private_cache_is_another_one_while_it_is_taken() {
    require_busybox!();
    let text = |n: u32, command: &str| {
        format!("FROM base:1\nRUN --mount=type=cache,id=x,target=/c,sharing=private {command} # {n}\n")
    };
    let env = world(&text(1, "ls -A /c | wc -l && echo second > /c/second"));
    let mut held = holder(&env, "private");
    env.rbuild(&["."]).run().success().says(&[" 0\n"]);
    let listed = env.rbuild(&["cache", "ls", "--format", "json"]).run().success();
    assert_eq!(listed.stdout().matches("\"id\": \"x\"").count(), 2, "{listed}");
    assert_eq!(listed.stdout().matches("\"inUse\": true").count(), 1, "{listed}");
    // Let it end: its own cache is the only one it looks at.
    env.rbuild(&["cache", "rm", "x"]).run().code(6).says(&["1 more are in use and stay"]);
    let held_file = find(&env, "held");
    fs::write(held_file.with_file_name("go"), "").unwrap();
    assert!(held.wait().unwrap().success());
    // Both are free; the first is taken again.
    env.dockerfile(&text(2, "ls /c"));
    env.rbuild(&["."]).run().success().says(&[" go\n", " held\n"]);
}

#[test]
fn a_locked_cache_is_waited_for() {
    require_busybox!();
    let env =
        world("FROM base:1\nRUN --mount=type=cache,id=x,target=/c,sharing=locked cat /c/held && ls /c\n");
    let mut held = holder(&env, "locked");
    let file = find(&env, "held").with_file_name("go");
    let opener = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        fs::write(file, "").unwrap();
    });
    let began = Instant::now();
    let built = env.rbuild(&["."]).run().success();
    assert!(began.elapsed() >= Duration::from_millis(500), "{built}");
    built.says(&["waiting for another step that has locked the cache x", " held", " go"]);
    opener.join().unwrap();
    assert!(held.wait().unwrap().success());
    // Whoever holds it may die in any way.
    env.rbuild(&["cache", "rm", "x"]).run().success();
    let mut held = holder(&env, "locked");
    held.kill().unwrap();
    held.wait().unwrap();
    env.rbuild(&["--no-cache", "."]).run().code(1);
    env.dockerfile("FROM base:1\nRUN --mount=type=cache,id=x,target=/c,sharing=locked echo taken over\n");
    env.rbuild(&["."]).run().success().says(&["taken over"]);
}

#[test]
fn steps_that_lock_two_caches_do_not_wait_for_each_other_forever() {
    require_busybox!();
    let mount = |id: &str, target: &str| format!("--mount=type=cache,id={id},target={target},sharing=locked");
    let env = world(&format!(
        "FROM base:1 AS one\nRUN {} {} sleep 0.3; echo x > /1\n\
         FROM base:1 AS two\nRUN {} {} sleep 0.3; echo x > /2\n\
         FROM base:1\nRUN --mount=from=one,target=/1 --mount=from=two,target=/2 true\n\
         RUN {} {} echo twice > /c/f && cat /d/f\n",
        mount("a", "/c"),
        mount("b", "/d"),
        mount("b", "/c"),
        mount("a", "/d"),
        mount("a", "/c"),
        mount("a", "/d"),
    ));
    env.rbuild(&["."]).limit(Duration::from_secs(30)).run().success().says(&[" twice"]);
}

/// Where a file lies in a cache.
fn find(env: &TestEnv, name: &str) -> std::path::PathBuf {
    let caches = fs::read_dir(env.store().join("caches")).unwrap().flatten();
    let mut places = caches.map(|entry| entry.path().join("data").join(name));
    places.find(|place| place.exists()).unwrap()
}

#[test]
fn caches_are_listed_exported_imported_and_removed() {
    require_busybox!();
    let env = world(
        "FROM base:1\nRUN --mount=type=cache,target=/c echo kept > /c/f && chmod 640 /c/f && mkdir /c/d && ln -s f /c/l\n\
         RUN --mount=type=cache,id=own,target=/o,uid=1000 echo own > /o/f\n",
    );
    env.rbuild(&["."]).run().success();
    let listed = env.rbuild(&["cache", "ls"]).run().success();
    shows(&listed, &["/c  ", "own ", "Reclaimable:", "no"]);
    let used = env.rbuild(&["du", "--filter", "type=exec.cachemount"]).run().success();
    shows(&used, &["cache mount /c", "cache mount own"]);
    let tar = env.path("c.tar");
    env.rbuild(&["cache", "export", "/c", "-o", tar.to_str().unwrap()]).run().success();
    let names = env.program("tar", &["tf", tar.to_str().unwrap()]).run().success();
    names.prints("d/\nf\nl\n");
    let own = env.path("own.tar");
    env.rbuild(&["cache", "export", "own", "-o", own.to_str().unwrap()]).run().success();
    let json = env.rbuild(&["cache", "ls", "--format", "json"]).run().success();
    let json: serde_json::Value = serde_json::from_str(json.stdout()).unwrap();
    let key = json.as_array().unwrap().iter().find(|cache| cache["id"] == "own").unwrap()["key"].clone();

    // On a machine that knows nothing of it.
    let other = TestEnv::new();
    other.busybox_image("base:1");
    other.rbuild(&["cache", "import", "/c", tar.to_str().unwrap()]).run().success();
    let own = ["cache", "import", "own", own.to_str().unwrap(), "--key", key.as_str().unwrap()];
    other.rbuild(&own).run().success();
    other.dockerfile(
        "FROM base:1\nRUN --mount=type=cache,target=/c cat /c/l && stat -c 'mode %a' /c/f\n\
         RUN --mount=type=cache,id=own,target=/o,uid=1000 cat /o/f\n",
    );
    other.rbuild(&["."]).run().success().says(&[" kept", "mode 640", " own"]);
    // What is imported takes the place of what was there.
    env.program("sh", &["-c", "mkdir e && echo new > e/g && tar czf e.tgz -C e g"]).run().success();
    other.rbuild(&["cache", "import", "/c", env.context().join("e.tgz").to_str().unwrap()]).run().success();
    other.dockerfile("FROM base:1\nRUN --mount=type=cache,target=/c ls /c\n");
    other.rbuild(&["."]).run().success().says(&[" g\n"]).omits(&[" l\n"]);

    env.rbuild(&["cache", "rm", "no-such"]).run().code(3).says(&["there is no cache no-such"]);
    env.rbuild(&["cache", "rm", "/c"]).run().success().prints("removed 1\n");
    env.rbuild(&["store", "check"]).run().success();
    let pruned = env.rbuild(&["prune", "--force", "--filter", "type=exec.cachemount"]).run().success();
    shows(&pruned, &["cache mount own"]);
    env.rbuild(&["cache", "ls", "--format", "json"]).run().success().prints(
        "[]
",
    );
}
