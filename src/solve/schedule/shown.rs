//! What is told of a vertex while it is made.

use super::super::{Progress, Worker};
use crate::graph::VertexId;

/// Tells what becomes of a vertex, also when its task is dropped half way.
pub(super) struct Shown<'a, W: Worker> {
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

impl<'a, W: Worker> Shown<'a, W> {
    pub(super) fn new(worker: &'a W, vertex: VertexId) -> Self {
        Self { worker, vertex, state: ShownState::Unseen }
    }

    pub(super) fn start(&mut self) {
        self.worker.progress(self.vertex, Progress::Started);
        self.state = ShownState::Started;
    }

    pub(super) fn end(&mut self, end: Progress) {
        self.worker.progress(self.vertex, end);
        self.state = ShownState::Ended;
    }

    /// Whoever tells of the failure needs to have told of the step.
    pub(super) fn fail(&mut self) {
        if self.state == ShownState::Unseen {
            self.start();
        }
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
