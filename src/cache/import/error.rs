//! Why a cache cannot be used. A build goes on without it.

use crate::image::ManifestError;
use crate::registry::RegistryError;
use crate::store::LayoutError;

#[derive(Debug, thiserror::Error)]
pub enum CacheImportError {
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("{0} is neither a cache nor an image with a cache in it")]
    NoCache(String),
    #[error("{name} is not in the layout; {}", there_is(.available))]
    NotThere { name: String, available: Vec<String> },
    #[error("{name} is a cache of another version: {media_type}")]
    Version { name: String, media_type: String },
    #[error("{name}: {source}")]
    Manifest { name: String, source: ManifestError },
    #[error("{name}: not the document of a cache: {source}")]
    Document { name: String, source: serde_json::Error },
    /// The config of an image, or the cache in it.
    #[error("{name}: the image's cache cannot be read: {problem}")]
    Inline { name: String, problem: String },
}

impl CacheImportError {
    /// What would help.
    pub fn hint(&self) -> Option<String> {
        match self {
            // The first build of all has none to find, and that is fine.
            Self::Registry(RegistryError::NotFound { .. }) => None,
            Self::Registry(error) => error.hint(),
            Self::NoCache(_) => Some(
                "--cache-to type=registry writes a cache, type=inline one into the image that is pushed"
                    .to_owned(),
            ),
            Self::Layout(_)
            | Self::NotThere { .. }
            | Self::Version { .. }
            | Self::Manifest { .. }
            | Self::Document { .. }
            | Self::Inline { .. } => None,
        }
    }
}

fn there_is(available: &[String]) -> String {
    if available.is_empty() {
        "it names nothing".to_owned()
    } else {
        format!("there is {}", available.join(", "))
    }
}
