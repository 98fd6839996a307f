//! The scheduler.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::key::StepKey;
use super::{Progress, Worker};
use crate::graph::{Graph, VertexId};

/// What became of one vertex.
#[derive(Clone, Debug)]
pub struct Solved<O> {
    pub output: O,
    pub key: StepKey,
    pub cached: bool,
}

pub type Solution<O> = HashMap<VertexId, Solved<O>>;

/// The first failure, and where.
#[derive(Debug)]
pub struct Failed<E> {
    pub vertex: VertexId,
    pub error: E,
}

/// Does what the targets need, at most `jobs` executions at a time. `on_solved` hears of each vertex as it is done.
pub async fn solve<W: Worker>(
    graph: &Arc<Graph>,
    targets: &[VertexId],
    worker: &Arc<W>,
    jobs: usize,
    mut on_solved: impl FnMut(VertexId, &Solved<W::Output>),
) -> Result<Solution<W::Output>, Failed<W::Error>> {
    let mut waiting = Waiting::for_targets(graph, targets);
    let jobs = Arc::new(Semaphore::new(jobs.max(1)));
    let mut running = JoinSet::new();
    let mut solution: Solution<W::Output> = HashMap::new();
    for vertex in waiting.ready() {
        running.spawn(run_vertex(
            Arc::clone(graph),
            vertex,
            Vec::new(),
            Arc::clone(worker),
            Arc::clone(&jobs),
        ));
    }
    while let Some(joined) = running.join_next().await {
        let (vertex, result) = match joined {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => continue,
        };
        match result {
            Ok(solved) => {
                on_solved(vertex, &solved);
                solution.insert(vertex, solved);
                for next in waiting.done(vertex) {
                    let inputs = graph.get(next).inputs.iter().map(|input| solution[input].clone()).collect();
                    running.spawn(run_vertex(
                        Arc::clone(graph),
                        next,
                        inputs,
                        Arc::clone(worker),
                        Arc::clone(&jobs),
                    ));
                }
            }
            Err(error) => {
                // Dropping a task drops its sandbox, which has it killed. Waiting here means nothing runs on afterwards.
                running.shutdown().await;
                worker.settled().await;
                return Err(Failed { vertex, error });
            }
        }
    }
    Ok(solution)
}

async fn run_vertex<W: Worker>(
    graph: Arc<Graph>,
    vertex: VertexId,
    inputs: Vec<Solved<W::Output>>,
    worker: Arc<W>,
    jobs: Arc<Semaphore>,
) -> (VertexId, Result<Solved<W::Output>, W::Error>) {
    let mut shown = Shown { worker: &*worker, vertex, finished: false };
    worker.progress(vertex, Progress::Started);
    let result = look_up_or_execute(&graph, vertex, &inputs, &*worker, &jobs).await;
    shown.finished = true;
    if let Ok(solved) = &result {
        worker.progress(vertex, if solved.cached { Progress::Cached } else { Progress::Done });
    }
    (vertex, result)
}

/// Says that a vertex was canceled when its task is dropped half way.
struct Shown<'a, W: Worker> {
    worker: &'a W,
    vertex: VertexId,
    finished: bool,
}

impl<W: Worker> Drop for Shown<'_, W> {
    fn drop(&mut self) {
        if !self.finished {
            self.worker.progress(self.vertex, Progress::Canceled);
        }
    }
}

async fn look_up_or_execute<W: Worker>(
    graph: &Graph,
    vertex: VertexId,
    inputs: &[Solved<W::Output>],
    worker: &W,
    jobs: &Semaphore,
) -> Result<Solved<W::Output>, W::Error> {
    let keys: Vec<StepKey> = inputs.iter().map(|input| input.key).collect();
    let outputs: Vec<W::Output> = inputs.iter().map(|input| input.output.clone()).collect();
    let content = worker.content(vertex).await?;
    let key = StepKey::new(graph.get(vertex).op.digest(), content, &keys);
    if let Some(output) = worker.find(vertex, &key, &outputs).await? {
        return Ok(Solved { output, key, cached: true });
    }
    let _permit = jobs.acquire().await.expect("the semaphore is never closed");
    let _claim = worker.claim(&key).await?;
    // Somebody else may have made it while this one waited.
    if let Some(output) = worker.find(vertex, &key, &outputs).await? {
        return Ok(Solved { output, key, cached: true });
    }
    let output = worker.execute(vertex, &key, &outputs).await?;
    Ok(Solved { output, key, cached: false })
}

/// Which vertices are needed and not begun.
struct Waiting {
    /// How many inputs each still lacks.
    lacking: HashMap<VertexId, usize>,
    users: HashMap<VertexId, Vec<VertexId>>,
}

impl Waiting {
    fn for_targets(graph: &Graph, targets: &[VertexId]) -> Self {
        let mut waiting = Self { lacking: HashMap::new(), users: HashMap::new() };
        let mut unseen: Vec<VertexId> = targets.to_vec();
        while let Some(vertex) = unseen.pop() {
            if waiting.lacking.contains_key(&vertex) {
                continue;
            }
            let inputs = &graph.get(vertex).inputs;
            waiting.lacking.insert(vertex, inputs.len());
            for input in inputs {
                waiting.users.entry(*input).or_default().push(vertex);
                unseen.push(*input);
            }
        }
        waiting
    }

    /// What can begin at once, in the order of the graph.
    fn ready(&mut self) -> Vec<VertexId> {
        let ready = self.lacking.iter().filter(|(_, lacking)| **lacking == 0).map(|(vertex, _)| *vertex);
        let mut ready: Vec<VertexId> = ready.collect();
        ready.sort_unstable();
        ready
    }

    /// What can begin now that a vertex is done.
    fn done(&mut self, vertex: VertexId) -> Vec<VertexId> {
        let mut ready = Vec::new();
        for user in self.users.remove(&vertex).unwrap_or_default() {
            let lacking = self.lacking.get_mut(&user).expect("users are needed themselves");
            *lacking -= 1;
            if *lacking == 0 {
                ready.push(user);
            }
        }
        ready.sort_unstable();
        ready
    }
}

#[cfg(test)]
mod tests;
