//! The second pass: what is made, from the target down.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;

use super::super::first::Known;
use super::super::{Finder, Input, Progress, Solved, Worker};
use super::Solution;
use super::alike::{Alike, Turn};
use super::shown::Shown;
use crate::graph::{Graph, Op, VertexId};
use crate::image::Digest;
use crate::sys::blocking;

pub(super) struct Making<W: Worker> {
    graph: Arc<Graph>,
    worker: Arc<W>,
    states: Vec<State<W>>,
    wanted: mpsc::UnboundedSender<VertexId>,
    jobs: Semaphore,
    alike: Alike,
}

struct State<W: Worker> {
    standing: watch::Sender<Standing<W>>,
    /// Whether it is being made.
    begun: AtomicBool,
}

/// What there is of a vertex so far. What has been made and not been named has an output and no key.
struct Standing<W: Finder> {
    key: Option<W::Key>,
    output: Option<W::Output>,
    cached: bool,
    /// For those who build upon it before it has a key.
    hold: Option<Hold>,
}

/// While somebody has one, the result is not remembered: other processes would find it, and begin to make what builds upon it.
type Hold = mpsc::Sender<Infallible>;

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
    turn: Option<Turn>,
}

/// What keeps other processes from making a step.
enum Kept<W: Worker> {
    /// They do not get so far.
    Held(Vec<Hold>),
    Claimed(W::Claim),
}

type Inputs<W> = Vec<Input<<W as Finder>::Key, <W as Finder>::Output>>;

/// How an input is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    /// As what it is.
    Key,
    /// By its content.
    Content,
    /// By its content, which can be looked at when the step has been made.
    Later,
}

impl<W: Worker> Outcome<W> {
    pub(super) fn output(&self) -> Option<&W::Output> {
        match self {
            Self::Solved(solved) => solved.output.as_ref(),
            Self::Made(output, _) => Some(output),
        }
    }
}

impl<W: Finder> Clone for Standing<W> {
    fn clone(&self) -> Self {
        let (key, output, hold) = (self.key.clone(), self.output.clone(), self.hold.clone());
        Self { key, output, cached: self.cached, hold }
    }
}

impl<W: Finder> Standing<W> {
    fn new(known: Option<Known<W>>) -> Self {
        let known = known.filter(|found| found.known);
        let (key, output) = known.map(|found| (found.key, found.output)).unzip();
        Self { cached: key.is_some(), key, output: output.flatten(), hold: None }
    }

    fn is_nothing(&self) -> bool {
        self.key.is_none() && self.output.is_none()
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
        let state = |known| State {
            standing: watch::Sender::new(Standing::new(known)),
            begun: AtomicBool::new(false),
        };
        Self {
            graph: Arc::clone(graph),
            worker: Arc::clone(worker),
            states: known.into_iter().map(state).collect(),
            wanted,
            jobs: Semaphore::new(jobs.max(1)),
            alike: Alike::of(graph),
        }
    }

    /// What became of everything, once nothing is going on any more.
    pub(super) fn solution(&self) -> Solution<W::Key, W::Output> {
        let solved = |state: &State<W>| {
            let Standing { key, output, cached, .. } = state.standing.borrow().clone();
            Some(Solved { key: key?, output, cached })
        };
        Solution::new(self.states.iter().map(solved).collect())
    }

    /// What is known and was never needed.
    pub(super) fn passed_by(&self) -> Vec<VertexId> {
        let is_passed_by = |vertex: &VertexId| {
            let standing = self.states[vertex.index()].standing.borrow();
            standing.key.is_some() && standing.output.is_none()
        };
        self.graph.iter().map(|(vertex, _)| vertex).filter(is_passed_by).collect()
    }

    /// Notes what has become of a vertex. Yields what is still to be done.
    pub(super) fn note(&self, vertex: VertexId, outcome: Outcome<W>) -> Option<Unsettled<W>> {
        let standing = &self.states[vertex.index()].standing;
        match outcome {
            Outcome::Solved(Solved { key, output, cached }) => {
                standing.send_replace(Standing { key: Some(key), output, cached, hold: None });
                None
            }
            Outcome::Made(output, unsettled) => {
                // What was known already keeps its key so long.
                standing.send_modify(|standing| {
                    standing.output = Some(output);
                    standing.cached = false;
                    standing.hold = Some(unsettled.hold.clone());
                });
                Some(unsettled)
            }
        }
    }

    /// Has a vertex made unless its result is there.
    pub(super) fn want_output(&self, vertex: VertexId) {
        let state = &self.states[vertex.index()];
        let is_there = state.standing.borrow().output.is_some();
        if !is_there && !state.begun.swap(true, Ordering::SeqCst) {
            // Whoever reads this end is gone only when all is given up.
            let _ = self.wanted.send(vertex);
        }
    }

    /// Has a vertex made if nothing is known of it.
    fn want_key(&self, vertex: VertexId) {
        if self.states[vertex.index()].standing.borrow().is_nothing() {
            self.want_output(vertex);
        }
    }

    async fn wait(&self, vertex: VertexId, enough: impl Fn(&Standing<W>) -> bool) -> Standing<W> {
        let mut changes = self.states[vertex.index()].standing.subscribe();
        let standing = changes.wait_for(enough).await;
        standing.expect("the sender lives as long as the tasks").clone()
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
        self.states[vertex.index()].standing.send_modify(|standing| {
            standing.key = Some(key);
            standing.hold = None;
        });
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
        if (is_on_new || reads.contains(&Read::Later)) && !matches!(it.op, Op::Merge(_)) {
            self.wait_for_outputs(vertex, &mut inputs).await;
            let reads_later = reads.contains(&Read::Later);
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
    ) -> Result<Option<(Kept<W>, Option<Turn>)>, W::Error> {
        // What is to be made anew is not looked for.
        let turn = match self.graph.get(vertex).forced {
            true => None,
            false => match self.alike.take_turn(vertex).await {
                None => return Ok(None),
                turn => turn,
            },
        };
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
        let standings =
            self.graph.get(vertex).inputs.iter().map(|input| &self.states[input.index()].standing);
        let without_key = standings.filter(|standing| standing.borrow().key.is_none());
        let holds: Vec<Option<Hold>> = without_key.map(|standing| standing.borrow().hold.clone()).collect();
        (!holds.is_empty()).then(|| holds.into_iter().flatten().collect())
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
        turn: Option<Turn>,
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

    /// How each input is read.
    async fn reads(&self, vertex: VertexId) -> Result<Vec<Read>, W::Error> {
        let it = self.graph.get(vertex);
        let counts = it.op.input_keys(it.inputs.len());
        if counts.iter().all(|counts| counts.content.is_none()) {
            return Ok(vec![Read::Key; counts.len()]);
        }
        let looks_later = self.is_unheard_of(vertex).await?;
        let read = |(slot, counts): (usize, &crate::graph::InputKey)| {
            Ok(match counts.content {
                None => Read::Key,
                Some(_) if looks_later && self.worker.may_look_later(vertex, slot)? => Read::Later,
                Some(_) => Read::Content,
            })
        };
        counts.iter().enumerate().map(read).collect()
    }

    /// What is known of an input once it cannot be known better without executing it, and whether it has a key.
    async fn input(
        &self,
        vertex: VertexId,
        slot: usize,
        read: Read,
    ) -> Result<(Input<W::Key, W::Output>, bool), W::Error> {
        let input = self.graph.get(vertex).inputs[slot];
        if read == Read::Key {
            let standing = self.wait(input, |standing| !standing.is_nothing()).await;
            return Ok(input_of(standing, None));
        }
        self.want_output(input);
        let standing = self.wait(input, |standing| standing.output.is_some()).await;
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

    async fn content(&self, vertex: VertexId, slot: usize, output: &W::Output) -> Result<Digest, W::Error> {
        if self.is_outside(self.graph.get(vertex).inputs[slot]) {
            let worker = Arc::clone(&self.worker);
            return blocking(move || worker.outside(vertex, slot)).await;
        }
        self.worker.content(vertex, slot, output).await
    }

    async fn wait_for_outputs(&self, vertex: VertexId, inputs: &mut Inputs<W>) {
        for (slot, input) in self.graph.get(vertex).inputs.iter().enumerate() {
            self.want_output(*input);
            if inputs[slot].output.is_none() {
                let standing = self.wait(*input, |standing| standing.output.is_some()).await;
                (inputs[slot].key, inputs[slot].output) = (standing.key.unwrap_or_default(), standing.output);
            }
        }
    }

    async fn wait_for_keys(&self, vertex: VertexId, inputs: &mut Inputs<W>) {
        for (known, input) in inputs.iter_mut().zip(&self.graph.get(vertex).inputs) {
            let standing = self.wait(*input, |standing| standing.key.is_some()).await;
            known.key = standing.key.unwrap_or_default();
        }
    }

    async fn is_unheard_of(&self, vertex: VertexId) -> Result<bool, W::Error> {
        let worker = Arc::clone(&self.worker);
        blocking(move || worker.is_unheard_of(vertex)).await
    }

    async fn find(&self, vertex: VertexId, inputs: &Inputs<W>) -> Result<Known<W>, W::Error> {
        let (worker, inputs) = (Arc::clone(&self.worker), inputs.clone());
        blocking(move || worker.find(vertex, &inputs)).await
    }
}

fn input_of<W: Finder>(standing: Standing<W>, content: Option<Digest>) -> (Input<W::Key, W::Output>, bool) {
    let has_key = standing.key.is_some();
    (Input { key: standing.key.unwrap_or_default(), output: standing.output, content }, has_key)
}
