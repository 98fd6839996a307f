//! What is known of the inputs of a vertex, and how it is waited for.

use std::sync::Arc;

use super::super::{Finder, Input, Worker};
use super::making::Making;
use super::standing::Standing;
use crate::graph::{InputKey, Op, VertexId};
use crate::image::Digest;
use crate::sys::blocking;

pub(super) type Inputs<W> = Vec<Input<<W as Finder>::Key, <W as Finder>::Output>>;

/// How an input is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// As what it is.
    Key,
    /// By its content.
    Content,
    /// By its content, which can be looked at when the step has been made.
    Later,
}

impl<W: Worker> Making<W> {
    /// How each input is read.
    pub(super) async fn reads(&self, vertex: VertexId) -> Result<Vec<Read>, W::Error> {
        let it = self.graph.get(vertex);
        let counts = it.op.input_keys(it.inputs.len());
        if counts.iter().all(|counts| counts.content.is_none()) {
            return Ok(vec![Read::Key; counts.len()]);
        }
        let looks_later = self.is_unheard_of(vertex).await?;
        let read = |(slot, counts): (usize, &InputKey)| {
            Ok(match counts.content {
                None => Read::Key,
                Some(_) if looks_later && self.worker.may_look_later(vertex, slot)? => Read::Later,
                Some(_) => Read::Content,
            })
        };
        counts.iter().enumerate().map(read).collect()
    }

    /// What is known of an input once it cannot be known better without executing it, and whether it has a key.
    pub(super) async fn input(
        &self,
        vertex: VertexId,
        slot: usize,
        read: Read,
    ) -> Result<(Input<W::Key, W::Output>, bool), W::Error> {
        let input = self.graph.get(vertex).inputs[slot];
        if read == Read::Key {
            let standing = self.standings.wait(input, |standing| !standing.is_nothing()).await;
            return Ok(input_of(standing, None));
        }
        self.want_output(input);
        let standing = self.standings.wait(input, |standing| standing.output.is_some()).await;
        let content = match &standing.output {
            Some(output) if read == Read::Content => Some(self.content(vertex, slot, output).await?),
            _ if self.is_outside(input) => {
                let worker = Arc::clone(&self.worker);
                blocking(move || worker.check(vertex, slot)).await?;
                None
            }
            _ => None,
        };
        Ok(input_of(standing, content))
    }

    fn is_outside(&self, vertex: VertexId) -> bool {
        matches!(self.graph.get(vertex).op, Op::Context(_))
    }

    pub(super) async fn content(
        &self,
        vertex: VertexId,
        slot: usize,
        output: &W::Output,
    ) -> Result<Digest, W::Error> {
        if self.is_outside(self.graph.get(vertex).inputs[slot]) {
            let worker = Arc::clone(&self.worker);
            return blocking(move || worker.outside(vertex, slot)).await;
        }
        self.worker.content(vertex, slot, output).await
    }

    pub(super) async fn wait_for_outputs(&self, vertex: VertexId, inputs: &mut Inputs<W>) {
        for (slot, input) in self.graph.get(vertex).inputs.iter().enumerate() {
            self.want_output(*input);
            if inputs[slot].output.is_none() {
                let standing = self.standings.wait(*input, |standing| standing.output.is_some()).await;
                (inputs[slot].key, inputs[slot].output) = (standing.key.unwrap_or_default(), standing.output);
            }
        }
    }

    pub(super) async fn wait_for_keys(&self, vertex: VertexId, inputs: &mut Inputs<W>) {
        for (known, input) in inputs.iter_mut().zip(&self.graph.get(vertex).inputs) {
            let standing = self.standings.wait(*input, |standing| standing.key.is_some()).await;
            known.key = standing.key.unwrap_or_default();
        }
    }
}

fn input_of<W: Finder>(standing: Standing<W>, content: Option<Digest>) -> (Input<W::Key, W::Output>, bool) {
    let has_key = standing.key.is_some();
    (Input { key: standing.key.unwrap_or_default(), output: standing.output, content }, has_key)
}
