//! What stages start from, and what `--from` means.

use super::lint::Noticed;
use super::refusal::{Outcome, Refusal};
use super::scope::GlobalScope;
use super::stage::{Built, Planner, StageState};
use super::target::by_name;
use crate::dockerfile::{Diagnostic, Instruction, MountKey, Rule, Span, Stage, Word, expand, nearest};
use crate::graph::{ImageOp, Op, Vertex, VertexId};
use crate::image::{Config, DEFAULT_PATH, Platform, PlatformError, Reference};

/// What a stage is built on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    /// An earlier stage.
    Stage(usize),
    Scratch,
    /// An image, by the name under which it is asked for.
    Image(String),
    /// A named context that stands for the whole stage: its instructions are not executed.
    Instead(String),
    /// The FROM is wrong.
    Unknown,
}

/// Where files are copied or mounted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Vertex(VertexId),
    /// A stage or image without files, or one that is not known yet.
    Empty,
}

impl Planner<'_> {
    /// Makes out every FROM, also of stages that nothing needs: what is wrong with one is wrong in any case.
    pub(super) fn find_bases(&mut self) {
        for index in 0..self.file.stages.len() {
            let base = self.find_base(index);
            let stage = &self.file.stages[index];
            let base = base.unwrap_or_else(|refusal| {
                match refusal {
                    Refusal::Wrong(error) => self.errors.push(error),
                    Refusal::Later(error) => self.refused.push((index, error)),
                    Refusal::Unknown => {}
                }
                Base::Unknown
            });
            self.settle_from(stage);
            self.bases.push(base);
        }
    }

    fn find_base(&mut self, index: usize) -> Outcome<Base> {
        let stage = &self.file.stages[index];
        let from = &stage.from.node;
        let platform = self.platform(stage)?;
        if let Some(context) = from.stage_name().and_then(|name| self.named_context(&name)) {
            return Ok(Base::Instead(context));
        }
        if self.global.is_broken(&from.image) {
            return Err(Refusal::Unknown);
        }
        let expanded = self.global.expand(&from.image)?;
        self.noticed.undefined_in_from(&expanded.unset, &self.global, from.image.span);
        if expanded.text.is_empty() {
            return Err(self.blank(&from.image, &expanded.unset).into());
        }
        let name = expanded.text;
        if let Some(earlier) = by_name(self.file, &name, index) {
            return Ok(Base::Stage(earlier));
        }
        if name == "scratch" {
            return Ok(Base::Scratch);
        }
        if let Some(platform) = platform.filter(|platform| !platform.satisfies(&self.request.platform)) {
            let message =
                format!("building for {platform} on {} is not supported yet", self.request.platform);
            let span = from.platform.as_ref().map_or(stage.from.span, |word| word.span);
            self.refused.push((index, Diagnostic::new(message, span)));
        }
        Ok(Base::Image(self.named_context(&name).map_or_else(|| self.reference(name, from.image.span), Ok)?))
    }

    /// The platform that a FROM names; scratch and stages have their own, whatever it says.
    fn platform(&mut self, stage: &Stage) -> Outcome<Option<Platform>> {
        let Some(word) = &stage.from.node.platform else { return Ok(None) };
        if self.global.is_broken(word) {
            return Err(Refusal::Unknown);
        }
        let expanded = self.global.expand(word)?;
        self.noticed.undefined_in_from(&expanded.unset, &self.global, word.span);
        if expanded.text.is_empty() {
            let error =
                Diagnostic::new(format!("empty platform value from expression {}", word.text), word.span);
            return Err(self.with_unset(error, &expanded.unset).into());
        }
        let platform = expanded.text.parse();
        let wrong = |error: PlatformError| {
            self.with_unset(Diagnostic::new(error.to_string(), word.span), &expanded.unset).into()
        };
        platform.map(Some).map_err(wrong)
    }

    fn blank(&self, image: &Word, unset: &[String]) -> Diagnostic {
        let error = Diagnostic::new(format!("base name ({}) should not be blank", image.text), image.span);
        self.with_unset(error, unset)
    }

    /// Says what to do about variables that have no value.
    fn with_unset(&self, error: Diagnostic, unset: &[String]) -> Diagnostic {
        unset.iter().fold(error, |error, name| {
            let near = nearest(name, self.global.names());
            error.hint(match near {
                Some(near) => format!("${name} has no value; did you mean ${near}?"),
                None if self.global.is_declared(name) => {
                    format!("${name} has no value: give it with --build-arg {name}=…, or a default")
                }
                None => format!("${name} has no value: declare it before the first FROM, ARG {name}=…"),
            })
        })
    }

    /// The key of a named context that is meant by a name, or by another way to write the same image name.
    pub(super) fn named_context(&self, name: &str) -> Option<String> {
        if matches!(name.to_ascii_lowercase().as_str(), "scratch" | "context") {
            return None;
        }
        let normal = |name: &str| name.parse::<Reference>().ok();
        let mut contexts = self.request.contexts.iter();
        let context = contexts
            .find(|context| *context == name || normal(context).is_some_and(|it| normal(name) == Some(it)));
        context.map(|context| super::context_key(context))
    }

    fn reference(&self, name: String, span: Span) -> Outcome<String> {
        match name.parse::<Reference>() {
            Ok(_) => Ok(name),
            Err(error) => {
                let error = Diagnostic::new(error.to_string(), span);
                Err(match self.near_stage(&name) {
                    Some(near) => error.hint(format!("did you mean the stage {near}?")),
                    None => error,
                }
                .into())
            }
        }
    }

    fn near_stage(&self, name: &str) -> Option<String> {
        let names: Vec<String> =
            self.file.stages.iter().filter_map(|stage| stage.from.node.stage_name()).collect();
        nearest(&name.to_lowercase(), names.iter().map(String::as_str)).map(str::to_owned)
    }

    /// The state in which a stage begins, without the vertex of an image, and whether all of it is known.
    pub(super) fn start(&mut self, index: usize) -> (Built, bool) {
        let span = self.file.stages[index].from.span;
        match self.bases[index].clone() {
            Base::Stage(earlier) => {
                let built = self.build(earlier);
                let known = built.known;
                (built, known)
            }
            Base::Scratch => (Built::new(Config::scratch(&self.request.platform)), true),
            Base::Unknown => (Built::new(Config::scratch(&self.request.platform)), false),
            Base::Image(name) | Base::Instead(name) => {
                let Some(image) = self.images.get(&name) else {
                    self.missing.entry(name).or_insert(span);
                    return (Built::new(Config::scratch(&self.request.platform)), false);
                };
                let mut config = image.config.clone();
                config.created = None;
                if config.config.working_dir.is_empty() {
                    "/".clone_into(&mut config.config.working_dir);
                }
                if config.config.variable("PATH").is_none() {
                    config.config.env.push(format!("PATH={DEFAULT_PATH}"));
                }
                let platform = config.platform();
                self.noticed.base_platform(
                    &self.file.stages[index],
                    &name,
                    &self.request.platform,
                    &platform,
                );
                (Built::new(config), true)
            }
        }
    }

    /// The vertex of an image; asked for if it is not known yet.
    pub(super) fn image(&mut self, name: &str, headline: Option<&str>, span: Span) -> Origin {
        let Some(image) = self.images.get(name) else {
            self.missing.entry(name.to_owned()).or_insert(span);
            return Origin::Empty;
        };
        if image.config.rootfs.diff_ids.is_empty() {
            return Origin::Empty;
        }
        if let Some(vertex) = self.image_vertices.get(name) {
            return Origin::Vertex(*vertex);
        }
        let diff_ids = image.config.rootfs.diff_ids.clone();
        let op = Op::Image(ImageOp { name: image.name.clone(), diff_ids });
        let headline = headline.map(|label| format!("{label} ")).unwrap_or_default();
        let name_shown = format!("{headline}FROM {}", image.name);
        let vertex = self.graph.add(Vertex { op, inputs: Vec::new(), name: name_shown, origin: Some(span) });
        self.image_vertices.insert(name.to_owned(), vertex);
        Origin::Vertex(vertex)
    }

    /// What `COPY --from` means: a stage by number or name, a named context, or an image.
    pub(super) fn copy_origin(&mut self, word: &Word, text: &str, state: &StageState) -> Outcome<Origin> {
        if text.is_empty() {
            return Err(Diagnostic::new("--from has no value", word.span).into());
        }
        let too_late = |current: &str| {
            format!(
                "cannot copy from stage {text:?}, it needs to be defined before current stage {current:?}"
            )
        };
        if let Ok(number) = text.parse::<i64>() {
            let count = self.file.stages.len();
            let Some(index) = usize::try_from(number).ok().filter(|index| *index < count) else {
                let error = Diagnostic::new(format!("invalid stage index {number}"), word.span);
                let hint = match state.index {
                    0 => "stages are numbered from 0, and this is the first one".to_owned(),
                    this => {
                        format!("stages are numbered from 0; those before this one are 0 to {}", this - 1)
                    }
                };
                return Err(error.hint(hint).into());
            };
            return self.stage_origin(index, word, state, too_late);
        }
        self.origin(word, text, state, too_late)
    }

    /// What `from` of a mount means: a stage by name, a named context, or an image. Images that are only mounted are not
    /// asked for, because such steps are not executed yet.
    pub(super) fn check_mount_origin(
        &mut self,
        text: &str,
        target: &str,
        word: &Word,
        state: &StageState,
    ) -> Outcome<()> {
        let end = self.file.stages.len();
        if by_name(self.file, text, state.index).or_else(|| by_name(self.file, text, end)).is_some() {
            let message = |_: &str| {
                format!(
                    "cannot mount from stage {text:?} to {target:?}, stage needs to be defined before current command"
                )
            };
            self.origin(word, text, state, message)?;
        } else if text != "scratch" && self.named_context(text).is_none() {
            self.reference(text.to_owned(), word.span)?;
        }
        Ok(())
    }

    fn origin(
        &mut self,
        word: &Word,
        text: &str,
        state: &StageState,
        too_late: impl Fn(&str) -> String,
    ) -> Outcome<Origin> {
        let end = self.file.stages.len();
        let stage = by_name(self.file, text, state.index).or_else(|| by_name(self.file, text, end));
        if let Some(stage) = stage {
            return self.stage_origin(stage, word, state, too_late);
        }
        if text == "scratch" {
            return Ok(Origin::Empty);
        }
        let name = match self.named_context(text) {
            Some(context) => context,
            None => self.reference(text.to_owned(), word.span)?,
        };
        Ok(self.image(&name, None, word.span))
    }

    fn stage_origin(
        &mut self,
        index: usize,
        word: &Word,
        state: &StageState,
        too_late: impl Fn(&str) -> String,
    ) -> Outcome<Origin> {
        if index < state.index {
            return Ok(self.build(index).vertex.map_or(Origin::Empty, Origin::Vertex));
        }
        let stage = &self.file.stages[index];
        let current = self.stage_label(state.index);
        let message = if self.needs(index, state.index) {
            format!("circular dependency detected on stage: {current}")
        } else {
            too_late(&current)
        };
        let error = Diagnostic::new(message, word.span);
        let itself = index == state.index;
        Err(if itself { error } else { error.note("that stage begins here", stage.from.span) }.into())
    }

    /// Whether a stage is another one or needs it, as far as names without variables tell.
    fn needs(&self, index: usize, wanted: usize) -> bool {
        let mut seen = vec![false; self.file.stages.len()];
        let mut open = vec![index];
        while let Some(index) = open.pop() {
            if index == wanted {
                return true;
            }
            if !std::mem::replace(&mut seen[index], true) {
                open.extend(self.named_by(index));
            }
        }
        false
    }

    /// The stages that a stage names.
    fn named_by(&self, index: usize) -> Vec<usize> {
        let file = self.file;
        let escape = file.directives.escape;
        let meant = |word: &Word| {
            let text = expand::constant(&word.text, escape)?;
            let number = text.parse::<usize>().ok().filter(|number| *number < file.stages.len());
            number.or_else(|| by_name(file, &text, index)).or_else(|| by_name(file, &text, file.stages.len()))
        };
        let mut named: Vec<usize> = match self.bases[index] {
            Base::Stage(earlier) => vec![earlier],
            Base::Scratch | Base::Image(_) | Base::Instead(_) | Base::Unknown => Vec::new(),
        };
        for instruction in &file.stages[index].instructions {
            if let Instruction::Copy(copy) = &instruction.node {
                named.extend(copy.from.as_ref().and_then(meant));
            } else if let Instruction::Run(run) = &instruction.node {
                let from = |mount: &crate::dockerfile::Mount| {
                    mount.option(MountKey::From).and_then(|option| option.value.clone())
                };
                named.extend(run.mounts.iter().filter_map(from).filter_map(|word| meant(&word)));
            }
        }
        named
    }

    /// Says where default values alone would make a FROM that cannot be.
    pub(super) fn check_defaults(&mut self, target: &str) {
        let Some(defaults) = GlobalScope::of_defaults(self.file, self.request, target) else { return };
        for (index, stage) in self.file.stages.iter().enumerate() {
            let image = &stage.from.node.image;
            let Ok(expanded) = defaults.expand(image) else { return };
            let is_stage = by_name(self.file, &expanded.text, index).is_some();
            if !is_stage && expanded.text.parse::<Reference>().is_err() {
                let message = format!(
                    "Default value for ARG {} results in empty or invalid base image name",
                    image.text
                );
                self.noticed.add(Rule::InvalidDefaultArgInFrom, message, image.span);
            }
            self.settle_from(stage);
        }
    }

    fn settle_from(&mut self, stage: &Stage) {
        let noticed = std::mem::take(&mut self.noticed);
        self.lints.extend(noticed.kept(|rule| stage.from.skips(rule), None));
    }
}

impl Noticed {
    fn undefined_in_from(&mut self, unset: &[String], global: &GlobalScope<'_>, span: Span) {
        for name in unset.iter().filter(|name| !global.names().any(|known| known == **name)) {
            let near = nearest(name, global.names());
            let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            let message = format!("FROM argument '{name}' is not declared{near}");
            self.add(Rule::UndefinedArgInFrom, message, span);
        }
    }

    fn base_platform(&mut self, stage: &Stage, name: &str, wanted: &Platform, found: &Platform) {
        if (&found.os, &found.architecture) != (&wanted.os, &wanted.architecture) {
            let message = format!(
                "Base image {name} was pulled with platform \"{found}\", expected \"{wanted}\" for current build"
            );
            self.add(Rule::InvalidBaseImagePlatform, message, stage.from.node.image.span);
        }
    }
}
