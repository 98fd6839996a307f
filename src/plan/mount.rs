//! `RUN --mount`: what it says, as mounts of an operation.

use super::copy::Inputs;
use super::lower::SCRIPTS;
use super::refusal::{Outcome, Refusal};
use super::stage::{Planner, StageState};
use crate::dockerfile::{
    BindMount as WrittenBind, CacheMount as WrittenCache, Mount as Written, Sharing as WrittenSharing,
};
use crate::dockerfile::{Diagnostic, Instruction, MountKey, Owner, ResolvedMount, Run, Span, Spanned};
use crate::graph::{
    BindMount, CacheMount, MakeDirectoryOp, Mount, MountKind, Op, SecretMount, SecretVariable, Sharing,
    SshMount, TmpfsMount, Vertex, VertexId, joined,
};

/// The variable that says where an agent listens.
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

/// What the mounts of a step come to.
#[derive(Debug, Default)]
pub(super) struct StepMounts {
    /// In the order in which definitions have them: by target, then secrets, then agents.
    pub mounts: Vec<Mount>,
    pub secret_variables: Vec<SecretVariable>,
}

/// A mount with every value known.
#[derive(Debug)]
struct Known {
    resolved: ResolvedMount,
    /// What its files are of; none is nothing.
    origin: Option<VertexId>,
}

impl Planner<'_> {
    /// The mounts of a step. Every wrong one is told.
    pub(super) fn mounts(
        &mut self,
        state: &StageState,
        instruction: &Spanned<Instruction>,
        run: &Run,
        script: Option<VertexId>,
        inputs: &mut Inputs,
    ) -> Outcome<StepMounts> {
        let mut known = Vec::new();
        for mount in &run.mounts {
            let resolved = self.mount(state, mount);
            known.extend(self.told(state, resolved));
        }
        let span = self.place(state, instruction);
        known.iter().for_each(|mount| self.outline.mount(&mount.resolved, span));
        if known.len() != run.mounts.len() {
            return Err(Refusal::Unknown);
        }
        known.extend(script.map(|script| {
            let target = Some(SCRIPTS.to_owned());
            let bind = WrittenBind { target, from: None, source: None, readonly: true };
            Known { resolved: ResolvedMount::Bind(bind), origin: Some(script) }
        }));
        Ok(self.step_mounts(known, inputs, span))
    }

    fn mount(&mut self, state: &StageState, mount: &Written) -> Outcome<Known> {
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
        let target = match &mut resolved {
            ResolvedMount::Bind(mount) => &mut mount.target,
            ResolvedMount::Cache(mount) => &mut mount.target,
            ResolvedMount::Tmpfs(mount) => &mut mount.target,
            // Without a target they have a place of their own, or none; where they are relative, their step knows.
            ResolvedMount::Secret(_) | ResolvedMount::Ssh(_) => return Ok(Known { resolved, origin: None }),
        };
        let given = target.clone().unwrap_or_default();
        let absolute = joined(&state.config.config.working_dir, &given);
        // The directory of an image that is not known yet only looks like the root.
        if absolute == "/" && (!state.scope.is_open() || given.starts_with('/')) {
            let span = mount.option(MountKey::Target).map_or(mount.span, |option| option.span);
            let error = Diagnostic::new("invalid mount target \"/\"", span);
            return Err(match &*given {
                "" => error.hint("a mount without target is at the WORKDIR, which is / here"),
                _ => error,
            }
            .into());
        }
        // What is absolute stays as it was written, because it is part of the key.
        *target = Some(if given.starts_with('/') { given } else { absolute.clone() });
        let origin = self.mount_origin(state, mount, &resolved, &absolute)?;
        Ok(Known { resolved, origin })
    }

    fn mount_origin(
        &mut self,
        state: &StageState,
        mount: &Written,
        resolved: &ResolvedMount,
        target: &str,
    ) -> Outcome<Option<VertexId>> {
        let (from, without) = match resolved {
            ResolvedMount::Bind(bind) => (&bind.from, true),
            ResolvedMount::Cache(cache) => (&cache.from, false),
            ResolvedMount::Secret(_) | ResolvedMount::Ssh(_) | ResolvedMount::Tmpfs(_) => return Ok(None),
        };
        let word = mount.option(MountKey::From).and_then(|option| option.value.as_ref());
        match (from, word) {
            (Some(from), Some(word)) => {
                let too_late = |_: &str| {
                    format!(
                        "cannot mount from stage {from:?} to {target:?}, stage needs to be defined before current command"
                    )
                };
                Ok(self.origin(word, from, state, too_late)?.vertex())
            }
            // A bind shows the context, a cache begins empty.
            (None, _) | (_, None) => Ok(without.then(|| self.context())),
        }
    }

    fn step_mounts(&mut self, mut known: Vec<Known>, inputs: &mut Inputs, span: Span) -> StepMounts {
        // By bytes; what has the same place stays in the order written.
        known.sort_by(|one, other| target(&one.resolved).cmp(target(&other.resolved)));
        let (mut files, mut secrets, mut agents) = (Vec::new(), Vec::new(), Vec::new());
        let mut secret_variables = Vec::new();
        for Known { resolved, origin } in known {
            match resolved {
                ResolvedMount::Bind(bind) => {
                    let input = origin.map(|vertex| inputs.slot(vertex));
                    let kind = BindMount { input, source: source(bind.source), readonly: bind.readonly };
                    files.push(placed(bind.target, MountKind::Bind(kind)));
                }
                ResolvedMount::Cache(mut cache) => {
                    let target = cache.target.take();
                    let kind = self.cache_mount(cache, origin, inputs, span);
                    files.push(placed(target, MountKind::Cache(kind)));
                }
                ResolvedMount::Tmpfs(tmpfs) => {
                    let kind = TmpfsMount { size: tmpfs.size, readonly: tmpfs.readonly };
                    files.push(placed(tmpfs.target, MountKind::Tmpfs(kind)));
                }
                ResolvedMount::Secret(secret) => {
                    let (id, required) = (secret.id, secret.required);
                    if let Some(name) = secret.env {
                        secret_variables.push(SecretVariable { id: id.clone(), name, required });
                    }
                    if secret.target.is_some() {
                        let (mode, uid, gid) = defaults(secret.owner, 0o400);
                        let kind = SecretMount { id, mode, uid, gid, required };
                        secrets.push(placed(secret.target, MountKind::Secret(kind)));
                    }
                }
                ResolvedMount::Ssh(ssh) => {
                    let (mode, uid, gid) = defaults(ssh.owner, 0o600);
                    let target =
                        ssh.target.unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{}", agents.len()));
                    let kind = SshMount { id: ssh.id, mode, uid, gid, required: ssh.required };
                    agents.push(Mount { target, kind: MountKind::Ssh(kind) });
                }
            }
        }
        let mounts = files.into_iter().chain(secrets).chain(agents).collect();
        StepMounts { mounts, secret_variables }
    }

    /// A cache whose directory has an owner or a mode of its own begins with a directory that has them.
    fn cache_mount(
        &mut self,
        cache: WrittenCache,
        origin: Option<VertexId>,
        inputs: &mut Inputs,
        span: Span,
    ) -> CacheMount {
        let Owner { mode, uid, gid } = cache.owner;
        let mut source = source(cache.source);
        let mut origin = origin.map(|origin| self.inside(origin, span));
        if source == "/" && (mode.is_some() || uid.is_some() || gid.is_some()) {
            "/cache".clone_into(&mut source);
            let op = MakeDirectoryOp {
                base: origin.map(|_| 0),
                path: source.clone(),
                // As BuildKit, without the bits that stand before these nine.
                mode: mode.unwrap_or(0o755) & 0o777,
                owner: format!("{}:{}", uid.unwrap_or(0), gid.unwrap_or(0)),
                made: None,
                parents: false,
            };
            let name = "[internal] settings cache mount permissions".to_owned();
            let (op, inputs) = (Op::MakeDirectory(op), origin.into_iter().collect());
            origin = Some(self.graph.add(Vertex { op, inputs, name, origin: None, forced: false }));
        }
        let sharing = match cache.sharing {
            WrittenSharing::Shared => Sharing::Shared,
            WrittenSharing::Private => Sharing::Private,
            WrittenSharing::Locked => Sharing::Locked,
        };
        let input = origin.map(|vertex| inputs.slot(vertex));
        let id = format!("{}/{}", self.request.cache_namespace(), cache.id);
        CacheMount { id, sharing, input, source, readonly: cache.readonly }
    }
}

impl StepMounts {
    /// The variable that tells a command where its first agent is, unless the Dockerfile has set it.
    pub(super) fn agent_variable(&self, environment: &[String]) -> Option<String> {
        let is_agent = |mount: &&Mount| matches!(mount.kind, MountKind::Ssh(_));
        let first = self.mounts.iter().find(is_agent)?;
        let is_set = |entry: &String| entry.split_once('=').is_some_and(|(name, _)| name == AGENT_VARIABLE);
        (!environment.iter().any(is_set)).then(|| format!("{AGENT_VARIABLE}={}", first.target))
    }
}

/// Where files are shown; secrets and agents come behind them in the order written.
fn target(mount: &ResolvedMount) -> &str {
    let target = match mount {
        ResolvedMount::Bind(mount) => &mount.target,
        ResolvedMount::Cache(mount) => &mount.target,
        ResolvedMount::Tmpfs(mount) => &mount.target,
        ResolvedMount::Secret(_) | ResolvedMount::Ssh(_) => return "",
    };
    target.as_deref().unwrap_or_default()
}

fn placed(target: Option<String>, kind: MountKind) -> Mount {
    Mount { target: target.unwrap_or_default(), kind }
}

/// Absolute, without a way out.
fn source(given: Option<String>) -> String {
    joined("/", &given.unwrap_or_default())
}

fn defaults(owner: Owner, mode: u32) -> (u32, u32, u32) {
    (owner.mode.unwrap_or(mode), owner.uid.unwrap_or(0), owner.gid.unwrap_or(0))
}

#[cfg(test)]
mod tests;
