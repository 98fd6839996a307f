//! What is known of one image: its config, its size, its layers' sizes.

use std::collections::HashMap;

use super::Image;
use crate::image::{Config, DiffId};
use crate::store::{LayerRecord, Store, StoreError};

/// An image's config, and what it occupies.
#[derive(Debug, Clone)]
pub struct Details {
    pub config: Config,
    /// The same as it came, with whatever this program does not know.
    pub config_bytes: Vec<u8>,
    /// One for each layer, lowest first.
    pub layers: Vec<u64>,
}

impl Details {
    /// The bytes of all layers.
    pub fn size(&self) -> u64 {
        self.layers.iter().sum()
    }
}

/// The sizes of layers, each looked up once.
#[derive(Debug, Default)]
pub struct LayerSizes {
    known: HashMap<DiffId, u64>,
}

impl LayerSizes {
    /// The size of a layer's tar; of its compressed blob where the layer has never been looked into; nothing where even
    /// that is not known.
    fn of(&mut self, store: &Store, diff_id: DiffId) -> Result<u64, StoreError> {
        if let Some(size) = self.known.get(&diff_id) {
            return Ok(*size);
        }
        let record = store.look_at_record::<LayerRecord>(&diff_id.0.hex())?.unwrap_or_default();
        let packed = || record.verified().chain(record.claimed()).next().map(|known| known.blob.size);
        let size = record.size.or_else(packed).unwrap_or(0);
        self.known.insert(diff_id, size);
        Ok(size)
    }
}

/// Reads an image's config and sizes; none where the config is not readable any more.
pub fn details(store: &Store, image: &Image, sizes: &mut LayerSizes) -> Result<Option<Details>, StoreError> {
    let config_bytes = match store.blobs().read(&image.id.0) {
        Err(StoreError::NoBlob(_) | StoreError::Digest { .. }) => return Ok(None),
        answer => answer?,
    };
    let Ok(config) = serde_json::from_slice::<Config>(&config_bytes) else { return Ok(None) };
    let layers = config.rootfs.diff_ids.iter().map(|diff_id| sizes.of(store, *diff_id));
    let layers = layers.collect::<Result<_, _>>()?;
    Ok(Some(Details { config, config_bytes, layers }))
}
