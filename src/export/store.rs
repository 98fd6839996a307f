//! Into the store: every build ends here.

use super::{ExportError, Image};
use crate::image::{Digest, ImageId, Reference};
use crate::store::{ImageRecord, Store};

/// Keeps an image under its id, and under names.
pub fn keep(store: &Store, image: &Image, tags: &[Reference]) -> Result<ImageId, ExportError> {
    let id = ImageId(Digest::of(&image.config));
    // Nothing is written when nothing changed: a build that is all cached leaves the disk alone.
    if store.blobs().size(&id.0)?.is_none() {
        store.blobs().put(&image.config)?;
    }
    ensure_record(store, id)?;
    for tag in tags {
        if store.tag(tag)? != Some(id) {
            store.set_tag(tag, id)?;
        }
    }
    // Somebody may have removed the image since: whoever removes one looks for names after that.
    ensure_record(store, id)?;
    Ok(id)
}

fn ensure_record(store: &Store, id: ImageId) -> Result<(), ExportError> {
    if store.record::<ImageRecord>(&id.0.hex())?.is_none() {
        store.put_record(&id.0.hex(), &ImageRecord::default())?;
    }
    Ok(())
}
