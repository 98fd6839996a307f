//! What a command is shown beside its root: files of inputs, caches, secrets, agents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::Executor;
use super::agent::{Agent, OwnAgents};
use super::binds::{ContextParts, Making};
use super::cache_mounts::{cache_key, show_cache};
use super::devices;
use super::error::ExecError;
use super::given::{Given, Mask};
use super::known::KnownInput;
use crate::graph::{MountKind, RunOp, VertexId, joined};
use crate::sandbox::{Layering, Mount as Shown, Mounted, Mounts, SecretFile};
use crate::store::{CacheKey, HeldCache, Workspace};
use crate::sys::blocking;

/// What all steps of a build have of mounts.
#[derive(Debug, Default)]
pub struct StepMounts {
    pub(super) given: Given,
    pub(super) own_agents: OwnAgents,
    pub(super) context_parts: ContextParts,
    /// Caches that this build has begun anew.
    pub(super) renewed: Mutex<BTreeSet<CacheKey>>,
}

impl StepMounts {
    pub fn new(given: Given) -> Self {
        Self { given, ..Self::default() }
    }
}

/// What one command is shown.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub mounts: Mounts,
    /// `NAME=value`, which nobody else may see.
    pub variables: Vec<String>,
    pub mask: Mask,
    pub held: Held,
}

/// What is kept until the command is gone.
#[derive(Debug, Default)]
pub(super) struct Held {
    caches: BTreeMap<CacheKey, HeldCache>,
    agents: Vec<Agent>,
}

impl Executor {
    /// Prepares the mounts of a command, whose root lies in a workspace.
    pub(super) async fn prepare_mounts(
        &self,
        vertex: VertexId,
        op: &RunOp,
        inputs: &[KnownInput],
        layering: Layering,
        workspace: &Workspace,
    ) -> Result<Prepared, ExecError> {
        let mut prepared = Prepared::default();
        if op.mounts.is_empty() && op.secret_variables.is_empty() && op.devices.is_empty() {
            return Ok(prepared);
        }
        let given = &self.mounts.given;
        for device in &op.devices {
            let edits = devices::find(&given.device_directories, &device.name)?;
            if edits.is_empty() {
                if device.required {
                    return Err(ExecError::NoDevice { name: device.name.clone() });
                }
                let name = &self.graph.get(vertex).name;
                self.events.warn(format!("{name} goes without device {}, which is not there", device.name));
            }
            for edit in edits {
                edit.apply(&mut prepared)?;
            }
        }
        for variable in &op.secret_variables {
            if let Some(value) = given.secret(&variable.id, variable.required)? {
                prepared.variables.push(format!("{}={}", variable.name, value.text(&variable.id)?));
                prepared.mask.add(value);
            }
        }
        prepared.held.caches = self.take_caches(vertex, &op.mounts, inputs).await?;
        let (store, path) = (Arc::clone(&self.store), workspace.path().to_owned());
        prepared.mounts.staging = workspace.directory("mounts")?;
        let mut making = Making { store, workspace: path, layering, trees: 0 };
        for mount in &op.mounts {
            let what = match &mount.kind {
                MountKind::Bind(bind) => {
                    let (origin, source) = self.origin(inputs, bind.input, &bind.source).await?;
                    let (read_only, mut its) = (bind.readonly, making);
                    let made =
                        blocking(move || its.bind(&origin, &source, read_only).map(|shown| (shown, its)));
                    let (shown, its) = made.await?;
                    making = its;
                    Some(shown)
                }
                MountKind::Cache(cache) => {
                    Some(show_cache(cache, &prepared.held.caches[&cache_key(cache, inputs)])?)
                }
                MountKind::Tmpfs(tmpfs) => {
                    Some(Mounted::Tmpfs { size: tmpfs.size, read_only: tmpfs.readonly })
                }
                MountKind::Secret(secret) => given.secret(&secret.id, secret.required)?.map(|value| {
                    prepared.mask.add(value);
                    let content = value.bytes().to_vec();
                    Mounted::Secret(SecretFile {
                        content,
                        mode: secret.mode,
                        uid: secret.uid,
                        gid: secret.gid,
                    })
                }),
                MountKind::Ssh(ssh) => match self.agent(&ssh.id, ssh.required).await? {
                    Some(agent) => {
                        let name = format!("agent-{}", prepared.held.agents.len());
                        let agent = Agent::forward(agent, workspace, &name, ssh)?;
                        let path = agent.path().to_owned();
                        prepared.held.agents.push(agent);
                        Some(Mounted::Socket(path))
                    }
                    None => None,
                },
            };
            let at = joined(&op.directory, &mount.target);
            prepared.mounts.mounts.extend(what.map(|what| Shown { at, what }));
        }
        // What lies inside of something else comes after it.
        prepared.mounts.mounts.sort_by(|one, other| one.at.cmp(&other.at));
        Ok(prepared)
    }
}
