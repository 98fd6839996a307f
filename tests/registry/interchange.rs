//! Caches that others wrote, and what others find in ours.

use std::path::Path;

use crate::support::{TestEnv, Vector};

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
