//! Where a cache is: documents and small blobs of a registry or of a layout.

use std::sync::Arc;

use super::{CacheImportError, CacheSource, Which};
use crate::image::{Descriptor, Digest, Document, LayerSource, MAX_DOCUMENT, Reference, annotation};
use crate::registry::Client;
use crate::store::{LayoutDirectory, LayoutError};
use crate::sys::{At, blocking};

pub(super) enum Place<'a> {
    Registry { client: &'a Client, name: Reference },
    Layout(Arc<LayoutDirectory>),
}

impl<'a> Place<'a> {
    /// The document that a name leads to, and the place by the digest of that: what is fetched later belongs to it.
    pub(super) async fn find(
        client: &'a Client,
        from: &CacheSource,
    ) -> Result<(Self, Document), CacheImportError> {
        match from {
            CacheSource::Registry(name) => {
                let fetched = client.fetch_document(name).await?;
                let name = name.with_digest(fetched.digest);
                Ok((Self::Registry { client, name }, fetched.document))
            }
            CacheSource::Local { layout, which } => {
                // Records of layers outlive the working directory in which this was said.
                let path = std::path::absolute(layout).at("find", layout).map_err(LayoutError::from)?;
                let layout = LayoutDirectory::open(&path)?;
                let digest = match which {
                    Which::Digest(digest) => *digest,
                    Which::Tag(tag) => tagged(&layout, tag)?,
                };
                let place = Self::Layout(Arc::new(layout));
                let document = place.document(&digest).await?;
                Ok((place, document))
            }
        }
    }

    pub(super) async fn document(&self, digest: &Digest) -> Result<Document, CacheImportError> {
        match self {
            Self::Registry { client, name } => {
                Ok(client.fetch_document(&name.with_digest(*digest)).await?.document)
            }
            Self::Layout(layout) => {
                let (layout, digest) = (Arc::clone(layout), *digest);
                let bytes = blocking(move || layout.read_blob(&digest, MAX_DOCUMENT)).await?;
                Document::parse(&bytes)
                    .map_err(|source| CacheImportError::Manifest { name: digest.to_string(), source })
            }
        }
    }

    pub(super) async fn blob(&self, blob: &Descriptor, limit: u64) -> Result<Vec<u8>, CacheImportError> {
        match self {
            Self::Registry { client, name } => Ok(client.fetch_blob_within(name, blob, limit).await?),
            Self::Layout(layout) => {
                let (layout, digest) = (Arc::clone(layout), blob.digest);
                Ok(blocking(move || layout.read_blob(&digest, limit)).await?)
            }
        }
    }

    /// Where the layers are.
    pub(super) fn source(&self) -> LayerSource {
        match self {
            Self::Registry { name, .. } => LayerSource::Registry(name.clone()),
            Self::Layout(layout) => LayerSource::Layout(layout.path().to_owned()),
        }
    }
}

/// What a tag of a layout means.
fn tagged(layout: &LayoutDirectory, tag: &str) -> Result<Digest, CacheImportError> {
    let index = layout.index()?;
    let name = |entry: &Descriptor| entry.annotations.get(annotation::REF_NAME).cloned();
    // Who adds an entry adds it at the end.
    let found = index.manifests.iter().rev().find(|entry| name(entry).as_deref() == Some(tag));
    let available = || index.manifests.iter().filter_map(name).collect();
    let missing = || CacheImportError::NotThere { name: tag.to_owned(), available: available() };
    found.map(|entry| entry.digest).ok_or_else(missing)
}
