//! Rules that a file can break and still be built: the warnings of every build, and of `--check`.
//!
//! The rules that need only the file are applied by [`super::parse`]; the rest have rows in [`RULES`] and are raised by those
//! who know more (base images, ignore files, values of variables). A [`Config`] says which are wanted.

mod config;
mod copy;
mod definition;
mod expose;
mod from;
mod key;
mod rule;
mod stage;

pub use config::{Config, ConfigError, Selection};
pub use rule::{RULES, Rule, RuleRow};

use super::line::Line;
use super::source::{Span, Spanned, Word};
use super::{ArgInstruction, Directives, Stage};

/// A broken rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lint {
    pub rule: Rule,
    pub message: String,
    pub span: Span,
}

impl Directives {
    /// What the `check` directive says.
    pub fn lint_config(&self) -> Config {
        // A directive that cannot be read is an error of the file.
        let check = self.check.as_ref();
        check.and_then(|check| Config::parse(&check.text).ok()).unwrap_or_default()
    }
}

impl<T> Spanned<T> {
    /// Whether a comment before this instruction, `# check=skip=RuleA,RuleB`, silences a rule for it.
    pub fn skips(&self, rule: Rule) -> bool {
        skips(&self.comments, rule)
    }
}

/// What is only seen while the text is read.
#[derive(Debug, Default)]
pub(super) struct Noticed {
    findings: Findings,
    keywords: Vec<(Word, Vec<String>)>,
}

impl Noticed {
    pub(super) fn line(&mut self, line: &Line) {
        for blank in &line.blanks {
            self.findings.add(Rule::NoEmptyContinuation, "Empty continuation line", *blank, &line.comments);
        }
    }

    pub(super) fn keyword(&mut self, written: Word, comments: &[String]) {
        self.keywords.push((written, comments.to_vec()));
    }
}

/// Every broken rule, in the order of the file.
pub(super) fn check(
    global_args: &[Spanned<ArgInstruction>],
    stages: &[Stage],
    directives: &Directives,
    noticed: Noticed,
) -> Vec<Lint> {
    let Noticed { mut findings, keywords } = noticed;
    key::casing(&keywords, &mut findings);
    for arg in global_args {
        key::arg(arg, &mut findings);
    }
    from::stages(stages, directives.escape, &mut findings);
    stage::stages(stages, directives.escape, &mut findings);
    findings.lints.sort_by_key(|lint| (lint.span.start, lint.rule));
    findings.lints
}

#[derive(Debug, Default)]
struct Findings {
    lints: Vec<Lint>,
}

impl Findings {
    /// `comments` are those before the instruction.
    fn add(&mut self, rule: Rule, message: impl Into<String>, span: Span, comments: &[String]) {
        if !skips(comments, rule) {
            self.lints.push(Lint { rule, message: message.into(), span });
        }
    }
}

fn skips(comments: &[String], rule: Rule) -> bool {
    let configs = comments.iter().filter_map(|comment| check_comment(comment));
    configs.filter_map(|check| Config::parse(check).ok()).any(|config| config.skip.contains(rule))
}

/// What a comment `check=...` says.
fn check_comment(comment: &str) -> Option<&str> {
    let (key, value) = comment.split_once('=')?;
    key.trim().eq_ignore_ascii_case("check").then_some(value)
}
