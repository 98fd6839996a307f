//! Taking names away, and images with their last name.

use super::{Catalog, FindError, Image};
use crate::image::{ImageId, Reference};
use crate::store::{ImageRecord, Store, StoreError, Tag};

/// What a removal has done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    Untagged(String),
    Deleted(ImageId),
}

#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error(transparent)]
    Find(#[from] FindError),
    #[error("image {} has several names: {}", .id.0.short(), .names.join(", "))]
    SeveralNames { id: ImageId, names: Vec<String> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Removes what a text points at. A name goes alone, and takes the image along if it was the last; an id takes all names,
/// if there is one, or if it is meant to (`force`). What the image's layers occupy is left to be collected.
pub fn remove(store: &Store, text: &str, force: bool) -> Result<Vec<Removed>, RemoveError> {
    let catalog = Catalog::read(store)?;
    let pointed = catalog.find(text)?;
    let image = pointed.image;
    let mut removed = Vec::new();
    // A name with a digest may be no name of the store, but where a registry has the image.
    match pointed.name.filter(|name| image.names.contains(name)) {
        Some(name) => {
            untag(store, &name, &mut removed)?;
            if image.names.len() == 1 {
                delete(store, image, &mut removed)?;
            }
        }
        None => {
            if !force && !is_single(&image.names) {
                let names = image.names.iter().map(Reference::familiar).collect();
                return Err(RemoveError::SeveralNames { id: image.id, names });
            }
            for name in &image.names {
                untag(store, name, &mut removed)?;
            }
            delete(store, image, &mut removed)?;
        }
    }
    Ok(removed)
}

/// Whether names are one: that with a tag and that with a digest of the same repository count as the same.
fn is_single(names: &[Reference]) -> bool {
    match names {
        [] | [_] => true,
        [one, other] => one.name() == other.name() && one.digest.is_some() != other.digest.is_some(),
        [_, _, ..] => false,
    }
}

fn untag(store: &Store, name: &Reference, removed: &mut Vec<Removed>) -> Result<(), StoreError> {
    store.remove_tag(name)?;
    removed.push(Removed::Untagged(name.familiar()));
    Ok(())
}

/// Takes the record away, unless the image has got a name meanwhile: whoever names one looks for the record after that.
fn delete(store: &Store, image: &Image, removed: &mut Vec<Removed>) -> Result<(), StoreError> {
    let key = image.id.0.hex();
    store.remove_record::<ImageRecord>(&key)?;
    if store.records::<Tag>()?.iter().any(|(_, tag)| tag.image == image.id) {
        return store.put_record(&key, &image.record);
    }
    for place in &image.record.places {
        let familiar = place.parse::<Reference>().map_or_else(|_| place.clone(), |place| place.familiar());
        removed.push(Removed::Untagged(familiar));
    }
    removed.push(Removed::Deleted(image.id));
    Ok(())
}
