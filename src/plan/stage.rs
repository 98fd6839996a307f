//! Stages: what they start from, and what their instructions make of it.

use std::collections::{BTreeMap, BTreeSet};

use super::scope::{GlobalScope, Scope};
use super::target::by_name;
use super::{BaseImages, HistoryItem, Request};
use crate::dockerfile::{
    Diagnostic, Dockerfile, Instruction, Span, Spanned, Stage, Word, nearest, parse_trigger,
};
use crate::graph::{Graph, ImageOp, Op, Vertex, VertexId};
use crate::image::{Config, DEFAULT_PATH};

/// Plans stages as they are needed, each once.
pub(super) struct Planner<'a> {
    pub(super) file: &'a Dockerfile,
    pub(super) request: &'a Request,
    pub(super) global: GlobalScope<'a>,
    images: &'a BaseImages,
    pub(super) graph: Graph,
    /// Images that have to be known before planning can end.
    pub(super) missing: BTreeSet<String>,
    pub(super) warnings: Vec<Diagnostic>,
    built: BTreeMap<usize, Built>,
    /// Stages that are being planned: meeting one again is a cycle.
    open: Vec<usize>,
    image_vertices: BTreeMap<String, VertexId>,
}

/// The state of a stage after its last instruction.
#[derive(Debug, Clone)]
pub(super) struct Built {
    /// None as long as there are no files.
    pub vertex: Option<VertexId>,
    pub config: Config,
    pub scope: Scope,
    pub history: Vec<HistoryItem>,
}

/// A stage while its instructions are gone through.
#[derive(Debug)]
pub(super) struct StageState {
    pub index: usize,
    pub vertex: Option<VertexId>,
    pub config: Config,
    pub scope: Scope,
    pub history: Vec<HistoryItem>,
    /// Whether this stage itself, and not its base, has set a command.
    pub command_set: bool,
    /// As progress shows the steps: `[name 2/4] `.
    pub label: String,
    pub steps: usize,
    pub steps_done: usize,
    /// Whether what is being planned is a trigger of the base.
    pub in_trigger: bool,
}

/// Where files are copied or mounted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Vertex(VertexId),
    /// A stage or image without files.
    Empty,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        file: &'a Dockerfile,
        request: &'a Request,
        images: &'a BaseImages,
    ) -> Result<Self, Diagnostic> {
        let last = file.stages.last().and_then(|stage| stage.from.node.stage_name());
        let target = request.target.clone().or(last).unwrap_or_else(|| "default".to_owned());
        Ok(Self {
            file,
            request,
            global: GlobalScope::new(file, request, &target)?,
            images,
            graph: Graph::default(),
            missing: BTreeSet::new(),
            warnings: Vec::new(),
            built: BTreeMap::new(),
            open: Vec::new(),
            image_vertices: BTreeMap::new(),
        })
    }

    pub(super) fn unused_build_args(&self) -> Vec<String> {
        self.global.unused_build_args()
    }

    /// Plans a stage and all it needs.
    pub(super) fn build(&mut self, index: usize) -> Result<Built, Diagnostic> {
        if let Some(built) = self.built.get(&index) {
            return Ok(built.clone());
        }
        let stage = &self.file.stages[index];
        if self.open.contains(&index) {
            let name = self.stage_label(index);
            return Err(Diagnostic::new(
                format!("circular dependency detected on stage: {name}"),
                stage.from.span,
            ));
        }
        self.open.push(index);
        let built = self.build_new(index, stage)?;
        self.open.pop();
        self.built.insert(index, built.clone());
        Ok(built)
    }

    fn build_new(&mut self, index: usize, stage: &'a Stage) -> Result<Built, Diagnostic> {
        let (base, has_image) = self.base(index, stage)?;
        let mut state = StageState {
            index,
            vertex: base.vertex,
            config: base.config,
            scope: base.scope,
            history: base.history,
            command_set: false,
            label: self.step_label(index),
            steps: 0,
            steps_done: usize::from(has_image),
            in_trigger: false,
        };
        let triggers = std::mem::take(&mut state.config.config.on_build);
        let triggers =
            triggers.iter().map(|text| self.trigger(text, stage)).collect::<Result<Vec<_>, _>>()?;
        let own = &stage.instructions;
        state.steps =
            state.steps_done + triggers.iter().chain(own).filter(|step| makes_files(&step.node)).count();
        state.in_trigger = true;
        for instruction in &triggers {
            self.instruction(&mut state, instruction).map_err(|error| at(error, stage.from.span))?;
        }
        state.in_trigger = false;
        for instruction in own {
            self.instruction(&mut state, instruction)?;
        }
        let StageState { vertex, config, scope, history, .. } = state;
        Ok(Built { vertex, config, scope, history })
    }

    /// What a stage starts from, and whether that is an image with a step of its own.
    fn base(&mut self, index: usize, stage: &'a Stage) -> Result<(Built, bool), Diagnostic> {
        let from = &stage.from.node;
        self.check_platform(stage)?;
        let expanded = self.global.expand(&from.image)?;
        if expanded.text.is_empty() {
            let mut error = Diagnostic::new(
                format!("base name ({}) should not be blank", from.image.text),
                from.image.span,
            );
            for name in &expanded.unset {
                let near = nearest(name, self.global.names());
                error = error.hint(match near {
                    Some(near) => format!("${name} has no value; did you mean ${near}?"),
                    None => format!("${name} has no value: declare it before the first FROM, ARG {name}=…"),
                });
            }
            return Err(error);
        }
        let name = expanded.text;
        if let Some(earlier) = by_name(self.file, &name, index) {
            return Ok((self.build(earlier)?, false));
        }
        if name == "scratch" {
            return Ok((self.scratch(), false));
        }
        let Some(image) = self.images.get(&name) else {
            self.missing.insert(name);
            return Ok((self.scratch(), false));
        };
        let mut config = image.config.clone();
        config.created = None;
        if config.config.variable("PATH").is_none() {
            config.config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        if config.config.working_dir.is_empty() {
            "/".clone_into(&mut config.config.working_dir);
        }
        let origin = self.image(&name, &self.step_label(index), stage.from.span);
        let vertex = match origin {
            Some(Origin::Vertex(vertex)) => Some(vertex),
            Some(Origin::Empty) | None => None,
        };
        let built = Built { vertex, scope: environment_of(&config), config, history: Vec::new() };
        Ok((built, vertex.is_some()))
    }

    fn scratch(&self) -> Built {
        let config = Config::scratch(&self.request.platform);
        Built { vertex: None, scope: environment_of(&config), config, history: Vec::new() }
    }

    fn check_platform(&self, stage: &Stage) -> Result<(), Diagnostic> {
        let Some(word) = &stage.from.node.platform else { return Ok(()) };
        let expanded = self.global.expand(word)?;
        if expanded.text.is_empty() {
            return Err(Diagnostic::new(
                format!("empty platform value from expression {}", word.text),
                word.span,
            ));
        }
        let platform: crate::image::Platform = expanded
            .text
            .parse()
            .map_err(|error: crate::image::PlatformError| Diagnostic::new(error.to_string(), word.span))?;
        if platform.satisfies(&self.request.platform) {
            return Ok(());
        }
        let message = format!("building for {platform} on {} is not supported yet", self.request.platform);
        Err(Diagnostic::new(message, word.span))
    }

    /// The vertex of an image; none if the image is not known yet.
    fn image(&mut self, name: &str, label: &str, span: Span) -> Option<Origin> {
        let Some(image) = self.images.get(name) else {
            self.missing.insert(name.to_owned());
            return None;
        };
        if image.config.rootfs.diff_ids.is_empty() {
            return Some(Origin::Empty);
        }
        if let Some(vertex) = self.image_vertices.get(name) {
            return Some(Origin::Vertex(*vertex));
        }
        let op =
            Op::Image(ImageOp { name: image.name.clone(), diff_ids: image.config.rootfs.diff_ids.clone() });
        let name_shown = if label.is_empty() {
            format!("FROM {}", image.name)
        } else {
            format!("[{label}1/{}] FROM {}", self.count_steps_of(label), image.name)
        };
        let vertex = self.graph.add(Vertex { op, inputs: Vec::new(), name: name_shown, origin: Some(span) });
        self.image_vertices.insert(name.to_owned(), vertex);
        Some(Origin::Vertex(vertex))
    }

    /// How many steps the stage with this label has; for the headline of its base image.
    fn count_steps_of(&self, label: &str) -> usize {
        let index = (0..self.file.stages.len()).find(|index| self.step_label(*index) == label).unwrap_or(0);
        1 + self.file.stages[index].instructions.iter().filter(|step| makes_files(&step.node)).count()
    }

    /// What `--from` means: a stage by name or number, else an image.
    pub(super) fn origin(
        &mut self,
        word: &Word,
        text: &str,
        state: &StageState,
    ) -> Result<Option<Origin>, Diagnostic> {
        if text.is_empty() {
            return Err(Diagnostic::new("--from has no value", word.span));
        }
        if text.eq_ignore_ascii_case("scratch") {
            return Ok(Some(Origin::Empty));
        }
        let stage = match text.parse::<usize>() {
            Ok(number) if number < state.index => Some(number),
            Ok(number) => {
                let message = format!("invalid stage index {number}");
                let hint = format!(
                    "stages are numbered from 0, and only those before this one, {}, can be used",
                    state.index
                );
                return Err(Diagnostic::new(message, word.span).hint(hint));
            }
            Err(_) => by_name(self.file, text, state.index),
        };
        if let Some(stage) = stage {
            let built = self.build(stage)?;
            return Ok(Some(built.vertex.map_or(Origin::Empty, Origin::Vertex)));
        }
        if let Some(later) = by_name(self.file, text, self.file.stages.len()) {
            let current = self.stage_label(state.index);
            let message = if later == state.index {
                format!("circular dependency detected on stage: {text}")
            } else {
                format!(
                    "cannot copy from stage {text:?}, it needs to be defined before current stage {current:?}"
                )
            };
            return Err(Diagnostic::new(message, word.span));
        }
        Ok(self.image(text, "", word.span))
    }

    fn trigger(&self, text: &str, stage: &Stage) -> Result<Spanned<Instruction>, Diagnostic> {
        let image = &stage.from.node.image.text;
        parse_trigger(&format!("ONBUILD of {image}"), text, '\\').map(|trigger| trigger.instruction).map_err(
            |errors| {
                let message = errors.errors.first().map(|error| error.message.clone()).unwrap_or_default();
                Diagnostic::new(
                    format!("the base image's trigger `ONBUILD {text}`: {message}"),
                    stage.from.span,
                )
            },
        )
    }

    /// A stage as messages name it.
    pub(super) fn stage_label(&self, index: usize) -> String {
        self.file.stages[index].from.node.stage_name().unwrap_or_else(|| format!("stage-{index}"))
    }

    /// A stage as headlines name it, with a blank at the end; nothing when there is just one.
    fn step_label(&self, index: usize) -> String {
        let named = self.file.stages[index].from.node.name.is_some();
        if self.file.stages.len() == 1 && !named {
            String::new()
        } else {
            format!("{} ", self.stage_label(index))
        }
    }
}

impl StageState {
    /// The headline of the next step.
    pub(super) fn next_headline(&mut self, text: &str) -> String {
        self.steps_done += 1;
        let width = self.steps.to_string().len();
        let trigger = if self.in_trigger { "ONBUILD " } else { "" };
        format!("[{}{:>width$}/{}] {trigger}{text}", self.label, self.steps_done, self.steps)
    }

    /// What an operation on this stage's files has as inputs.
    pub(super) fn inputs(&self) -> Vec<VertexId> {
        self.vertex.into_iter().collect()
    }
}

/// Whether an instruction is a step of its own.
fn makes_files(instruction: &Instruction) -> bool {
    matches!(
        instruction,
        Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_)
    )
}

fn environment_of(config: &Config) -> Scope {
    let mut scope = Scope::default();
    for entry in &config.config.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        scope.set(name, value);
    }
    scope
}

/// A complaint about a trigger has its place in another text: it is shown at the FROM that brought it along.
fn at(mut error: Diagnostic, span: Span) -> Diagnostic {
    error.span = span;
    error.notes.clear();
    error
}
