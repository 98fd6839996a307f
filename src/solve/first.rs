//! The first pass: what is known without doing anything.

use super::{Failed, Found, Input, Worker};
use crate::graph::{Graph, Op, VertexId};

/// What the first pass knows of a vertex.
pub(super) type Known<W> = Found<<W as Worker>::Key, <W as Worker>::Output>;

/// Looks up every vertex that a target needs, in order; none for those that build upon what is not known.
pub(super) fn look_up<W: Worker>(
    graph: &Graph,
    needed: &[bool],
    worker: &W,
) -> Result<Vec<Option<Known<W>>>, Failed<W::Error>> {
    let mut known: Vec<Option<Known<W>>> = Vec::with_capacity(graph.len());
    for (vertex, it) in graph.iter() {
        if !needed[vertex.index()] {
            known.push(None);
            continue;
        }
        let inputs: Option<Vec<&Known<W>>> =
            it.inputs.iter().map(|input| known[input.index()].as_ref().filter(|found| found.known)).collect();
        // What is forced is looked at when its turn comes.
        let Some(inputs) = inputs.filter(|_| !it.forced) else {
            known.push(None);
            continue;
        };
        let found = look_up_one(graph, vertex, &inputs, worker).map_err(|error| Failed { vertex, error })?;
        known.push(Some(found));
    }
    Ok(known)
}

fn look_up_one<W: Worker>(
    graph: &Graph,
    vertex: VertexId,
    inputs: &[&Known<W>],
    worker: &W,
) -> Result<Known<W>, W::Error> {
    let it = graph.get(vertex);
    let counts = it.op.input_keys(inputs.len());
    let inputs = inputs.iter().zip(&it.inputs).enumerate().map(|(slot, (found, input))| {
        // Files outside the graph have no other name than their content.
        let is_context = matches!(graph.get(*input).op, Op::Context(_));
        let reads = is_context && counts[slot].content.is_some();
        let content = reads.then(|| worker.outside(vertex, slot)).transpose()?;
        Ok(Input { key: found.key.clone(), output: found.output.clone(), content })
    });
    let inputs = inputs.collect::<Result<Vec<_>, W::Error>>()?;
    worker.find(vertex, &inputs)
}

/// Which vertices the targets need.
pub(super) fn needed(graph: &Graph, targets: &[VertexId]) -> Vec<bool> {
    let mut needed = vec![false; graph.len()];
    targets.iter().for_each(|target| needed[target.index()] = true);
    for (vertex, it) in graph.iter().rev() {
        if needed[vertex.index()] {
            it.inputs.iter().for_each(|input| needed[input.index()] = true);
        }
    }
    needed
}
