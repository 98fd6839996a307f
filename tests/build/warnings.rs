//! Warnings are summed up at the end, whatever the end is; errors in the file are told all at once.

use crate::support::TestEnv;

#[test]
fn warnings_are_summed_up_after_a_build() {
    let env = TestEnv::new();
    env.write("a", "a").dockerfile("FROM scratch AS Upper\nCOPY a /\nLABEL a=$NAEM\nCMD echo\n");
    let built = env.rbuild(&["."]).run().success().says(&[
        "WARN: StageNameCasing: Stage name 'Upper' should be lowercase (line 1)\n",
        "WARN: UndefinedVar: Usage of undefined variable '$NAEM' (line 3)\n",
        "WARN: JSONArgsRecommended: ",
        "3 warnings found\n",
    ]);
    let (last_step, first_warning) = (built.stderr().rfind(" DONE "), built.stderr().find("WARN: "));
    assert!(last_step < first_warning, "{built}");
    env.rbuild(&["-q", "."]).run().success().omits(&["WARN"]);
    env.dockerfile("FROM scratch\nCOPY a /\n");
    env.rbuild(&["."]).run().success().omits(&["WARN", "warning"]);
}

#[test]
fn warnings_are_told_before_an_error() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch AS Upper\nCOPY missing /\n");
    let warning = ["WARN: StageNameCasing", "(line 1)", "1 warning found\n"];
    env.rbuild(&["."]).run().code(3).says(&warning).says(&["missing"]);
    env.dockerfile("FROM scratch AS Upper\nRNU x\n");
    env.rbuild(&["."]).run().code(3).says(&warning).says(&["RNU"]);
    env.dockerfile("FROM scratch AS Upper\nSTOPSIGNAL ${X:-NO}\n");
    env.rbuild(&["."]).run().code(3).says(&warning).says(&["invalid signal: NO"]);
    env.dockerfile("FROM scratch AS Upper\nFROM 127.0.0.1:1/base\n");
    env.rbuild(&["."]).run().code(5).says(&warning).says(&["127.0.0.1:1/base"]);
}

#[test]
fn a_file_may_want_warnings_to_be_errors() {
    let env = TestEnv::new();
    env.dockerfile("# check=error=true\nFROM scratch AS Upper\nCMD echo\nCOPY missing /\n");
    let message = "error: lint violation found for rules: JSONArgsRecommended, StageNameCasing\n";
    env.rbuild(&["."]).run().code(3).says(&[message, "2 warnings found"]).omits(&["missing"]);
    let skip = ["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all;error=true", "."];
    env.rbuild(&skip).run().code(3).says(&["missing"]).omits(&["lint"]);
}

#[test]
fn a_build_argument_that_nothing_takes_is_told() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\nARG VERSION\n");
    let arguments = ["--build-arg", "VERSON=1", "--build-arg", "http_proxy=x", "."];
    let message = "WARN: --build-arg VERSON was given, but no ARG asks for it (did you mean VERSION?)\n";
    env.rbuild(&arguments).run().success().says(&[message, "1 warning found"]);
}

#[test]
fn every_error_is_shown_with_its_words() {
    let env = TestEnv::new();
    env.dockerfile(
        "FROM scratch\nCOPY --chmod=9 a /\nENV KIND=tmfps\nRUN --mount=type=$KIND,target=/x true\n",
    );
    env.rbuild(&["."]).run().code(3).says(&[
        "Dockerfile:2:14: invalid chmod parameter",
        "Dockerfile:4:13: unsupported mount type \"tmfps\" (did you mean tmpfs?)",
        "     |             ^^^^^^^^^^\n",
        "2 errors",
    ]);
    env.dockerfile("FROM scratch\nRUN --device=a x\nRUN --device=b y\n");
    env.rbuild(&["."]).run().code(3).says(&[
        "Dockerfile:2:1: entitlement device=a is not allowed",
        "Dockerfile:3:1: entitlement device=b is not allowed",
    ]);
}

#[test]
fn a_trigger_is_shown_with_its_own_text() {
    let env = TestEnv::new();
    env.write("a", "a").dockerfile("FROM scratch\nONBUILD COPY --chmod=$MODE a /\n");
    env.rbuild(&["-t", "base:1", "."]).run().success();
    env.dockerfile("ARG UNUSED\n\nFROM base:1\n");
    env.rbuild(&["."]).run().success();
    env.dockerfile("FROM scratch\nENV MODE=9\nONBUILD COPY --chmod=$MODE a /\n");
    env.rbuild(&["-t", "base:1", "."]).run().success();
    env.dockerfile("ARG UNUSED\n\nFROM base:1\n");
    env.rbuild(&["."]).run().code(3).says(&[
        "ONBUILD of base:1:1:14: invalid chmod parameter: '9'",
        "   1 | COPY --chmod=$MODE a /\n     |              ^^^^^\n",
        "a trigger that this stage's base brings along (Dockerfile:3)",
    ]);
}

#[test]
fn an_image_that_cannot_be_found_may_be_a_stage_that_was_meant() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch AS tools\nFROM scratch\nCOPY --from=toosl /x /\n");
    env.rbuild(&["."]).run().code(5).says(&["did you mean tools?", "Dockerfile:3"]);
    env.dockerfile("FROM apline:latest\n");
    env.rbuild(&["."]).run().code(5).says(&["did you mean alpine?"]);
}

#[test]
fn a_missing_file_is_shown_with_what_hid_it_and_what_is_near() {
    let env = TestEnv::new();
    env.write("config.toml", "x").write(".dockerignore", "*.lock\n").write("cargo.lock", "x");
    env.dockerfile("FROM scratch\nCOPY confg.toml /\n");
    env.rbuild(&["."]).run().code(3).says(&["Dockerfile:2", ">>> COPY confg.toml /", "config.toml"]);
    env.dockerfile("FROM scratch\nCOPY cargo.lock /\n");
    let output = env.rbuild(&["."]).run().code(3);
    output.says(&[">>> COPY cargo.lock /", "\"*.lock\"", ".dockerignore:1", "WARN: CopyIgnoredFile"]);
}

#[test]
fn an_unknown_owner_is_an_error_with_the_nearest_name() {
    let env = TestEnv::new();
    env.write("passwd", "root:x:0:0::/:/sh\napp:x:1000:1000::/:/sh\n").write("a", "a");
    env.dockerfile("FROM scratch\nCOPY passwd /etc/passwd\nCOPY --chown=appp a /\n");
    env.rbuild(&["."]).run().code(3).says(&["appp", "app)", "Dockerfile:3", ">>> COPY --chown=appp a /"]);
}

#[test]
fn another_frontend_is_refused_by_name() {
    let env = TestEnv::new();
    env.dockerfile("# syntax=someone/frontend:1\nFROM scratch\n");
    env.rbuild(&["."]).run().code(3).says(&["\"someone/frontend:1\" is not supported", "Dockerfile:1"]);
    let syntax = |name: &str| format!("BUILDKIT_SYNTAX={name}");
    env.rbuild(&["--build-arg", &syntax("docker/dockerfile:1"), "."]).run().success();
    env.dockerfile("FROM scratch\n");
    env.rbuild(&["--build-arg", &syntax("someone/frontend"), "."]).run().code(3).says(&["someone/frontend"]);
}
