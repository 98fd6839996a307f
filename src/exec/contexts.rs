//! Directories outside the graph, which operations read: the build context, and those that have names.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::error::ExecError;
use super::known::LookUps;
use crate::context::{NO_FILES, Tree};
use crate::graph::{Op, Slot, VertexId};
use crate::plan::MAIN_CONTEXT;

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

impl Context {
    /// As messages name it.
    fn shown(&self) -> String {
        let path = self.tree.path();
        let path = if path.is_dir() { std::path::absolute(path) } else { Ok(path.to_owned()) };
        let path = path.unwrap_or_else(|_| self.tree.path().to_owned());
        match &*self.name {
            MAIN_CONTEXT if self.tree.path() == Path::new(NO_FILES) => {
                "the build context, which has no files: just a Dockerfile was given".to_owned()
            }
            MAIN_CONTEXT => format!("the build context {}", path.display()),
            name => format!("the context {name}, {}", path.display()),
        }
    }
}

impl LookUps {
    /// Says of what is not there where it was looked for, if that is outside the graph.
    pub fn with_place(&self, vertex: VertexId, error: ExecError) -> ExecError {
        let ExecError::Select(error) = error else { return error };
        let vertex = self.graph.get(vertex);
        let read = (0..vertex.inputs.len()).filter(|slot| vertex.op.base() != Some(*slot));
        let contexts = read.map(|slot| {
            let op = &self.graph.get(vertex.inputs[slot]).op;
            if let Op::Context(op) = op { self.contexts.get(&op.name).ok() } else { None }
        });
        // Where several things are read, the name says which one is meant.
        match contexts.collect::<Vec<_>>()[..] {
            [Some(context)] => ExecError::SelectFrom { error: Box::new(error), place: context.shown() },
            _ => ExecError::Select(error),
        }
    }

    /// The files outside the graph that are an input.
    pub(super) fn outside_tree(&self, vertex: VertexId, slot: Slot) -> Result<&Arc<Tree>, ExecError> {
        let input = self.graph.get(vertex).inputs.get(slot);
        match input.map(|input| &self.graph.get(*input).op) {
            Some(Op::Context(op)) => Ok(&self.contexts.get(&op.name)?.tree),
            Some(_) | None => Err(ExecError::Unexpected("what is outside is a context")),
        }
    }
}
