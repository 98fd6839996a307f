//! `doctor`: the truth about this host, whoever asks.

use std::collections::BTreeMap;

use crate::support::{TestEnv, has_subuid_range, is_root};
use crate::{best_rung, where_namespaces_are_forbidden};

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The states of the checks by their names.
fn states(json: &serde_json::Value) -> BTreeMap<String, String> {
    let pair = |check: &serde_json::Value| {
        ["name", "state"].map(|key| check[key].as_str().unwrap().to_owned()).into()
    };
    json["checks"].as_array().unwrap().iter().map(pair).collect()
}

#[test]
fn the_rung_is_named_that_commands_take() {
    let env = TestEnv::new();
    let text = env.rbuild(&["doctor"]).run().success();
    assert!(text.stdout().starts_with(&format!("isolation: {}: ", best_rung())), "{text}");
    let said = env.rbuild(&["doctor", "--format", "json"]).run().success();
    let said = json(said.stdout());
    assert_eq!(said["rung"], best_rung());
    let states = states(&said);
    assert_eq!(states["root"], if is_root() { "ok" } else { "n/a" });
    assert_eq!(states["range"], if has_subuid_range() { "ok" } else { "missing" });
    assert_eq!([&states["overlay"], &states["proc"], &states["seccomp_notify"]], ["ok"; 3], "{said}");
}

#[test]
fn a_rung_that_was_asked_for_is_judged() {
    let env = TestEnv::new();
    let rung = |choice: &str, code: i32| {
        let said = env.rbuild(&["--isolation", choice, "doctor", "--format=json"]).run().code(code);
        json(said.stdout())["rung"].clone()
    };
    assert_eq!(rung("single", 0), "single");
    if has_subuid_range() {
        assert_eq!(rung("range", 0), "range");
    } else {
        assert_eq!(rung("range", 4), serde_json::Value::Null);
        let text = env.rbuild(&["--isolation", "range", "doctor"]).run().code(4);
        assert!(text.stdout().contains("usermod --add-subuids "), "{text}");
    }
}

#[test]
fn where_no_namespace_can_be_made_the_setting_is_named() {
    let env = TestEnv::new();
    let text = where_namespaces_are_forbidden(&env, &["doctor"]).run().code(4);
    assert!(text.stdout().starts_with("isolation: none: "), "{text}");
    assert!(text.stdout().contains("\n      sysctl user.max_user_namespaces=15000\n"), "{text}");
    let said = where_namespaces_are_forbidden(&env, &["doctor", "--format", "json"]).run().code(4);
    let said = json(said.stdout());
    assert_eq!(said["rung"], serde_json::Value::Null);
    assert_eq!(states(&said)["user_namespaces"], "missing");
    assert_eq!(states(&said)["overlay"], "n/a");
}

#[test]
fn without_new_privileges_the_programs_that_map_are_of_no_use() {
    let env = TestEnv::new();
    let binary = crate::support::binary();
    let said =
        env.program("setpriv", &["--no-new-privs", binary.to_str().unwrap(), "doctor"]).run().success();
    let expected = match best_rung() {
        "root" => "isolation: root: ",
        "range" => "isolation: single: a user namespace with one id, because newuidmap has no power",
        _ => "isolation: single: ",
    };
    // Long lines are wrapped.
    let flat = said.stdout().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.starts_with(expected), "{said}");
}

#[test]
fn nothing_is_made_and_nothing_left() {
    let env = TestEnv::new();
    let store = env.path("home/no/such/store");
    env.rbuild(&["--root", store.to_str().unwrap(), "doctor"]).run().success();
    env.rbuild(&["doctor"]).run().success();
    for directory in ["home", "store", "tmp", "context"] {
        let left: Vec<_> = std::fs::read_dir(env.path(directory)).unwrap().flatten().collect();
        assert!(left.is_empty(), "left in {directory}: {left:?}");
    }
}

#[test]
fn the_text_fits_a_terminal() {
    let env = TestEnv::new();
    let text = env.rbuild(&["doctor"]).run().success();
    for line in text.stdout().lines() {
        // Commands to be copied are never broken.
        assert!(line.len() <= 80 || line.starts_with("      "), "{line}");
    }
}
