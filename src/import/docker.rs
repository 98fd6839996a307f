//! Docker's `manifest.json`: a list of images, each with the paths of its config and its layers.

use serde::Deserialize;

use super::error::ImportError;
use super::files::Files;
use super::{Described, layer, merged};
use crate::image::{Descriptor, Reference};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// The images; none where there is no such document.
pub(super) fn images(files: &mut Files<'_>) -> Result<Option<Vec<Described>>, ImportError> {
    let Some(document) = files.at("manifest.json")? else { return Ok(None) };
    let listed: Vec<DockerImage> = files.json(&document, "manifest.json")?;
    let images = listed.into_iter().map(|image| described(files, image)).collect::<Result<_, _>>()?;
    Ok(Some(merged(images)))
}

fn described(files: &mut Files<'_>, image: DockerImage) -> Result<Described, ImportError> {
    let config = files.required(&image.config)?;
    let mut layers = Vec::new();
    for path in image.layers.unwrap_or_default() {
        let content = files.required(&path)?;
        let (digest, compression) = layer(files, content)?;
        let size = files.size(&digest).unwrap_or_default();
        layers.push(Descriptor::new(compression.layer_media_type(), digest, size));
    }
    let names = image.repo_tags.unwrap_or_default();
    let names = names.iter().map(|name| name.parse::<Reference>()).collect::<Result<_, _>>()?;
    Ok(Described { config, layers, manifest: None, names })
}
