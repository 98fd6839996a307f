//! The images of the store: what there is, which one somebody means, and what becomes of names.
//!
//! Flow: [`Catalog::read`] reads names and images once; [`Catalog::find`] understands what people type; [`list`],
//! [`details`] and [`remove`] say and do what the verbs of that name want; [`whole`] puts an image together for the
//! exporters.
//!
//! Invariants: an image exists while it has a record; its config and its layers may outlive that, until they are collected.
//!
//! Not here: finding images in registries (`build`), what layers are made of (`layer`), printing (`cli`).

mod details;
mod filter;
mod find;
mod list;
mod remove;
mod whole;

use std::collections::BTreeMap;

pub use details::{Details, LayerSizes, details};
pub use filter::{Filter, FilterError};
pub use find::{FindError, Pointed};
pub use list::{ListError, Row, list};
pub use remove::{RemoveError, Removed, remove};
pub use whole::{is_packed, whole};

use crate::image::{ImageId, Reference};
use crate::store::{ImageRecord, Store, StoreError, Tag};

/// Every image of a store, as it was when it was read.
#[derive(Debug)]
pub struct Catalog {
    images: BTreeMap<ImageId, Image>,
}

/// One image and its names.
#[derive(Debug, Clone)]
pub struct Image {
    pub id: ImageId,
    /// Sorted.
    pub names: Vec<Reference>,
    pub record: ImageRecord,
}

impl Catalog {
    pub fn read(store: &Store) -> Result<Self, StoreError> {
        let mut images: BTreeMap<ImageId, Image> = BTreeMap::new();
        for (key, record) in store.records::<ImageRecord>()? {
            // Whatever else lies there is no record of an image.
            if let Ok(digest) = format!("sha256:{key}").parse() {
                let id = ImageId(digest);
                images.insert(id, Image { id, names: Vec::new(), record });
            }
        }
        for (_, tag) in store.records::<Tag>()? {
            let Ok(name) = tag.name.parse() else { continue };
            let id = tag.image;
            let new = || Image { id, names: Vec::new(), record: ImageRecord::default() };
            images.entry(id).or_insert_with(new).names.push(name);
        }
        images.values_mut().for_each(|image| image.names.sort());
        Ok(Self { images })
    }

    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.images.values()
    }

    /// The names of one repository, such as all versions of an app.
    pub fn names_in(&self, repository: &str) -> Vec<Reference> {
        let names = self.images().flat_map(|image| &image.names);
        names.filter(|name| name.name() == repository && name.digest.is_none()).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
