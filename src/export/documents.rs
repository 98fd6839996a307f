//! The documents of an image, as they are sent.

use super::{ExportError, GivenManifest, Image, ImageLayer};
use crate::image::{Descriptor, Digest, Manifest, media_type};

/// A manifest with what it lists.
#[derive(Debug)]
pub(super) struct Documents {
    pub config: Descriptor,
    /// As many as the image's layers.
    pub layers: Vec<Descriptor>,
    pub manifest: Descriptor,
    pub manifest_bytes: Vec<u8>,
}

impl Documents {
    pub(super) fn of(image: &Image) -> Result<Self, ExportError> {
        let manifest = match &image.manifest {
            Some(given) => read(image, given)?,
            None => {
                let config = Digest::of(&image.config);
                let config = Descriptor::new(media_type::OCI_CONFIG, config, image.config.len() as u64);
                let layers = image.layers.iter().map(descriptor).collect::<Result<Vec<_>, _>>()?;
                Manifest::oci(config, layers)
            }
        };
        let (media_type, manifest_bytes) = match &image.manifest {
            Some(given) => (&*given.media_type, given.bytes.clone()),
            None => (media_type::OCI_MANIFEST, manifest.to_bytes()),
        };
        let digest = Digest::of(&manifest_bytes);
        let described = Descriptor::new(media_type, digest, manifest_bytes.len() as u64);
        Ok(Self { config: manifest.config, layers: manifest.layers, manifest: described, manifest_bytes })
    }
}

fn read(image: &Image, given: &GivenManifest) -> Result<Manifest, ExportError> {
    let damaged = |reason: String| ExportError::Damaged { id: Digest::of(&image.config).to_string(), reason };
    let manifest: Manifest =
        serde_json::from_slice(&given.bytes).map_err(|error| damaged(error.to_string()))?;
    if manifest.layers.len() != image.layers.len() || manifest.config.digest != Digest::of(&image.config) {
        return Err(damaged("its manifest is another image's".to_owned()));
    }
    Ok(manifest)
}

/// The layer as an OCI manifest lists it: docker's media types mean the same bytes.
fn descriptor(layer: &ImageLayer) -> Result<Descriptor, ExportError> {
    let blob = layer.blob.as_ref().ok_or(ExportError::NotCompressed(layer.diff_id))?;
    let media_type =
        blob.compression().map_or(&*blob.media_type, |compression| compression.layer_media_type());
    Ok(Descriptor::new(media_type, blob.digest, blob.size))
}
