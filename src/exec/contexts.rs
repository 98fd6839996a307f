//! Directories outside the graph, which operations read: the build context, and those that have names.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::ExecError;
use super::known::LookUps;
use crate::context::Tree;
use crate::graph::{Op, Slot, VertexId};

/// One of them. Two may be the same directory, seen through different ignore files: only names tell them apart.
#[derive(Debug, Clone)]
pub struct Context {
    pub name: Arc<str>,
    pub tree: Arc<Tree>,
}

/// All that a graph names, by the name of their operations.
#[derive(Debug, Clone, Default)]
pub struct Contexts(BTreeMap<String, Context>);

impl Contexts {
    pub fn add(&mut self, name: &str, tree: Tree) {
        self.0.insert(name.to_owned(), Context { name: Arc::from(name), tree: Arc::new(tree) });
    }

    pub(super) fn get(&self, name: &str) -> Result<&Context, ExecError> {
        self.0.get(name).ok_or(ExecError::Unexpected("a context that is read has been opened"))
    }

    /// Keeps what has been learnt of their files.
    pub fn keep_memory(&self) {
        self.0.values().for_each(|context| context.tree.memory().keep());
    }
}

impl LookUps {
    /// The files outside the graph that are an input.
    pub(super) fn outside_tree(&self, vertex: VertexId, slot: Slot) -> Result<&Arc<Tree>, ExecError> {
        let input = self.graph.get(vertex).inputs.get(slot);
        match input.map(|input| &self.graph.get(*input).op) {
            Some(Op::Context(op)) => Ok(&self.contexts.get(&op.name)?.tree),
            Some(_) | None => Err(ExecError::Unexpected("what is outside is a context")),
        }
    }
}
