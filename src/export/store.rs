//! Into the store: every build ends here.

use super::{ExportError, Image};
use crate::image::{ImageId, Reference};
use crate::store::{ImageRecord, Store};

/// Keeps an image under its id, and under names.
pub fn keep(store: &Store, image: &Image, tags: &[Reference]) -> Result<ImageId, ExportError> {
    let config = image.config.to_bytes();
    let id = ImageId(crate::image::Digest::of(&config));
    // Nothing is written when nothing changed: a build that is all cached leaves the disk alone.
    if store.blobs().size(&id.0)?.is_none() {
        store.blobs().put(&config)?;
    }
    if store.record::<ImageRecord>(&id.0.hex())?.is_none() {
        store.put_record(&id.0.hex(), &ImageRecord { manifest: None })?;
    }
    for tag in tags {
        if store.tag(tag)? != Some(id) {
            store.set_tag(tag, id)?;
        }
    }
    Ok(id)
}
