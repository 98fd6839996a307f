//! The networks of a build's RUN steps: begun while earlier work is being done, waited for just before a command starts.

use std::collections::BTreeSet;

use crate::graph::{Graph, NetworkMode, Op, VertexId};
use crate::sandbox::{NetworkError, Networks, Provided, Reach};

/// The networks, and which vertices lead to them.
#[derive(Debug)]
pub struct StepNetworks {
    networks: Networks,
    /// What is executed only if a command follows that goes out: itself, or what it works on.
    before_commands: BTreeSet<VertexId>,
}

impl StepNetworks {
    pub fn new(graph: &Graph, networks: Networks) -> Self {
        let goes_out = |op: &Op| matches!(op, Op::Run(op) if op.network == NetworkMode::Default);
        let mut before_commands = BTreeSet::new();
        // Inputs stand before what works on them.
        for (vertex, it) in graph.iter().rev() {
            if goes_out(&it.op) || before_commands.contains(&vertex) {
                before_commands.insert(vertex);
                before_commands.extend(it.inputs.iter().copied());
            }
        }
        Self { networks, before_commands }
    }

    /// A vertex is about to be executed. Where it was not found, nothing that follows will be, so a network that is wanted
    /// later is begun now.
    pub(super) fn come_nearer(&self, vertex: VertexId) {
        if self.before_commands.contains(&vertex) {
            self.networks.begin(Reach::PrivateOrHost);
        }
    }

    pub(super) async fn of(&self, mode: NetworkMode) -> Result<Provided, NetworkError> {
        let reach = match mode {
            NetworkMode::Default => Reach::PrivateOrHost,
            NetworkMode::Host => Reach::Host,
            NetworkMode::None => Reach::None,
        };
        self.networks.provide(reach).await
    }
}
