//! What is worth telling about a Dockerfile that was built, or not: summed up at the end.

use super::Request;
use super::error::BuildError;
use crate::context::Ignore;
use crate::dockerfile::{Dockerfile, Lint, ParseErrors, Source, nearest};
use crate::event::{EventKind, Events};
use crate::plan::{self, Anew, BaseImages, Findings};

#[derive(Debug, Default)]
pub(super) struct Warnings {
    lines: Vec<String>,
}

impl Warnings {
    /// What was noticed in a file that cannot be parsed.
    pub(super) fn of_errors(&mut self, request: &Request, errors: &ParseErrors) {
        let Ok(config) = plan::lint_config(&request.wanted, errors.aside.config.clone()) else { return };
        let wanted = errors.aside.lints.iter().filter(|lint| config.wants(lint.rule));
        self.lines.extend(wanted.map(|lint| line(&errors.source, lint)));
    }

    /// Checks the file with what is known of its base images.
    pub(super) fn check(
        &mut self,
        file: &Dockerfile,
        request: &Request,
        images: &BaseImages,
        ignore: &Ignore,
    ) -> Result<Findings, BuildError> {
        let findings = check(file, &request.wanted, images, ignore)?;
        self.lines.extend(findings.lints.iter().map(|lint| line(&file.source, lint)));
        self.lines.extend(findings.unused_build_args.iter().map(|(name, near)| {
            let near = near.as_ref().map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            format!("--build-arg {name} was given, but no ARG asks for it{near}")
        }));
        self.lines.extend(findings.unused_contexts.iter().map(|(name, near)| {
            let near = near.as_ref().map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            format!("--build-context {name} was given, but nothing in the Dockerfile has that name{near}")
        }));
        if let Anew::Stages(names) = &request.wanted.anew {
            let stages: Vec<String> =
                file.stages.iter().filter_map(|stage| stage.from.node.stage_name()).collect();
            let is_unknown = |name: &&String| !stages.iter().any(|stage| stage.eq_ignore_ascii_case(name));
            self.lines.extend(names.iter().filter(is_unknown).map(|name| {
                let near = nearest(&name.to_lowercase(), stages.iter().map(String::as_str));
                let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
                format!("--no-cache-filter {name} was given, but no stage has that name{near}")
            }));
        }
        Ok(findings)
    }

    pub(super) fn sum_up(self, events: &Events) {
        let count = self.lines.len();
        if count == 0 {
            return;
        }
        self.lines.into_iter().for_each(|line| events.warn(line));
        let found = if count == 1 { "1 warning found".to_owned() } else { format!("{count} warnings found") };
        events.send(EventKind::Note { message: found });
    }
}

/// Applies every rule to a file.
pub fn check(
    file: &Dockerfile,
    wanted: &plan::Request,
    images: &BaseImages,
    ignore: &Ignore,
) -> Result<Findings, BuildError> {
    let hides = |path: &str| ignore.matches(std::path::Path::new(path));
    let hidden: Option<&plan::Hidden<'_>> =
        if ignore.is_empty() || ignore.has_negation() { None } else { Some(&hides) };
    plan::lint(file, wanted, images, hidden).map_err(BuildError::Check)
}

/// The rules that findings break, each once, as an error names them.
pub fn broken_rules(findings: &Findings) -> String {
    let mut rules: Vec<&str> = findings.lints.iter().map(|lint| lint.rule.id()).collect();
    rules.sort_unstable();
    rules.dedup();
    rules.join(", ")
}

fn line(source: &Source, lint: &Lint) -> String {
    let number = source.line_of(lint.span.start);
    format!("{}: {} (line {number})", lint.rule.id(), lint.message)
}
