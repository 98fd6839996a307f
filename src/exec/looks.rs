//! What was seen of the files outside the graph when the keys of steps were made.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::context::Look;
use crate::graph::{Slot, VertexId};
use crate::image::Digest;

/// The last look at what each step reads.
#[derive(Debug, Default)]
pub struct Looks(Mutex<HashMap<(VertexId, Slot), Looked>>);

/// How files were while a step has read them, by its inputs: none where they have changed meanwhile. Of inputs that are not here nobody
/// knows.
pub(super) type AsRead = HashMap<Slot, Option<Digest>>;

#[derive(Debug)]
struct Looked {
    digest: Digest,
    state: Digest,
    at: Instant,
    /// Whether it has counted once only.
    may_count_again: bool,
}

/// What was looked at for the first pass is looked at for the second one moments later, and nothing was done in between.
const FRESH: Duration = Duration::from_secs(1);

impl Looks {
    pub(super) fn note(&self, vertex: VertexId, slot: Slot, look: &Look) {
        let at = Instant::now();
        let looked = Looked { digest: look.digest, state: look.state, at, may_count_again: true };
        self.all().insert((vertex, slot), looked);
    }

    /// The digest that a look has just found, for somebody who would look again. Whatever changes meanwhile is noticed all the same: how
    /// the files were then is compared with how they were when they had been read.
    pub(super) fn again(&self, vertex: VertexId, slot: Slot) -> Option<Digest> {
        let mut all = self.all();
        let looked = all.get_mut(&(vertex, slot)).filter(|looked| looked.at.elapsed() < FRESH)?;
        std::mem::take(&mut looked.may_count_again).then_some(looked.digest)
    }

    /// How the files were.
    pub(super) fn state(&self, vertex: VertexId, slot: Slot) -> Option<Digest> {
        Some(self.all().get(&(vertex, slot))?.state)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<(VertexId, Slot), Looked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
