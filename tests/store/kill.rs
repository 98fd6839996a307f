//! Processes that are killed at any moment: what they leave does no harm.

use std::process::Stdio;
use std::time::Duration;

use crate::support::{TestEnv, require_busybox};
use crate::{du, is_swept};

/// `RBUILD_TEST_KILLS` asks for more.
fn kills() -> u64 {
    std::env::var("RBUILD_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

/// Moments spread over a span, the same in every run.
fn moments(span: Duration) -> impl Iterator<Item = Duration> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..kills()).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        span.mul_f64(f64::from(u32::try_from(state >> 33).unwrap()) / f64::from(u32::MAX >> 1))
    })
}

fn kill_after(env: &TestEnv, arguments: &[&str], moment: Duration) {
    let mut command = env.rbuild(arguments).into_command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(moment);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[track_caller]
fn is_sound(env: &TestEnv, what: &str) {
    let checked = env.rbuild(&["store", "check"]).run();
    assert!(checked.succeeded(), "after {what}\n{checked}");
}

const DOCKERFILE: &str = "FROM base:1 AS first\nCOPY a.txt /\nRUN cp /a.txt /b.txt\n\
                          FROM base:1\nWORKDIR /w\nCOPY --from=first /b.txt .\nRUN echo last > c.txt\n";

#[test]
fn a_build_that_is_killed_leaves_a_sound_store() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.write("a.txt", &"content\n".repeat(20_000)).dockerfile(DOCKERFILE);
    let whole = env.rbuild(&["--no-cache", "-t", "app", "."]).run().success().took();
    for (number, moment) in moments(whole).enumerate() {
        kill_after(&env, &["--no-cache", "-t", "app", "."], moment);
        is_sound(&env, &format!("kill {number} at {moment:?} of {whole:?}"));
        if number % 8 == 0 {
            env.rbuild(&["-t", "app", "."]).run().success();
        }
    }
    env.rbuild(&["-t", "app", "."]).run().success();
    env.rbuild(&["run", "--rm", "app", "cat", "c.txt"]).run().success().prints("last\n");
    // Everything that was left over is found and removed.
    env.rbuild(&["store", "check", "--repair"]).run().success();
    is_swept(&env);
    let checked = env.rbuild(&["store", "check"]).run().success();
    assert!(checked.stdout().ends_with("the store is sound\n"), "{checked}");
    env.rbuild(&["prune", "-fa"]).run().success();
    is_swept(&env);
    assert_eq!(du(&env, &[])["reclaimable"], 0);
}

#[test]
fn a_prune_that_is_killed_leaves_a_sound_store() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let steps: String = (0..12).map(|number| format!("RUN echo {number} > f\n")).collect();
    env.dockerfile(&format!("FROM base:1\n{steps}"));
    env.rbuild(&["."]).run().success();
    let whole = env.rbuild(&["prune", "-fa"]).run().success().took();
    for (number, moment) in moments(whole).enumerate() {
        if number % 4 == 0 {
            env.rbuild(&["."]).run().success();
        }
        kill_after(&env, &["prune", "-fa"], moment);
        is_sound(&env, &format!("kill {number} at {moment:?} of {whole:?}"));
    }
    env.rbuild(&["-t", "app", "."]).run().success();
    env.rbuild(&["run", "--rm", "app", "cat", "/f"]).run().success().prints("11\n");
    env.rbuild(&["prune", "-fa"]).run().success();
    is_swept(&env);
    let checked = env.rbuild(&["store", "check", "--repair"]).run().success();
    assert!(checked.stdout().ends_with("the store is sound\n"), "{checked}");
}
