//! The scheduler with a worker that counts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::super::{Found, Input};
use super::*;
use crate::graph::{CopyOp, CopySource, Op, SourcePath, Vertex};
use crate::image::Digest;

#[derive(Default)]
struct Counting {
    executed: Mutex<Vec<usize>>,
    canceled: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
    failing: Option<usize>,
    /// Known by what they are.
    cached: Vec<usize>,
    /// Known without a result.
    passed: Vec<usize>,
    /// Known by the content of what they read.
    same_content: Vec<usize>,
    /// Made by another process while this one waits.
    shared: Vec<usize>,
    /// Like none that was ever done.
    unheard_of: Vec<usize>,
    takes: Duration,
    /// How long it takes to find out what such a one is known by.
    named_after: Duration,
    remembered: Mutex<Vec<usize>>,
}

impl Finder for Counting {
    type Key = usize;
    type Output = usize;
    type Error = String;

    fn is_unheard_of(&self, vertex: VertexId) -> Result<bool, String> {
        let is_claimed = self.executed.lock().unwrap().contains(&(1000 + vertex.index()));
        Ok(self.unheard_of.contains(&vertex.index()) && !is_claimed)
    }

    fn may_look_later(&self, _: VertexId, _: usize) -> Result<bool, String> {
        Ok(true)
    }

    fn outside(&self, _: VertexId, _: usize) -> Result<Digest, String> {
        Err("nothing lies outside".to_owned())
    }

    fn find(&self, vertex: VertexId, inputs: &[Input<usize, usize>]) -> Result<Found<usize, usize>, String> {
        let key = vertex.index();
        let has_content = inputs.iter().any(|input| input.content.is_some());
        let has_claim = self.shared.contains(&key) && self.executed.lock().unwrap().contains(&(1000 + key));
        let has_output =
            self.cached.contains(&key) || has_content && self.same_content.contains(&key) || has_claim;
        let known = has_output || self.passed.contains(&key);
        Ok(Found { key, known, output: has_output.then_some(key) })
    }

    fn progress(&self, _: VertexId, progress: Progress) {
        if progress == Progress::Canceled {
            self.canceled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Worker for Counting {
    type Claim = ();
    type Made = usize;
    type Named = ();

    fn check(&self, _: VertexId, _: usize) -> Result<(), String> {
        Err("nothing lies outside".to_owned())
    }

    async fn content(self: &Arc<Self>, _: VertexId, _: usize, input: &usize) -> Result<Digest, String> {
        Ok(Digest::of(&input.to_le_bytes()))
    }

    async fn claim(
        &self,
        vertex: VertexId,
        _: Option<&usize>,
        _: &[Input<usize, usize>],
    ) -> Result<(), String> {
        if self.shared.contains(&vertex.index()) {
            self.executed.lock().unwrap().push(1000 + vertex.index());
        }
        Ok(())
    }

    fn missed(&self, _: VertexId, _: &usize, _: &[Input<usize, usize>]) -> Result<(), String> {
        Ok(())
    }

    async fn execute(
        self: &Arc<Self>,
        vertex: VertexId,
        inputs: &[Input<usize, usize>],
    ) -> Result<(usize, usize), String> {
        assert!(inputs.iter().all(|input| input.output.unwrap() < vertex.index()));
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        self.executed.lock().unwrap().push(vertex.index());
        if self.failing == Some(vertex.index()) {
            // Long enough for others to have begun.
            tokio::time::sleep(Duration::from_millis(50)).await;
            return Err("failed".to_owned());
        }
        tokio::time::sleep(self.takes).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok((vertex.index(), vertex.index()))
    }

    async fn name(
        self: &Arc<Self>,
        _: VertexId,
        inputs: Vec<Input<usize, usize>>,
        made: usize,
    ) -> Result<(usize, ()), String> {
        assert!(inputs.iter().all(|input| input.key == input.output.unwrap()), "the inputs are named");
        if self.unheard_of.contains(&made) {
            tokio::time::sleep(self.named_after).await;
        }
        Ok((made, ()))
    }

    async fn remember(self: &Arc<Self>, vertex: VertexId, (): ()) -> Result<(), String> {
        self.remembered.lock().unwrap().push(vertex.index());
        Ok(())
    }
}

/// Vertices that make a file, those without base alone, the others each on its first input; what else they have they read.
fn graph(inputs: &[&[usize]]) -> (Arc<Graph>, Vec<VertexId>) {
    let mut graph = Graph::default();
    let mut ids: Vec<VertexId> = Vec::new();
    for (number, inputs) in inputs.iter().enumerate() {
        let sources = (1..inputs.len())
            .map(|slot| CopySource { input: Some(slot), path: SourcePath::File("x".to_owned()) });
        let op = CopyOp {
            base: (!inputs.is_empty()).then_some(0),
            sources: sources.collect(),
            destination: format!("/{number}"),
            owner: None,
            mode: None,
            excludes: Vec::new(),
            unpack: false,
            if_exists: false,
        };
        let inputs = inputs.iter().map(|input| ids[*input]).collect();
        let name = number.to_string();
        ids.push(graph.add(Vertex { op: Op::Copy(op), inputs, name, origin: None, forced: false }));
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
    let mut executed = worker.executed.lock().unwrap().clone();
    executed.sort_unstable();
    assert_eq!(executed, [0, 1]);
}

#[tokio::test]
async fn what_a_known_target_needs_is_not_even_looked_for() {
    let counting = Counting { cached: vec![2], passed: vec![0, 1], ..Counting::default() };
    let (worker, result) = run(&[&[], &[0], &[1]], 2, counting, 4).await;
    assert_eq!(result, Ok(3));
    assert!(worker.executed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_known_without_a_result_is_made_when_that_is_needed() {
    let counting = Counting { cached: vec![0], passed: vec![1], ..Counting::default() };
    let (worker, result) = run(&[&[], &[0], &[1]], 2, counting, 4).await;
    assert_eq!(result, Ok(3));
    assert_eq!(*worker.executed.lock().unwrap(), [1, 2]);
}

#[tokio::test]
async fn equal_content_is_as_good_as_the_same_input() {
    let counting = Counting { same_content: vec![2], cached: vec![0], ..Counting::default() };
    // 1 is made anew, and has the files that 2 was made of; 3 finds 2.
    let (worker, result) = run(&[&[], &[], &[0, 1], &[2]], 3, counting, 4).await;
    assert_eq!(result, Ok(4));
    assert_eq!(*worker.executed.lock().unwrap(), [1, 3]);
}

#[tokio::test]
async fn what_another_process_has_made_meanwhile_is_taken() {
    let counting = Counting { shared: vec![1], ..Counting::default() };
    let (worker, result) = run(&[&[], &[0], &[1]], 2, counting, 4).await;
    assert_eq!(result, Ok(3));
    assert_eq!(*worker.executed.lock().unwrap(), [0, 1001, 2]);
}

#[tokio::test]
async fn cached_vertices_are_not_executed() {
    let counting = Counting { cached: vec![0, 1], ..Counting::default() };
    let (worker, result) = run(&[&[], &[0], &[1]], 2, counting, 4).await;
    assert_eq!(result, Ok(3));
    assert_eq!(*worker.executed.lock().unwrap(), [2]);
}

#[tokio::test]
async fn what_builds_upon_something_new_does_not_wait_for_its_key() {
    let counting =
        Counting { unheard_of: vec![2], named_after: Duration::from_millis(100), ..Counting::default() };
    let began = std::time::Instant::now();
    // 2 reads 1, and is like nothing that there was; 3 and 4 build upon it.
    let (worker, result) = run(&[&[], &[], &[0, 1], &[2], &[3]], 4, counting, 4).await;
    assert_eq!(result, Ok(5));
    assert_eq!(worker.executed.lock().unwrap()[2..], [2, 3, 4]);
    let mut remembered = worker.remembered.lock().unwrap().clone();
    remembered.sort_unstable();
    assert_eq!(remembered, [0, 1, 2, 3, 4]);
    assert!(began.elapsed() < Duration::from_millis(190), "one after the other");
}

#[tokio::test]
async fn what_has_been_made_is_remembered_when_something_else_fails() {
    let named_after = Duration::from_millis(200);
    let counting = Counting { unheard_of: vec![2], failing: Some(3), named_after, ..Counting::default() };
    let (worker, result) = run(&[&[], &[], &[0, 1], &[2]], 3, counting, 4).await;
    assert_eq!(result, Err(3));
    assert_eq!(worker.remembered.lock().unwrap().iter().max(), Some(&2));
}

#[tokio::test]
async fn something_new_is_looked_for_when_it_was_made_meanwhile() {
    // Something like it is heard of as soon as it is claimed.
    let counting = Counting { unheard_of: vec![2], shared: vec![2], ..Counting::default() };
    let (worker, result) = run(&[&[], &[], &[0, 1]], 2, counting, 4).await;
    assert_eq!(result, Ok(3));
    assert_eq!(worker.executed.lock().unwrap()[2..], [1002]);
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
