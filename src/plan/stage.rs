//! Stages: what their instructions make of what they start from.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::base::Base;
use super::contexts::Named;
use super::epoch::epoch;
use super::history;
use super::lint::{Hidden, Noticed};
use super::outline::Outline;
use super::refusal::{Outcome, Refusal};
use super::scope::{GlobalScope, Scope};
use super::{Anew, BaseImages, HistoryItem, Request, WantedImage};
use crate::dockerfile::{
    Diagnostic, Dockerfile, Instruction, Lint, Source, Span, Spanned, Stage, Trigger, Word, parse_trigger,
};
use crate::graph::{Graph, VertexId};
use crate::image::{Config, Platform};

/// Plans stages as they are needed, each once.
pub(super) struct Planner<'a> {
    pub(super) file: &'a Dockerfile,
    pub(super) request: &'a Request,
    pub(super) global: GlobalScope<'a>,
    /// The time that everything made is to be of.
    pub(super) epoch: Option<i64>,
    pub(super) images: &'a BaseImages,
    pub(super) hidden: Option<&'a Hidden<'a>>,
    pub(super) graph: Graph,
    /// Images that have to be known before planning can end, and where they are first named.
    pub(super) missing: BTreeMap<WantedImage, Span>,
    /// Everything that is wrong.
    pub(super) errors: Vec<Diagnostic>,
    /// What is right but not executed yet.
    pub(super) later: Vec<Diagnostic>,
    /// The same of FROM, which only counts once the stage is needed.
    pub(super) refused: Vec<(usize, Diagnostic)>,
    pub(super) lints: Vec<Lint>,
    /// Of the instruction that is being planned.
    pub(super) noticed: Noticed,
    pub(super) outline: Outline,
    /// Of each stage.
    pub(super) bases: Vec<Base>,
    pub(super) built: BTreeMap<usize, Built>,
    pub(super) image_vertices: BTreeMap<WantedImage, VertexId>,
    /// Named contexts that something means.
    pub(super) meant_contexts: RefCell<BTreeSet<String>>,
}

/// The state of a stage after its last instruction.
#[derive(Debug, Clone)]
pub(super) struct Built {
    /// None as long as there are no files.
    pub vertex: Option<VertexId>,
    pub config: Config,
    pub scope: Scope,
    pub history: Vec<HistoryItem>,
    /// What its commands are made for: that of its FROM, else of the stage it is built on, else the one that is built for.
    pub platform: Platform,
}

/// A stage while its instructions are gone through.
#[derive(Debug)]
pub(super) struct StageState {
    pub index: usize,
    pub vertex: Option<VertexId>,
    pub config: Config,
    pub scope: Scope,
    pub history: Vec<HistoryItem>,
    pub platform: Platform,
    /// Whether this stage itself, and not its base, has set a command.
    pub command_set: bool,
    /// As progress shows the steps: `[name 2/4] `.
    pub label: String,
    pub steps: usize,
    pub steps_done: usize,
    /// The text of the base's trigger that is being planned.
    pub trigger: Option<Source>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        file: &'a Dockerfile,
        request: &'a Request,
        images: &'a BaseImages,
        hidden: Option<&'a Hidden<'a>>,
    ) -> Self {
        let last = file.stages.last().and_then(|stage| stage.from.node.stage_name());
        let given = request.target.clone().filter(|target| !target.is_empty());
        let target = given.or(last).unwrap_or_else(|| "default".to_owned());
        let (global, mut errors) = GlobalScope::new(file, request, &target);
        let epoch = epoch(file, request, &global).unwrap_or_else(|error| {
            errors.push(error);
            None
        });
        let mut planner = Self {
            file,
            request,
            global,
            epoch,
            images,
            hidden,
            graph: Graph::default(),
            missing: BTreeMap::new(),
            errors,
            later: Vec::new(),
            refused: Vec::new(),
            lints: Vec::new(),
            noticed: Noticed::default(),
            outline: Outline::default(),
            bases: Vec::new(),
            built: BTreeMap::new(),
            image_vertices: BTreeMap::new(),
            meant_contexts: RefCell::default(),
        };
        planner.check_defaults(&target);
        planner.find_bases();
        planner
    }

    /// Plans a stage and all it needs. It needs only earlier ones, so this ends.
    pub(super) fn build(&mut self, index: usize) -> Built {
        if let Some(built) = self.built.get(&index) {
            return built.clone();
        }
        let built = self.build_new(index);
        self.later
            .extend(self.refused.extract_if(.., |(refused, _)| *refused == index).map(|(_, error)| error));
        self.built.insert(index, built.clone());
        built
    }

    fn build_new(&mut self, index: usize) -> Built {
        let stage = &self.file.stages[index];
        self.outline.from(self.file, &self.global, stage);
        let start = self.start(index);
        let label = self.step_label(index, &start.platform);
        let mut state = StageState::new(index, label, start);
        let triggers = std::mem::take(&mut state.config.config.on_build);
        let triggers: Vec<Trigger> = triggers.iter().filter_map(|text| self.trigger(text, stage)).collect();
        let base = self.bases[index].clone();
        if let Base::Instead { context, platform } = &base {
            match context {
                Named::Image(name) => {
                    let wanted = WantedImage { name: name.clone(), platform: platform.clone() };
                    state.vertex = self.image(&wanted, None, stage.from.span).vertex();
                }
                Named::Files(name) => self.begin_with_files(&mut state, name, "", stage.from.span),
                Named::Nothing => {}
            }
            self.settle(&state, &stage.from);
            return state.into_built();
        }
        let own = &stage.instructions;
        let of_triggers = triggers.iter().map(|trigger| &trigger.instruction);
        state.steps = of_triggers.chain(own).filter(|step| makes_files(&step.node)).count();
        state.steps += usize::from(matches!(base, Base::Image(_) | Base::Files { .. }));
        match &base {
            Base::Image(wanted) => {
                let headline = state.next_step();
                state.vertex = self.image(wanted, Some(&headline), stage.from.span).vertex();
            }
            Base::Files { context, .. } => {
                let headline = format!("{} ", state.next_step());
                self.begin_with_files(&mut state, context, &headline, stage.from.span);
            }
            Base::Stage(_) | Base::Scratch | Base::Instead { .. } | Base::Unknown => {}
        }
        self.settle(&state, &stage.from);
        for Trigger { source, instruction } in triggers {
            state.trigger = Some(source);
            self.step(&mut state, &instruction);
        }
        state.trigger = None;
        for instruction in own {
            self.step(&mut state, instruction);
        }
        state.into_built()
    }

    fn step(&mut self, state: &mut StageState, instruction: &Spanned<Instruction>) {
        state.scope.watch();
        let planned = self.instruction(state, instruction);
        if self.told(state, planned).is_none() {
            state.forget(&instruction.node);
        }
        self.settle(state, instruction);
    }

    /// Keeps a complaint about an instruction, so that the rest of it can be looked at, too.
    pub(super) fn told<T>(&mut self, state: &StageState, outcome: Outcome<T>) -> Option<T> {
        match outcome {
            Ok(value) => return Some(value),
            // What depends on values that are not known may be right.
            Err(Refusal::Wrong(_)) if state.scope.has_missed() => {}
            Err(Refusal::Wrong(error)) => self.errors.push(self.placed(state, error)),
            Err(Refusal::Later(error)) => self.later.push(self.placed(state, error)),
            Err(Refusal::Unknown) => {}
        }
        None
    }

    /// A complaint about a trigger is shown with the trigger's own text, and with the FROM that brought it along.
    fn placed(&self, state: &StageState, error: Diagnostic) -> Diagnostic {
        let Some(source) = &state.trigger else { return error };
        let from = self.file.stages[state.index].from.span;
        error.within(source.clone()).note("a trigger that this stage's base brings along", from)
    }

    /// Keeps what was noticed about an instruction, but for what its comments silence.
    fn settle<T>(&mut self, state: &StageState, instruction: &Spanned<T>) {
        if self.noticed.is_empty() {
            return;
        }
        let elsewhere = state.trigger.as_ref().map(|_| self.file.stages[state.index].from.span);
        let noticed = std::mem::take(&mut self.noticed);
        self.lints.extend(noticed.kept(|rule| instruction.skips(rule), elsewhere));
    }

    fn trigger(&mut self, text: &str, stage: &Stage) -> Option<Trigger> {
        let image = &stage.from.node.image.text;
        match parse_trigger(&format!("ONBUILD of {image}"), text, '\\') {
            Ok(trigger) => Some(trigger),
            Err(wrong) => {
                let source = &wrong.source;
                self.errors.extend(wrong.errors.iter().map(|error| {
                    let error = error.clone().within(source.clone());
                    error.note("a trigger that this stage's base brings along", stage.from.span)
                }));
                None
            }
        }
    }

    /// Everything that is wrong, in the order of the file.
    pub(super) fn into_errors(mut self) -> Vec<Diagnostic> {
        sort(&mut self.errors);
        self.errors
    }

    pub(super) fn escape(&self) -> char {
        self.file.directives.escape
    }

    /// A word with its variables substituted; those that are nowhere set are noticed.
    pub(super) fn expand(&mut self, state: &StageState, word: &Word) -> Outcome<String> {
        let expanded = state.scope.expand(word, self.escape())?;
        self.undefined(state, &expanded.unset, word.span);
        Ok(expanded.text)
    }

    /// Where an instruction stands in the file: a trigger at the FROM that brought it along.
    pub(super) fn place(&self, state: &StageState, instruction: &Spanned<Instruction>) -> Span {
        match state.trigger {
            Some(_) => self.file.stages[state.index].from.span,
            None => instruction.span,
        }
    }

    /// Whether the steps of a stage are to be done anew.
    pub(super) fn is_forced(&self, index: usize) -> bool {
        match &self.request.anew {
            Anew::Nothing => false,
            Anew::Everything => true,
            Anew::Stages(names) => {
                let stage = self.file.stages[index].from.node.stage_name();
                stage.is_some_and(|stage| names.iter().any(|name| name.eq_ignore_ascii_case(&stage)))
            }
        }
    }

    /// A stage as messages name it.
    pub(super) fn stage_label(&self, index: usize) -> String {
        self.file.stages[index].from.node.stage_name().unwrap_or_else(|| format!("stage-{index}"))
    }

    /// A stage as headlines name it, with a blank at the end; nothing when there is just one. Platforms are named where
    /// they are not just that of this machine.
    fn step_label(&self, index: usize, platform: &Platform) -> String {
        let Request { platform: target, build_platform, .. } = self.request;
        let name = if self.file.stages.len() == 1 { String::new() } else { self.stage_label(index) + " " };
        match (platform == target, target == build_platform) {
            (true, true) => name,
            (true, false) => format!("{target} {name}"),
            (false, _) if platform.os == target.os => {
                let target = target.to_string();
                let short = target.split_once('/').map_or(target.as_str(), |(_, short)| short);
                format!("{platform}->{short} {name}")
            }
            (false, _) => format!("{platform}->{target} {name}"),
        }
    }
}

impl Built {
    pub(super) fn new(config: Config, platform: Platform) -> Self {
        Self { vertex: None, config, scope: Scope::default(), history: Vec::new(), platform }
    }

    /// What can be said about a base image that is not known.
    pub(super) fn unknown(platform: &Platform) -> Self {
        Self { scope: Scope::open(), ..Self::new(Config::scratch(platform), platform.clone()) }
    }
}

impl StageState {
    fn new(index: usize, label: String, start: Built) -> Self {
        let Built { vertex, config, mut scope, history, platform } = start;
        // The image's variables are set anew, so that they win over a base stage's arguments.
        for entry in &config.config.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            scope.set(name, value);
        }
        Self {
            index,
            vertex,
            config,
            scope,
            history,
            platform,
            command_set: false,
            label,
            steps: 0,
            steps_done: 0,
            trigger: None,
        }
    }

    /// Gives up the variables that an instruction should have set.
    fn forget(&mut self, instruction: &Instruction) {
        let names: Vec<&Word> = if let Instruction::Arg(arg) = instruction {
            arg.variables.iter().map(|variable| &variable.name).collect()
        } else if let Instruction::Env(env) = instruction {
            env.pairs.iter().map(|pair| &pair.key).collect()
        } else {
            return;
        };
        names.into_iter().for_each(|name| self.scope.forget(&name.text));
    }

    fn into_built(self) -> Built {
        let Self { vertex, config, scope, history, platform, .. } = self;
        Built { vertex, config, scope, history, platform }
    }

    /// The headline of the next step.
    pub(super) fn next_headline(&mut self, text: &str) -> String {
        format!("{} {}{text}", self.next_step(), self.trigger_mark())
    }

    fn trigger_mark(&self) -> &'static str {
        if self.trigger.is_some() { "ONBUILD " } else { "" }
    }

    /// The headline of what puts the current step's files on those of the stage.
    pub(super) fn link_headline(&self, text: &str) -> String {
        format!("{} {}LINK {text}", self.current_step(), self.trigger_mark())
    }

    /// `[name 2/4]`
    fn next_step(&mut self) -> String {
        self.steps_done += 1;
        self.current_step()
    }

    fn current_step(&self) -> String {
        let width = self.steps.to_string().len();
        format!("[{}{:>width$}/{}]", self.label, self.steps_done, self.steps)
    }

    /// Takes the result of an operation as the stage's files, with one layer more than before.
    pub(super) fn take_layer(&mut self, vertex: VertexId, created_by: String) {
        self.vertex = Some(vertex);
        self.history.push(history::layer(created_by, vertex));
    }

    /// What an operation on this stage's files has as inputs.
    pub(super) fn inputs(&self) -> Vec<VertexId> {
        self.vertex.into_iter().collect()
    }
}

/// Sorts by place in the file; what is wrong with a trigger has its place where the trigger was brought along.
pub(super) fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by_key(|diagnostic| match (&diagnostic.within, diagnostic.notes.first()) {
        (Some(_), Some(note)) => note.span.start,
        (Some(_) | None, _) => diagnostic.span.start,
    });
}

/// Whether an instruction is a step of its own.
fn makes_files(instruction: &Instruction) -> bool {
    matches!(
        instruction,
        Instruction::Add(_) | Instruction::Copy(_) | Instruction::Run(_) | Instruction::Workdir(_)
    )
}
