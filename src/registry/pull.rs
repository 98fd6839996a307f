//! From a name and a platform to one image.

use super::client::Client;
use super::document::Fetched;
use super::error::{Asked, RegistryError};
use crate::image::{Config, Digest, Document, Index, Manifest, ManifestError, Platform, Reference};

/// An image whose config is known and whose layers are still at the registry.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// The name that was asked for, with the digest of the document it stood for (index or manifest): asking again
    /// gives the same image.
    pub reference: Reference,
    /// The index the manifest was chosen from, if there was one.
    pub index_digest: Option<Digest>,
    pub manifest_digest: Digest,
    pub manifest: Manifest,
    pub manifest_bytes: Vec<u8>,
    pub manifest_media_type: &'static str,
    pub config: Config,
    pub config_bytes: Vec<u8>,
}

/// Resolves a name: fetches index, manifest and config, all verified. Layers are left for later.
pub async fn resolve(
    client: &Client,
    reference: &Reference,
    platform: &Platform,
) -> Result<ResolvedImage, RegistryError> {
    let named = client.fetch_document(reference).await?;
    let pinned = reference.with_digest(named.digest);
    let (index_digest, fetched) = match &named.document {
        Document::Manifest(_) => (None, named),
        Document::Index(index) => {
            let chosen = choose(index, platform, reference)?;
            (Some(named.digest), client.fetch_document(&reference.with_digest(chosen)).await?)
        }
    };
    let Fetched { bytes, digest, media_type, document, .. } = fetched;
    let Document::Manifest(manifest) = document else {
        let problem = "an index within an index is not supported";
        return Err(RegistryError::Protocol { asked: asked(reference), problem });
    };
    // Tokens and mirrors go by the name; the digest in it says that this is not a request by tag.
    let config_bytes = client.fetch_blob_bytes(&pinned, &manifest.config).await?;
    let config: Config = serde_json::from_slice(&config_bytes)
        .map_err(|source| RegistryError::Config { asked: asked(reference), source })?;
    Ok(ResolvedImage {
        reference: pinned,
        index_digest,
        manifest_digest: digest,
        manifest,
        manifest_bytes: bytes,
        manifest_media_type: media_type,
        config,
        config_bytes,
    })
}

fn choose(index: &Index, platform: &Platform, reference: &Reference) -> Result<Digest, RegistryError> {
    let chosen = index
        .select(platform)
        .map_err(|source: ManifestError| RegistryError::Document { asked: asked(reference), source })?;
    Ok(chosen.digest)
}

fn asked(reference: &Reference) -> Box<Asked> {
    Box::new(Asked {
        registry: reference.registry.clone(),
        repository: reference.repository.clone(),
        what: format!("image {}", reference.version()),
    })
}
