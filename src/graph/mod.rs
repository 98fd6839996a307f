//! The graph of operations: what has to be done, each thing once, with what it needs.
//!
//! Invariants: inputs come before what uses them, so a graph has no cycles by construction. Operations are plain data;
//! the same operation has the same digest on every machine.
//!
//! Not here: how operations come about (`plan`), when they run (`solve`) and what they do (`exec`).

mod definition;
mod git;
mod http;
mod op;
mod path;
mod slot;

pub use op::{
    BindMount, CacheMount, ContextOp, CopyMode, CopyOp, CopySource, Device, GitOp, HttpOp, ImageOp,
    MakeDirectoryOp, MakeFileOp, MergeOp, Mount, MountKind, NetworkMode, Op, RunOp, SecretMount,
    SecretVariable, SecurityMode, Sharing, Slot, SourcePath, SshMount, TmpfsMount, Ulimit,
};
pub use path::joined;
pub use slot::{InputKey, Selection};

use std::collections::HashMap;

use crate::dockerfile::Span;
use crate::image::Digest;

/// A vertex of one graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VertexId(usize);

#[derive(Clone, Debug)]
pub struct Vertex {
    pub op: Op,
    /// What the operation's slots mean: each vertex at most once, what is modified first.
    pub inputs: Vec<VertexId>,
    /// The headline that progress shows, such as `[build 2/4] RUN make`.
    pub name: String,
    /// The instruction it comes from.
    pub origin: Option<Span>,
    /// Whether it is to be done anew, whatever earlier builds have left.
    pub forced: bool,
}

/// Operations in an order in which they could be done one by one.
#[derive(Clone, Default, Debug)]
pub struct Graph {
    vertices: Vec<Vertex>,
    /// Where to look for what may be there already.
    known: HashMap<(Option<Digest>, Vec<VertexId>), Vec<usize>>,
}

impl Graph {
    /// Adds an operation; its inputs are in the graph already. What is there already is not added again.
    pub fn add(&mut self, vertex: Vertex) -> VertexId {
        debug_assert!(vertex.inputs.iter().all(|input| input.0 < self.vertices.len()), "inputs come first");
        let identity = (vertex.op.digests().first().copied(), vertex.inputs.clone());
        let same = self.known.entry(identity).or_default();
        let is_same = |other: &usize| {
            let other = &self.vertices[*other];
            other.op == vertex.op && other.forced == vertex.forced
        };
        if let Some(other) = same.iter().copied().find(is_same) {
            return VertexId(other);
        }
        same.push(self.vertices.len());
        self.vertices.push(vertex);
        VertexId(self.vertices.len() - 1)
    }

    pub fn get(&self, id: VertexId) -> &Vertex {
        &self.vertices[id.0]
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (VertexId, &Vertex)> {
        self.vertices.iter().enumerate().map(|(index, vertex)| (VertexId(index), vertex))
    }

    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
    }
}

impl VertexId {
    pub fn index(self) -> usize {
        self.0
    }
}

impl std::fmt::Display for Graph {
    /// One line a vertex, as `--dump graph` and the golden files have it.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (id, vertex) in self.iter() {
            let inputs: Vec<String> = vertex.inputs.iter().map(|input| input.0.to_string()).collect();
            writeln!(out, "{} <- [{}] {}", id.0, inputs.join(" "), vertex.name)?;
            for line in vertex.op.definition_lines() {
                writeln!(out, "    {line}")?;
            }
            if let Op::Run(run) = &vertex.op
                && !run.transient_environment.is_empty()
            {
                writeln!(out, "    also {}", run.transient_environment.join(" "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_vertices_are_one() {
        let mut graph = Graph::default();
        let mut add = |path: &str, name: &str, forced| {
            let op = Op::MakeFile(MakeFileOp { path: path.to_owned(), mode: 0o644, content: Vec::new() });
            graph.add(Vertex { op, inputs: Vec::new(), name: name.to_owned(), origin: None, forced })
        };
        let one = add("/a", "one", false);
        assert_eq!(add("/a", "other", false), one);
        assert_ne!(add("/b", "one", false), one);
        assert_ne!(add("/a", "one", true), one);
        assert_eq!(graph.len(), 3);
    }
}
