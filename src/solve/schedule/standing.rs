//! What there is of each vertex, for those who wait for it.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, watch};

use super::super::first::Known;
use super::super::{Finder, Solved};
use super::Solution;
use crate::graph::VertexId;

/// The vertices of a graph.
pub(super) struct Standings<W: Finder>(Vec<State<W>>);

struct State<W: Finder> {
    standing: watch::Sender<Standing<W>>,
    /// Whether it is being made.
    begun: AtomicBool,
}

/// What there is of a vertex so far. What has been made and not been named has an output and no key.
pub(super) struct Standing<W: Finder> {
    pub key: Option<W::Key>,
    pub output: Option<W::Output>,
    cached: bool,
    /// For those who build upon it before it has a key.
    pub hold: Option<Hold>,
}

/// While somebody has one, the result is not remembered: other processes would find it, and begin to make what builds upon it.
pub(super) type Hold = mpsc::Sender<Infallible>;

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

    pub(super) fn is_nothing(&self) -> bool {
        self.key.is_none() && self.output.is_none()
    }
}

impl<W: Finder> Standings<W> {
    pub(super) fn new(known: Vec<Option<Known<W>>>) -> Self {
        let state = |known| State {
            standing: watch::Sender::new(Standing::new(known)),
            begun: AtomicBool::new(false),
        };
        Self(known.into_iter().map(state).collect())
    }

    /// What became of everything, once nothing is going on any more.
    pub(super) fn solution(&self) -> Solution<W::Key, W::Output> {
        let solved = |state: &State<W>| {
            let Standing { key, output, cached, .. } = state.standing.borrow().clone();
            Some(Solved { key: key?, output, cached })
        };
        Solution::new(self.0.iter().map(solved).collect())
    }

    /// Looks at what there is of a vertex now.
    pub(super) fn look<T>(&self, vertex: VertexId, at: impl FnOnce(&Standing<W>) -> T) -> T {
        at(&self.0[vertex.index()].standing.borrow())
    }

    /// Waits until there is enough of a vertex.
    pub(super) async fn wait(&self, vertex: VertexId, enough: impl Fn(&Standing<W>) -> bool) -> Standing<W> {
        let mut changes = self.0[vertex.index()].standing.subscribe();
        let standing = changes.wait_for(enough).await;
        standing.expect("the sender lives as long as the tasks").clone()
    }

    /// Whether a vertex has to be made now: its result is not there, and nobody else makes it.
    pub(super) fn begin(&self, vertex: VertexId) -> bool {
        let is_there = self.look(vertex, |standing| standing.output.is_some());
        !is_there && !self.0[vertex.index()].begun.swap(true, Ordering::SeqCst)
    }

    pub(super) fn solved(&self, vertex: VertexId, Solved { key, output, cached }: Solved<W::Key, W::Output>) {
        let standing = Standing { key: Some(key), output, cached, hold: None };
        self.0[vertex.index()].standing.send_replace(standing);
    }

    /// Notes a result. What was known already keeps its key until it is named anew.
    pub(super) fn made(&self, vertex: VertexId, output: W::Output, hold: Hold) {
        self.0[vertex.index()].standing.send_modify(|standing| {
            standing.output = Some(output);
            standing.cached = false;
            standing.hold = Some(hold);
        });
    }

    /// Notes what a result is known by.
    pub(super) fn named(&self, vertex: VertexId, key: W::Key) {
        self.0[vertex.index()].standing.send_modify(|standing| {
            standing.key = Some(key);
            standing.hold = None;
        });
    }
}
