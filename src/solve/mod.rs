//! Does each operation of a graph once, as soon as what it needs is there, in parallel.
//!
//! Flow: a vertex waits for its inputs, gets a [`StepKey`], is looked up, and only when nobody has its result yet it is
//! executed, while no other process executes the same step.
//!
//! Invariants: an operation that failed cancels whatever is still running, and what had finished keeps its results.
//! A key depends on definitions and contents, never on the machine, the time or the order of events.
//!
//! Not here: what an operation does. This module has never heard of containers; it talks to a [`Worker`].

mod key;
mod schedule;

pub use key::StepKey;
pub use schedule::{Failed, Solution, Solved, solve};

use crate::graph::VertexId;
use crate::image::Digest;

/// Looks results up and makes them.
pub trait Worker: Send + Sync + 'static {
    /// What a vertex yields; cheap to clone.
    type Output: Clone + Send + Sync + 'static;
    type Error: Send + 'static;
    /// Held while a step is made, so that no other process makes it, too.
    type Claim: Send;

    /// The digest of what the operation reads from outside the graph, such as files of the build context.
    fn content(&self, vertex: VertexId) -> impl Future<Output = Result<Option<Digest>, Self::Error>> + Send;

    /// The result of an earlier execution. `None` from an operation that always has to be looked at anew.
    fn find(
        &self,
        vertex: VertexId,
        key: &StepKey,
        inputs: &[Self::Output],
    ) -> impl Future<Output = Result<Option<Self::Output>, Self::Error>> + Send;

    /// Waits until nobody else makes this step.
    fn claim(&self, key: &StepKey) -> impl Future<Output = Result<Self::Claim, Self::Error>> + Send;

    /// Makes the result and remembers it under the key.
    fn execute(
        &self,
        vertex: VertexId,
        key: &StepKey,
        inputs: &[Self::Output],
    ) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send;

    /// Waits until nothing is left of executions that were given up.
    fn settled(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Tells how it goes; see [`Progress`].
    fn progress(&self, vertex: VertexId, progress: Progress);
}

/// What happens to a vertex, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    Started,
    Cached,
    Done,
    Canceled,
}
