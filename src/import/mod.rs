//! Images from archives and directories that nobody has to trust: docker's form, old and new, and OCI layouts.
//!
//! Flow: `files` brings every file of an archive into the store, without a name; `layout` or `docker` says which of
//! them make images; then every layer is read once, to see that it is what the config says; only after that anything gets
//! a name.
//!
//! Invariants: documents are bounded, paths stay inside, links lead nowhere else, digests are checked. An archive is
//! loaded as a whole or not at all.
//!
//! Not here: unpacking layers (`layer`), which happens when something looks into them.

mod docker;
mod error;
mod files;
mod layout;

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

pub use error::ImportError;

use crate::image::{Compression, Config, Descriptor, DiffId, Digest, ImageId, Platform, Reference};
use crate::layer::check_layer;
use crate::layer::decompress::Decompressed;
use crate::store::{ImageRecord, LayerRecord, Store};
use files::Files;

/// An image that was loaded.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub id: ImageId,
    pub names: Vec<Reference>,
}

/// An image as an archive describes it; nothing of it is proved yet, but that the files are there.
#[derive(Debug)]
struct Described {
    config: Digest,
    layers: Vec<Descriptor>,
    manifest: Option<Descriptor>,
    names: Vec<Reference>,
}

/// Loads an archive, compressed or not.
pub fn load_archive(store: &Store, from: impl Read, platform: &Platform) -> Result<Vec<Loaded>, ImportError> {
    let tar = Decompressed::new(from).map_err(ImportError::Read)?;
    load(store, Files::of_archive(store, tar)?, platform)
}

/// Loads an OCI layout that lies in a directory.
pub fn load_directory(store: &Store, path: &Path, platform: &Platform) -> Result<Vec<Loaded>, ImportError> {
    load(store, Files::of_directory(store, path)?, platform)
}

fn load(store: &Store, mut files: Files<'_>, platform: &Platform) -> Result<Vec<Loaded>, ImportError> {
    let docker = docker::images(&mut files)?;
    let described = match layout::images(&mut files, platform)? {
        Some(mut images) => {
            add_names(&mut images, docker.unwrap_or_default());
            images
        }
        None => docker.ok_or_else(|| files.nothing())?,
    };
    let mut checked = Checked::default();
    for image in &described {
        checked.check(&files, image)?;
    }
    // From here on nothing but the disk can fail.
    files.keep(&described)?;
    for ((diff_id, _), (blob, size)) in &checked.layers {
        store.update_record(&diff_id.0.hex(), |record: &mut LayerRecord| {
            record.confirm(blob);
            record.size = Some(*size);
        })?;
    }
    let mut loaded = Vec::with_capacity(described.len());
    for image in described {
        let id = ImageId(image.config);
        store.update_record(&id.0.hex(), |record: &mut ImageRecord| {
            record.manifest = image.manifest.clone().or(record.manifest.take());
        })?;
        for name in &image.names {
            store.set_tag(name, id)?;
        }
        loaded.push(Loaded { id, names: image.names });
    }
    store.sync()?;
    Ok(loaded)
}

/// An archive may name its images in docker's document alone.
fn add_names(images: &mut [Described], docker: Vec<Described>) {
    for other in docker {
        if let Some(image) = images.iter_mut().find(|image| image.config == other.config) {
            let new: Vec<_> = other.names.into_iter().filter(|name| !image.names.contains(name)).collect();
            image.names.extend(new);
        }
    }
}

/// Layers that have proved to be what configs say.
#[derive(Default)]
struct Checked {
    /// With the blob and the size of the tar.
    layers: BTreeMap<(DiffId, Digest), (Descriptor, u64)>,
}

impl Checked {
    fn check(&mut self, files: &Files<'_>, image: &Described) -> Result<(), ImportError> {
        let config: Config = files.json(&image.config, "the config")?;
        let (layers, diff_ids) = (image.layers.len(), config.rootfs.diff_ids.len());
        if layers != diff_ids {
            return Err(ImportError::Count { id: image.config, layers, diff_ids });
        }
        for (layer, diff_id) in image.layers.iter().zip(&config.rootfs.diff_ids) {
            let key = (*diff_id, layer.digest);
            if self.layers.contains_key(&key) {
                continue;
            }
            let content = files.open(&layer.digest)?;
            let checked = check_layer(content, layer, *diff_id);
            let size = checked.map_err(|source| ImportError::Layer { layer: layer.digest, source })?;
            self.layers.insert(key, (layer.clone(), size));
        }
        Ok(())
    }
}

/// A layer and how it is compressed, by its first bytes. One that is compressed as no layer may be is taken in as its tar.
fn layer(files: &mut Files<'_>, content: Digest) -> Result<(Digest, Compression), ImportError> {
    Ok(match Decompressed::new(files.open(&content)?).map_err(ImportError::Read)? {
        Decompressed::Plain(_) => (content, Compression::None),
        Decompressed::Gzip(_) => (content, Compression::Gzip),
        Decompressed::Zstd(_) => (content, Compression::Zstd),
        mut tar @ (Decompressed::Bzip2(_) | Decompressed::Xz(_)) => {
            (files.take(&mut tar)?, Compression::None)
        }
    })
}

/// The images of which each config is there once, with all of its names.
fn merged(images: Vec<Described>) -> Vec<Described> {
    let mut places: HashMap<Digest, usize> = HashMap::new();
    let mut merged: Vec<Described> = Vec::new();
    for image in images {
        match places.get(&image.config) {
            Some(&place) => {
                let names = &mut merged[place].names;
                let new: Vec<_> = image.names.into_iter().filter(|name| !names.contains(name)).collect();
                names.extend(new);
            }
            None => {
                places.insert(image.config, merged.len());
                merged.push(image);
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests;
