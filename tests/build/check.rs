//! `--check` and `--call`: no build, no store, no network.

use serde_json::Value;

use crate::support::{Rbuild, TestEnv};

const UNTIDY: &str = "# syntax=docker/dockerfile:1\nFROM unknown.invalid/base AS Build\nCMD echo $A\n";

/// Where no store can be: whoever opened it would fail.
fn nowhere(env: &TestEnv, arguments: &[&str]) -> Rbuild {
    env.write("file", "");
    env.rbuild(arguments).env("RBUILD_ROOT", env.context().join("file/store"))
}

#[test]
fn every_violation_is_shown_with_its_lines_and_its_page() {
    let env = TestEnv::new();
    env.dockerfile(UNTIDY);
    for arguments in [&["--check", "."][..], &["--call=check", "."], &["--call", "check", "."]] {
        let checked = nowhere(&env, arguments).run().code(1);
        assert_eq!(
            checked.stdout(),
            "Check complete, 2 warnings have been found!\n\n\
             WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\n\
             Stage name 'Build' should be lowercase\n\
             Dockerfile:2\n--------------------\n   1 |     # syntax=docker/dockerfile:1\n   \
             2 | >>> FROM unknown.invalid/base AS Build\n   3 |     CMD echo $A\n--------------------\n\n\
             WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/\n\
             JSON arguments recommended for CMD to prevent unintended behavior related to OS signals\n\
             Dockerfile:3\n--------------------\n   1 |     # syntax=docker/dockerfile:1\n   \
             2 |     FROM unknown.invalid/base AS Build\n   3 | >>> CMD echo $A\n--------------------\n",
            "{checked}"
        );
        assert_eq!(checked.stderr(), "");
    }
}

#[test]
fn a_clean_file_passes() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\nCOPY file /\n");
    nowhere(&env, &["--check", "."]).run().code(0).prints("Check complete, no warnings found.\n");
}

#[test]
fn the_ignore_file_is_looked_at() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\nCOPY secret.txt /\n").write(".dockerignore", "*.txt\n");
    let checked = nowhere(&env, &["--check", "."]).run().code(1);
    assert!(checked.stdout().contains("CopyIgnoredFile"), "{checked}");
    // The file beside the Dockerfile wins, and with a rule that takes back in nothing is said.
    env.write("Dockerfile.dockerignore", "*.txt\n!secret.txt\n");
    nowhere(&env, &["--check", "."]).run().code(0);
}

#[test]
fn rules_are_chosen_by_the_file_and_by_a_build_argument() {
    let env = TestEnv::new();
    env.dockerfile("# check=skip=StageNameCasing\nFROM scratch AS Upper\n");
    nowhere(&env, &["--check", "."]).run().code(0);
    let argument = "BUILDKIT_DOCKERFILE_CHECK=error=true";
    let checked = nowhere(&env, &["--check", "--build-arg", argument, "."]).run().code(1);
    assert!(checked.stdout().contains("StageNameCasing"), "{checked}");
    let checked = checked.says(&["lint violation found for rules: StageNameCasing"]);
    drop(checked);
    let argument = "BUILDKIT_DOCKERFILE_CHECK=skp=all";
    nowhere(&env, &["--check", "--build-arg", argument, "."]).run().code(2).says(&["did you mean skip?"]);
}

#[test]
fn what_is_wrong_altogether_is_an_error_after_the_violations() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch AS Upper\nRNU x\nCOPY --chmod=9 a /\n");
    let checked = nowhere(&env, &["--check", "."]).run().code(3).says(&["unknown instruction: RNU"]);
    assert!(checked.stdout().contains("StageNameCasing"), "{checked}");
    env.dockerfile("FROM scratch AS Upper\nCOPY --chmod=9 a /\nSTOPSIGNAL ${S:-NO}\n");
    let checked = nowhere(&env, &["--check", "."]).run().code(3);
    checked.says(&[
        "Dockerfile:2:14",
        "invalid chmod parameter",
        "Dockerfile:3:12",
        "invalid signal",
        "2 errors",
    ]);
    // Beside an error, a file without violations is not praised.
    env.dockerfile("FROM scratch AS lower\nRNU x\n");
    nowhere(&env, &["--check", "."]).run().code(3).prints("");
}

#[test]
fn violations_are_told_to_programs() {
    let env = TestEnv::new();
    env.dockerfile(UNTIDY);
    let checked = nowhere(&env, &["--call=check,format=json", "."]).run().code(1);
    let json: Value = serde_json::from_str(checked.stdout()).unwrap();
    assert_eq!(json["warnings"][0]["ruleName"], "StageNameCasing");
    assert_eq!(json["warnings"][1]["location"]["ranges"][0]["start"]["line"], 3);
    assert_eq!(json["sources"][0]["fileName"], "Dockerfile");
}

#[test]
fn an_outline_lists_what_a_target_takes() {
    let env = TestEnv::new();
    env.dockerfile(
        "# VERSION of the base\nARG VERSION=3\nFROM unknown.invalid/base:$VERSION AS tools\nARG JOBS\n\
         RUN --mount=type=secret,id=token,required make\n\
         # app is what is shipped\nFROM scratch AS app\nRUN --mount=type=ssh x\nCOPY --from=tools /x /\n\
         FROM scratch AS lost\nARG LOST\n",
    );
    let arguments = ["--call=outline", "--target=app", "--build-arg", "JOBS=4", "."];
    nowhere(&env, &arguments).run().code(0).prints(
        "TARGET:        app\nDESCRIPTION:   is what is shipped\n\n\
         BUILD ARG   VALUE   DESCRIPTION\nVERSION     3       of the base\nJOBS        4\n\n\
         SECRET   REQUIRED\ntoken    true\n\nSSH       REQUIRED\ndefault\n",
    );
    let listed = nowhere(&env, &["--call=outline,format=json", "--target=app", "."]).run().code(0);
    let json: Value = serde_json::from_str(listed.stdout()).unwrap();
    assert_eq!((&json["name"], &json["args"][0]["value"]), (&"app".into(), &"3".into()), "{listed}");
    assert_eq!(json["secrets"][0]["required"], true);
}

#[test]
fn targets_are_listed() {
    let env = TestEnv::new();
    env.dockerfile(
        "# tools are for building\nFROM base AS Tools\nFROM base\nFROM --platform=$BUILDPLATFORM tools AS app\n",
    );
    let expected = "TARGET          DESCRIPTION\ntools           are for building\napp (default)\n";
    nowhere(&env, &["--call=targets", "."]).run().code(0).prints(expected);
    let listed = nowhere(&env, &["--call", "targets,format=json", "."]).run().code(0);
    let json: Value = serde_json::from_str(listed.stdout()).unwrap();
    let last = &json["targets"][2];
    assert_eq!((&last["name"], &last["default"]), (&"app".into(), &true.into()), "{listed}");
    assert_eq!((&last["base"], &last["platform"]), (&"tools".into(), &"$BUILDPLATFORM".into()), "{listed}");
}

#[test]
fn a_mistyped_method_is_wrong_usage() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\n");
    env.rbuild(&["--call=chekc", "."]).run().code(2).says(&["chekc", "did you mean check?"]);
    env.rbuild(&["--call=check,format=xml", "."]).run().code(2).says(&["format=xml"]);
    env.rbuild(&["--check", "--call=outline", "."]).run().code(2);
}
