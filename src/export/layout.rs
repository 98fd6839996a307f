//! An OCI image layout: what lies in a directory or an archive of images, before it is written anywhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

use futures_util::future::try_join_all;
use serde::Serialize;

use super::documents::Documents;
use super::{ExportError, Image};
use crate::image::{Descriptor, Digest, Form, Index, Reference, annotation, media_type};
use crate::layer::Layers;
use crate::store::Store;

/// An image and the names that it is to have.
#[derive(Debug, Clone)]
pub struct Named {
    pub image: Image,
    pub names: Vec<Reference>,
}

/// What `oci-layout` says.
pub(super) const LAYOUT_VERSION: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// How images are described in a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// Whether docker's `manifest.json` is there, too.
    pub for_docker: bool,
    /// Whose media types those images have that came with no manifest.
    pub form: Form,
}

/// Every file of a layout, by its path.
#[derive(Debug)]
pub struct Layout {
    /// `oci-layout`, `index.json` and, for docker, `manifest.json`.
    pub documents: Vec<(&'static str, Vec<u8>)>,
    pub blobs: BTreeMap<Digest, Blob>,
    /// What `index.json` lists.
    pub(super) entries: Vec<Descriptor>,
}

#[derive(Debug)]
pub enum Blob {
    Bytes(Vec<u8>),
    /// One of the store's, of this size.
    Stored(u64),
}

/// One entry of docker's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Layout {
    /// Puts images into a layout. Blobs that are still in a registry are downloaded first: once writing begins, nothing
    /// but the disk can fail.
    pub async fn of(images: &[Named], how: Description, layers: &Layers) -> Result<Self, ExportError> {
        let (mut blobs, mut entries, mut docker) = (BTreeMap::new(), Vec::new(), Vec::new());
        for Named { image, names } in images {
            let documents = Documents::of(image, how.form)?;
            let pairs = image.layers.iter().zip(&documents.layers);
            try_join_all(pairs.map(|(layer, blob)| layers.ensure_blob(blob, &layer.sources))).await?;
            docker.push(DockerImage {
                config: path(&documents.config.digest),
                repo_tags: (!names.is_empty()).then(|| names.iter().map(Reference::familiar).collect()),
                layers: documents.layers.iter().map(|layer| path(&layer.digest)).collect(),
            });
            blobs.extend(documents.layers.iter().map(|layer| (layer.digest, Blob::Stored(layer.size))));
            blobs.insert(documents.config.digest, Blob::Bytes(image.config.clone()));
            entries.extend(entries_of(&documents.manifest, names));
            blobs.insert(documents.manifest.digest, Blob::Bytes(documents.manifest_bytes));
        }
        let index = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            manifests: entries.clone(),
            annotations: BTreeMap::new(),
        };
        let mut documents = vec![("oci-layout", LAYOUT_VERSION.to_vec()), ("index.json", json(&index))];
        if how.for_docker {
            documents.push(("manifest.json", json(&docker)));
        }
        Ok(Self { documents, blobs, entries })
    }
}

/// Where a blob lies in a layout.
pub(super) fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// One entry for each name, as docker and BuildKit write them; one without a name for an image that has none.
fn entries_of(manifest: &Descriptor, names: &[Reference]) -> Vec<Descriptor> {
    let named = |name: &Reference| {
        let mut entry = manifest.clone();
        entry.annotations.insert(annotation::FULL_NAME.to_owned(), name.to_string());
        entry.annotations.extend(name.tag.clone().map(|tag| (annotation::REF_NAME.to_owned(), tag)));
        entry
    };
    if names.is_empty() { vec![manifest.clone()] } else { names.iter().map(named).collect() }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("the documents have only string keys")
}

impl Blob {
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stored(size) => *size,
        }
    }

    pub(super) fn open<'a>(&'a self, store: &Store, digest: &Digest) -> Result<Content<'a>, ExportError> {
        Ok(match self {
            Self::Bytes(bytes) => Content::Bytes(bytes),
            Self::Stored(_) => Content::Stored(store.blobs().open(digest)?),
        })
    }
}

/// The content of a blob, to be read.
pub(super) enum Content<'a> {
    Bytes(&'a [u8]),
    Stored(File),
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Bytes(bytes) => bytes.read(buffer),
            Self::Stored(file) => file.read(buffer),
        }
    }
}
