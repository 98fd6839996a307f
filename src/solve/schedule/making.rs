//! The second pass: what is made, from the target down.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::super::first::Known;
use super::super::{Progress, Solved, Worker};
use super::Solution;
use super::alike::{Alike, Turn};
use super::inputs::{Inputs, Read};
use super::shown::Shown;
use super::standing::{Hold, Standing, Standings};
use crate::graph::{Graph, Op, VertexId};
use crate::sys::blocking;

pub(super) struct Making<W: Worker> {
    pub(super) graph: Arc<Graph>,
    pub(super) worker: Arc<W>,
    pub(super) standings: Standings<W>,
    wanted: mpsc::UnboundedSender<VertexId>,
    jobs: Semaphore,
    /// Looked for when it first matters.
    alike: OnceLock<Alike>,
}

/// Whoever holds a result may himself wait for what others have claimed, so there has to be an end to it. What comes of it then is
/// no worse than a step that two processes make.
const HELD_AT_MOST: Duration = Duration::from_millis(100);

/// What has become of a vertex.
pub(super) enum Outcome<W: Worker> {
    Solved(Solved<W::Key, W::Output>),
    Made(W::Output, Unsettled<W>),
}

/// A result that is there before anybody knows what it is known by.
pub(super) struct Unsettled<W: Worker> {
    inputs: Inputs<W>,
    made: W::Made,
    /// Of the step, or of what it builds upon.
    kept: Kept<W>,
    hold: Hold,
    held: mpsc::Receiver<Infallible>,
    turn: Turn,
}

/// What keeps other processes from making a step.
enum Kept<W: Worker> {
    /// They do not get so far.
    Held(Vec<Hold>),
    Claimed(W::Claim),
}

impl<W: Worker> Outcome<W> {
    pub(super) fn output(&self) -> Option<&W::Output> {
        match self {
            Self::Solved(solved) => solved.output.as_ref(),
            Self::Made(output, _) => Some(output),
        }
    }
}

impl<W: Worker> Making<W> {
    pub(super) fn new(
        graph: &Arc<Graph>,
        worker: &Arc<W>,
        known: Vec<Option<Known<W>>>,
        wanted: mpsc::UnboundedSender<VertexId>,
        jobs: usize,
    ) -> Self {
        Self {
            graph: Arc::clone(graph),
            worker: Arc::clone(worker),
            standings: Standings::new(known),
            wanted,
            jobs: Semaphore::new(jobs.max(1)),
            alike: OnceLock::new(),
        }
    }

    /// What became of everything, once nothing is going on any more.
    pub(super) fn solution(&self) -> Solution<W::Key, W::Output> {
        self.standings.solution()
    }

    /// What is known and was never needed.
    pub(super) fn passed_by(&self) -> Vec<VertexId> {
        let is_passed_by = |vertex| self.standings.look(vertex, |it| it.key.is_some() && it.output.is_none());
        self.graph.iter().map(|(vertex, _)| vertex).filter(|vertex| is_passed_by(*vertex)).collect()
    }

    /// Notes what has become of a vertex. Yields what is still to be done.
    pub(super) fn note(&self, vertex: VertexId, outcome: Outcome<W>) -> Option<Unsettled<W>> {
        match outcome {
            Outcome::Solved(solved) => {
                self.standings.solved(vertex, solved);
                None
            }
            Outcome::Made(output, unsettled) => {
                self.standings.made(vertex, output, unsettled.hold.clone());
                Some(unsettled)
            }
        }
    }

    /// Has a vertex made unless its result is there.
    pub(super) fn want_output(&self, vertex: VertexId) {
        if self.standings.begin(vertex) {
            // Whoever reads this end is gone only when all is given up.
            let _ = self.wanted.send(vertex);
        }
    }

    /// Has a vertex made if nothing is known of it.
    fn want_key(&self, vertex: VertexId) {
        if self.standings.look(vertex, Standing::is_nothing) {
            self.want_output(vertex);
        }
    }

    pub(super) async fn run(self: Arc<Self>, vertex: VertexId) -> (VertexId, Result<Outcome<W>, W::Error>) {
        let mut shown = Shown::new(&*self.worker, vertex);
        let result = self.make(vertex, &mut shown).await;
        match &result {
            Ok((_, end)) => shown.end(*end),
            Err(_) => shown.fail(),
        }
        drop(shown);
        (vertex, result.map(|(outcome, _)| outcome))
    }

    /// Finds out what a result is known by, and remembers it.
    pub(super) async fn settle(
        self: Arc<Self>,
        vertex: VertexId,
        unsettled: Unsettled<W>,
    ) -> (VertexId, Result<(), W::Error>) {
        (vertex, self.name_and_remember(vertex, unsettled).await)
    }

    async fn name_and_remember(&self, vertex: VertexId, unsettled: Unsettled<W>) -> Result<(), W::Error> {
        let Unsettled { mut inputs, made, kept, hold, mut held, turn: _turn } = unsettled;
        self.wait_for_keys(vertex, &mut inputs).await;
        let _claim = match kept {
            Kept::Claimed(claim) => claim,
            Kept::Held(holds) => {
                let claim = self.worker.claim(vertex, None, &inputs).await?;
                drop(holds);
                claim
            }
        };
        let (key, named) = self.worker.name(vertex, inputs, made).await?;
        drop(hold);
        self.standings.named(vertex, key);
        // Nothing is ever sent: it ends when the last hold is gone.
        let _ = timeout(HELD_AT_MOST, held.recv()).await;
        self.worker.remember(vertex, named).await
    }

    async fn make(
        &self,
        vertex: VertexId,
        shown: &mut Shown<'_, W>,
    ) -> Result<(Outcome<W>, Progress), W::Error> {
        let it = self.graph.get(vertex);
        it.inputs.iter().for_each(|input| self.want_key(*input));
        let reads = self.reads(vertex).await?;
        let waiting = reads.iter().enumerate().map(|(slot, read)| self.input(vertex, slot, *read));
        let mut inputs: Inputs<W> = Vec::with_capacity(reads.len());
        // Whether what it builds upon has just been made.
        let mut is_on_new = false;
        for (read, (input, has_key)) in reads.iter().zip(try_join_all(waiting).await?) {
            is_on_new |= *read == Read::Key && !has_key;
            inputs.push(input);
        }
        shown.start();
        let reads_later = reads.contains(&Read::Later);
        if (is_on_new || reads_later) && !matches!(it.op, Op::Merge(_)) {
            self.wait_for_outputs(vertex, &mut inputs).await;
            if let Some((kept, turn)) = self.keep(vertex, reads_later, &mut inputs).await? {
                return Ok((self.make_first(vertex, inputs, kept, turn).await?, Progress::Done));
            }
        }
        self.wait_for_keys(vertex, &mut inputs).await;
        for (slot, _) in reads.iter().enumerate().filter(|(_, read)| **read == Read::Later) {
            let output = inputs[slot].output.clone().expect("it was waited for");
            inputs[slot].content = Some(self.content(vertex, slot, &output).await?);
        }
        self.make_unless_known(vertex, inputs).await
    }

    /// Keeps others from making what cannot be found. Nothing if it may be found by now.
    async fn keep(
        &self,
        vertex: VertexId,
        reads_later: bool,
        inputs: &mut Inputs<W>,
    ) -> Result<Option<(Kept<W>, Turn)>, W::Error> {
        // What is to be made anew is not looked for.
        let mut turn = Turn::default();
        if !self.graph.get(vertex).forced {
            let alike = self.alike.get_or_init(|| Alike::of(&self.graph));
            let Some(taken) = alike.take_turn(vertex).await else { return Ok(None) };
            turn = taken;
        }
        // Only who knows what all inputs are has a claim: while he has it, he waits for nobody else's.
        let kept = match self.holds(vertex) {
            Some(holds) => Some(Kept::Held(holds)),
            // What it builds upon got a key while this one waited for something else.
            None if !reads_later => None,
            None => {
                self.wait_for_keys(vertex, inputs).await;
                self.claim_new(vertex, inputs).await?
            }
        };
        Ok(kept.map(|kept| (kept, turn)))
    }

    /// Holds what a vertex builds upon and reads, as far as that has no key yet; none if all of it has one. To be taken when
    /// nothing has to be waited for any more before the vertex is made.
    fn holds(&self, vertex: VertexId) -> Option<Vec<Hold>> {
        let inputs = self.graph.get(vertex).inputs.iter();
        let without_key: Vec<VertexId> =
            inputs.copied().filter(|input| self.standings.look(*input, |it| it.key.is_none())).collect();
        let hold = |input: &VertexId| self.standings.look(*input, |it| it.hold.clone());
        (!without_key.is_empty()).then(|| without_key.iter().filter_map(hold).collect())
    }

    /// Claims a step like none that was ever done. Nothing if somebody has done one meanwhile.
    async fn claim_new(&self, vertex: VertexId, inputs: &Inputs<W>) -> Result<Option<Kept<W>>, W::Error> {
        let claim = self.worker.claim(vertex, None, inputs).await?;
        Ok(self.is_unheard_of(vertex).await?.then_some(Kept::Claimed(claim)))
    }

    /// Makes what cannot be found.
    async fn make_first(
        &self,
        vertex: VertexId,
        inputs: Inputs<W>,
        mut kept: Kept<W>,
        turn: Turn,
    ) -> Result<Outcome<W>, W::Error> {
        let mut claiming = std::pin::pin!(self.claim_later(vertex, inputs.clone()));
        let mut executing = std::pin::pin!(self.execute(vertex, inputs));
        let (inputs, made, output) = loop {
            tokio::select! {
                biased;
                executed = &mut executing => break executed?,
                claim = &mut claiming, if matches!(kept, Kept::Held(_)) => kept = Kept::Claimed(claim?),
            }
        };
        let (hold, held) = mpsc::channel(1);
        Ok(Outcome::Made(output, Unsettled { inputs, made, kept, hold, held, turn }))
    }

    /// As soon as it is known what the inputs are, others get as far as this step.
    async fn claim_later(&self, vertex: VertexId, mut inputs: Inputs<W>) -> Result<W::Claim, W::Error> {
        self.wait_for_keys(vertex, &mut inputs).await;
        self.worker.claim(vertex, None, &inputs).await
    }

    /// Executes a step as soon as its inputs are there and it is its turn.
    async fn execute(
        &self,
        vertex: VertexId,
        mut inputs: Inputs<W>,
    ) -> Result<(Inputs<W>, W::Made, W::Output), W::Error> {
        self.wait_for_outputs(vertex, &mut inputs).await;
        let _permit = self.jobs.acquire().await.expect("the semaphore is never closed");
        let (made, output) = self.worker.execute(vertex, &inputs).await?;
        Ok((inputs, made, output))
    }

    /// Looks once more for what could be known by now, and else makes it.
    async fn make_unless_known(
        &self,
        vertex: VertexId,
        mut inputs: Inputs<W>,
    ) -> Result<(Outcome<W>, Progress), W::Error> {
        let solved = |key, output, cached| Outcome::Solved(Solved { key, output: Some(output), cached });
        let found = self.find(vertex, &inputs).await?;
        if let (true, Some(output)) = (found.known, found.output) {
            return Ok((solved(found.key, output, true), Progress::Cached));
        }
        self.wait_for_outputs(vertex, &mut inputs).await;
        let _claim = self.worker.claim(vertex, Some(&found.key), &inputs).await?;
        // Somebody else may have made it since this one has looked.
        let found = self.find(vertex, &inputs).await?;
        if let (true, Some(output)) = (found.known, found.output) {
            return Ok((solved(found.key, output, true), Progress::Shared));
        }
        self.worker.missed(vertex, &found.key, &inputs)?;
        let (inputs, made, output) = self.execute(vertex, inputs).await?;
        let (key, named) = self.worker.name(vertex, inputs, made).await?;
        self.worker.remember(vertex, named).await?;
        Ok((solved(key, output, false), Progress::Done))
    }

    pub(super) async fn is_unheard_of(&self, vertex: VertexId) -> Result<bool, W::Error> {
        let worker = Arc::clone(&self.worker);
        blocking(move || worker.is_unheard_of(vertex)).await
    }

    async fn find(&self, vertex: VertexId, inputs: &Inputs<W>) -> Result<Known<W>, W::Error> {
        let (worker, inputs) = (Arc::clone(&self.worker), inputs.clone());
        blocking(move || worker.find(vertex, &inputs)).await
    }
}
