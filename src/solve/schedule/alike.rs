//! Vertices that may turn out to be the same step: they do the same, to what may be the same, and read what may have equal content.
//!
//! As long as that is not known only one of them is made; another one has to find its result if they are the same, as what builds
//! upon either would have to find it later.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::graph::{Graph, VertexId};
use crate::image::Digest;

/// By vertex, whether one of those that are alike has been made before it was looked for; none for those that are like no other.
pub(super) struct Alike(Vec<Option<Arc<Mutex<bool>>>>);

/// Held until a result is remembered. The default one keeps nobody waiting.
#[derive(Default)]
pub(super) struct Turn {
    _only: Option<OwnedMutexGuard<bool>>,
}

impl Alike {
    pub(super) fn of(graph: &Graph) -> Self {
        let mut classes: Vec<Digest> = Vec::with_capacity(graph.len());
        let mut members: HashMap<Digest, usize> = HashMap::new();
        for (vertex, it) in graph.iter() {
            let mut text = match it.op.digests().last() {
                Some(digest) => digest.to_string(),
                None => vertex.index().to_string(),
            };
            for (input, counts) in it.inputs.iter().zip(it.op.input_keys(it.inputs.len())) {
                text.push('\0');
                if counts.content.is_none() {
                    text.push_str(&classes[input.index()].to_string());
                }
            }
            let class = Digest::of(text.as_bytes());
            *members.entry(class).or_default() += 1;
            classes.push(class);
        }
        let mut turns: HashMap<Digest, Arc<Mutex<bool>>> = HashMap::new();
        let turn = |class: Digest| (members[&class] > 1).then(|| Arc::clone(turns.entry(class).or_default()));
        Self(classes.into_iter().map(turn).collect())
    }

    /// Whether a vertex may be made before it is looked for. If another one was that is like it, this waits until it is remembered:
    /// then it may be found.
    pub(super) async fn take_turn(&self, vertex: VertexId) -> Option<Turn> {
        let Some(turn) = &self.0[vertex.index()] else { return Some(Turn::default()) };
        let mut was_taken = Arc::clone(turn).lock_owned().await;
        let is_first = !std::mem::replace(&mut *was_taken, true);
        is_first.then_some(Turn { _only: Some(was_taken) })
    }
}
