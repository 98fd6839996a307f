//! Layers of the result are sealed as soon as they are made, behind later steps.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::exec::Executor;
use crate::export::registry::Destination;
use crate::export::{ExportError, ImageLayer, Packer};
use crate::image::Packing;
use crate::layer::{LayerRef, Stack};
use crate::store::SnapshotId;

pub(super) struct Sealing {
    executor: Arc<Executor>,
    /// How the layers are compressed, if somebody wants their blobs.
    packing: Option<Packing>,
    /// What is newer in a new layer is of this time, in seconds since 1970.
    latest: Option<i64>,
    /// Where the image is pushed.
    destination: Option<Arc<Destination>>,
    begun: HashMap<SnapshotId, JoinHandle<Result<ImageLayer, ExportError>>>,
}

impl Sealing {
    pub(super) fn new(
        executor: Arc<Executor>,
        packing: Option<Packing>,
        latest: Option<i64>,
        destination: Option<Arc<Destination>>,
    ) -> Self {
        Self { executor, packing, latest, destination, begun: HashMap::new() }
    }

    /// Starts sealing the uppermost layer of a chain.
    pub(super) fn begin(&mut self, layers: &Stack) {
        let (snapshot, below) = match layers.top() {
            Some(LayerRef::Made(snapshot)) => (snapshot, layers.below().to_vec()),
            Some(LayerRef::Linked(snapshot)) => (snapshot, Vec::new()),
            Some(LayerRef::Image(_)) | None => return,
        };
        if self.begun.contains_key(snapshot) {
            return;
        }
        let (executor, packing, latest) = (Arc::clone(&self.executor), self.packing, self.latest);
        let id = snapshot.clone();
        let destination = self.destination.clone();
        let task = tokio::spawn(async move {
            let destination = destination.as_ref();
            Packer { layers: &executor.layers, packing, destination }.seal(&id, &below, latest).await
        });
        self.begun.insert(snapshot.clone(), task);
    }

    /// The layers of a chain, lowest first.
    pub(super) async fn finish(mut self, chain: &[LayerRef]) -> Result<Vec<ImageLayer>, ExportError> {
        let destination = self.destination.as_ref();
        let packer = Packer { layers: &self.executor.layers, packing: self.packing, destination };
        let mut layers = Vec::with_capacity(chain.len());
        for (index, layer) in chain.iter().enumerate() {
            layers.push(match layer {
                LayerRef::Image(diff_id) => packer.brought_along(*diff_id, &chain[..index]).await?,
                LayerRef::Made(snapshot) | LayerRef::Linked(snapshot) => match self.begun.remove(snapshot) {
                    Some(task) => match task.await {
                        Ok(sealed) => sealed?,
                        Err(error) => std::panic::resume_unwind(error.into_panic()),
                    },
                    None => {
                        let is_linked = matches!(layer, LayerRef::Linked(_));
                        let below = if is_linked { &[] } else { &chain[..index] };
                        packer.seal(snapshot, below, self.latest).await?
                    }
                },
            });
        }
        Ok(layers)
    }
}
