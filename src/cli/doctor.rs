//! `rbuild doctor`

use std::fmt::Write as _;
use std::io::Write as _;

use clap::{Args, ValueEnum};

use super::report::{Code, Report};
use super::{Global, environment};
use crate::sandbox::{self, Verdict};

/// Say what this host can do: how builds are isolated here and why, what is missing, and what would help.
///
/// Nothing is changed. The exit code is 4 if RUN steps and containers cannot be isolated here.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// How it is said.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

pub(super) fn main(global: &Global, args: DoctorArgs) -> Result<i32, Report> {
    let store = environment::store_root(global)?;
    let facts = environment::with_host(|host| sandbox::probe(host, &store)).map_err(Report::from)?;
    let verdict = Verdict::of(&facts, global.isolation);
    let text = match args.format {
        Format::Text => text(&verdict),
        Format::Json => {
            let json = serde_json::to_string_pretty(&verdict);
            json.map_err(|error| Report::new(Code::Bug, error))? + "\n"
        }
    };
    // Whoever closed standard output does not want to know.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if verdict.works { 0 } else { Code::Isolation as i32 })
}

const WIDTH: usize = 80;
/// Where the last column starts.
const DETAIL: usize = 31;

fn text(verdict: &Verdict) -> String {
    let rung = verdict.rung.map_or("none", sandbox::Rung::name);
    let mut text = wrapped("", &format!("isolation: {rung}: {}", verdict.reason), 11);
    let _ = writeln!(text, "for {} on Linux {}\n", verdict.user, verdict.kernel);
    for check in &verdict.checks {
        let head = format!("{:<9}{:<22}", check.state.name(), check.what);
        text.push_str(&wrapped(&head, &check.detail, DETAIL));
    }
    for hint in &verdict.hints {
        text.push('\n');
        text.push_str(&wrapped("hint: ", &hint.what, 6));
        if let Some(command) = &hint.command {
            // On a line of its own, however long: it is there to be copied.
            let _ = writeln!(text, "      {command}");
        }
    }
    text
}

/// Words after a head, in lines of the terminal's usual width; later lines are indented.
fn wrapped(head: &str, words: &str, indent: usize) -> String {
    let mut text = head.to_owned();
    let mut column = head.chars().count();
    let mut is_first = true;
    for word in words.split(' ') {
        let width = word.chars().count();
        if !is_first && column + 1 + width > WIDTH {
            let _ = write!(text, "\n{}", " ".repeat(indent));
            column = indent;
        } else if !is_first {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
        is_first = false;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_details_go_on_below_themselves() {
        let text = wrapped("ok  ", &"word ".repeat(20), 4);
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().nth(1).unwrap().starts_with("    word"));
        assert_eq!(wrapped("", "one", 4), "one\n");
    }
}
