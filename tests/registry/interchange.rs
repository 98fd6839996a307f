//! Caches that others wrote, and what others find in ours.

use std::path::Path;

use crate::support::{Registry, TestEnv, Vector, require_tool};

/// Whether every step that does something was found.
#[track_caller]
fn all_cached(env: &TestEnv, arguments: &[&str], steps: usize) {
    let built = env.rbuild(arguments).run().success();
    let done: Vec<_> = built
        .steps()
        .into_iter()
        .filter(|(name, _)| ["RUN ", "COPY ", "ADD ", "WORKDIR "].iter().any(|word| name.contains(word)))
        .map(|(name, outcome)| (name.to_owned(), outcome.to_owned()))
        .collect();
    let missed: Vec<_> = done.iter().filter(|(_, outcome)| outcome != "CACHED").collect();
    assert!(missed.is_empty() && done.len() >= steps, "{missed:?}\n{built}");
}

fn base(env: &TestEnv, vector: &Vector) {
    env.rbuild(&["load", "--input", vector.base.to_str().unwrap()]).run().success();
    let listed = env.rbuild(&["images", "--quiet"]).run().success();
    let id = listed.stdout().lines().next().unwrap().to_owned();
    env.rbuild(&["tag", &id, "busybox"]).run().success();
}

fn cache_from(path: &Path) -> String {
    format!("type=local,src={}", path.display())
}

#[test]
fn every_step_of_a_cache_that_buildkit_wrote_is_found() {
    for (name, steps) in [("a", 8), ("b", 9)] {
        let env = TestEnv::new();
        let vector = Vector::assemble(&env, name);
        base(&env, &vector);
        let context = vector.context.to_str().unwrap();
        all_cached(&env, &["--cache-from", &cache_from(&vector.cache), "-t", "app", context], steps);
        // What was found is known here from now on.
        all_cached(&env, &["-t", "app", context], steps);
        let listing =
            env.rbuild(&["run", "--rm", "app", "cat", if name == "a" { "/ls" } else { "/listing" }]);
        listing.run().success().prints(if name == "a" { "one\nsrc\ntwo\n" } else { "one.txt\n" });
    }
}

/// The records of a cache in a directory, without their places.
fn records(cache: &Path) -> Vec<String> {
    let config = config(cache);
    let mut records: Vec<String> = config["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            let has_result = if record["layers"].is_null() { "" } else { " with a result" };
            format!("{}{has_result}", record["digest"].as_str().unwrap())
        })
        .collect();
    records.sort();
    records
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn config(cache: &Path) -> serde_json::Value {
    let blob = |digest: &serde_json::Value| {
        json(&cache.join("blobs").join(digest.as_str().unwrap().replace(':', "/")))
    };
    let index = json(&cache.join("index.json"));
    let manifest = blob(&index["manifests"][0]["digest"]);
    blob(&manifest["config"]["digest"])
}

#[test]
fn what_was_found_is_handed_on_as_it_was() {
    for name in Vector::NAMES {
        let env = TestEnv::new();
        let vector = Vector::assemble(&env, name);
        base(&env, &vector);
        let ours = env.path("ours");
        let to = format!("type=local,mode=max,dest={}", ours.display());
        let context = vector.context.to_str().unwrap();
        env.rbuild(&["--cache-from", &cache_from(&vector.cache), "--cache-to", &to, context]).run().success();
        assert_eq!(records(&ours), records(&vector.cache), "{name}");
    }
}

#[test]
fn what_is_executed_here_is_known_by_what_buildkit_knows_it_by() {
    let env = TestEnv::new();
    let vector = Vector::assemble(&env, "a");
    base(&env, &vector);
    let ours = env.path("ours");
    let to = format!("type=local,mode=max,dest={}", ours.display());
    env.rbuild(&["--cache-to", &to, vector.context.to_str().unwrap()]).run().success();
    assert_eq!(records(&ours), records(&vector.cache));
}

/// A world with a base in a registry, and a build with two stages.
fn two_stages(env: &TestEnv, registry: &Registry) {
    let base = env.push_busybox(registry);
    env.write("a.txt", "a").dockerfile(&format!(
        "FROM {base} AS tools\nWORKDIR /w\nCOPY a.txt .\nRUN cat a.txt > b.txt; echo tools\n\
         FROM {base}\nCOPY --from=tools /w/b.txt /b.txt\nRUN cat /b.txt > /c.txt; echo last\n"
    ));
}

/// What a machine says that has nothing but a cache.
fn cold(env: &TestEnv, number: usize, arguments: &[&str]) -> crate::support::Finished {
    let store = env.path(format!("cold-{number}"));
    env.rbuild(arguments).arguments(&["."]).env("RBUILD_ROOT", store).run().success()
}

const STEPS: [&str; 5] = ["WORKDIR /w", "COPY a.txt", "RUN cat a.txt", "COPY --from=tools", "RUN cat /b.txt"];

#[test]
fn a_cold_runner_finds_everything_and_downloads_nothing() {
    require_tool!("docker-registry");
    let env = TestEnv::new();
    let registry = Registry::start();
    two_stages(&env, &registry);
    let address = registry.address();
    let directory = env.path("cache");
    let max = format!("type=registry,mode=max,ref={address}/cache:max");
    let min = format!("{address}/cache:min");
    let index =
        format!("type=registry,image-manifest=false,mode=max,compression=zstd,ref={address}/cache:index");
    let local = format!("type=local,mode=max,dest={}", directory.display());
    env.rbuild(&["--cache-to", &max, "--cache-to", &min, "--cache-to", &index, "--cache-to", &local, "."])
        .run()
        .success();
    let from = [
        format!("{address}/cache:max"),
        format!("type=registry,ref={address}/cache:min"),
        format!("{address}/cache:index"),
        format!("type=local,src={}", directory.display()),
    ];
    for (number, from) in from.iter().enumerate() {
        let built = cold(&env, number, &["--cache-from", from, "-t", "app"]);
        for step in STEPS {
            assert_eq!(built.outcome(step), Some("CACHED"), "{from}: {step}\n{built}");
        }
        assert!(!built.stderr().contains("load layers"), "{from}\n{built}");
        // Once found, it is found without the cache, too.
        let again = cold(&env, number, &[]);
        assert_eq!(again.outcome("RUN cat /b.txt"), Some("CACHED"), "{from}\n{again}");
        let store = env.path(format!("cold-{number}"));
        let run = env.rbuild(&["run", "--rm", "app", "cat", "/c.txt"]).env("RBUILD_ROOT", store);
        run.run().success().prints("a");
    }
}

#[test]
fn a_change_takes_what_lies_before_it_from_the_cache() {
    require_tool!("docker-registry");
    let env = TestEnv::new();
    let registry = Registry::start();
    two_stages(&env, &registry);
    let name = format!("{}/cache:1", registry.address());
    env.rbuild(&["--cache-to", &format!("type=registry,mode=max,ref={name}"), "."]).run().success();
    env.write("a.txt", "changed");
    let built = cold(&env, 0, &["--cache-from", &name, "-t", "app"]);
    assert_eq!(built.outcome("WORKDIR /w"), Some("CACHED"), "{built}");
    for step in &STEPS[1..] {
        assert!(built.outcome(step).is_some_and(|outcome| outcome.starts_with("DONE")), "{step}\n{built}");
    }
    let run = env.rbuild(&["run", "--rm", "app", "cat", "/c.txt"]).env("RBUILD_ROOT", env.path("cold-0"));
    run.run().success().prints("changed");
}

#[test]
fn an_image_carries_its_cache_along() {
    require_tool!("docker-registry");
    let env = TestEnv::new();
    let registry = Registry::start();
    two_stages(&env, &registry);
    let name = format!("{}/app:1", registry.address());
    env.rbuild(&["-t", &name, "--push", "--cache-to", "type=inline", "."]).run().success();
    let built = cold(&env, 0, &["--cache-from", &name]);
    for step in ["COPY --from=tools", "RUN cat /b.txt"] {
        assert_eq!(built.outcome(step), Some("CACHED"), "{step}\n{built}");
    }
    // Nobody inherits it.
    env.dockerfile(&format!("FROM {name}\nENV A=1\n"));
    env.rbuild(&["-t", "heir", "."]).run().success();
    let config = env.rbuild(&["inspect", "heir"]).run().success();
    assert!(!config.stdout().contains("moby.buildkit.cache"), "{config}");
}

#[test]
fn caches_that_cannot_be_had_are_warnings() {
    require_tool!("docker-registry");
    let env = TestEnv::new();
    let registry = Registry::start();
    two_stages(&env, &registry);
    let address = registry.address();
    let nowhere = format!("{address}/nothing:1");
    let built = cold(&env, 0, &["--cache-from", &nowhere, "--cache-from", "type=local,src=/nowhere"]);
    let warned = built.says(&["WARN: the cache", "is not used", "/nowhere"]);
    assert!(warned.outcome("RUN cat /b.txt").is_some_and(|outcome| outcome.starts_with("DONE")), "{warned}");
    // What is promised and not there is executed.
    let directory = env.path("cache");
    let to = format!("type=local,mode=max,dest={}", directory.display());
    env.rbuild(&["--cache-to", &to, "."]).run().success();
    let manifest = json(&directory.join("index.json"))["manifests"][0]["digest"].as_str().unwrap().to_owned();
    let manifest = json(&directory.join("blobs").join(manifest.replace(':', "/")));
    for layer in manifest["layers"].as_array().unwrap() {
        let blob = directory.join("blobs").join(layer["digest"].as_str().unwrap().replace(':', "/"));
        let length = std::fs::metadata(&blob).unwrap().len();
        std::fs::write(&blob, vec![0; usize::try_from(length).unwrap()]).unwrap();
    }
    env.write("late.txt", "late");
    let file = std::fs::read_to_string(env.context().join("Dockerfile")).unwrap();
    env.dockerfile(&format!("{file}RUN cat /c.txt > /d.txt\n"));
    let from = format!("type=local,src={}", directory.display());
    let built = cold(&env, 1, &["--cache-from", &from, "-t", "app"]).says(&["a cached layer cannot be had"]);
    let run = env.rbuild(&["run", "--rm", "app", "cat", "/d.txt"]).env("RBUILD_ROOT", env.path("cold-1"));
    run.run().success().prints("a");
    drop(built);
}

#[test]
fn a_cache_that_cannot_be_written_is_an_error_unless_it_need_not_be() {
    let env = TestEnv::new();
    env.write("a", "a").dockerfile("FROM scratch\nCOPY a /\n");
    env.write("file", "");
    let to = format!("type=local,dest={}", env.context().join("file/cache").display());
    env.rbuild(&["-t", "app", "--cache-to", &to, "."])
        .run()
        .code(6)
        .says(&["the cache", "could not be written"]);
    let to = format!("{to},ignore-error=true");
    env.rbuild(&["-t", "app", "--cache-to", &to, "."]).run().success().says(&["could not be written"]);
    env.rbuild(&["--cache-to", "type=gha", "."]).run().code(2).says(&["type=gha is not supported"]);
    env.rbuild(&["--cache-from", "type=registry,rf=x", "."]).run().code(2).says(&["rf"]);
}
