//! Layers of the result are sealed as soon as they are made, behind later steps.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::exec::Executor;
use crate::export::registry::Destination;
use crate::export::{ExportError, ImageLayer, Packer};
use crate::image::Packing;
use crate::layer::{LayerRef, Stack};

/// How many layers are sealed at the same time; more make none of them faster.
const AT_ONCE: usize = 8;

pub(super) struct Sealing {
    executor: Arc<Executor>,
    /// How the layers are compressed, if somebody wants their blobs.
    packing: Option<Packing>,
    /// What is newer in a new layer is of this time, in seconds since 1970.
    latest: Option<i64>,
    /// Where the image is pushed.
    destination: Option<Arc<Destination>>,
    /// Packing takes all cores as it is.
    room: Arc<Semaphore>,
    begun: HashMap<LayerRef, JoinHandle<Result<Option<ImageLayer>, ExportError>>>,
}

impl Sealing {
    pub(super) fn new(
        executor: Arc<Executor>,
        packing: Option<Packing>,
        latest: Option<i64>,
        destination: Option<Arc<Destination>>,
    ) -> Self {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        Self { executor, packing, latest, destination, room, begun: HashMap::new() }
    }

    /// What is newer in a new layer is of this time.
    pub(super) fn latest(&self) -> Option<i64> {
        self.latest
    }

    /// Starts sealing the uppermost of some layers, unless an image has brought it along; sends it on its way if it belongs
    /// to the image.
    pub(super) fn begin(&mut self, layers: &Stack, is_of_image: bool) {
        let Some(top @ (LayerRef::Made(_) | LayerRef::Linked(_))) = layers.top() else { return };
        if self.begun.contains_key(top) {
            return;
        }
        let (executor, packing, latest) = (Arc::clone(&self.executor), self.packing, self.latest);
        let destination = self.destination.clone().filter(|_| is_of_image);
        let (key, layers, room) = (top.clone(), layers.clone(), Arc::clone(&self.room));
        let task = tokio::spawn(async move {
            let _place = room.acquire().await;
            let destination = destination.as_ref();
            Packer { layers: &executor.layers, packing, destination }.top(&layers, latest).await
        });
        self.begun.insert(key, task);
    }

    /// Waits for a layer that is being sealed.
    pub(super) async fn wait_for(&mut self, layer: &LayerRef) -> Result<(), ExportError> {
        let Some(task) = self.begun.remove(layer) else { return Ok(()) };
        match task.await {
            Ok(sealed) => sealed.map(drop),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// The layers, lowest first.
    pub(super) async fn finish(&mut self, layers: &Stack) -> Result<Vec<ImageLayer>, ExportError> {
        let (executor, destination) = (Arc::clone(&self.executor), self.destination.clone());
        let destination = destination.as_ref();
        let packer = Packer { layers: &executor.layers, packing: self.packing, destination };
        let mut sealed = Vec::new();
        for stack in layers.levels().into_iter().rev() {
            let layer = match stack.top().and_then(|top| self.begun.remove(top)) {
                Some(task) => match task.await {
                    Ok(sealed) => sealed?,
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                None => packer.top(&stack, self.latest).await?,
            };
            sealed.extend(layer);
        }
        Ok(sealed)
    }
}
