//! Processes that are killed at any moment: what they leave does no harm.

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{BaseImage, TestEnv, require_busybox};
use crate::{du, is_swept};

/// `RBUILD_TEST_KILLS` asks for more.
fn kills() -> usize {
    std::env::var("RBUILD_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// Moments spread over a span, the same in every run.
fn moments(span: Duration, count: usize) -> impl Iterator<Item = Duration> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..count).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        span.mul_f64(f64::from(u32::try_from(state >> 33).unwrap()) / f64::from(u32::MAX >> 1))
    })
}

fn start(env: &TestEnv, arguments: &[&str]) -> Child {
    let mut command = env.rbuild(arguments).into_command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Runs commands one after the other, and kills the one that runs at a moment. Says which it was; none if all were faster.
fn kill_at(env: &TestEnv, commands: &[&[&str]], moment: Duration) -> Option<usize> {
    let end = Instant::now() + moment;
    for (number, arguments) in commands.iter().enumerate() {
        let mut child = start(env, arguments);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "{arguments:?}: {status}");
                break;
            }
            if Instant::now() >= end {
                child.kill().unwrap();
                child.wait().unwrap();
                return Some(number);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
    None
}

#[track_caller]
fn is_sound(env: &TestEnv, what: &str) {
    let checked = env.rbuild(&["store", "check"]).run();
    assert!(checked.succeeded(), "after {what}\n{checked}");
}

const DOCKERFILE: &str = "FROM base:1 AS first\nCOPY a.txt /\nRUN cp /a.txt /b.txt\n\
                          FROM base:1\nWORKDIR /w\nCOPY --from=first /b.txt .\n\
                          RUN --mount=type=cache,target=/c,uid=1 --mount=source=a.txt,target=/m echo last > c.txt && cp /m /c/\n";

/// Everything from an empty store on: images taken in, layers unpacked, files copied, commands run, layers sealed, names
/// given, and all of it removed.
const LIFE: [&[&str]; 4] = [
    &["load", "-q", "-i", "../base.tar"],
    &["--no-cache", "-t", "app", "."],
    &["rmi", "-f", "app", "base:1"],
    &["prune", "-fa"],
];
/// How many stores are worked in at a time: most of the time is spent waiting.
const STORES: usize = 6;

#[test]
fn whoever_is_killed_leaves_a_sound_store() {
    require_busybox!();
    let archive = TestEnv::new();
    let base = BaseImage::busybox().context(&archive);
    archive.rbuild(&["-q", "-t", "base:1", base.to_str().unwrap()]).run().success();
    archive.rbuild(&["save", "-q", "-o", "base.tar", "base:1"]).run().success();
    let archive = archive.context().join("base.tar");
    let killed: [AtomicUsize; LIFE.len()] = Default::default();
    std::thread::scope(|scope| {
        for store in 0..STORES {
            let (archive, killed) = (&archive, &killed);
            scope.spawn(move || live_and_be_killed(store, archive, killed));
        }
    });
    // Each of them was.
    assert!(killed.iter().all(|count| count.load(Ordering::Relaxed) > 0), "{killed:?}");
}

/// One store's share of the kills. After each the store is sound, and the next build succeeds.
fn live_and_be_killed(store: usize, archive: &std::path::Path, killed: &[AtomicUsize]) {
    let env = TestEnv::new();
    std::fs::copy(archive, env.path("base.tar")).unwrap();
    env.write("a.txt", &"content\n".repeat(5000)).dockerfile(DOCKERFILE);
    let began = Instant::now();
    assert_eq!(kill_at(&env, &LIFE, Duration::from_secs(60)), None);
    let whole = began.elapsed();
    let moments = moments(whole, kills()).enumerate().skip(store).step_by(STORES);
    for (number, moment) in moments {
        if let Some(command) = kill_at(&env, &LIFE, moment) {
            killed[command].fetch_add(1, Ordering::Relaxed);
        }
        let what = format!("kill {number} at {moment:?} of {whole:?}");
        is_sound(&env, &what);
        if env.rbuild(&["-q", "-t", "app", "."]).run().exit_code() != Some(0) {
            // The base image had been removed, or was not there yet.
            env.rbuild(LIFE[0]).run().success();
            env.rbuild(&["-q", "-t", "app", "."]).run().success();
        }
    }
    env.rbuild(&["run", "--rm", "app", "cat", "c.txt"]).run().success().prints("last\n");
    // Everything that was left over is found and removed.
    env.rbuild(&["store", "check", "--repair"]).run().success();
    is_swept(&env);
    let checked = env.rbuild(&["store", "check", "--deep"]).run().success();
    assert!(checked.stdout().ends_with("the store is sound\n"), "{checked}");
    env.rbuild(&["rmi", "app", "base:1"]).run().success();
    env.rbuild(&["prune", "-fa"]).run().success();
    is_swept(&env);
    assert_eq!(du(&env, &[])["total"], 0);
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
    for (number, moment) in moments(whole, kills() / 5).enumerate() {
        if number % 4 == 0 {
            env.rbuild(&["."]).run().success();
        }
        kill_at(&env, &[&["prune", "-fa"]], moment);
        is_sound(&env, &format!("kill {number} at {moment:?} of {whole:?}"));
    }
    env.rbuild(&["-t", "app", "."]).run().success();
    env.rbuild(&["run", "--rm", "app", "cat", "/f"]).run().success().prints("11\n");
    env.rbuild(&["prune", "-fa"]).run().success();
    is_swept(&env);
    let checked = env.rbuild(&["store", "check", "--repair"]).run().success();
    assert!(checked.stdout().ends_with("the store is sound\n"), "{checked}");
}
