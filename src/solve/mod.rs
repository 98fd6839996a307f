//! Does each operation of a graph once, as soon as what it needs is there, in parallel; or finds that it was done before.
//!
//! Flow, in two passes. The first goes through the graph in order, looks up what can be known without doing anything, and ends
//! the matter if the target's result is at hand: then nothing is opened, downloaded or run. The second makes what is missing,
//! from the target down: a vertex waits for those of its inputs that are missing, too, is looked up once more by the contents of
//! what it reads, and only when nobody has its result yet it is executed, while no other process executes the same step.
//!
//! To look up takes time where contents are large, and is in vain where nothing can be found: an operation like none that was ever
//! done has no earlier result, and neither has what builds upon a result that has just been made. These are executed at once. What
//! they read is looked at, and so their keys are found out, while later steps are going on ([`Worker::name`]).
//!
//! Invariants: an operation that failed cancels whatever is still running, and what had finished keeps its results.
//! A key depends on definitions and contents, never on the machine, the time or the order of events. What is executed here
//! is not taken for what an earlier execution has led to, unless its content is the same.
//!
//! Not here: what an operation does, and where results are kept. This module has never heard of containers; it talks to a
//! [`Finder`] and a [`Worker`].

mod first;
mod key;
mod schedule;

pub use first::known;
pub use key::{Ingredient, StepKey, content_digest, record_digest};
pub use schedule::{Failed, Solution, solve};

use std::sync::Arc;

use crate::graph::VertexId;
use crate::image::Digest;

/// Looks earlier results up. All of it blocks the thread, shortly.
pub trait Finder: Send + Sync + 'static {
    /// What look-ups know a vertex by; cheap to clone. The default one means that nothing is known yet.
    type Key: Clone + Default + Send + Sync + 'static;
    /// What a vertex yields; cheap to clone.
    type Output: Clone + Send + Sync + 'static;
    type Error: Send + 'static;

    /// Whether no operation like it is known to have been done: then nothing is found, whatever it reads.
    fn is_unheard_of(&self, vertex: VertexId) -> Result<bool, Self::Error>;

    /// Whether what an operation reads of an input is the same when it is looked at after the operation was done.
    fn may_look_later(&self, vertex: VertexId, slot: usize) -> Result<bool, Self::Error>;

    /// The digest of what an operation reads of files outside the graph.
    fn outside(&self, vertex: VertexId, slot: usize) -> Result<Digest, Self::Error>;

    /// Looks for earlier results, with as much as is known of the inputs.
    fn find(
        &self,
        vertex: VertexId,
        inputs: &[Input<Self::Key, Self::Output>],
    ) -> Result<Found<Self::Key, Self::Output>, Self::Error>;

    /// Tells how it goes; see [`Progress`].
    fn progress(&self, vertex: VertexId, progress: Progress);
}

/// Makes results.
pub trait Worker: Finder {
    /// Held while a step is made, so that no other process makes it, too.
    type Claim: Send + 'static;
    /// What an execution has made, as long as it has no key. Dropped, it is gone.
    type Made: Send + 'static;
    /// The same with a key, as long as it is not remembered.
    type Named: Send + 'static;

    /// Whether there is what an operation reads of files outside the graph, for somebody who looks at it later.
    fn check(&self, vertex: VertexId, slot: usize) -> Result<(), Self::Error>;

    /// The digest of what an operation reads of the result of another one.
    fn content(
        self: &Arc<Self>,
        vertex: VertexId,
        slot: usize,
        input: &Self::Output,
    ) -> impl Future<Output = Result<Digest, Self::Error>> + Send;

    /// Waits until nobody else makes this step. Without a key it is known by its inputs, whose keys are known.
    fn claim(
        &self,
        vertex: VertexId,
        key: Option<&Self::Key>,
        inputs: &[Input<Self::Key, Self::Output>],
    ) -> impl Future<Output = Result<Self::Claim, Self::Error>> + Send;

    /// Tells of a step that was looked for and not found.
    fn missed(
        &self,
        vertex: VertexId,
        key: &Self::Key,
        inputs: &[Input<Self::Key, Self::Output>],
    ) -> Result<(), Self::Error>;

    /// Makes the result. Of the inputs only the outputs need to be known.
    fn execute(
        self: &Arc<Self>,
        vertex: VertexId,
        inputs: &[Input<Self::Key, Self::Output>],
    ) -> impl Future<Output = Result<(Self::Made, Self::Output), Self::Error>> + Send;

    /// Finds out what the result of an execution is known by, with a look at those contents that nobody has looked at before.
    fn name(
        self: &Arc<Self>,
        vertex: VertexId,
        inputs: Vec<Input<Self::Key, Self::Output>>,
        made: Self::Made,
    ) -> impl Future<Output = Result<(Self::Key, Self::Named), Self::Error>> + Send;

    /// Remembers a result: it is found from now on.
    fn remember(
        self: &Arc<Self>,
        vertex: VertexId,
        named: Self::Named,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Waits until nothing is left of executions that were given up.
    fn settled(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// What is known of an input.
#[derive(Clone, Debug)]
pub struct Input<K, O> {
    /// The default one where it has been made and has none yet.
    pub key: K,
    /// None if it has not been needed so far.
    pub output: Option<O>,
    /// The digest of what is read of it, where content counts and has been looked at.
    pub content: Option<Digest>,
}

/// What a look-up has come to.
#[derive(Clone, Debug)]
pub struct Found<K, O> {
    pub key: K,
    /// Whether the key is known from earlier builds. What builds upon one that is not is not known either.
    pub known: bool,
    pub output: Option<O>,
}

/// What became of one vertex.
#[derive(Clone, Debug)]
pub struct Solved<K, O> {
    pub key: K,
    pub output: Option<O>,
    pub cached: bool,
}

/// What happens to a vertex, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    Started,
    /// Its result was there.
    Cached,
    /// Another process has made it meanwhile.
    Shared,
    Done,
    Canceled,
}
