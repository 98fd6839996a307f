//! RUN and WORKDIR, as vertices.

use super::config::shell_words;
use super::history;
use super::path::joined;
use super::refusal::{Outcome, not_yet};
use super::stage::{Planner, StageState};
use crate::dockerfile::{Diagnostic, Instruction, Network, Run, RunBody, Security, Spanned, Workdir};
use crate::graph::{MakeDirectoryOp, NetworkMode, Op, RunOp, Vertex, VertexId};

impl Planner<'_> {
    pub(super) fn run(
        &mut self,
        state: &mut StageState,
        instruction: &Spanned<Instruction>,
        run: &Run,
    ) -> Outcome<()> {
        let network = network(run, instruction);
        let network = self.told(state, network);
        let mounts = self.mounts(state, instruction, run)?;
        let Some(network) = network else { return Ok(()) };
        if !mounts.is_empty() {
            return not_yet("RUN --mount", instruction.span);
        }
        if !run.devices.is_empty() {
            return not_yet("RUN --device", instruction.span);
        }
        if run.security == Some(Security::Insecure) {
            return not_yet("RUN --security=insecure", instruction.span);
        }
        let config = &state.config.config;
        let arguments = match run.body() {
            RunBody::Exec(words) => words.to_vec(),
            RunBody::Shell(script) => shell_words(&script, config),
            RunBody::Script { shebang: true, .. } => {
                return not_yet("a RUN heredoc that begins with #!", instruction.span);
            }
            RunBody::Script { content, .. } => shell_words(&content, config),
        };
        let op = RunOp {
            environment: state.scope.environment(),
            transient_environment: state.scope.proxies(&self.global),
            directory: config.working_dir.clone(),
            user: config.user.clone(),
            network,
            platform: self.request.platform.clone(),
            ulimits: self.request.ulimits.clone(),
            arguments,
        };
        let created_by = history::run(&op.arguments, &state.scope);
        let text = state.scope.display(&instruction.headline(), self.escape());
        let name = state.next_headline(&text);
        let inputs = state.inputs();
        self.layer(state, Op::Run(op), inputs, name, instruction, created_by);
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
        let op = MakeDirectoryOp { path, owner: state.config.config.user.clone(), made: self.epoch };
        let inputs = state.inputs();
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
        let origin = Some(self.place(state, instruction));
        let vertex = self.graph.add(Vertex { op, inputs, name, origin });
        state.vertex = Some(vertex);
        state.history.push(history::layer(created_by, vertex));
    }
}

fn network(run: &Run, instruction: &Spanned<Instruction>) -> Outcome<NetworkMode> {
    match run.network {
        None | Some(Network::Default) => Ok(NetworkMode::Default),
        Some(Network::None) => Ok(NetworkMode::None),
        Some(Network::Host) => {
            Err(Diagnostic::new("entitlement network.host is not allowed", instruction.span)
                .hint("leave --network=host out: steps use the host's network anyway, for now")
                .into())
        }
    }
}
