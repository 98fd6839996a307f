//! Caches from where others have put them.
//!
//! Flow: a name leads to a document. A manifest whose config is a cache is one; so is an index that lists a cache among
//! blobs, which is how BuildKit wrote them first. Images have theirs, if any, in their own configs (`inline`), for each
//! platform. Nothing is fetched but documents: layers stay where they are, and remember where that is.
//!
//! Invariants: everything is bounded, and checked against its digest. What a cache says may be wrong all the same.

mod error;
mod inline;
mod place;

pub use error::CacheImportError;

use std::path::PathBuf;

use futures_util::future::join_all;

use super::document::{ANY_VERSION, CacheConfig, MEDIA_TYPE};
use super::imported::Imported;
use crate::image::{Descriptor, Digest, Document, Index, Reference};
use crate::registry::Client;
use place::Place;

/// What `--cache-from` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFrom {
    pub source: CacheSource,
    /// Whether the registry need not be trusted.
    pub insecure: bool,
}

/// A cache that is to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheSource {
    /// In a registry: a cache, or an image with a cache in it.
    Registry(Reference),
    /// In an OCI layout.
    Local { layout: PathBuf, which: Which },
}

/// One of the caches of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Tag(String),
    Digest(Digest),
}

/// The largest cache that is read. It takes some hundred bytes for each step.
const MAX_CONFIG: u64 = 256 << 20;
/// More than there are platforms.
const MOST_IMAGES: usize = 100;
/// How many images are looked into at the same time.
const AT_ONCE: usize = 6;

/// Reads a cache.
pub async fn import(client: &Client, from: &CacheSource) -> Result<Imported, CacheImportError> {
    let (place, document) = Place::find(client, from).await?;
    let reading = Reading { name: from.to_string(), place };
    reading.document(document).await
}

struct Reading<'a> {
    /// What messages call the cache.
    name: String,
    place: Place<'a>,
}

impl Reading<'_> {
    async fn document(&self, document: Document) -> Result<Imported, CacheImportError> {
        match document {
            Document::Manifest(manifest) if is_cache(&manifest.config) => {
                self.config(&manifest.config, &manifest.layers).await
            }
            Document::Manifest(manifest) => {
                self.inline(&manifest).await?.ok_or_else(|| CacheImportError::NoCache(self.name.clone()))
            }
            Document::Index(index) => match index.manifests.iter().find(|entry| is_cache(entry)) {
                Some(config) => self.config(config, &index.manifests).await,
                None => self.images(&index).await,
            },
        }
    }

    /// Reads the document of a cache, whose blobs are described beside it.
    async fn config(&self, config: &Descriptor, blobs: &[Descriptor]) -> Result<Imported, CacheImportError> {
        if config.media_type != MEDIA_TYPE {
            let media_type = config.media_type.clone();
            return Err(CacheImportError::Version { name: self.name.clone(), media_type });
        }
        let bytes = self.place.blob(config, MAX_CONFIG).await?;
        let config = CacheConfig::parse(&bytes)
            .map_err(|source| CacheImportError::Document { name: self.name.clone(), source })?;
        Ok(Imported::of(&config, blobs, &self.place.source()))
    }

    /// The caches of all images of an index. One that is damaged does not spoil the others.
    async fn images(&self, index: &Index) -> Result<Imported, CacheImportError> {
        let mut found: Option<Imported> = None;
        let mut failure = None;
        let images: Vec<&Descriptor> =
            index.manifests.iter().filter(|entry| is_image(entry)).take(MOST_IMAGES).collect();
        for some in images.chunks(AT_ONCE) {
            for image in join_all(some.iter().map(|entry| self.image(entry))).await {
                match (image, &mut found) {
                    (Ok(Some(image)), Some(found)) => found.add(image),
                    (Ok(Some(image)), None) => found = Some(image),
                    (Ok(None), _) => {}
                    (Err(error), _) => failure = failure.or(Some(error)),
                }
            }
        }
        match (found, failure) {
            (Some(found), _) => Ok(found),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(CacheImportError::NoCache(self.name.clone())),
        }
    }

    async fn image(&self, entry: &Descriptor) -> Result<Option<Imported>, CacheImportError> {
        match self.place.document(&entry.digest).await? {
            Document::Manifest(manifest) => self.inline(&manifest).await,
            Document::Index(_) => Ok(None),
        }
    }
}

/// Attestations stand among images, for a platform that is none.
fn is_image(entry: &Descriptor) -> bool {
    entry.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
}

/// Of whatever version.
fn is_cache(config: &Descriptor) -> bool {
    config.media_type.starts_with(ANY_VERSION)
}

impl std::fmt::Display for CacheSource {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(out),
            Self::Local { layout, which: Which::Tag(tag) } => write!(out, "{}:{tag}", layout.display()),
            Self::Local { layout, which: Which::Digest(digest) } => {
                write!(out, "{}@{digest}", layout.display())
            }
        }
    }
}

#[cfg(test)]
mod tests;
