//! `RUN --mount`: everything about it that can be checked before the step runs.

use super::path::joined;
use super::refusal::{Outcome, Refusal};
use super::stage::{Planner, StageState};
use crate::dockerfile::{Diagnostic, Instruction, Mount, MountKey, ResolvedMount, Run, Spanned};

impl Planner<'_> {
    /// The mounts of a step, with targets that are absolute. Every wrong one is told.
    pub(super) fn mounts(
        &mut self,
        state: &StageState,
        instruction: &Spanned<Instruction>,
        run: &Run,
    ) -> Outcome<Vec<ResolvedMount>> {
        let mut mounts = Vec::new();
        for mount in &run.mounts {
            let resolved = self.mount(state, mount);
            mounts.extend(self.told(state, resolved));
        }
        let span = self.place(state, instruction);
        mounts.iter().for_each(|mount| self.outline.mount(mount, span));
        if mounts.len() == run.mounts.len() { Ok(mounts) } else { Err(Refusal::Unknown) }
    }

    fn mount(&mut self, state: &StageState, mount: &Mount) -> Outcome<ResolvedMount> {
        let escape = self.escape();
        let mut unset = Vec::new();
        let resolved = mount.resolve(|word| {
            let expanded = state.scope.expand(word, escape)?;
            unset.push((expanded.unset, word.span));
            Ok(expanded.text)
        });
        for (names, span) in &unset {
            self.undefined(state, names, *span);
        }
        let mut resolved = resolved?;
        let directory = state.config.config.working_dir.clone();
        let target = match &mut resolved {
            ResolvedMount::Bind(mount) => Some(&mut mount.target),
            ResolvedMount::Cache(mount) => Some(&mut mount.target),
            ResolvedMount::Tmpfs(mount) => Some(&mut mount.target),
            // Without a target they have a place of their own, or none.
            ResolvedMount::Secret(mount) => mount.target.is_some().then_some(&mut mount.target),
            ResolvedMount::Ssh(mount) => mount.target.is_some().then_some(&mut mount.target),
        };
        let mut absolute = String::new();
        if let Some(target) = target {
            let given = target.as_deref().unwrap_or_default();
            absolute = joined(&directory, given);
            // The directory of an image that is not known yet only looks like the root.
            if absolute == "/" && (!state.scope.is_open() || given.starts_with('/')) {
                let span = mount.option(MountKey::Target).map_or(mount.span, |option| option.span);
                let error = Diagnostic::new("invalid mount target \"/\"", span);
                return Err(match given {
                    "" => error.hint("a mount without target is at the WORKDIR, which is / here"),
                    _ => error,
                }
                .into());
            }
            *target = Some(absolute.clone());
        }
        let from = match &resolved {
            ResolvedMount::Bind(mount) => &mount.from,
            ResolvedMount::Cache(mount) => &mount.from,
            ResolvedMount::Secret(_) | ResolvedMount::Ssh(_) | ResolvedMount::Tmpfs(_) => &None,
        };
        let word = mount.option(MountKey::From).and_then(|option| option.value.clone());
        if let (Some(from), Some(word)) = (from, word) {
            self.check_mount_origin(from, &absolute, &word, state)?;
        }
        Ok(resolved)
    }
}
