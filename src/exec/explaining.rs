//! What is told of a step that was not found.

use std::collections::HashSet;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};

use super::Executor;
use super::error::ExecError;
use super::known::{Key, KnownInput};
use crate::cache::{Explanation, Miss, MissedInput, explain};
use crate::event::EventKind;
use crate::graph::{Op, VertexId};
use crate::solve::content_digest;
use crate::store::{StepRecord, Store, StoreError};

/// Where explanations go.
#[derive(Debug, Clone)]
pub enum Explain {
    /// Under the step, for people.
    Shown,
    Sent(Sender<Explanation>),
}

/// What is needed to explain.
#[derive(Debug)]
pub struct Explaining {
    to: Explain,
    /// What there was before this build.
    records: Vec<(String, StepRecord)>,
    /// What this build has made.
    made: Mutex<HashSet<VertexId>>,
}

impl Explaining {
    pub fn begin(store: &Store, to: Explain) -> Result<Self, StoreError> {
        Ok(Self { to, records: store.records()?, made: Mutex::default() })
    }

    fn is_made(&self, vertex: VertexId) -> bool {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).contains(&vertex)
    }
}

impl Executor {
    /// Says why a step has to be executed, if anybody wants to know.
    pub(super) fn explain(
        &self,
        vertex: VertexId,
        key: &Key,
        inputs: &[KnownInput],
    ) -> Result<(), ExecError> {
        let Some(explaining) = &self.explaining else { return Ok(()) };
        let it = self.graph.get(vertex);
        let input = |(input, vertex): (&KnownInput, &VertexId)| {
            // Layers that are just put on others are what they are.
            let it = self.graph.get(*vertex);
            let parts = if matches!(it.op, Op::Merge(_)) { it.inputs.as_slice() } else { &[] };
            MissedInput {
                name: self.graph.get(*parts.last().unwrap_or(vertex)).name.clone(),
                key: input.key.step.map(|key| key.0),
                content: input.content.as_ref().map(content_digest),
                is_new: parts.iter().chain([vertex]).any(|vertex| explaining.is_made(*vertex)),
            }
        };
        let miss = Miss {
            name: it.name.clone(),
            key: key.step.ok_or(ExecError::Unexpected("a step that is executed has a key"))?.0,
            definition: it.op.definition(),
            inputs: inputs.iter().zip(&it.inputs).map(input).collect(),
            forced: it.forced,
        };
        let cache = self.cache();
        // What was read for this step is noted when it is made; so late would be too late here.
        self.note_listings(miss.inputs.iter().filter_map(|input| input.content.as_ref()))?;
        let contents = |then: &_, now: &_| cache.what_has_changed(then, now).ok().flatten();
        let explanation = explain(&miss, &explaining.records, contents);
        explaining.made.lock().unwrap_or_else(PoisonError::into_inner).insert(vertex);
        match &explaining.to {
            Explain::Shown => {
                self.events
                    .send(EventKind::Remark { step: self.step(vertex), text: explanation.to_string() });
            }
            // Whoever does not listen any more does not want to know.
            Explain::Sent(to) => drop(to.send(explanation)),
        }
        Ok(())
    }
}
