//! What one more trivial RUN step costs on each rung of the isolation ladder, all included: overlay, namespaces, /proc, /dev,
//! the program, and taking over the layer.
//!
//! `cargo bench --bench rungs`. As root the lower rungs are measured as the users that `tests/run` makes; an ordinary user
//! measures those it has. The cost is the difference between a build of many steps and one of few, so that starting the
//! program and entering the namespace are in neither. A figure over its limit is said, not failed: the machine may be busy.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench may fail, and prints"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

#[path = "../tests/support/mod.rs"]
mod support;

use support::{BaseImage, TestEnv, binary, is_root};

const FEW: usize = 2;
const MANY: usize = 42;
const RUNS: usize = 7;

fn main() -> ExitCode {
    if !BaseImage::busybox().is_possible() {
        eprintln!("there is no static /bin/busybox to make a base image from (Debian: busybox-static)");
        return ExitCode::FAILURE;
    }
    println!("{:<52} {:>10} {:>8}", "one more trivial RUN step", "measured", "limit");
    let rows: &[(Option<&str>, &str, u64)] = if is_root() {
        &[
            (None, "root", 6),
            (Some("rbuild-range"), "range", 6),
            (Some("rbuild-range"), "single", 8),
            (Some("rbuild-single"), "single", 8),
        ]
    } else {
        &[(None, "range", 6), (None, "single", 8)]
    };
    for (user, rung, limit) in rows {
        let who = user.map_or_else(support::user_name, str::to_owned);
        let name = format!("--isolation {rung} as {who}");
        match World::new(*user, rung).marginal_step() {
            Some(took) => {
                let verdict = if took <= Duration::from_millis(*limit) { "ok" } else { "over" };
                println!("{name:<52} {:>7.2} ms {limit:>5} ms  {verdict}", took.as_secs_f64() * 1000.0);
            }
            None => println!("{name:<52} {:>10}", "not here"),
        }
    }
    ExitCode::SUCCESS
}

/// A store and a program that a user can reach.
struct World {
    env: TestEnv,
    base: PathBuf,
    program: PathBuf,
    prefix: Vec<String>,
    rung: String,
}

impl World {
    fn new(user: Option<&str>, rung: &str) -> Self {
        let env = TestEnv::new();
        let program = env.path("rbuild");
        fs::copy(binary(), &program).unwrap();
        let base = BaseImage::busybox().context(&env);
        for steps in [FEW, MANY] {
            let text = format!("FROM base\n{}", "RUN true\n".repeat(steps));
            env.write(&format!("Dockerfile.{steps}"), &text);
        }
        let mut prefix = Vec::new();
        if let Some(user) = user {
            let changed = Command::new("chown").args(["-R", &format!("{user}:")]).arg(env.path(".")).status();
            assert!(changed.unwrap().success());
            prefix = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "--inh-caps=-all"]
                .map(str::to_owned)
                .to_vec();
        }
        Self { env, base, program, prefix, rung: rung.to_owned() }
    }

    /// None where this rung does not work.
    fn marginal_step(&self) -> Option<Duration> {
        self.time(&["-q", "-t", "base", self.base.to_str().unwrap()])?;
        let build = |steps: usize| {
            let file = self.env.context().join(format!("Dockerfile.{steps}"));
            self.time(&["--no-cache", "-f", file.to_str().unwrap(), "."])
        };
        // One of each in turn, so that a busy moment of the machine meets both.
        let pairs: Option<Vec<_>> = (0..=RUNS).map(|_| Some((build(FEW)?, build(MANY)?))).collect();
        let mut steps: Vec<_> = pairs?
            .into_iter()
            .skip(1)
            .map(|(few, many)| many.saturating_sub(few) / u32::try_from(MANY - FEW).unwrap())
            .collect();
        steps.sort_unstable();
        Some(steps[RUNS / 2])
    }

    fn time(&self, arguments: &[&str]) -> Option<Duration> {
        let own = [self.program.display().to_string(), "--isolation".to_owned(), self.rung.clone()];
        let words: Vec<String> = self
            .prefix
            .iter()
            .cloned()
            .chain(own)
            .chain(arguments.iter().map(|word| (*word).to_owned()))
            .collect();
        let template = self.env.program(&words[0], &[]).into_command();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.env.context()).env_clear();
        command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let errors = self.env.path("errors");
        command.stderr(fs::File::create(&errors).unwrap());
        let started = Instant::now();
        let status = command.status().unwrap();
        let took = started.elapsed();
        if !status.success() {
            eprintln!("{words:?}: {status}\n{}", last_line(&errors));
            return None;
        }
        Some(took)
    }
}

fn last_line(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().last().unwrap_or_default().to_owned()
}
