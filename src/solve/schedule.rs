//! The scheduler.

mod alike;
mod inputs;
mod making;
mod shown;
mod standing;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use self::making::{Making, Outcome};
use super::first;
use super::{Finder, Progress, Solved, Worker};
use crate::graph::{Graph, VertexId};
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
    let (wanted, asked) = mpsc::unbounded_channel();
    let making = Arc::new(Making::new(graph, worker, known, wanted, jobs));
    targets.iter().for_each(|target| making.want_output(*target));
    let tasks = Tasks {
        making: Arc::clone(&making),
        running: JoinSet::new(),
        settling: JoinSet::new(),
        settles: true,
    };
    if let Err(failed) = tasks.run(asked, on_solved).await {
        worker.settled().await;
        return Err(failed);
    }
    if !is_over {
        for vertex in making.passed_by() {
            worker.progress(vertex, Progress::Started);
            worker.progress(vertex, Progress::Cached);
        }
    }
    Ok(making.solution())
}

/// What is going on.
struct Tasks<W: Worker> {
    making: Arc<Making<W>>,
    running: JoinSet<Ended<Outcome<W>, W>>,
    /// Results that are there, and whose keys are being found out.
    settling: JoinSet<Ended<(), W>>,
    /// Whether results are still remembered.
    settles: bool,
}

/// What a task comes to.
type Ended<T, W> = (VertexId, Result<T, <W as Finder>::Error>);

impl<W: Worker> Tasks<W> {
    /// Makes what is asked for until nothing is left to be done.
    async fn run(
        mut self,
        mut asked: mpsc::UnboundedReceiver<VertexId>,
        mut on_solved: impl FnMut(VertexId, &W::Output),
    ) -> Result<(), Failed<W::Error>> {
        loop {
            while let Ok(vertex) = asked.try_recv() {
                self.running.spawn(Arc::clone(&self.making).run(vertex));
            }
            // Who asks is running.
            if self.running.is_empty() && self.settling.is_empty() {
                return Ok(());
            }
            let went_on = tokio::select! {
                biased;
                Some(vertex) = asked.recv() => {
                    self.running.spawn(Arc::clone(&self.making).run(vertex));
                    Ok(())
                }
                Some(joined) = self.running.join_next() => match finished(joined) {
                    Some((vertex, Ok(outcome))) => {
                        outcome.output().into_iter().for_each(|output| on_solved(vertex, output));
                        self.note(vertex, outcome);
                        Ok(())
                    }
                    Some((vertex, Err(error))) => Err(Failed { vertex, error }),
                    None => Ok(()),
                },
                Some(joined) = self.settling.join_next() => match settled(joined) {
                    Ok(()) => Ok(()),
                    Err(failed) => {
                        self.stop_settling().await;
                        Err(failed)
                    }
                },
            };
            if let Err(failed) = went_on {
                self.give_up().await;
                return Err(failed);
            }
        }
    }

    fn note(&mut self, vertex: VertexId, outcome: Outcome<W>) {
        if let Some(unsettled) = self.making.note(vertex, outcome).filter(|_| self.settles) {
            self.settling.spawn(Arc::clone(&self.making).settle(vertex, unsettled));
        }
    }

    /// Cancels what is running, and lets what has been made be remembered. Nothing runs on afterwards.
    async fn give_up(mut self) {
        // Dropping a task drops its sandbox, which has it killed.
        self.running.abort_all();
        while let Some(joined) = self.running.join_next().await {
            if let Some((vertex, Ok(outcome))) = finished(joined) {
                self.note(vertex, outcome);
            }
        }
        while let Some(joined) = self.settling.join_next().await {
            if settled(joined).is_err() {
                self.stop_settling().await;
            }
        }
    }

    /// What waits for the key of something that cannot be named would wait for ever.
    async fn stop_settling(&mut self) {
        self.settles = false;
        self.settling.shutdown().await;
    }
}

fn settled<E>(joined: Result<(VertexId, Result<(), E>), JoinError>) -> Result<(), Failed<E>> {
    let Some((vertex, result)) = finished(joined) else { return Ok(()) };
    result.map_err(|error| Failed { vertex, error })
}

/// What a task has come to; none if it was cancelled.
fn finished<T>(joined: Result<T, JoinError>) -> Option<T> {
    match joined {
        Ok(done) => Some(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests;
