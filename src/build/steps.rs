//! Steps that are not in the graph: reading, finding images, exporting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::event::{EventKind, Events, StepId};
use crate::export::registry::Watch;

/// Downloads of layers are shown under one step.
pub(super) const DOWNLOADS: u32 = 999;
/// Numbers from here on are vertices.
pub(super) const FIRST_VERTEX: u32 = 1000;

#[derive(Debug)]
pub(super) struct Steps {
    events: Events,
    next: AtomicU32,
}

/// A step that has begun. One that is dropped before its end has failed or was given up.
#[derive(Debug)]
pub(super) struct Step {
    events: Events,
    id: StepId,
    ended: bool,
}

impl Steps {
    pub(super) fn new(events: Events) -> Self {
        Self { events, next: AtomicU32::new(0) }
    }

    pub(super) fn start(&self, name: &str) -> Step {
        let id = StepId(self.next.fetch_add(1, Ordering::Relaxed));
        self.events.send(EventKind::Started { step: id, name: name.to_owned() });
        Step { events: self.events.clone(), id, ended: false }
    }
}

impl Step {
    pub(super) fn done(mut self) {
        self.ended = true;
        self.events.send(EventKind::Done { step: self.id });
    }

    /// Shows under this step what happens to blobs.
    pub(super) fn watch(&self) -> Arc<dyn Watch> {
        Arc::new(Sending { events: self.events.clone(), step: self.id })
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.events.send(EventKind::Canceled { step: self.id });
        }
    }
}

struct Sending {
    events: Events,
    step: StepId,
}

impl Watch for Sending {
    fn sent(&self, blob: &str, current: u64, total: u64, done: bool) {
        let (step, id) = (self.step, blob.to_owned());
        self.events.send(EventKind::Progress { step, id, current, total: Some(total), done });
    }
}
