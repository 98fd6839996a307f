//! Whether a build came out as its case says, and if not, in what it differs.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::case::Case;
use super::history::Chain;
use super::outcome::{Outcome, path_of};
use super::world::{Built, World};

/// What is wrong, a line for each thing; `-` is expected, `+` is there.
#[derive(Debug)]
pub(crate) struct Fault(Vec<String>);

impl Fault {
    pub(crate) fn new(lines: Vec<String>) -> Self {
        Self(lines)
    }

    pub(crate) fn at(&self, topic: &str, case: &Case) -> String {
        let place = format!("=== {} (cases/{topic}.txt:{})", case.name, case.line);
        format!("{place}\n{}\n{}\n", case.dockerfile.trim_end(), self.0.join("\n"))
    }
}

pub(crate) fn judge(case: &Case, world: &World, built: Built) -> Result<(), Fault> {
    let expected = &case.expected;
    let code = expected.error.unwrap_or(0);
    if built.output.exit_code() != Some(code) {
        return Err(Fault(vec![format!("the exit code should be {code}"), built.output.to_string()]));
    }
    let shown = built.output.to_string();
    let mut faults = Vec::new();
    faults.extend(
        expected
            .says
            .iter()
            .filter(|text| !shown.contains(*text))
            .map(|it| format!("it does not say {it:?}")),
    );
    faults.extend(
        expected.omits.iter().filter(|text| shown.contains(*text)).map(|it| format!("it says {it:?}")),
    );
    if !faults.is_empty() {
        faults.push(shown);
    }
    let _ = built.output.code(code);
    if let Some(outcome) = built.outcome {
        let chain = Chain::of(case);
        let empty = Outcome::scratch();
        let base = if chain.is_on_base { &world.base } else { &empty };
        faults.extend(files(case, base, &outcome));
        faults.extend(config(case, base, &outcome));
        faults.extend(history(case, &chain, base, &outcome));
    }
    if faults.is_empty() { Ok(()) } else { Err(Fault(faults)) }
}

fn files(case: &Case, base: &Outcome, found: &Outcome) -> Vec<String> {
    let mut expected = base.files.clone();
    for line in &case.expected.files {
        match line.strip_prefix("- ") {
            Some(path) => {
                let inside = format!("{path}/");
                expected.retain(|other, _| other != path && !other.starts_with(&inside));
            }
            None => {
                expected.insert(path_of(line).to_owned(), line.clone());
            }
        }
    }
    let mut faults = differences(&lines(&expected), &lines(&found.files));
    for (path, seconds) in &case.expected.times {
        let found = found.times.get(path);
        if found != Some(seconds) {
            faults.push(format!("{path} should be of {seconds}, and is of {found:?}"));
        }
    }
    faults
}

fn lines(files: &BTreeMap<String, String>) -> Vec<String> {
    files.values().cloned().collect()
}

fn config(case: &Case, base: &Outcome, found: &Outcome) -> Vec<String> {
    let told = &case.expected.config;
    let is_told = |key: &str| told.iter().any(|(it, _)| it == key);
    let is_more = |key: &str| key == "Env" && !told.iter().any(|(_, value)| value.starts_with("PATH="));
    let mut expected: Vec<_> =
        base.config.iter().filter(|(key, _)| !is_told(key) || is_more(key)).cloned().collect();
    expected.extend(told.iter().filter(|(_, value)| value != "-").cloned());
    let mut found = found.config.clone();
    sort(&mut expected);
    sort(&mut found);
    let told = |lines: &[(String, String)]| -> Vec<_> {
        lines.iter().map(|(key, value)| format!("{key} {value}")).collect()
    };
    let (expected, found) = (told(&expected), told(&found));
    let faults = differences(&expected, &found);
    if faults.is_empty() && expected != found {
        return vec![format!(
            "another order:\n{}\n  and should be\n{}",
            found.join("\n"),
            expected.join("\n")
        )];
    }
    faults
}

/// The order of keys is the document's; that of values says something where the document has a list.
pub(crate) fn sort(config: &mut [(String, String)]) {
    let is_set = |key: &str| matches!(key, "ExposedPorts" | "Volumes" | "Labels");
    config.sort_by(|a, b| {
        a.0.cmp(&b.0).then_with(|| if is_set(&a.0) { a.1.cmp(&b.1) } else { Ordering::Equal })
    });
}

fn history(case: &Case, chain: &Chain, base: &Outcome, found: &Outcome) -> Vec<String> {
    let count = base.history.len();
    if found.history.get(..count) != Some(&base.history[..]) {
        return vec![format!("the history of the base is not kept: {:?}", found.history)];
    }
    let found = &found.history[count..];
    let told = &case.expected.history;
    if !told.is_empty() {
        let faults = differences(told, found);
        let is_ordered = told == found || !faults.is_empty();
        return if is_ordered { faults } else { vec![format!("history of another order: {found:?}")] };
    }
    if chain.has_triggers {
        return vec!["a case with triggers has to tell its history:".to_owned(), found.join("\n")];
    }
    let expected = chain.entries();
    let same = expected.len() == found.len()
        && expected.iter().zip(found).all(|(entry, line)| entry.is_told_by(line));
    if same {
        return Vec::new();
    }
    let expected: Vec<_> = expected.iter().map(|entry| entry.describe()).collect();
    vec![format!("the history is\n{}\n  and should be\n{}", found.join("\n"), expected.join("\n"))]
}

/// Lines that only one of the two has.
pub(crate) fn differences(expected: &[String], found: &[String]) -> Vec<String> {
    let missing = expected.iter().filter(|line| !found.contains(line)).map(|line| format!("  - {line}"));
    let surplus = found.iter().filter(|line| !expected.contains(line)).map(|line| format!("  + {line}"));
    missing.chain(surplus).collect()
}
