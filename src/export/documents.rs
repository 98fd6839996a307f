//! The documents of an image, as they are sent.

use super::{ExportError, GivenManifest, Image, ImageLayer};
use crate::image::{Compression, Descriptor, Digest, Form, Manifest};

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
    /// Those of an image without a manifest of its own are written in the form that is asked for.
    pub(super) fn of(image: &Image, form: Form) -> Result<Self, ExportError> {
        let manifest = match &image.manifest {
            Some(given) => read(image, given)?,
            None => {
                let config = Digest::of(&image.config);
                let config = Descriptor::new(form.config(), config, image.config.len() as u64);
                let layers = image
                    .layers
                    .iter()
                    .map(|layer| descriptor(layer, form))
                    .collect::<Result<Vec<_>, _>>()?;
                let annotations = image.annotations.manifest.clone();
                Manifest { annotations, ..Manifest::new(form, config, layers) }
            }
        };
        let (media_type, manifest_bytes) = match &image.manifest {
            Some(given) => (&*given.media_type, given.bytes.clone()),
            None => (form.manifest(), manifest.to_bytes()),
        };
        let digest = Digest::of(&manifest_bytes);
        let mut described = Descriptor::new(media_type, digest, manifest_bytes.len() as u64);
        described.annotations.clone_from(&image.annotations.descriptor);
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

/// The layer as a manifest of that form lists it: docker's media types and OCI's mean the same bytes.
fn descriptor(layer: &ImageLayer, form: Form) -> Result<Descriptor, ExportError> {
    let blob = layer.blob.as_ref().ok_or(ExportError::NotCompressed(layer.diff_id))?;
    if blob.is_foreign() {
        return Ok(blob.clone());
    }
    let media_type = match (form, blob.compression()) {
        (Form::Docker, Some(Compression::Zstd)) => return Err(ExportError::NeedsOci(blob.digest)),
        (_, Some(compression)) => form.layer(compression),
        (_, None) => &blob.media_type,
    };
    Ok(Descriptor::new(media_type, blob.digest, blob.size))
}
