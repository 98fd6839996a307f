//! What `--from` and the `from` of a mount mean.

use super::WantedImage;
use super::base::Base;
use super::contexts::Named;
use super::refusal::Outcome;
use super::stage::{Planner, StageState};
use super::target::by_name;
use crate::dockerfile::{Diagnostic, Instruction, Mount, MountKey, Word, expand};
use crate::graph::VertexId;

/// Where files are copied or mounted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Vertex(VertexId),
    /// A stage or image without files, or one that is not known yet.
    Empty,
}

impl Origin {
    pub(super) fn vertex(self) -> Option<VertexId> {
        match self {
            Self::Vertex(vertex) => Some(vertex),
            Self::Empty => None,
        }
    }
}

impl Planner<'_> {
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
                    1 => "stages are numbered from 0; the only one before this one is 0".to_owned(),
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

    /// What a name means, to COPY and to `from` of a mount: a stage, a named context, or an image.
    pub(super) fn origin(
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
            Some(Named::Image(key)) => key,
            Some(Named::Files(context)) => return Ok(Origin::Vertex(self.named_files(&context))),
            Some(Named::Nothing) => return Ok(Origin::Empty),
            None => self.reference(text.to_owned(), word.span)?,
        };
        Ok(self.image(&WantedImage { name, platform: self.request.platform.clone() }, None, word.span))
    }

    fn stage_origin(
        &mut self,
        index: usize,
        word: &Word,
        state: &StageState,
        too_late: impl Fn(&str) -> String,
    ) -> Outcome<Origin> {
        if index < state.index {
            if let Some(files) = self.files_of_stage(index) {
                return Ok(Origin::Vertex(files));
            }
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
            Base::Scratch | Base::Image(_) | Base::Files { .. } | Base::Instead { .. } | Base::Unknown => {
                Vec::new()
            }
        };
        for instruction in &file.stages[index].instructions {
            if let Instruction::Copy(copy) = &instruction.node {
                named.extend(copy.from.as_ref().and_then(meant));
            } else if let Instruction::Run(run) = &instruction.node {
                let from =
                    |mount: &Mount| mount.option(MountKey::From).and_then(|option| option.value.clone());
                named.extend(run.mounts.iter().filter_map(from).filter_map(|word| meant(&word)));
            }
        }
        named
    }
}
