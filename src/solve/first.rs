//! The first pass: what is known without doing anything.

use super::{Failed, Finder, Found, Input, Progress, Solution};
use crate::graph::{Graph, Op, VertexId};

/// What the first pass knows of a vertex.
pub(super) type Known<W> = Found<<W as Finder>::Key, <W as Finder>::Output>;

/// What became of a whole graph.
type Solved<W> = Solution<<W as Finder>::Key, <W as Finder>::Output>;

/// What a graph has led to, if the results of all targets are at hand; otherwise nothing is told.
pub fn known<W: Finder>(
    graph: &Graph,
    targets: &[VertexId],
    finder: &W,
) -> Result<Option<Solved<W>>, Failed<W::Error>> {
    let known = look_up(graph, &needed(graph, targets), finder)?;
    if !is_over(&known, targets) {
        return Ok(None);
    }
    tell(graph, &known, true, finder);
    let solved = |found: Known<W>| super::Solved { key: found.key, output: found.output, cached: true };
    Ok(Some(Solution::new(known.into_iter().map(|found| found.map(solved)).collect())))
}

/// Whether nothing has to be made for the targets.
pub(super) fn is_over<K, O>(known: &[Option<Found<K, O>>], targets: &[VertexId]) -> bool {
    targets.iter().all(|target| has_output(known[target.index()].as_ref()))
}

fn has_output<K, O>(found: Option<&Found<K, O>>) -> bool {
    found.is_some_and(|found| found.known && found.output.is_some())
}

/// Tells of what was found. What was only passed by may still be needed, unless it is over.
pub(super) fn tell<W: Finder>(graph: &Graph, known: &[Option<Known<W>>], is_over: bool, finder: &W) {
    for (vertex, _) in graph.iter() {
        let found = known[vertex.index()].as_ref();
        if has_output(found) || is_over && found.is_some_and(|found| found.known) {
            finder.progress(vertex, Progress::Started);
            finder.progress(vertex, Progress::Cached);
        }
    }
}

/// Looks up every vertex that a target needs, in order; none for those that build upon what is not known.
pub(super) fn look_up<W: Finder>(
    graph: &Graph,
    needed: &[bool],
    finder: &W,
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
        let found = look_up_one(graph, vertex, &inputs, finder).map_err(|error| Failed { vertex, error })?;
        known.push(found);
    }
    Ok(known)
}

/// None where files would have to be looked at only to find nothing.
fn look_up_one<W: Finder>(
    graph: &Graph,
    vertex: VertexId,
    inputs: &[&Known<W>],
    finder: &W,
) -> Result<Option<Known<W>>, W::Error> {
    let it = graph.get(vertex);
    let counts = it.op.input_keys(inputs.len());
    // Files outside the graph have no other name than their content.
    let is_outside = |slot: usize| matches!(graph.get(it.inputs[slot]).op, Op::Context(_));
    let read = (0..inputs.len()).filter(|slot| counts[*slot].content.is_some() && is_outside(*slot));
    let read: Vec<usize> = read.collect();
    for slot in &read {
        if finder.may_look_later(vertex, *slot)? && finder.is_unheard_of(vertex)? {
            return Ok(None);
        }
    }
    let inputs = inputs.iter().enumerate().map(|(slot, found)| {
        let content = read.contains(&slot).then(|| finder.outside(vertex, slot)).transpose()?;
        Ok(Input { key: found.key.clone(), output: found.output.clone(), content })
    });
    let inputs = inputs.collect::<Result<Vec<_>, W::Error>>()?;
    finder.find(vertex, &inputs).map(Some)
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
