//! The scheduler with a worker that counts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::graph::{MakeFileOp, Op, Vertex};
use crate::image::Digest;

#[derive(Default)]
struct Counting {
    executed: Mutex<Vec<usize>>,
    canceled: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
    failing: Option<usize>,
    cached: Vec<usize>,
    takes: Duration,
}

impl Worker for Counting {
    type Output = usize;
    type Error = String;
    type Claim = ();

    async fn content(&self, _: VertexId) -> Result<Option<Digest>, String> {
        Ok(None)
    }

    async fn find(&self, vertex: VertexId, _: &StepKey, _: &[usize]) -> Result<Option<usize>, String> {
        Ok(self.cached.contains(&vertex.index()).then_some(vertex.index()))
    }

    async fn claim(&self, _: &StepKey) -> Result<(), String> {
        Ok(())
    }

    async fn execute(&self, vertex: VertexId, _: &StepKey, inputs: &[usize]) -> Result<usize, String> {
        assert!(inputs.iter().all(|input| *input < vertex.index()));
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        self.executed.lock().unwrap().push(vertex.index());
        if self.failing == Some(vertex.index()) {
            return Err("failed".to_owned());
        }
        tokio::time::sleep(self.takes).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(vertex.index())
    }

    fn progress(&self, _: VertexId, progress: Progress) {
        if progress == Progress::Canceled {
            self.canceled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn graph(inputs: &[&[usize]]) -> (Arc<Graph>, Vec<VertexId>) {
    let mut graph = Graph::default();
    let mut ids: Vec<VertexId> = Vec::new();
    for (number, inputs) in inputs.iter().enumerate() {
        let op = Op::MakeFile(MakeFileOp { path: format!("/{number}"), content: Vec::new() });
        let inputs = inputs.iter().map(|input| ids[*input]).collect();
        ids.push(graph.add(Vertex { op, inputs, name: number.to_string(), origin: None }));
    }
    (Arc::new(graph), ids)
}

async fn run(
    inputs: &[&[usize]],
    target: usize,
    worker: Counting,
    jobs: usize,
) -> (Arc<Counting>, Result<usize, usize>) {
    let (graph, ids) = graph(inputs);
    let worker = Arc::new(worker);
    let result = solve(&graph, &[ids[target]], &worker, jobs, |_, _| {}).await;
    (worker, result.map(|solution| solution.len()).map_err(|failed| failed.vertex.index()))
}

#[tokio::test]
async fn a_diamond_is_done_once_each() {
    let (worker, result) = run(&[&[], &[0], &[0], &[1, 2]], 3, Counting::default(), 4).await;
    assert_eq!(result, Ok(4));
    let mut executed = worker.executed.lock().unwrap().clone();
    assert_eq!((executed[0], executed[3]), (0, 3));
    executed.sort_unstable();
    assert_eq!(executed, [0, 1, 2, 3]);
}

#[tokio::test]
async fn what_no_target_needs_is_left_out() {
    let (worker, result) = run(&[&[], &[0], &[]], 1, Counting::default(), 4).await;
    assert_eq!(result, Ok(2));
    assert_eq!(*worker.executed.lock().unwrap(), [0, 1]);
}

#[tokio::test]
async fn independent_vertices_run_at_the_same_time_up_to_the_limit() {
    let takes = Duration::from_millis(20);
    for (jobs, expected) in [(1, 1), (3, 3), (8, 4)] {
        let counting = Counting { takes, ..Counting::default() };
        let (worker, _) = run(&[&[], &[], &[], &[], &[0, 1, 2, 3]], 4, counting, jobs).await;
        assert_eq!(worker.most.load(Ordering::SeqCst), expected, "{jobs} jobs");
    }
}

#[tokio::test]
async fn a_failure_cancels_what_runs_and_starts_nothing_more() {
    let counting = Counting { failing: Some(1), takes: Duration::from_secs(60), ..Counting::default() };
    let (worker, result) = run(&[&[], &[], &[0], &[1, 2]], 3, counting, 4).await;
    assert_eq!(result, Err(1));
    assert_eq!(worker.canceled.load(Ordering::SeqCst), 1);
    assert_eq!(*worker.executed.lock().unwrap(), [0, 1]);
}

#[tokio::test]
async fn cached_vertices_are_not_executed() {
    let counting = Counting { cached: vec![0, 1], ..Counting::default() };
    let (worker, result) = run(&[&[], &[0], &[1]], 2, counting, 4).await;
    assert_eq!(result, Ok(3));
    assert_eq!(*worker.executed.lock().unwrap(), [2]);
}

#[tokio::test]
async fn two_thousand_vertices_are_no_effort() {
    let inputs: Vec<Vec<usize>> =
        (0..2000).map(|n| if n < 2 { vec![] } else { vec![n - 1, n - 2] }).collect();
    let inputs: Vec<&[usize]> = inputs.iter().map(Vec::as_slice).collect();
    let (worker, result) = run(&inputs, 1999, Counting::default(), 2).await;
    assert_eq!(result, Ok(2000));
    assert_eq!(worker.executed.lock().unwrap().len(), 2000);
}
