//! Images in OCI layouts, as bases: their layers are read where they lie, when somebody looks into them.

use std::path::PathBuf;

use super::contexts::LayoutImage;
use crate::image::{
    Config, Descriptor, Digest, Document, LayerSource, MAX_DOCUMENT, Manifest, ManifestError, Platform,
    annotation,
};
use crate::store::{LayerRecord, LayoutDirectory, LayoutError, Store, StoreError};
use crate::sys::At;

/// Indexes within indexes: nobody needs more than a few.
const DEEPEST: usize = 4;
/// Without a tag, as everywhere.
const LATEST: &str = "latest";

#[derive(Debug, thiserror::Error)]
pub enum LayoutImageError {
    #[error("{name} is not there; the layout has {}", listed(.available))]
    NotThere { name: String, available: Vec<String> },
    #[error("{name}: {source}")]
    Document { name: Digest, source: ManifestError },
    #[error("{name} is no config of an image: {source}")]
    Config { name: Digest, source: serde_json::Error },
    #[error("{name} has another number of layers than its config")]
    Layers { name: Digest },
    #[error("the layer {digest} is neither in the layout nor in the store")]
    NoLayer { digest: Digest },
    #[error("{name} leads to indexes without end")]
    Loop { name: Digest },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "no names at all".to_owned() } else { names.join(", ") }
}

/// Finds an image of a layout, and notes where its layers can be had.
pub(super) fn find(
    store: &Store,
    image: &LayoutImage,
    platform: &Platform,
) -> Result<Config, LayoutImageError> {
    // Records of layers outlive the working directory in which this was said.
    let path: PathBuf =
        std::path::absolute(&image.directory).at("find", &image.directory).map_err(LayoutError::from)?;
    let layout = LayoutDirectory::open(&path)?;
    let named = match image.digest {
        Some(digest) => digest,
        None => tagged(&layout, image.tag.as_deref())?,
    };
    let (digest, manifest) = manifest(&layout, named, platform)?;
    let bytes = layout.read_blob(&manifest.config.digest, MAX_DOCUMENT)?;
    let name = manifest.config.digest;
    let config: Config =
        serde_json::from_slice(&bytes).map_err(|source| LayoutImageError::Config { name, source })?;
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(LayoutImageError::Layers { name: digest });
    }
    let source = LayerSource::Layout(path).to_string();
    for (diff_id, layer) in config.rootfs.diff_ids.iter().zip(&manifest.layers) {
        let known = store.record::<LayerRecord>(&diff_id.0.hex())?.unwrap_or_default();
        let is_had = known.snapshot.is_some() || store.can_have_blob_of(&known)?;
        if !is_had && !layout.has_something_as(layer) {
            return Err(LayoutImageError::NoLayer { digest: layer.digest });
        }
        store.update_record(&diff_id.0.hex(), |record: &mut LayerRecord| {
            record.claim(layer, Some(source.clone()));
        })?;
    }
    Ok(config)
}

/// What a tag means; without one, `latest` or the only image that there is.
fn tagged(layout: &LayoutDirectory, tag: Option<&str>) -> Result<Digest, LayoutImageError> {
    let index = layout.index()?;
    let names = |entry: &Descriptor| -> Vec<String> {
        let full = entry.annotations.get(annotation::FULL_NAME);
        let tag_of = |name: &String| name.rsplit_once(':').map(|(_, tag)| tag.to_owned());
        entry
            .annotations
            .get(annotation::REF_NAME)
            .cloned()
            .into_iter()
            .chain(full.and_then(tag_of))
            .collect()
    };
    let wanted = tag.unwrap_or(LATEST);
    // Who adds an entry adds it at the end.
    let found = index.manifests.iter().rev().find(|entry| names(entry).iter().any(|name| name == wanted));
    let found = found.or(match (&index.manifests[..], tag) {
        ([only], None) => Some(only),
        _ => None,
    });
    found.map(|entry| entry.digest).ok_or_else(|| {
        let mut available: Vec<String> = index.manifests.iter().flat_map(names).collect();
        available.dedup();
        LayoutImageError::NotThere { name: wanted.to_owned(), available }
    })
}

fn manifest(
    layout: &LayoutDirectory,
    named: Digest,
    platform: &Platform,
) -> Result<(Digest, Manifest), LayoutImageError> {
    let mut digest = named;
    for _ in 0..=DEEPEST {
        let bytes = layout.read_blob(&digest, MAX_DOCUMENT)?;
        let wrong = |source| LayoutImageError::Document { name: digest, source };
        match Document::parse(&bytes).map_err(wrong)? {
            Document::Manifest(manifest) => return Ok((digest, manifest)),
            Document::Index(index) => digest = index.select(platform).map_err(wrong)?.digest,
        }
    }
    Err(LayoutImageError::Loop { name: named })
}
