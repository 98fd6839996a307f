//! What a process finds inside, line by line: the report of `fixtures/probe`, from `RUN` and from `run`.

mod expected;
mod peer;
mod users;

use std::collections::BTreeMap;
use std::fmt;

use crate::support::{Rbuild, TestEnv, binary};

/// The lines of a report by their names.
pub(crate) struct Report(BTreeMap<String, String>);

impl Report {
    fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let pair = |line: &str| {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            (name.to_owned(), value.to_owned())
        };
        Self(lines.map(pair).collect())
    }

    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("the report has no line {name}\n{self}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| writeln!(out, "{name} {value}"))
    }
}

/// rbuild started by somebody who ignores signals, has an open file too many, another umask and a limit of their own:
/// nothing of that is the sandbox's business.
pub(crate) fn carelessly(env: &TestEnv, arguments: &[&str]) -> Rbuild {
    let careless = format!(
        "umask 0077; trap '' USR1 USR2 PIPE CHLD TTOU; ulimit -Sn {OPEN_FILES}; exec 7</etc/passwd; exec \"$0\" \"$@\""
    );
    let binary = binary();
    let words = [&["-c", &careless, binary.to_str().unwrap()], arguments].concat();
    env.program("sh", &words)
}

/// How many files the caller may open.
const OPEN_FILES: u32 = 999;

/// The report of a container.
fn of_run(env: &TestEnv, options: &[&str]) -> Report {
    let words = [&["run", "--rm"], options, &["probe:1", "/bin/probe"]].concat();
    let ran = carelessly(env, &words).run().success();
    Report::parse(ran.stdout().lines())
}

/// The report of a build's step that `instructions` lead up to, and end in.
fn of_step(env: &TestEnv, instructions: &str) -> Report {
    env.dockerfile(&format!("FROM probe:1\n{instructions}\n"));
    let built = carelessly(env, &["--no-cache", "."]).run().success();
    // `#5 0.123 name value`
    let said = built.stderr().lines().filter_map(|line| {
        let (number, rest) = line.strip_prefix('#')?.split_once(' ')?;
        let (time, text) = rest.split_once(' ')?;
        (number.parse::<u32>().is_ok() && time.parse::<f64>().is_ok()).then_some(text)
    });
    Report::parse(said)
}
