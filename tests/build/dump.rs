//! `--dump`: what becomes of a Dockerfile, in the words of the golden files.

use crate::support::TestEnv;

#[test]
fn the_forms_of_a_file_are_printed() {
    let env = TestEnv::new();
    env.write("a", "a").dockerfile("FROM scratch\nCOPY a /\n");
    env.rbuild(&["-t", "base:1", "."]).run().success();
    env.dockerfile("ARG B=base:1\nFROM $B AS one\nENV A=1\nCOPY a /b\nFROM one\n");
    let ast = env.rbuild(&["--dump", "ast", "."]).run().success();
    assert!(ast.stdout().starts_with("1 ARG name=\"B\" default=\"base:1\"\nstage 0\n"), "{ast}");
    let graph = env.rbuild(&["--dump", "graph", "."]).run().success();
    assert!(
        graph.stdout().starts_with("0 <- [] [one 1/2] FROM docker.io/library/base:1\n    image sha256:"),
        "{graph}"
    );
    assert!(graph.stdout().contains("1 <- [] [internal] load build context\n"), "{graph}");
    assert!(graph.stdout().contains("2 <- [0 1] [one 2/2] COPY a /b\n"), "{graph}");
    let plan = env.rbuild(&["--dump", "plan", "."]).run().success();
    assert!(
        plan.stdout().starts_with("stages\n    0 one: vertex 2\n    1 stage-1: vertex 2, the target\n"),
        "{plan}"
    );
    assert!(plan.stdout().ends_with("history\n     - ENV A=1\n     2 COPY a /b # buildkit\n"), "{plan}");
}

#[test]
fn what_cannot_be_found_is_missed_as_in_a_build() {
    let env = TestEnv::new();
    env.dockerfile("FROM 127.0.0.1:1/base:1\n");
    env.rbuild(&["--dump", "ast", "."]).run().success();
    env.rbuild(&["--dump", "plan", "."]).run().code(5).says(&["127.0.0.1:1", "Dockerfile:1"]).prints("");
    env.rbuild(&["--dump", "tree", "."]).run().code(2);
}
