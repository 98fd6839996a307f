//! What is said of a miss.

use super::*;
use crate::store::SnapshotId;

fn run(command: &str, environment: &[&str]) -> String {
    let environment = serde_json::to_string(environment).unwrap();
    format!(
        r#"{{"Type":"buildkit.exec.v0","Exec":{{"meta":{{"args":["/bin/sh","-c","{command}"],"env":{environment},"cwd":"/","removeMountStubsRecursive":true}}}},"OS":"linux","Arch":"amd64"}}"#
    )
}

fn key(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn record(name: &str, definition: String, base: &str) -> (String, StepRecord) {
    let snapshot: SnapshotId = serde_json::from_str("\"s\"").unwrap();
    let record = StepRecord {
        snapshot,
        created: Timestamp::from_seconds(1),
        name: name.to_owned(),
        parent: None,
        on: None,
        contents: vec![None],
        definition,
        inputs: vec![Some(key(base))],
    };
    (name.to_owned(), record)
}

fn miss(name: &str, definition: String, base: &str) -> Miss {
    let input = MissedInput {
        name: "[1/2] FROM base".to_owned(),
        key: Some(key(base)),
        content: None,
        is_new: false,
    };
    Miss { name: name.to_owned(), key: key("x"), definition, inputs: vec![input], forced: false }
}

fn said(miss: &Miss, records: &[(String, StepRecord)]) -> String {
    explain(miss, records, |_, _| None).to_string()
}

#[test]
fn a_variable_that_differs_is_named() {
    let records = [
        record("[2/2] RUN make", run("make", &["A=1", "FOO=a"]), "base"),
        record("x", run("other", &[]), "base"),
    ];
    let now = miss("[2/2] RUN make", run("make", &["A=1", "FOO=b", "NEW=1"]), "base");
    assert_eq!(said(&now, &records), "not cached: env FOO changed a ▸ b; env NEW added: 1");
}

#[test]
fn the_nearest_of_several_is_taken() {
    let records = [
        record("[2/2] RUN make", run("make", &["A=1"]), "older base"),
        record("[2/2] RUN make", run("make", &["A=2"]), "base"),
    ];
    let now = miss("[2/2] RUN make", run("make", &["A=1"]), "base");
    assert_eq!(said(&now, &records), "not cached: env A changed 2 ▸ 1");
}

#[test]
fn another_base_is_said_to_be_one() {
    let records = [record("[2/2] RUN make", run("make", &[]), "base")];
    let mut now = miss("[2/2] RUN make", run("make", &[]), "new base");
    assert_eq!(said(&now, &records), "not cached: [1/2] FROM base is another one");
    now.inputs[0].is_new = true;
    assert_eq!(said(&now, &records), "not cached: [1/2] FROM base was made anew");
}

#[test]
fn what_nothing_resembles_is_new() {
    let records = [record("[2/2] RUN make", run("make", &["A=1"]), "base")];
    let now = miss("[2/2] RUN test", run("test", &["B=1", "C=1"]), "new base");
    assert_eq!(said(&now, &records), "not cached: nothing like it has been built here");
    assert_eq!(said(&now, &[]), "not cached: nothing like it has been built here");
}

#[test]
fn content_is_told_apart_where_it_is_known() {
    let mut old =
        record("[2/2] COPY src /src", r#"{"Type":"buildkit.file.v0","Actions":[]}"#.to_owned(), "base");
    old.1.contents = vec![Some(key("old"))];
    let mut now = miss("[2/2] COPY src /src", old.1.definition.clone(), "base");
    now.inputs[0].content = Some(key("new"));
    let told = |before: &Digest, after: &Digest| {
        assert_eq!((before, after), (&key("old"), &key("new")));
        Some(vec![Difference { what: "src/x.rs: content".to_owned(), before: None, after: None }])
    };
    assert_eq!(explain(&now, &[old], told).to_string(), "not cached: src/x.rs: content");
}

#[test]
fn programs_read_it_too() {
    let records = [record("[2/2] RUN make", run("make", &["FOO=a"]), "base")];
    let now = miss("[2/2] RUN make", run("make", &["FOO=b"]), "base");
    let told = serde_json::to_value(explain(&now, &records, |_, _| None)).unwrap();
    assert_eq!(told["reason"], "differs");
    assert_eq!(told["differences"][0]["what"], "env FOO");
    assert_eq!(told["nearest"]["step"], "[2/2] RUN make");
}
