//! `tag` and `rmi`.

use crate::small_image;
use crate::support::TestEnv;

fn names(env: &TestEnv) -> Vec<String> {
    let listed = env.rbuild(&["images", "--format", "json"]).run().success();
    let name = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        format!("{}:{}", row["Repository"].as_str().unwrap(), row["Tag"].as_str().unwrap())
    };
    let mut names: Vec<String> = listed.stdout().lines().map(name).collect();
    names.sort_unstable();
    names
}

#[test]
fn an_image_gets_several_names_at_once() {
    let env = TestEnv::new();
    small_image(&env, "a", &["app:1"]);
    env.rbuild(&["tag", "app:1", "app", "reg.example/team/app:2"]).run().success().prints("");
    assert_eq!(names(&env), ["app:1", "app:latest", "reg.example/team/app:2"]);
}

#[test]
fn a_name_moves_from_one_image_to_another() {
    let env = TestEnv::new();
    small_image(&env, "a", &["app:1"]);
    let other = small_image(&env, "b", &[]);
    env.rbuild(&["tag", &other[7..], "app:1"]).run().success();
    assert_eq!(names(&env), ["<none>:<none>", "app:1"]);
    let found = env.rbuild(&["images", "-q", "--no-trunc", "app:1"]).run().success();
    found.prints(&format!("{other}\n"));
}

#[test]
fn what_cannot_be_tagged_is_said() {
    let env = TestEnv::new();
    let id = small_image(&env, "a", &["app:1"]);
    env.rbuild(&["tag", "app:2", "x"]).run().code(3).says(&["no image app:2", "there is app:1"]);
    env.rbuild(&["tag", "app:1", "UPPER"]).run().code(2).says(&["UPPER"]);
    env.rbuild(&["tag", "app:1", &format!("x@{id}")]).run().code(2).says(&["cannot contain a digest"]);
    assert_eq!(names(&env), ["app:1"]);
}

#[test]
fn names_go_one_by_one_and_the_last_takes_the_image_along() {
    let env = TestEnv::new();
    let id = small_image(&env, "a", &["app:1", "app:2"]);
    env.rbuild(&["rmi", "app:1"]).run().success().prints("Untagged: app:1\n");
    let last = env.rbuild(&["rmi", "app:2"]).run().success();
    last.prints(&format!("Untagged: app:2\nDeleted: {id}\n"));
    assert_eq!(names(&env), [""; 0]);
    env.rbuild(&["inspect", &id]).run().code(3).says(&["no image"]);
}

#[test]
fn an_image_with_several_names_goes_by_id_only_with_force() {
    let env = TestEnv::new();
    let id = small_image(&env, "a", &["app:1", "app:2"]);
    env.rbuild(&["rmi", &id[7..19]]).run().code(2).says(&["several names: app:1, app:2", "--force"]);
    assert_eq!(names(&env), ["app:1", "app:2"]);
    let forced = env.rbuild(&["rmi", "--force", &id[7..19]]).run().success();
    forced.prints(&format!("Untagged: app:1\nUntagged: app:2\nDeleted: {id}\n"));
}

#[test]
fn one_failure_does_not_keep_the_others() {
    let env = TestEnv::new();
    small_image(&env, "a", &["app:1"]);
    small_image(&env, "b", &["other:1"]);
    let removed = env.rbuild(&["rmi", "app:1", "nothing", "other:1"]).run().code(3);
    assert_eq!(removed.stdout().lines().filter(|line| line.starts_with("Untagged")).count(), 2);
    assert_eq!(removed.says(&["no image nothing"]).stderr().matches("error:").count(), 1);
    env.rbuild(&["rmi", "-f", "nothing"]).run().success().says(&["no image nothing"]);
}

#[test]
fn a_removed_image_is_built_again() {
    let env = TestEnv::new();
    let id = small_image(&env, "a", &["app:1"]);
    env.rbuild(&["rmi", "app:1"]).run().success();
    assert_eq!(small_image(&env, "a", &["app:1"]), id, "the steps are still there");
    assert_eq!(names(&env), ["app:1"]);
}

/// Root's rung is closed to all but root, and nothing here asks for any.
#[test]
fn what_needs_no_isolation_works_where_there_is_none() {
    let env = TestEnv::new();
    small_image(&env, "a", &["app:1"]);
    let archive = env.path("app.tar");
    let archive = archive.to_str().unwrap();
    let closed = |arguments: &[&str]| {
        env.rbuild(&["--isolation", "root"]).arguments(arguments).run().success();
    };
    // Packs the layer, for which a namespace is needed.
    env.rbuild(&["save", "-o", archive, "app:1"]).run().success();
    closed(&["images"]);
    closed(&["inspect", "app:1"]);
    closed(&["history", "app:1"]);
    closed(&["save", "-o", archive, "app:1"]);
    closed(&["tag", "app:1", "app:2"]);
    closed(&["rmi", "app:1", "app:2"]);
    closed(&["load", "-i", archive]);
    assert_eq!(names(&env), ["app:1"]);
}
