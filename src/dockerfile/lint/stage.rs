//! Rules about the instructions of a stage.

use std::collections::HashMap;

use super::{Findings, Rule, copy, expose, key};
use crate::dockerfile::instruction::CommandLine;
use crate::dockerfile::source::{Span, Spanned, Word};
use crate::dockerfile::{Instruction, Stage, expand};

pub(super) fn stages(stages: &[Stage], escape: char, findings: &mut Findings) {
    let mut known: HashMap<String, Inherited> = HashMap::new();
    for stage in stages {
        let base = stage.from.node.image.text.to_lowercase();
        let mut state =
            State { inherited: known.get(&base).copied().unwrap_or_default(), used: HashMap::new() };
        for instruction in &stage.instructions {
            check(instruction, escape, &mut state, findings);
        }
        if let Some(name) = stage.from.node.stage_name() {
            known.insert(name, state.inherited);
        }
    }
}

/// What a stage hands on to stages built on it.
#[derive(Clone, Copy, Default)]
struct Inherited {
    shell: bool,
    workdir: bool,
}

struct State<'a> {
    inherited: Inherited,
    /// The last instruction of each kind of which only the last counts.
    used: HashMap<&'static str, (Span, &'a [String])>,
}

fn check<'a>(at: &'a Spanned<Instruction>, escape: char, state: &mut State<'a>, findings: &mut Findings) {
    let comments = at.comments.as_slice();
    let legacy = |keyword: &str, findings: &mut Findings| {
        let message = format!(
            "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
        );
        findings.add(Rule::LegacyKeyValueFormat, message, at.span, comments);
    };
    match &at.node {
        Instruction::Add(add) => {
            copy::destination("ADD", &add.sources, &add.destination, escape, at, findings)
        }
        Instruction::Arg(arg) => key::arg_names(arg, at, findings),
        Instruction::Cmd(cmd) => {
            state.only_once("CMD", at, findings);
            json_recommended("CMD", &cmd.command, at, state, findings);
        }
        Instruction::Copy(copy) => {
            copy::destination("COPY", &copy.sources, &copy.destination, escape, at, findings);
        }
        Instruction::Entrypoint(entrypoint) => {
            state.only_once("ENTRYPOINT", at, findings);
            json_recommended("ENTRYPOINT", &entrypoint.command, at, state, findings);
        }
        Instruction::Env(env) => {
            if env.legacy {
                legacy("ENV", findings);
            }
            key::env_names(&env.pairs, comments, findings);
        }
        Instruction::Expose(ports) => expose::ports(ports, comments, escape, findings),
        Instruction::Healthcheck(_) => state.only_once("HEALTHCHECK", at, findings),
        Instruction::Label(label) if label.legacy => legacy("LABEL", findings),
        Instruction::Maintainer(_) => {
            let message = "Maintainer instruction is deprecated in favor of using label";
            findings.add(Rule::MaintainerDeprecated, message, at.span, comments);
        }
        Instruction::Shell(_) => state.inherited.shell = true,
        Instruction::Workdir(workdir) => {
            if !state.inherited.workdir && is_relative(&workdir.path, escape) {
                let message = format!(
                    "Relative workdir {:?} can have unexpected results if the base image changes",
                    workdir.path.text
                );
                findings.add(Rule::WorkdirRelativePath, message, at.span, comments);
            }
            state.inherited.workdir = true;
        }
        Instruction::Label(_)
        | Instruction::Onbuild(_)
        | Instruction::Run(_)
        | Instruction::Stopsignal(_)
        | Instruction::User(_)
        | Instruction::Volume(_) => {}
    }
}

impl<'a> State<'a> {
    /// What is reported is the earlier one: it is the one that has no effect.
    fn only_once(&mut self, keyword: &'static str, at: &'a Spanned<Instruction>, findings: &mut Findings) {
        if let Some((earlier, comments)) = self.used.insert(keyword, (at.span, &at.comments)) {
            let message = format!(
                "Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
            );
            findings.add(Rule::MultipleInstructionsDisallowed, message, earlier, comments);
        }
    }
}

fn json_recommended(
    keyword: &str,
    command: &CommandLine,
    at: &Spanned<Instruction>,
    state: &State<'_>,
    findings: &mut Findings,
) {
    if matches!(command, CommandLine::Shell(_)) && !state.inherited.shell {
        let message = format!(
            "JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals"
        );
        findings.add(Rule::JsonArgsRecommended, message, at.span, &at.comments);
    }
}

/// Whether a path is surely relative: one that begins with a variable may be either.
fn is_relative(path: &Word, escape: char) -> bool {
    // A variable's value is stood in for by a slash, which makes a path absolute just where it would begin with the value.
    let slash = |_: &str| Some("/".to_owned());
    expand::expand(&path.text, escape, &slash).is_ok_and(|expanded| !expanded.text.starts_with('/'))
}
