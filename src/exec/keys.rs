//! The keys of a plan, for people and for tests that hold them to what they were.

use std::fmt::Write as _;

use super::contexts::Contexts;
use super::error::ExecError;
use super::known::{Key, Keys, KnownInput};
use super::selectors;
use crate::context::{Forgetful, fingerprint};
use crate::graph::{Graph, Op};
use crate::solve::{Input, content_digest, record_digest};

/// What each vertex is known by as long as nothing has been made: the record digests of its operation, how its inputs count, and
/// the key that comes of these.
pub fn keys(graph: &Graph, contexts: &Contexts) -> Result<String, ExecError> {
    let mut text = String::new();
    let mut known: Vec<Key> = Vec::with_capacity(graph.len());
    for (id, vertex) in graph.iter() {
        let counts = vertex.op.input_keys(vertex.inputs.len());
        let mut inputs: Vec<KnownInput> = Vec::new();
        let _ = writeln!(text, "{} {}", id.index(), vertex.name);
        for digest in vertex.op.digests() {
            let _ = writeln!(text, "    record {}", record_digest(&digest));
        }
        for (input, counts) in vertex.inputs.iter().zip(&counts) {
            let content = match (&graph.get(*input).op, &counts.content) {
                (Op::Context(op), Some(selections)) => {
                    let tree = &contexts.get(&op.name)?.tree;
                    Some(fingerprint(tree, &selectors(selections)?, &Forgetful)?)
                }
                _ => None,
            };
            let _ = match (&content, &counts.selector) {
                (Some(content), _) => writeln!(text, "    content {}", content_digest(content)),
                (None, Some(selector)) => writeln!(text, "    input {} selector {selector}", input.index()),
                (None, None) => writeln!(text, "    input {}", input.index()),
            };
            inputs.push(Input { key: known[input.index()].clone(), output: None, content });
        }
        let key =
            Keys::new(&vertex.op, &inputs, &counts).map(|keys| keys.by_definition()).unwrap_or_default();
        if let Some(step) = key.step {
            let _ = writeln!(text, "    key {step}");
        }
        known.push(key);
    }
    Ok(text)
}
