//! The graph of operations: what has to be done, each thing once, with what it needs.
//!
//! Invariants: inputs come before what uses them, so a graph has no cycles by construction. Operations are plain data;
//! the same operation has the same digest on every machine.
//!
//! Not here: how operations come about (`plan`), when they run (`solve`) and what they do (`exec`).

mod op;

pub use op::{
    CopyOp, CopySource, ImageOp, MakeDirectoryOp, MakeFileOp, NetworkMode, Op, RunOp, SecurityMode, Ulimit,
};

use crate::dockerfile::Span;

/// A vertex of one graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VertexId(usize);

#[derive(Clone, Debug)]
pub struct Vertex {
    pub op: Op,
    /// What is modified first, if anything; then what is read.
    pub inputs: Vec<VertexId>,
    /// The headline that progress shows, such as `[build 2/4] RUN make`.
    pub name: String,
    /// The instruction it comes from.
    pub origin: Option<Span>,
}

/// Operations in an order in which they could be done one by one.
#[derive(Clone, Default, Debug)]
pub struct Graph {
    vertices: Vec<Vertex>,
}

impl Graph {
    /// Adds an operation; its inputs are in the graph already.
    pub fn add(&mut self, vertex: Vertex) -> VertexId {
        debug_assert!(vertex.inputs.iter().all(|input| input.0 < self.vertices.len()), "inputs come first");
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
            writeln!(out, "    {}", vertex.op.definition())?;
            if let Op::Run(run) = &vertex.op
                && !run.transient_environment.is_empty()
            {
                writeln!(out, "    also {}", run.transient_environment.join(" "))?;
            }
        }
        Ok(())
    }
}
