//! `images`, `inspect` and `history`: what they print, and that it can be parsed.

use serde_json::Value;

use crate::small_image;
use crate::support::{TestEnv, require_busybox};

fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect()
}

#[test]
fn an_empty_store_has_a_headline_and_no_rows() {
    let env = TestEnv::new();
    env.rbuild(&["images"]).run().success().prints("REPOSITORY   TAG   IMAGE ID   CREATED   SIZE\n");
    env.rbuild(&["images", "-q"]).run().success().prints("");
    env.has_no_leftovers();
}

#[test]
fn every_name_has_a_row_and_the_newest_image_comes_first() {
    let env = TestEnv::new();
    let old = small_image(&env, "old", &["app:1", "127.0.0.1:5000/team/app:1"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let new = small_image(&env, "new", &[]);
    let listed = env.rbuild(&["images"]).run().success();
    let rows = rows(listed.stdout());
    let short = |id: &str| id.strip_prefix("sha256:").unwrap()[..12].to_owned();
    assert_eq!(rows[0], ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    assert_eq!(rows[1][..3], ["<none>", "<none>", &*short(&new)]);
    let mut names: Vec<&str> = rows[2..].iter().map(|row| row[0]).collect();
    names.sort_unstable();
    assert_eq!(names, ["127.0.0.1:5000/team/app", "app"]);
    assert!(rows[2..].iter().all(|row| row[1..3] == ["1", &*short(&old)]), "{listed}");
    assert!(rows[1][3].ends_with(" ago"), "{listed}");
    let ids = env.rbuild(&["images", "-q", "--no-trunc"]).run().success();
    ids.prints(&format!("{new}\n{old}\n"));
    env.rbuild(&["images", "-q", "--no-trunc", "app"]).run().success().prints(&format!("{old}\n"));
    env.rbuild(&["images", "-q", "--no-trunc", "-f", "dangling=true"])
        .run()
        .success()
        .prints(&format!("{new}\n"));
    env.rbuild(&["images", "-q", "--no-trunc", "-f", "since=app:1"])
        .run()
        .success()
        .prints(&format!("{new}\n"));
    env.rbuild(&["images", "-q", "-f", "label=made=elsewhere"]).run().success().prints("");
}

#[test]
fn json_has_an_object_on_each_line() {
    let env = TestEnv::new();
    let id = small_image(&env, "a", &["app:1", "app:2"]);
    let listed = env.rbuild(&["images", "--format", "json", "--no-trunc"]).run().success();
    let rows: Vec<Value> = listed.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row["ID"] == *id && row["Repository"] == "app"), "{listed}");
    assert_eq!((&rows[0]["Tag"], &rows[1]["Tag"]), (&"1".into(), &"2".into()));
}

#[test]
fn what_cannot_be_listed_is_refused_by_name() {
    let env = TestEnv::new();
    env.rbuild(&["images", "--format", "{{.ID}}"]).run().code(2).says(&["{{.ID}}", "table, json"]);
    env.rbuild(&["images", "-f", "colour=red"]).run().code(2).says(&["colour", "reference, dangling"]);
    env.rbuild(&["images", "-f", "before=nothing"]).run().code(3).says(&["no image nothing"]);
    env.rbuild(&["inspect", "--type", "container", "x"]).run().code(2).says(&["container"]);
}

#[test]
fn inspect_speaks_as_docker_does() {
    let env = TestEnv::new();
    let id = small_image(&env, "a", &["app:1"]);
    let inspected = env.rbuild(&["inspect", &id[7..19]]).run().success();
    let document: Value = serde_json::from_str(inspected.stdout()).unwrap();
    let image = &document[0];
    assert_eq!(image["Id"], *id);
    assert_eq!(image["RepoTags"], serde_json::json!(["app:1"]));
    assert_eq!(image["RepoDigests"], serde_json::json!([]));
    assert_eq!(image["Config"]["Labels"]["made"], "here");
    assert_eq!(image["Config"]["Env"][1], "A=1");
    assert_eq!(image["Os"], "linux");
    assert_eq!(image["RootFS"]["Type"], "layers");
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    assert!(image["Size"].as_u64().unwrap() >= 1024, "{inspected}");
    let line = env.rbuild(&["inspect", "--format", "json", "app:1"]).run().success();
    assert_eq!(line.stdout().lines().count(), 1);
    assert_eq!(serde_json::from_str::<Value>(line.stdout()).unwrap(), *image);
}

#[test]
fn inspect_prints_what_is_there_and_reports_what_is_not() {
    let env = TestEnv::new();
    small_image(&env, "a", &["app:1"]);
    let mixed = env.rbuild(&["inspect", "app:1", "apo:1"]).run().code(3).says(&["no image apo:1", "app:1"]);
    assert_eq!(serde_json::from_str::<Value>(mixed.stdout()).unwrap().as_array().unwrap().len(), 1);
    env.rbuild(&["inspect", "nothing"]).run().code(3).prints("[]\n").says(&["rbuild images", "rbuild pull"]);
}

#[test]
fn history_tells_instructions_and_what_they_added() {
    let env = TestEnv::new();
    let id = small_image(&env, "a", &["app:1"]);
    let told = env.rbuild(&["history", "app:1"]).run().success();
    let rows = rows(told.stdout());
    assert_eq!(rows[0], ["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
    let said: Vec<_> = rows[1..].iter().map(|row| (row[0], row[2])).collect();
    assert_eq!(
        said,
        [
            (&id[7..19], "ENV A=1"),
            ("<missing>", "COPY content /content # buildkit"),
            ("<missing>", "LABEL made=here")
        ]
    );
    assert_eq!((rows[1][3], rows[3][3]), ("0B", "0B"));
    assert_ne!(rows[2][3], "0B", "a layer has a size");
    let json = env.rbuild(&["history", "--format", "json", "--no-trunc", "app:1"]).run().success();
    let first: Value = serde_json::from_str(json.stdout().lines().next().unwrap()).unwrap();
    assert_eq!(first["ID"], *id);
    let ids = env.rbuild(&["history", "-q", "app:1"]).run().success();
    assert_eq!(ids.stdout().lines().count(), 3);
}

#[test]
fn an_image_is_run_by_the_beginning_of_its_id() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nCMD [\"echo\", \"by id\"]\n");
    let id = env.rbuild(&["-q", "."]).run().success().stdout().to_owned();
    env.rbuild(&["run", "--rm", &id[7..15]]).run().success().prints("by id\n");
    env.rbuild(&["rmi", &id[7..15]]).run().success();
    env.rbuild(&["run", "--rm", id.trim_end()]).run().code(125).says(&["no image"]);
}

#[test]
fn help_answers() {
    let env = TestEnv::new();
    for verb in ["images", "tag", "rmi", "inspect", "history", "save", "load", "pull", "push"] {
        let help = env.rbuild(&[verb, "--help"]).run().success();
        assert!(help.stdout().contains(&format!("Usage: rbuild {verb}")), "{help}");
    }
}
