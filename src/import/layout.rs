//! OCI layouts: `index.json`, and blobs by digest.

use super::error::ImportError;
use super::files::Files;
use super::{Described, merged};
use crate::image::{Descriptor, Digest, Document, Index, Manifest, Platform, Reference, annotation};

/// Indexes within indexes: docker writes one level, nobody needs more than a few.
const DEEPEST: usize = 4;

/// The images; none where there is no index.
pub(super) fn images(
    files: &mut Files<'_>,
    platform: &Platform,
) -> Result<Option<Vec<Described>>, ImportError> {
    let Some(document) = files.at("index.json")? else { return Ok(None) };
    let index: Index = files.json(&document, "index.json")?;
    let mut images = Vec::new();
    for entry in index.manifests.iter().filter(|entry| is_image(entry)) {
        let (descriptor, manifest) = manifest(files, entry, platform, 0)?;
        for layer in &manifest.layers {
            blob(files, layer)?;
        }
        let config = blob(files, &manifest.config)?.ok_or_else(|| missing(&manifest.config))?;
        let names = names(entry)?;
        images.push(Described { config, layers: manifest.layers, manifest: Some(descriptor), names });
    }
    Ok(Some(merged(images)))
}

/// Attestations stand among images, for a platform that is none.
fn is_image(entry: &Descriptor) -> bool {
    entry.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
}

/// The manifest that an entry leads to, for a platform where there are several.
fn manifest(
    files: &mut Files<'_>,
    entry: &Descriptor,
    platform: &Platform,
    depth: usize,
) -> Result<(Descriptor, Manifest), ImportError> {
    let path = path(entry);
    let digest = blob(files, entry)?.ok_or_else(|| missing(entry))?;
    let bytes = files.document(&digest, &path)?;
    let wrong = |source| ImportError::Document { path: path.clone(), source };
    match Document::parse(&bytes).map_err(wrong)? {
        Document::Manifest(manifest) => {
            Ok((Descriptor::new(&entry.media_type, entry.digest, entry.size), manifest))
        }
        Document::Index(_) if depth == DEEPEST => Err(ImportError::Loop { path }),
        Document::Index(index) => {
            let chosen = index.select(platform).map_err(wrong)?;
            manifest(files, chosen, platform, depth + 1)
        }
    }
}

/// Checks that a blob is what its descriptor says. None if it did not come along; the store may have it.
fn blob(files: &mut Files<'_>, described: &Descriptor) -> Result<Option<Digest>, ImportError> {
    let path = path(described);
    let Some(found) = files.at(&path)? else {
        return if files.is_stored(&described.digest)? { Ok(None) } else { Err(missing(described)) };
    };
    if found != described.digest {
        return Err(ImportError::Digest { path, found });
    }
    match files.size(&found) {
        Some(size) if size != described.size => {
            Err(ImportError::Size { path, expected: described.size, found: size })
        }
        Some(_) | None => Ok(Some(found)),
    }
}

fn path(described: &Descriptor) -> String {
    format!("blobs/sha256/{}", described.digest.hex())
}

fn missing(described: &Descriptor) -> ImportError {
    ImportError::Missing { path: path(described) }
}

/// The name that docker gives, else the one that others do. A bare tag names no image, and where it contradicts the whole
/// name, somebody has copied that from the image below.
fn names(entry: &Descriptor) -> Result<Vec<Reference>, ImportError> {
    let full =
        entry.annotations.get(annotation::FULL_NAME).map(|name| name.parse::<Reference>()).transpose()?;
    let other = entry.annotations.get(annotation::REF_NAME);
    let is_whole = |name: &str| name.contains(['/', ':']);
    let name = match (full, other) {
        (Some(full), None) => Some(full),
        (Some(full), Some(tag)) if full.tag.as_ref() == Some(tag) => Some(full),
        (_, Some(name)) if is_whole(name) => Some(name.parse()?),
        (_, Some(_)) | (None, None) => None,
    };
    Ok(name.into_iter().collect())
}
