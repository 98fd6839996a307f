//! The store as a whole: what it keeps, what it gives back, and that nothing breaks it.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../support/mod.rs"]
mod support;

mod check;
mod crowd;
mod du;
mod full;
mod kill;
mod prune;
mod read_only;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::TestEnv;

/// What `du` says to programs, but for what is remembered of contexts: that depends on how fast the machine is.
fn du(env: &TestEnv, more: &[&str]) -> Value {
    let said = env.rbuild(&[&["du", "--format", "json"], more].concat()).run().success();
    let mut said: Value = serde_json::from_str(said.stdout()).unwrap();
    said["items"].as_array_mut().unwrap().retain(|item| item["type"] != "source.local");
    said
}

/// The descriptions of items, sorted; for images their names.
fn descriptions(du: &Value) -> Vec<String> {
    let mut descriptions: Vec<String> = du["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["description"].as_str().unwrap().to_owned())
        .collect();
    descriptions.sort();
    descriptions
}

/// Asserts that the store is sound, and that what is left over is nothing but what killed processes leave.
#[track_caller]
fn is_sound(env: &TestEnv) {
    let checked = env.rbuild(&["store", "check"]).run().success();
    assert!(checked.stdout().contains("the store is sound"), "{checked}");
}

/// Asserts that what was removed is gone from the disk, soon. An empty directory of a process that was killed while it set up
/// is told from one of a process that is just starting only after an hour.
#[track_caller]
fn is_swept(env: &TestEnv) {
    let patience = Instant::now() + Duration::from_secs(20);
    let being_set_up = |path: &std::path::Path| path.extension().is_some_and(|extension| extension == "new");
    let left = || {
        let entries = std::fs::read_dir(env.store().join("tmp")).unwrap().flatten();
        entries.filter(|entry| !being_set_up(&entry.path())).count()
    };
    while left() > 0 {
        assert!(Instant::now() < patience, "the trash is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Makes everything in the store look unused for so many hours.
fn age(env: &TestEnv, hours: u32) {
    let script =
        format!("find {}/records -type f -exec touch -d '{hours} hours ago' {{}} +", env.store().display());
    env.program("sh", &["-c", &script]).run().success();
}
