//! The figures that the program has to keep: startup, a rebuild that is all cached, a trivial RUN step, and the way into the
//! user namespace; and beside the RUN step, where buildah is installed, the same step there in the same run.
//!
//! `cargo bench --bench skeleton`. Each figure is a median of several runs of the release program. A figure over its limit is
//! said, not failed: the machine may be busy. The exit code is 0 unless something does not run.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench may fail, and prints"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

#[path = "../tests/support/mod.rs"]
mod support;

use support::{BaseImage, TestEnv, binary, is_installed, is_root};

/// The first argument of a copy of this program that measures as somebody else.
const AS_SOMEBODY: &str = "measure-as-somebody";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, mode, program, world] = &arguments[..]
        && mode == AS_SOMEBODY
    {
        println!("{}", tiny_build(Path::new(program), Path::new(world)).as_nanos());
        return ExitCode::SUCCESS;
    }
    if !BaseImage::busybox().is_possible() {
        eprintln!("there is no static /bin/busybox to make a base image from (Debian: busybox-static)");
        return ExitCode::FAILURE;
    }
    println!("{:<52} {:>10} {:>8}", "figure", "measured", "limit");
    let env = TestEnv::new();
    let base = BaseImage::busybox().context(&env);
    time(env.rbuild(&["-t", "base", base.to_str().unwrap()]).into_command());
    figure("rbuild --version", startup(&env), 5);
    figure("cached rebuild of ten steps in two stages", cached_rebuild(&env), 10);
    figure("cached rebuild of a thousand steps", long_cached_rebuild(&env), 60);
    let step = run_step(&env);
    figure("one trivial RUN step", step, 15);
    for (who, took) in entering() {
        figure(&format!("entering the user namespace as {who}"), took, 6);
    }
    match buildah_run_step(&env, &base) {
        Some((isolation, theirs)) => {
            note(&format!("the same RUN step in buildah ({isolation})"), theirs);
            println!("{:<52} {:>9.1}x", "buildah to rbuild", theirs.as_secs_f64() / step.as_secs_f64());
        }
        None => println!("{:<52} {:>10}", "the same RUN step in buildah", "not here"),
    }
    ExitCode::SUCCESS
}

fn figure(name: &str, measured: Duration, limit: u64) {
    let verdict = if measured <= Duration::from_millis(limit) { "ok" } else { "over" };
    println!("{name:<52} {:>7.2} ms {limit:>5} ms  {verdict}", milliseconds(measured));
}

fn note(name: &str, measured: Duration) {
    println!("{name:<52} {:>7.2} ms", milliseconds(measured));
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The median time of `runs` runs, after one that warms up.
fn median(runs: usize, command: impl Fn() -> Command) -> Duration {
    let mut times: Vec<_> = (0..=runs).map(|_| time(command())).skip(1).collect();
    times.sort_unstable();
    times[runs / 2]
}

fn time(mut command: Command) -> Duration {
    // Into a pipe or a terminal the reader's speed would be measured, too.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let errors = tempfile::tempfile().unwrap();
    command.stderr(errors.try_clone().unwrap());
    let started = Instant::now();
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let took = started.elapsed();
    if !status.success() {
        let said = std::io::read_to_string({
            use std::io::Seek as _;
            let mut errors = errors;
            errors.rewind().unwrap();
            errors
        });
        panic!("{command:?}: {status}\n{}", said.unwrap());
    }
    took
}

fn startup(env: &TestEnv) -> Duration {
    median(50, || env.rbuild(&["--version"]).into_command())
}

fn cached_rebuild(env: &TestEnv) -> Duration {
    let mut text = "FROM base AS tools\nWORKDIR /work\nCOPY a.txt .\n".to_owned();
    (1..=3).for_each(|number| writeln!(text, "RUN echo {number} > {number}").unwrap());
    text += "FROM base\nWORKDIR /app\nCOPY a.txt b.txt ./\nCOPY --from=tools /work/1 ./\n";
    (1..=2).for_each(|number| writeln!(text, "RUN echo {number} > {number}").unwrap());
    env.write("a.txt", "a").write("b.txt", "b").dockerfile(&text);
    median(30, || env.rbuild(&["-t", "ten", "."]).into_command())
}

fn long_cached_rebuild(env: &TestEnv) -> Duration {
    let file = run_steps(env, "base", 1000);
    median(20, || env.rbuild(&["-t", "long", "-f", file.to_str().unwrap(), "."]).into_command())
}

const FEW: usize = 2;
const MANY: usize = 22;

/// What one more RUN costs: the rest of a build is in both measurements.
fn run_step(env: &TestEnv) -> Duration {
    let build = |steps: usize| {
        let file = run_steps(env, "base", steps);
        median(5, || env.rbuild(&["--no-cache", "-f", file.to_str().unwrap(), "."]).into_command())
    };
    marginal(build(FEW), build(MANY))
}

fn marginal(few: Duration, many: Duration) -> Duration {
    many.saturating_sub(few) / u32::try_from(MANY - FEW).unwrap()
}

/// A Dockerfile with so many trivial steps.
fn run_steps(env: &TestEnv, base: &str, steps: usize) -> PathBuf {
    let file = env.path(format!("Dockerfile.{steps}"));
    fs::write(&file, format!("FROM {base}\n{}", "RUN true\n".repeat(steps))).unwrap();
    file
}

/// A build that makes no files, as an ordinary user, against the same build by the same user where there is no namespace left
/// to enter. Root measures as the users that `tests/run` makes.
fn entering() -> Vec<(String, Duration)> {
    let people = if is_root() {
        let known = fs::read_to_string("/etc/passwd").unwrap();
        let there = |name: &&str| known.lines().any(|line| line.split(':').next() == Some(name));
        ["rbuild-range", "rbuild-single"]
            .into_iter()
            .filter(there)
            .map(|name| Some(name.to_owned()))
            .collect()
    } else {
        vec![None]
    };
    people.into_iter().filter_map(enter_as).collect()
}

fn enter_as(user: Option<String>) -> Option<(String, Duration)> {
    let env = TestEnv::new();
    // The program and this one may lie where that user cannot go.
    let [program, own] = ["rbuild", "bench"].map(|name| env.path(name));
    fs::copy(binary(), &program).unwrap();
    fs::copy(std::env::current_exe().unwrap(), &own).unwrap();
    env.dockerfile("FROM scratch\nENV A=b\n");
    let world = env.path(".");
    let mut prefix = Vec::new();
    if let Some(user) = &user {
        assert!(
            Command::new("chown").args(["-R", &format!("{user}:")]).arg(&world).status().unwrap().success()
        );
        prefix = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--inh-caps=-all"]
            .map(str::to_owned)
            .to_vec();
    }
    let measure = |inside: &[&str]| {
        let inside = inside.iter().map(|word| (*word).to_owned());
        let own = [&own, Path::new(AS_SOMEBODY), &program, &world].map(|part| part.display().to_string());
        let words: Vec<String> = prefix.iter().cloned().chain(inside).chain(own).collect();
        let output = Command::new(&words[0]).args(&words[1..]).current_dir(&world).output().unwrap();
        let nanoseconds = String::from_utf8(output.stdout).unwrap();
        let number = nanoseconds.trim().parse().ok();
        if number.is_none() {
            eprintln!("{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        number.map(Duration::from_nanos)
    };
    // Two stores: who is root inside owns other files than who is not.
    let (outside, inside) = (measure(&[])?, measure(&["unshare", "--map-root-user"])?);
    Some((user.unwrap_or_else(support::user_name), outside.saturating_sub(inside)))
}

fn tiny_build(program: &Path, world: &Path) -> Duration {
    median(100, || {
        let mut command = Command::new(program);
        // What is all cached enters nothing.
        command.arg("--root").arg(world.join("store")).arg("--no-cache").arg(world.join("context"));
        command.env_remove("RBUILD_ROOT").env("HOME", world.join("home"));
        command
    })
}

/// One more RUN in buildah, with the isolation that works here.
fn buildah_run_step(env: &TestEnv, base: &Path) -> Option<(&'static str, Duration)> {
    if !is_installed("buildah") {
        return None;
    }
    let (storage, running) = (env.path("buildah"), env.path("buildah-run"));
    let buildah = |arguments: &[&str]| {
        let place = ["--root", storage.to_str().unwrap(), "--runroot", running.to_str().unwrap()];
        env.program("buildah", &[&place, arguments].concat()).into_command()
    };
    time(buildah(&["bud", "-q", "-t", "base", base.to_str().unwrap()]));
    let isolations = [("oci", "its default"), ("chroot", "chroot, its lightest")];
    let build = |steps: usize, isolation: &str| {
        let file = run_steps(env, "localhost/base", steps);
        let flags = ["bud", "-q", "--layers=false", "--isolation", isolation, "-f"];
        buildah(&[&flags[..], &[file.to_str().unwrap(), "."]].concat())
    };
    let works = |isolation: &str| {
        let mut command = build(FEW, isolation);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let (isolation, name) = isolations.into_iter().find(|(isolation, _)| works(isolation))?;
    let took = |steps| median(3, || build(steps, isolation));
    Some((name, marginal(took(FEW), took(MANY))))
}
