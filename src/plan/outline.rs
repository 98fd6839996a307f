//! What a build takes from outside, and what it can build: for `--call=outline` and `--call=targets`.

use std::collections::BTreeSet;

use super::scope::{Declared, GlobalScope};
use super::stage::Planner;
use super::{BaseImages, Request, target};
use crate::dockerfile::{
    ArgInstruction, ArgVariable, Diagnostic, Dockerfile, ResolvedMount, Span, Stage, Word, expand,
};

/// The parameters of a target and of what it needs, each kind in the order of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The target's name, if it has one, and what a comment says about it.
    pub target: Option<String>,
    pub description: Option<String>,
    pub args: Vec<OutlineArg>,
    pub secrets: Vec<OutlineMount>,
    pub ssh: Vec<OutlineMount>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArg {
    pub name: String,
    /// Empty if there is none.
    pub value: String,
    pub description: Option<String>,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineMount {
    pub id: String,
    pub required: bool,
    pub span: Span,
}

/// A stage, as `--call=targets` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub name: Option<String>,
    /// What is built when no target is named.
    pub default: bool,
    pub description: Option<String>,
    /// As written.
    pub base: String,
    pub platform: Option<String>,
    pub span: Span,
}

/// Lists parameters. No image is looked at: what triggers of base images ask for is not listed.
pub fn outline(file: &Dockerfile, request: &Request) -> Result<Outline, Vec<Diagnostic>> {
    let images = BaseImages::new();
    let mut planner = Planner::new(file, request, &images, None);
    let target = target::find(file, request.target.as_deref()).map_err(|error| vec![error])?;
    drop(planner.build(target));
    if !planner.errors.is_empty() {
        return Err(planner.into_errors());
    }
    let from = &file.stages[target].from.node;
    let mut outline = planner.outline;
    outline.target = from.stage_name();
    outline.description.clone_from(&from.description);
    outline.args.sort_by_key(|arg| arg.span.start);
    outline.secrets.sort_by_key(|secret| secret.span.start);
    outline.ssh.sort_by_key(|ssh| ssh.span.start);
    Ok(outline)
}

/// Every stage, in the order of the file.
pub fn targets(file: &Dockerfile) -> Vec<Target> {
    let last = file.stages.len() - 1;
    let target = |(index, stage): (usize, &Stage)| {
        let from = &stage.from.node;
        Target {
            name: from.stage_name(),
            default: index == last,
            description: from.description.clone(),
            base: from.image.text.clone(),
            platform: from.platform.as_ref().map(|platform| platform.text.clone()),
            span: stage.from.span,
        }
    };
    file.stages.iter().enumerate().map(target).collect()
}

impl Outline {
    /// Notes the global arguments that a FROM uses, and those that their defaults use.
    pub(super) fn from(&mut self, file: &Dockerfile, global: &GlobalScope<'_>, stage: &Stage) {
        let from = &stage.from.node;
        let mut seen = BTreeSet::new();
        for word in from.platform.iter().chain([&from.image]) {
            self.used(file, global, word, &mut seen);
        }
    }

    fn used(
        &mut self,
        file: &Dockerfile,
        global: &GlobalScope<'_>,
        word: &Word,
        seen: &mut BTreeSet<String>,
    ) {
        for name in expand::variables(&word.text, file.directives.escape) {
            if seen.insert(name.clone()) {
                self.global(file, global, &name, seen);
            }
        }
    }

    fn global(
        &mut self,
        file: &Dockerfile,
        global: &GlobalScope<'_>,
        name: &str,
        seen: &mut BTreeSet<String>,
    ) {
        let declared = |(variable, _): &(&ArgVariable, Span)| variable.name.text == name;
        let all = file.global_args.iter().flat_map(|arg| arg.node.variables.iter().map(|it| (it, arg.span)));
        let Some((variable, span)) = all.rev().find(declared) else { return };
        self.arg(variable, global.get(name).unwrap_or_default(), span);
        if let Some(default) = &variable.default {
            self.used(file, global, default, seen);
        }
    }

    /// Notes what an ARG of a stage declares; one that stands for a global argument is that one.
    pub(super) fn declared(
        &mut self,
        file: &Dockerfile,
        global: &GlobalScope<'_>,
        arg: &ArgInstruction,
        declared: &[Declared],
        span: Span,
    ) {
        for (variable, declared) in arg.variables.iter().zip(declared) {
            if declared.is_global {
                self.global(file, global, &declared.name, &mut BTreeSet::from([declared.name.clone()]));
            } else {
                self.arg(variable, declared.value.as_deref().unwrap_or_default(), span);
            }
        }
    }

    fn arg(&mut self, variable: &ArgVariable, value: &str, span: Span) {
        let name = &variable.name.text;
        if !self.args.iter().any(|known| known.name == *name) {
            let (value, description) = (value.to_owned(), variable.description.clone());
            self.args.push(OutlineArg { name: name.clone(), value, description, span });
        }
    }

    pub(super) fn mount(&mut self, mount: &ResolvedMount, span: Span) {
        let (list, id, required) = match mount {
            ResolvedMount::Secret(secret) => (&mut self.secrets, &secret.id, secret.required),
            ResolvedMount::Ssh(ssh) => (&mut self.ssh, &ssh.id, ssh.required),
            ResolvedMount::Bind(_) | ResolvedMount::Cache(_) | ResolvedMount::Tmpfs(_) => return,
        };
        match list.iter_mut().find(|known| known.id == *id) {
            Some(known) => {
                known.required |= required;
                known.span.start = known.span.start.min(span.start);
            }
            None => list.push(OutlineMount { id: id.clone(), required, span }),
        }
    }
}
