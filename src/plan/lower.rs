//! RUN and WORKDIR, as vertices.

use super::Entitlement;
use super::config::shell_words;
use super::copy::Inputs;
use super::history;
use super::refusal::{Outcome, must_be_allowed};
use super::stage::{Planner, StageState};
use crate::dockerfile::{self, Instruction, Network, Run, RunBody, Security, Spanned, Workdir};
use crate::graph::{Device, MakeDirectoryOp, NetworkMode, Op, RunOp, SecurityMode, Vertex, VertexId, joined};

/// Where scripts lie that name their interpreter.
pub(super) const SCRIPTS: &str = "/dev/pipes/";

impl Planner<'_> {
    pub(super) fn run(
        &mut self,
        state: &mut StageState,
        instruction: &Spanned<Instruction>,
        run: &Run,
    ) -> Outcome<()> {
        let mut inputs = Inputs::new(state.inputs());
        let root = (!inputs.0.is_empty()).then_some(0);
        let script = match run.body() {
            // The kernel finds the interpreter in a file.
            RunBody::Script { heredoc, content, shebang: true } => {
                Some((self.heredoc_file(state, heredoc, &content, 0o755, instruction), heredoc))
            }
            RunBody::Script { shebang: false, .. } | RunBody::Exec(_) | RunBody::Shell(_) => None,
        };
        let file = script.map(|(vertex, _)| vertex);
        let mounts = self.mounts(state, instruction, run, file, &mut inputs)?;
        let network = match run.network {
            None | Some(Network::Default) => self.request.network,
            Some(Network::None) => NetworkMode::None,
            Some(Network::Host) => NetworkMode::Host,
        };
        let security = match run.security {
            None | Some(Security::Sandbox) => SecurityMode::Sandbox,
            Some(Security::Insecure) => SecurityMode::Insecure,
        };
        let asked = [
            (network == NetworkMode::Host).then_some(Entitlement::NetworkHost),
            (security == SecurityMode::Insecure).then_some(Entitlement::SecurityInsecure),
        ];
        let of_devices = run.devices.iter().map(|device| Entitlement::Device(device.name.clone()));
        for entitlement in asked.into_iter().flatten().chain(of_devices) {
            let outcome = must_be_allowed(&entitlement, self.request, instruction.span);
            self.told(state, outcome);
        }
        let device =
            |device: &dockerfile::Device| Device { name: device.name.clone(), required: device.required };
        let config = &state.config.config;
        let arguments = match run.body() {
            RunBody::Exec(words) => words.to_vec(),
            RunBody::Shell(script) => shell_words(&script, config),
            RunBody::Script { heredoc, shebang: true, .. } => {
                shell_words(&format!("{SCRIPTS}{}", heredoc.name), config)
            }
            RunBody::Script { content, .. } => shell_words(&content, config),
        };
        let mut environment = state.scope.environment();
        environment.extend(mounts.agent_variable(&environment));
        let op = RunOp {
            root,
            mounts: mounts.mounts,
            secret_variables: mounts.secret_variables,
            devices: run.devices.iter().map(device).collect(),
            environment,
            transient_environment: state.scope.proxies(&self.global),
            directory: config.working_dir.clone(),
            user: config.user.clone(),
            network,
            security,
            extra_hosts: self.request.extra_hosts.clone(),
            hostname: self.request.hostname().map(str::to_owned),
            platform: state.platform.clone(),
            ulimits: self.request.ulimits.clone(),
            arguments,
        };
        let created_by = history::run(&op.arguments, &state.scope);
        let text = state.scope.display(&instruction.headline(), self.escape());
        let name = state.next_headline(&text);
        self.layer(state, Op::Run(Box::new(op)), inputs.0, name, instruction, created_by);
        Ok(())
    }

    pub(super) fn workdir(
        &mut self,
        state: &mut StageState,
        instruction: &Spanned<Instruction>,
        workdir: &Workdir,
    ) -> Outcome<()> {
        let text = self.expand(state, &workdir.path)?;
        let path = joined(&state.config.config.working_dir, &text);
        state.config.config.working_dir.clone_from(&path);
        let created_by = format!("WORKDIR {path}");
        if path == "/" {
            state.history.push(history::empty(created_by));
            return Ok(());
        }
        let name = state.next_headline(format!("WORKDIR {text}").trim_end());
        let inputs = state.inputs();
        let op = MakeDirectoryOp {
            base: (!inputs.is_empty()).then_some(0),
            path,
            mode: 0o755,
            owner: state.config.config.user.clone(),
            made: self.epoch,
            parents: true,
        };
        self.layer(state, Op::MakeDirectory(op), inputs, name, instruction, created_by);
        Ok(())
    }

    /// Adds an operation whose result is the stage's next layer.
    pub(super) fn layer(
        &mut self,
        state: &mut StageState,
        op: Op,
        inputs: Vec<VertexId>,
        name: String,
        instruction: &Spanned<Instruction>,
        created_by: String,
    ) {
        let vertex = self.vertex(state, op, inputs, name, instruction);
        state.take_layer(vertex, created_by);
    }

    /// Adds an operation of an instruction.
    pub(super) fn vertex(
        &mut self,
        state: &StageState,
        op: Op,
        inputs: Vec<VertexId>,
        name: String,
        instruction: &Spanned<Instruction>,
    ) -> VertexId {
        let origin = Some(self.place(state, instruction));
        let forced = op.may_be_forced() && self.is_forced(state.index);
        self.graph.add(Vertex { op, inputs, name, origin, forced })
    }
}
