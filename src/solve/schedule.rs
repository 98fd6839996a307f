//! The scheduler.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::try_join_all;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::first::{self, Known};
use super::{Finder, Input, Progress, Solved, Worker};
use crate::graph::{Graph, Op, VertexId};
use crate::sys::blocking;

/// What became of each vertex of a graph; none for those that were not needed.
#[derive(Debug)]
pub struct Solution<K, O>(Vec<Option<Solved<K, O>>>);

impl<K, O> Solution<K, O> {
    pub(super) fn new(solved: Vec<Option<Solved<K, O>>>) -> Self {
        Self(solved)
    }

    pub fn get(&self, vertex: VertexId) -> Option<&Solved<K, O>> {
        self.0.get(vertex.index())?.as_ref()
    }

    pub fn output(&self, vertex: VertexId) -> Option<&O> {
        self.get(vertex)?.output.as_ref()
    }

    /// How many vertices were looked at.
    pub fn len(&self) -> usize {
        self.0.iter().flatten().count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The first failure, and where.
#[derive(Debug)]
pub struct Failed<E> {
    pub vertex: VertexId,
    pub error: E,
}

/// Does what the targets need, at most `jobs` executions at a time. `on_solved` hears of each result as it is there.
pub async fn solve<W: Worker>(
    graph: &Arc<Graph>,
    targets: &[VertexId],
    worker: &Arc<W>,
    jobs: usize,
    mut on_solved: impl FnMut(VertexId, &W::Output),
) -> Result<Solution<W::Key, W::Output>, Failed<W::Error>> {
    let needed = first::needed(graph, targets);
    let known = {
        let (graph, worker) = (Arc::clone(graph), Arc::clone(worker));
        blocking(move || first::look_up(&graph, &needed, &*worker)).await
    };
    // Whoever tells of the failure needs to have told of the step.
    let known = known.inspect_err(|failed| worker.progress(failed.vertex, Progress::Started))?;
    let is_over = first::is_over(&known, targets);
    first::tell(graph, &known, is_over, &**worker);
    for (vertex, _) in graph.iter() {
        let found = known[vertex.index()].as_ref().filter(|found| found.known);
        found
            .and_then(|found| found.output.as_ref())
            .into_iter()
            .for_each(|output| on_solved(vertex, output));
    }
    let (wanted, mut asked) = mpsc::unbounded_channel();
    let second = Arc::new(Second::<W> {
        graph: Arc::clone(graph),
        worker: Arc::clone(worker),
        states: known.into_iter().map(State::new).collect(),
        wanted,
        jobs: Semaphore::new(jobs.max(1)),
    });
    targets.iter().for_each(|target| second.want_output(*target));
    let mut running = JoinSet::new();
    loop {
        while let Ok(vertex) = asked.try_recv() {
            running.spawn(Arc::clone(&second).run(vertex));
        }
        let joined = tokio::select! {
            biased;
            Some(vertex) = asked.recv() => {
                running.spawn(Arc::clone(&second).run(vertex));
                continue;
            }
            joined = running.join_next() => joined,
        };
        let Some(joined) = joined else { break };
        let (vertex, result) = match joined {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => continue,
        };
        match result {
            Ok(solved) => {
                solved.output.iter().for_each(|output| on_solved(vertex, output));
                second.states[vertex.index()].solved.send_replace(Some(solved));
            }
            Err(error) => {
                // Dropping a task drops its sandbox, which has it killed. Waiting here means nothing runs on afterwards.
                running.shutdown().await;
                worker.settled().await;
                return Err(Failed { vertex, error });
            }
        }
    }
    if !is_over {
        for (vertex, _) in graph.iter() {
            // Known, and never needed.
            if second.states[vertex.index()]
                .solved
                .borrow()
                .as_ref()
                .is_some_and(|solved| solved.output.is_none())
            {
                worker.progress(vertex, Progress::Started);
                worker.progress(vertex, Progress::Cached);
            }
        }
    }
    Ok(Solution(second.states.iter().map(|state| state.solved.borrow().clone()).collect()))
}

/// The second pass: what is made, from the target down.
struct Second<W: Worker> {
    graph: Arc<Graph>,
    worker: Arc<W>,
    states: Vec<State<W>>,
    wanted: mpsc::UnboundedSender<VertexId>,
    jobs: Semaphore,
}

struct State<W: Worker> {
    /// What there is of the vertex, as soon as there is something.
    solved: watch::Sender<Option<Solved<W::Key, W::Output>>>,
    /// Whether it is being made.
    begun: AtomicBool,
}

type Inputs<W> = Vec<Input<<W as Finder>::Key, <W as Finder>::Output>>;

impl<W: Worker> State<W> {
    fn new(known: Option<Known<W>>) -> Self {
        let known = known.filter(|found| found.known);
        let solved = known.map(|found| Solved { key: found.key, output: found.output, cached: true });
        Self { solved: watch::Sender::new(solved), begun: AtomicBool::new(false) }
    }
}

impl<W: Worker> Second<W> {
    /// Has a vertex made unless its result is there.
    fn want_output(&self, vertex: VertexId) {
        let state = &self.states[vertex.index()];
        let is_there = state.solved.borrow().as_ref().is_some_and(|solved| solved.output.is_some());
        if !is_there && !state.begun.swap(true, Ordering::SeqCst) {
            // Whoever reads this end is gone only when all is given up.
            let _ = self.wanted.send(vertex);
        }
    }

    /// Has a vertex made if nothing is known of it.
    fn want_key(&self, vertex: VertexId) {
        if self.states[vertex.index()].solved.borrow().is_none() {
            self.want_output(vertex);
        }
    }

    async fn wait(
        &self,
        vertex: VertexId,
        enough: impl Fn(&Solved<W::Key, W::Output>) -> bool,
    ) -> Solved<W::Key, W::Output> {
        let mut changes = self.states[vertex.index()].solved.subscribe();
        let solved = changes.wait_for(|solved| solved.as_ref().is_some_and(&enough)).await;
        solved.expect("the sender lives as long as the tasks").clone().expect("it was waited for")
    }

    async fn run(
        self: Arc<Self>,
        vertex: VertexId,
    ) -> (VertexId, Result<Solved<W::Key, W::Output>, W::Error>) {
        let mut shown = Shown { worker: &*self.worker, vertex, state: ShownState::Unseen };
        let result = self.make(vertex, &mut shown).await;
        match &result {
            Ok((_, end)) => shown.end(*end),
            // Whoever tells of the failure needs to have told of the step.
            Err(_) if shown.state == ShownState::Unseen => {
                shown.start();
                shown.state = ShownState::Ended;
            }
            Err(_) => shown.state = ShownState::Ended,
        }
        drop(shown);
        (vertex, result.map(|(solved, _)| solved))
    }

    async fn make(
        &self,
        vertex: VertexId,
        shown: &mut Shown<'_, W>,
    ) -> Result<(Solved<W::Key, W::Output>, Progress), W::Error> {
        let inputs = self.graph.get(vertex).inputs.clone();
        inputs.iter().for_each(|input| self.want_key(*input));
        let counts = self.graph.get(vertex).op.input_keys(inputs.len());
        let mut inputs: Inputs<W> = try_join_all(inputs.iter().enumerate().map(|(slot, input)| {
            let by_content = counts[slot].content.is_some();
            self.input(vertex, slot, *input, by_content)
        }))
        .await?;
        shown.start();
        let found = self.find(vertex, &inputs).await?;
        if let (true, Some(output)) = (found.known, found.output) {
            return Ok((Solved { key: found.key, output: Some(output), cached: true }, Progress::Cached));
        }
        for (slot, input) in self.graph.get(vertex).inputs.iter().enumerate() {
            self.want_output(*input);
            if inputs[slot].output.is_none() {
                let solved = self.wait(*input, |solved| solved.output.is_some()).await;
                (inputs[slot].key, inputs[slot].output) = (solved.key, solved.output);
            }
        }
        let _claim = self.worker.claim(vertex, &found.key).await?;
        // Somebody else may have made it since this one has looked.
        let found = self.find(vertex, &inputs).await?;
        if let (true, Some(output)) = (found.known, found.output) {
            return Ok((Solved { key: found.key, output: Some(output), cached: true }, Progress::Shared));
        }
        let _permit = self.jobs.acquire().await.expect("the semaphore is never closed");
        let (key, output) = self.worker.execute(vertex, &found.key, &inputs).await?;
        Ok((Solved { key, output: Some(output), cached: false }, Progress::Done))
    }

    /// What is known of an input once it cannot be known better without executing it.
    async fn input(
        &self,
        vertex: VertexId,
        slot: usize,
        input: VertexId,
        by_content: bool,
    ) -> Result<Input<W::Key, W::Output>, W::Error> {
        if !by_content {
            let solved = self.wait(input, |_| true).await;
            return Ok(Input { key: solved.key, output: solved.output, content: None });
        }
        self.want_output(input);
        let solved = self.wait(input, |solved| solved.output.is_some()).await;
        let output = solved.output.clone().expect("it was waited for");
        let content = if matches!(self.graph.get(input).op, Op::Context(_)) {
            let worker = Arc::clone(&self.worker);
            blocking(move || worker.outside(vertex, slot)).await?
        } else {
            self.worker.content(vertex, slot, &output).await?
        };
        Ok(Input { key: solved.key, output: solved.output, content: Some(content) })
    }

    async fn find(&self, vertex: VertexId, inputs: &Inputs<W>) -> Result<Known<W>, W::Error> {
        let (worker, inputs) = (Arc::clone(&self.worker), inputs.clone());
        blocking(move || worker.find(vertex, &inputs)).await
    }
}

/// Tells what becomes of a vertex, also when its task is dropped half way.
struct Shown<'a, W: Worker> {
    worker: &'a W,
    vertex: VertexId,
    state: ShownState,
}

#[derive(PartialEq, Eq)]
enum ShownState {
    Unseen,
    Started,
    Ended,
}

impl<W: Worker> Shown<'_, W> {
    fn start(&mut self) {
        self.worker.progress(self.vertex, Progress::Started);
        self.state = ShownState::Started;
    }

    fn end(&mut self, end: Progress) {
        self.worker.progress(self.vertex, end);
        self.state = ShownState::Ended;
    }
}

impl<W: Worker> Drop for Shown<'_, W> {
    fn drop(&mut self) {
        if self.state == ShownState::Started {
            self.worker.progress(self.vertex, Progress::Canceled);
        }
    }
}

#[cfg(test)]
mod tests;
