//! Rules that need more than the text: values of variables, base images, the ignore file.

use std::collections::BTreeSet;

use super::scope::is_never_in_environment;
use super::stage::{Planner, StageState};
use super::{BaseImages, Request, contexts, target};
use crate::dockerfile::lint::{Config, ConfigError};
use crate::dockerfile::{Diagnostic, Dockerfile, Instruction, Lint, Remote, Rule, Span, Word, nearest};

/// Whether an ignore file hides a path of the context. To be given only if no rule of it takes anything back in: then
/// what a hidden directory holds cannot be told by its name.
pub type Hidden<'a> = dyn Fn(&str) -> bool + 'a;

/// What is worth telling about a file that can be built all the same.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// What the file wants to be told, in its order.
    pub lints: Vec<Lint>,
    /// Whether it wants any of them to end the build.
    pub fatal: bool,
    /// Build arguments that no ARG asks for, each with the nearest that one asks for.
    pub unused_build_args: Vec<(String, Option<String>)>,
    /// Named contexts that nothing means, each with the nearest name that something does.
    pub unused_contexts: Vec<(String, Option<String>)>,
    /// What is wrong, as far as it can be told without the base images that are not known.
    pub errors: Vec<Diagnostic>,
}

/// Checks the target and what it needs; without a target, every stage. What is not known about base images is not
/// complained about.
pub fn lint(
    file: &Dockerfile,
    request: &Request,
    images: &BaseImages,
    hidden: Option<&Hidden<'_>>,
) -> Result<Findings, ConfigError> {
    let config = config(request, file.directives.lint_config())?;
    let mut planner = Planner::new(file, request, images, hidden);
    let wanted = request.target.as_deref().filter(|target| !target.is_empty());
    match wanted.map(|wanted| target::find(file, Some(wanted))) {
        Some(Ok(target)) => drop(planner.build(target)),
        Some(Err(error)) => planner.errors.push(error),
        None => (0..file.stages.len()).for_each(|index| drop(planner.build(index))),
    }
    let mut lints = file.lints.clone();
    lints.append(&mut planner.lints);
    lints.retain(|lint| config.wants(lint.rule));
    lints.sort_by_key(|lint| (lint.span.start, lint.rule));
    lints.dedup();
    let fatal = config.error && !lints.is_empty();
    let unused_build_args = unused_build_args(file, &planner);
    let unused_contexts = unused_contexts(file, &planner);
    Ok(Findings { lints, fatal, unused_build_args, unused_contexts, errors: planner.into_errors() })
}

/// Which rules are wanted: as the build argument says that replaces the file's directive, else as that does.
pub fn config(request: &Request, of_file: Config) -> Result<Config, ConfigError> {
    match request.build_args.get("BUILDKIT_DOCKERFILE_CHECK") {
        Some(text) => Config::parse(text),
        None => Ok(of_file),
    }
}

fn unused_build_args(file: &Dockerfile, planner: &Planner<'_>) -> Vec<(String, Option<String>)> {
    let mut declared = BTreeSet::new();
    let mut declare = |instruction: &Instruction| {
        if let Instruction::Arg(arg) = instruction {
            declared.extend(arg.variables.iter().map(|variable| variable.name.text.clone()));
        }
    };
    for instruction in file.stages.iter().flat_map(|stage| &stage.instructions) {
        declare(&instruction.node);
        if let Instruction::Onbuild(onbuild) = &instruction.node {
            declare(&onbuild.trigger.node);
        }
    }
    let global = file.global_args.iter().flat_map(|arg| &arg.node.variables);
    declared.extend(global.map(|variable| variable.name.text.clone()));
    let unused = planner.global.unused_build_args().into_iter().filter(|name| !declared.contains(name));
    unused
        .map(|name| {
            let near = nearest(&name, declared.iter().map(String::as_str)).map(str::to_owned);
            (name, near)
        })
        .collect()
}

fn unused_contexts(file: &Dockerfile, planner: &Planner<'_>) -> Vec<(String, Option<String>)> {
    let unused = planner.unused_contexts();
    if unused.is_empty() {
        return Vec::new();
    }
    let names = contexts::names_in(file);
    let near =
        |name: &str| nearest(&name.to_lowercase(), names.iter().map(String::as_str)).map(str::to_owned);
    unused.into_iter().map(|name| (name.clone(), near(&name))).collect()
}

/// What is noticed while one instruction is planned.
#[derive(Debug, Default)]
pub(super) struct Noticed(Vec<Lint>);

impl Noticed {
    pub(super) fn add(&mut self, rule: Rule, message: String, span: Span) {
        self.0.push(Lint { rule, message, span });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What comments do not silence, each once; at another place if one is given.
    pub(super) fn kept(self, skips: impl Fn(Rule) -> bool, elsewhere: Option<Span>) -> Vec<Lint> {
        let mut kept: Vec<Lint> = Vec::new();
        for lint in self.0.into_iter().filter(|lint| !skips(lint.rule)) {
            let lint = Lint { span: elsewhere.unwrap_or(lint.span), ..lint };
            if !kept.contains(&lint) {
                kept.push(lint);
            }
        }
        kept
    }
}

impl Planner<'_> {
    /// Notices variables that nothing sets. While the base image is not known it may set them: then only those are told
    /// that look like a slip, namely global arguments not declared in the stage, and near misses.
    pub(super) fn undefined(&mut self, state: &StageState, unset: &[String], span: Span) {
        for name in unset {
            if state.scope.is_declared(name) || is_never_in_environment(name) {
                continue;
            }
            let near = nearest(name, state.scope.names());
            let slip = near.is_some() || self.global.is_declared(name);
            if state.scope.may_have(name) && !(state.scope.is_open() && slip) {
                continue;
            }
            let near = near.map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
            let message = format!("Usage of undefined variable '${name}'{near}");
            self.noticed.add(Rule::UndefinedVar, message, span);
        }
    }

    /// Notices a source in the context that the ignore file hides.
    pub(super) fn ignored(&mut self, keyword: &str, text: &str, word: &Word) {
        let Some(hidden) = self.hidden.filter(|_| Remote::of(text).is_none()) else { return };
        let path = crate::graph::joined("/", text);
        let path = path.trim_start_matches('/');
        // The root itself is never hidden: it is as good as hidden when every name in it is.
        let is_hidden = if path.is_empty() { hidden("\u{1}") } else { hidden(path) };
        if is_hidden {
            let verb = if keyword == "ADD" { "Add" } else { "Copy" };
            let message = format!("Attempting to {verb} file {text:?} that is excluded by .dockerignore");
            self.noticed.add(Rule::CopyIgnoredFile, message, word.span);
        }
    }
}
