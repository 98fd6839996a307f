//! Steps that are not in the graph: reading, finding images, exporting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::event::{EventKind, Events, StepId};
use crate::export::registry::Watch;
use crate::layer::Layers;
use crate::registry::Client;
use crate::store::Store;

/// Downloads of layers are shown under one step.
const DOWNLOADS: u32 = 999;
/// Numbers from here on are vertices of what is fetched before the graph is known.
pub(super) const FIRST_FETCHED: u32 = 500;
/// Numbers from here on are vertices.
pub(super) const FIRST_VERTEX: u32 = 1000;

/// Numbers steps.
#[derive(Debug)]
pub struct Steps {
    events: Events,
    next: AtomicU32,
}

/// A step that has begun. One that is dropped before its end was given up.
#[derive(Debug)]
pub struct Step {
    events: Events,
    id: StepId,
    ended: bool,
}

impl Steps {
    pub fn new(events: Events) -> Self {
        Self { events, next: AtomicU32::new(0) }
    }

    pub fn start(&self, name: &str) -> Step {
        let id = StepId(self.next.fetch_add(1, Ordering::Relaxed));
        self.events.send(EventKind::Started { step: id, name: name.to_owned() });
        Step { events: self.events.clone(), id, ended: false }
    }
}

impl Step {
    pub fn done(mut self) {
        self.ended = true;
        self.events.send(EventKind::Done { step: self.id });
    }

    /// Ends as what was to be done in it did.
    pub fn ended<T, E: std::fmt::Display>(mut self, result: Result<T, E>) -> Result<T, E> {
        match &result {
            Ok(_) => self.done(),
            Err(error) => {
                self.ended = true;
                // What else there is to say is said at the end.
                let message = error.to_string().lines().next().unwrap_or_default().to_owned();
                self.events.send(EventKind::Failed { step: self.id, message });
            }
        }
        result
    }

    /// Shows under this step what happens to blobs.
    pub fn watch(&self) -> Arc<dyn Watch> {
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

/// Layers whose downloads are shown as one step.
pub fn layers(store: &Arc<Store>, client: &Client, events: &Events) -> Layers {
    Layers::new(Arc::clone(store), client.clone(), events.clone(), StepId(DOWNLOADS))
}
