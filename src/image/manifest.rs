//! Manifests and indexes, in docker's and in OCI's media types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::platform::Platform;

/// The largest manifest, index or config that is read from elsewhere.
pub const MAX_DOCUMENT: u64 = 16 << 20;

pub mod media_type {
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Layers that only their publisher hands out, from addresses that the manifest lists.
    pub const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
    pub const DOCKER_FOREIGN_GZIP: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    pub const OCI_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    pub const OCI_FOREIGN_GZIP: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    pub const OCI_FOREIGN_ZSTD: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";
}

/// Annotations: of an index's entries, the names of images; of layers, what else is known of them.
pub mod annotation {
    /// The digest of a layer's tar, as containerd writes it.
    pub const DIFF_ID: &str = "containerd.io/uncompressed";
    /// When a layer was made, as BuildKit writes it.
    pub const CREATED: &str = "buildkit/createdat";
    /// The whole name, as docker and containerd write it.
    pub const FULL_NAME: &str = "io.containerd.image.name";
    /// The tag alone, or whatever a tool takes for the name.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
}

/// How a layer blob is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Whose media types a manifest is written in; they are never mixed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    #[default]
    Oci,
    Docker,
}

/// A way to compress, and how hard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Codec {
    pub compression: Compression,
    /// The compression's own default if none.
    pub level: Option<u8>,
}

/// What the layers of an image are to be packed with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packing {
    pub codec: Codec,
    /// Whether layers that there are blobs of already are compressed again where those have another compression.
    pub force: bool,
}

/// What a manifest says about one of its blobs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What is noted of an image beside its config: it changes what a registry has, not what the image is.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Annotations {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub manifest: BTreeMap<String, String>,
    /// Of the entry that leads to the manifest, in the index of a layout.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub descriptor: BTreeMap<String, String>,
}

impl Annotations {
    pub fn is_empty(&self) -> bool {
        self.manifest.is_empty() && self.descriptor.is_empty()
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a registry answers when asked for an image.
#[derive(Clone, PartialEq, Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, never in a list")]
pub enum Document {
    Manifest(Manifest),
    Index(Index),
}

#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("not an image manifest: {0}")]
    Json(#[from] serde_json::Error),
    #[error("media type {0:?} is not one of an image (schema 1 manifests are not supported)")]
    MediaType(String),
    #[error("neither a manifest nor an index: it has no `layers` and no `manifests`")]
    Shape,
    #[error("no match for platform {wanted}; there is {}", .available.join(", "))]
    NoPlatform { wanted: String, available: Vec<String> },
}

impl Document {
    /// Parses a document by what it says of itself, then by its shape; registries lie about content types.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
        }
        let shape: Shape = serde_json::from_slice(bytes)?;
        match shape.media_type.as_deref() {
            Some(media_type::OCI_MANIFEST | media_type::DOCKER_MANIFEST) => {
                Ok(Self::Manifest(serde_json::from_slice(bytes)?))
            }
            Some(media_type::OCI_INDEX | media_type::DOCKER_LIST) => {
                Ok(Self::Index(serde_json::from_slice(bytes)?))
            }
            Some(other) => Err(ManifestError::MediaType(other.to_owned())),
            None if shape.manifests.is_some() => Ok(Self::Index(serde_json::from_slice(bytes)?)),
            None if shape.layers.is_some() => Ok(Self::Manifest(serde_json::from_slice(bytes)?)),
            None => Err(ManifestError::Shape),
        }
    }
}

impl Index {
    /// The manifest that serves a platform: the exact one, else none.
    pub fn select(&self, wanted: &Platform) -> Result<&Descriptor, ManifestError> {
        let platform_of =
            |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|have| have.satisfies(wanted));
        if let Some(entry) = self.manifests.iter().find(platform_of) {
            return Ok(entry);
        }
        // A single entry without a platform is an image that never said what it runs on.
        match &self.manifests[..] {
            [only] if only.platform.is_none() => Ok(only),
            _ => Err(ManifestError::NoPlatform { wanted: wanted.to_string(), available: self.platforms() }),
        }
    }

    fn platforms(&self) -> Vec<String> {
        let known = self.manifests.iter().filter_map(|entry| entry.platform.as_ref());
        known.filter(|platform| platform.os != "unknown").map(ToString::to_string).collect()
    }
}

impl Manifest {
    /// An OCI manifest over a config and layers.
    pub fn oci(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self::new(Form::Oci, config, layers)
    }

    pub fn new(form: Form, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        let media_type = Some(form.manifest().to_owned());
        Self { schema_version: 2, media_type, config, layers, annotations: BTreeMap::new() }
    }

    /// Indented by two spaces, as BuildKit writes it.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("a manifest has only string keys")
    }
}

impl Descriptor {
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            urls: Vec::new(),
        }
    }

    /// How this layer is compressed; none where the media type is not a layer's.
    pub fn compression(&self) -> Option<Compression> {
        match self.media_type.as_str() {
            media_type::OCI_LAYER
            | media_type::DOCKER_LAYER
            | media_type::OCI_FOREIGN
            | media_type::DOCKER_FOREIGN => Some(Compression::None),
            media_type::OCI_LAYER_GZIP
            | media_type::DOCKER_LAYER_GZIP
            | media_type::OCI_FOREIGN_GZIP
            | media_type::DOCKER_FOREIGN_GZIP => Some(Compression::Gzip),
            media_type::OCI_LAYER_ZSTD | media_type::OCI_FOREIGN_ZSTD => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// Whether this is a layer that is fetched from its publisher and pushed to nobody.
    pub fn is_foreign(&self) -> bool {
        matches!(
            self.media_type.as_str(),
            media_type::DOCKER_FOREIGN
                | media_type::DOCKER_FOREIGN_GZIP
                | media_type::OCI_FOREIGN
                | media_type::OCI_FOREIGN_GZIP
                | media_type::OCI_FOREIGN_ZSTD
        )
    }
}

impl Form {
    pub fn manifest(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_MANIFEST,
            Self::Docker => media_type::DOCKER_MANIFEST,
        }
    }

    pub fn index(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_INDEX,
            Self::Docker => media_type::DOCKER_LIST,
        }
    }

    pub fn config(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_CONFIG,
            Self::Docker => media_type::DOCKER_CONFIG,
        }
    }

    /// Docker has no type of its own for zstd.
    pub fn layer(self, compression: Compression) -> &'static str {
        match (self, compression) {
            (Self::Docker, Compression::None) => media_type::DOCKER_LAYER,
            (Self::Docker, Compression::Gzip) => media_type::DOCKER_LAYER_GZIP,
            (Self::Docker, Compression::Zstd) | (Self::Oci, _) => compression.layer_media_type(),
        }
    }
}

impl Compression {
    /// The highest level; the lowest is 0.
    pub fn highest_level(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 9,
            Self::Zstd => 22,
        }
    }

    pub fn layer_media_type(self) -> &'static str {
        match self {
            Self::None => media_type::OCI_LAYER,
            Self::Gzip => media_type::OCI_LAYER_GZIP,
            Self::Zstd => media_type::OCI_LAYER_ZSTD,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_decides_when_the_media_type_is_missing() {
        let index = br#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(matches!(Document::parse(index), Ok(Document::Index(_))));
        assert!(matches!(Document::parse(b"{}"), Err(ManifestError::Shape)));
        let old =
            br#"{"schemaVersion":1,"mediaType":"application/vnd.docker.distribution.manifest.v1+json"}"#;
        assert!(matches!(Document::parse(old), Err(ManifestError::MediaType(_))));
    }

    #[test]
    fn an_index_lists_what_it_has_when_a_platform_is_missing() {
        let mut entry = Descriptor::new(media_type::OCI_MANIFEST, Digest::of(b""), 1);
        entry.platform = Some(Platform::new("linux", "arm64", None));
        let index = Index {
            schema_version: 2,
            media_type: None,
            manifests: vec![entry],
            annotations: BTreeMap::new(),
        };
        assert!(index.select(&Platform::new("linux", "arm64", Some("v8"))).is_ok());
        let error = index.select(&Platform::new("linux", "s390x", None)).unwrap_err();
        assert_eq!(error.to_string(), "no match for platform linux/s390x; there is linux/arm64");
    }
}
