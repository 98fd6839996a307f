//! Into the store: every build ends here.

use super::{ExportError, Image};
use crate::image::{Annotations, Digest, ImageId, Reference};
use crate::store::{ImageRecord, Store};

/// Keeps an image under its id, and under names.
pub fn keep(store: &Store, image: &Image, tags: &[Reference]) -> Result<ImageId, ExportError> {
    let id = ImageId(Digest::of(&image.config));
    // Nothing is written when nothing changed: a build that is all cached leaves the disk alone.
    if store.blobs().size(&id.0)?.is_none() {
        store.blobs().put(&image.config)?;
    }
    ensure_record(store, id, &image.annotations)?;
    for tag in tags {
        if store.tag(tag)? != Some(id) {
            store.set_tag(tag, id)?;
        }
    }
    // Somebody may have removed the image since: whoever removes one looks for names after that.
    ensure_record(store, id, &image.annotations)?;
    Ok(id)
}

fn ensure_record(store: &Store, id: ImageId, annotations: &Annotations) -> Result<(), ExportError> {
    let record = store.record::<ImageRecord>(&id.0.hex())?;
    if record.is_some_and(|record| record.annotations == *annotations) {
        return Ok(());
    }
    Ok(store.update_record(&id.0.hex(), |record: &mut ImageRecord| {
        if record.annotations != *annotations {
            record.annotations = annotations.clone();
            // One that was made with others.
            record.manifest = None;
        }
    })?)
}
