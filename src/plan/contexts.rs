//! Named contexts: what stands for the image or the stage of a name, and files that lie outside the graph.

use std::collections::BTreeSet;

use super::base::Base;
use super::stage::{Planner, StageState};
use super::{MAIN_CONTEXT, NamedContext, context_key};
use crate::dockerfile::{Dockerfile, Instruction, MountKey, Span, Word, expand};
use crate::graph::{ContextOp, CopyOp, CopySource, Op, SourcePath, Vertex, VertexId};
use crate::image::Reference;

/// What a name means that is a named context's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// An image, by the key under which it is asked for.
    Image(String),
    /// Files, by the name of the context.
    Files(String),
    Nothing,
}

/// Names that mean something else wherever they stand.
const TAKEN: [&str; 2] = ["scratch", MAIN_CONTEXT];

impl Planner<'_> {
    /// The named context that is meant by a name, or by another way to write the same image name.
    pub(super) fn named_context(&self, name: &str) -> Option<Named> {
        if TAKEN.contains(&name.to_ascii_lowercase().as_str()) {
            return None;
        }
        let normal = |name: &str| name.parse::<Reference>().ok();
        let mut contexts = self.request.contexts.iter();
        let (context, kind) = contexts.find(|(context, _)| {
            *context == name || normal(context).is_some_and(|it| normal(name) == Some(it))
        })?;
        self.meant_contexts.borrow_mut().insert(context.clone());
        Some(match kind {
            NamedContext::Image => Named::Image(context_key(context)),
            NamedContext::Files => Named::Files(context.clone()),
            NamedContext::Nothing => Named::Nothing,
        })
    }

    /// The build context, as a vertex.
    pub(super) fn context(&mut self) -> VertexId {
        self.files_outside(MAIN_CONTEXT, "[internal] load build context".to_owned())
    }

    /// The files of a named context, as a vertex.
    pub(super) fn named_files(&mut self, context: &str) -> VertexId {
        self.files_outside(context, format!("[context {context}] load"))
    }

    fn files_outside(&mut self, context: &str, name: String) -> VertexId {
        let op = Op::Context(ContextOp { name: context.to_owned() });
        self.graph.add(Vertex { op, inputs: Vec::new(), name, origin: None, forced: false })
    }

    /// The files of a named context as a layer, for what is built upon them.
    pub(super) fn layer_of_files(&mut self, context: &str, name: String, span: Span) -> VertexId {
        let files = self.named_files(context);
        let all = CopySource { input: Some(0), path: SourcePath::Pattern("/".to_owned()) };
        let op = CopyOp {
            base: None,
            sources: vec![all],
            destination: "/".to_owned(),
            owner: None,
            mode: None,
            excludes: Vec::new(),
            unpack: false,
            if_exists: false,
        };
        self.graph.add(Vertex {
            op: Op::Copy(op),
            inputs: vec![files],
            name,
            origin: Some(span),
            forced: false,
        })
    }

    /// A stage that begins with the files of a named context.
    pub(super) fn begin_with_files(
        &mut self,
        state: &mut StageState,
        context: &str,
        headline: &str,
        span: Span,
    ) {
        let layer = self.layer_of_files(context, format!("{headline}FROM {context}"), span);
        state.take_layer(layer, format!("FROM {context}"));
    }

    /// What can be modified: files outside the graph are taken into it first.
    pub(super) fn inside(&mut self, vertex: VertexId, span: Span) -> VertexId {
        let Op::Context(context) = &self.graph.get(vertex).op else { return vertex };
        let name = context.name.clone();
        let headline = format!("[context {name}] copy");
        self.layer_of_files(&name, headline, span)
    }

    /// The files that a stage stands for, where a named context does that: whoever reads them need not take all of them.
    pub(super) fn files_of_stage(&mut self, index: usize) -> Option<VertexId> {
        match self.bases[index].clone() {
            Base::Instead { context: Named::Files(context), .. } => Some(self.named_files(&context)),
            Base::Instead { .. }
            | Base::Stage(_)
            | Base::Scratch
            | Base::Image(_)
            | Base::Files { .. }
            | Base::Unknown => None,
        }
    }

    /// Named contexts that nothing in the file means, whatever is built of it.
    pub(super) fn unused_contexts(&self) -> Vec<String> {
        let names = names_in(self.file);
        names.iter().for_each(|name| drop(self.named_context(name)));
        let meant = self.meant_contexts.borrow();
        self.request.contexts.keys().filter(|name| !meant.contains(*name)).cloned().collect()
    }
}

/// The names of stages and images in a file, as far as they stand there without variables.
pub(super) fn names_in(file: &Dockerfile) -> BTreeSet<String> {
    let mut words: Vec<&Word> = Vec::new();
    let mut names = BTreeSet::new();
    for stage in &file.stages {
        names.extend(stage.from.node.stage_name());
        words.push(&stage.from.node.image);
        for instruction in &stage.instructions {
            words.extend(sources_of(&instruction.node));
            if let Instruction::Onbuild(onbuild) = &instruction.node {
                words.extend(sources_of(&onbuild.trigger.node));
            }
        }
    }
    let escape = file.directives.escape;
    names.extend(words.into_iter().filter_map(|word| expand::constant(&word.text, escape)));
    names
}

/// What an instruction takes files from.
fn sources_of(instruction: &Instruction) -> Vec<&Word> {
    if let Instruction::Copy(copy) = instruction {
        copy.from.iter().collect()
    } else if let Instruction::Run(run) = instruction {
        let from = run.mounts.iter().filter_map(|mount| mount.option(MountKey::From));
        from.filter_map(|option| option.value.as_ref()).collect()
    } else {
        Vec::new()
    }
}
