//! An image as it arrived somewhere, read with code that shares nothing with the product but the document types.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rbuild::image::{Config, DiffId, Digest, Document, Flaw, Index, Manifest, media_type, validate};

use super::Registry;

pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) manifest: Manifest,
    pub(crate) manifest_digest: Digest,
    pub(crate) config: Config,
    config_bytes: Vec<u8>,
    /// The uncompressed tar of each layer.
    layers: Vec<Vec<u8>>,
}

/// A file of an image's root file system.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// Major and minor, of what is a device.
    pub(crate) device: Option<(u32, u32)>,
    /// In seconds since 1970.
    pub(crate) modified: u64,
    /// By name, as PAX records have them.
    pub(crate) attributes: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Kind {
    File { content: Vec<u8> },
    Directory,
    Symlink { target: String },
    Hardlink { to: String },
    Other(u8),
}

impl Image {
    /// Reads an image back from a registry; `name` is `app:1`.
    pub(crate) fn fetch(registry: &Registry, name: &str) -> Self {
        let (repository, tag) = name.rsplit_once(':').unwrap();
        let manifest = registry.get(&format!("/v2/{repository}/manifests/{tag}"));
        Self::read(manifest, |digest| registry.get(&format!("/v2/{repository}/blobs/{digest}")))
    }

    /// Reads the first image of an OCI layout directory.
    pub(crate) fn open(layout: &Path) -> Self {
        let index: Index = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        let blob = |digest: &Digest| fs::read(layout.join("blobs/sha256").join(digest.hex())).unwrap();
        Self::read(blob(&index.manifests[0].digest), blob)
    }

    /// Everything that is wrong with it; what a blob claims to be is checked while it is read.
    pub(crate) fn flaws(&self) -> Vec<Flaw> {
        validate(&self.manifest, &self.config_bytes)
    }

    #[track_caller]
    pub(crate) fn sound(self) -> Self {
        assert_eq!(self.flaws(), [], "the image contradicts itself");
        self
    }

    /// The config as it is written, with all that the document types may not know.
    pub(crate) fn config_json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.config_bytes).unwrap()
    }

    /// The root file system that all layers make together.
    pub(crate) fn files(&self) -> BTreeMap<String, Entry> {
        let mut files = BTreeMap::new();
        self.layers.iter().for_each(|layer| apply(layer, &mut files));
        files
    }

    /// Whether a text stands anywhere in the layers, headers included.
    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.layers.iter().any(|layer| layer.windows(text.len()).any(|window| window == text.as_bytes()))
    }

    /// The entries of one layer as the tar has them, whiteouts included.
    pub(crate) fn layer(&self, index: usize) -> Vec<(String, Entry)> {
        entries(&self.layers[index])
    }

    /// One line for each file, for comparing whole trees: `file 0644 0:0 etc/passwd 9 bytes sha256:...`.
    pub(crate) fn listing(&self) -> Vec<String> {
        self.files().iter().map(|(path, entry)| entry.describe(path)).collect()
    }

    /// The text of a file.
    #[track_caller]
    pub(crate) fn text(&self, path: &str) -> String {
        match self.files().get(path).map(|entry| entry.kind.clone()) {
            Some(Kind::File { content }) => String::from_utf8(content).unwrap(),
            other => panic!("{path} is no file but {other:?}; there is\n{}", self.listing().join("\n")),
        }
    }

    fn read(document: Vec<u8>, blob: impl Fn(&Digest) -> Vec<u8>) -> Self {
        let verified = |digest: &Digest, size: u64| {
            let bytes = blob(digest);
            assert_eq!(
                (Digest::of(&bytes), bytes.len() as u64),
                (*digest, size),
                "a blob is not what its descriptor says"
            );
            bytes
        };
        let document_digest = Digest::of(&document);
        match Document::parse(&document).unwrap() {
            Document::Index(index) => {
                let first = &index.manifests[0];
                Self::read(verified(&first.digest, first.size), blob)
            }
            Document::Manifest(manifest) => {
                let config_bytes = verified(&manifest.config.digest, manifest.config.size);
                let config: Config = serde_json::from_slice(&config_bytes).unwrap();
                let packed = manifest.layers.iter();
                let layers: Vec<_> =
                    packed.map(|it| unpack(&it.media_type, verified(&it.digest, it.size))).collect();
                let diff_ids: Vec<_> = layers.iter().map(|layer| DiffId(Digest::of(layer))).collect();
                assert_eq!(
                    diff_ids, config.rootfs.diff_ids,
                    "the config's diff ids are not those of the layers"
                );
                Self { manifest, manifest_digest: document_digest, config, config_bytes, layers }
            }
        }
    }
}

impl Entry {
    pub(crate) fn describe(&self, path: &str) -> String {
        let Self { mode, uid, gid, .. } = self;
        let (kind, rest) = match &self.kind {
            Kind::File { content } => ("file", format!(" {} bytes {}", content.len(), Digest::of(content))),
            Kind::Directory => ("directory", String::new()),
            Kind::Symlink { target } => ("symlink", format!(" -> {target}")),
            Kind::Hardlink { to } => ("hardlink", format!(" = {to}")),
            Kind::Other(kind) => match self.device {
                Some((major, minor)) => ("device", format!(" type {} {major}:{minor}", char::from(*kind))),
                None => ("other", format!(" type {}", char::from(*kind))),
            },
        };
        format!("{kind} {mode:04o} {uid}:{gid} {path}{rest}")
    }
}

fn unpack(kind: &str, bytes: Vec<u8>) -> Vec<u8> {
    if matches!(kind, media_type::OCI_LAYER | media_type::DOCKER_LAYER) {
        return bytes;
    }
    if kind == media_type::OCI_LAYER_ZSTD {
        return zstd::decode_all(&bytes[..]).unwrap();
    }
    assert!(kind.ends_with("gzip"), "layers of type {kind} are not for this reader");
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut tar).unwrap();
    tar
}

/// Whiteouts hide what lower layers have, never what their own layer brings, so they are applied first.
fn apply(layer: &[u8], files: &mut BTreeMap<String, Entry>) {
    let entries = entries(layer);
    for (path, _) in &entries {
        let (parent, name) = path.rsplit_once('/').map_or(("", &path[..]), |(parent, name)| (parent, name));
        let below =
            |directory: &str| if directory.is_empty() { String::new() } else { format!("{directory}/") };
        if name == ".wh..wh..opq" {
            files.retain(|file, _| !file.starts_with(&below(parent)));
        } else if let Some(hidden) = name.strip_prefix(".wh.") {
            remove(files, &format!("{}{hidden}", below(parent)));
        }
    }
    for (path, entry) in entries {
        if path.rsplit('/').next().is_some_and(|name| name.starts_with(".wh.")) {
            continue;
        }
        if entry.kind != Kind::Directory {
            remove(files, &path);
        }
        files.insert(path, entry);
    }
}

/// Takes a path away with all that is in it. What it was stays under the other names that it has.
fn remove(files: &mut BTreeMap<String, Entry>, path: &str) {
    let inside = format!("{path}/");
    let names = files.keys().filter(|file| *file == path || file.starts_with(&inside));
    for name in names.cloned().collect::<Vec<_>>() {
        let Some(entry) = files.remove(&name) else { continue };
        let mut heir: Option<String> = None;
        for (file, other) in files.iter_mut() {
            if !matches!(&other.kind, Kind::Hardlink { to } if *to == name) {
                continue;
            }
            match &heir {
                Some(heir) => other.kind = Kind::Hardlink { to: heir.clone() },
                None => {
                    *other = entry.clone();
                    heir = Some(file.clone());
                }
            }
        }
    }
}

/// The entries of a tar, in its order.
pub(crate) fn entries(layer: &[u8]) -> Vec<(String, Entry)> {
    let mut archive = tar::Archive::new(layer);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = plain(&entry.path().unwrap());
        let link = entry.link_name().unwrap().map(|link| link.into_owned());
        let kind = match entry.header().entry_type() {
            tar::EntryType::Directory => Kind::Directory,
            tar::EntryType::Symlink => Kind::Symlink { target: link.unwrap().to_str().unwrap().to_owned() },
            tar::EntryType::Link => Kind::Hardlink { to: plain(&link.unwrap()) },
            tar::EntryType::Regular => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                Kind::File { content }
            }
            other => Kind::Other(other.as_byte()),
        };
        let attributes = entry.pax_extensions().unwrap().into_iter().flatten().filter_map(|record| {
            // The crate takes an end of line in a value for the end of the record.
            let record = record.ok()?;
            let name = record.key().ok()?.strip_prefix("SCHILY.xattr.")?;
            Some((name.to_owned(), record.value_bytes().to_vec()))
        });
        let attributes = attributes.collect();
        let header = entry.header();
        let (mode, uid, gid) =
            (header.mode().unwrap() & 0o7777, header.uid().unwrap(), header.gid().unwrap());
        let device = match kind {
            Kind::Other(b'3' | b'4') => header.device_major().unwrap().zip(header.device_minor().unwrap()),
            _ => None,
        };
        let modified = header.mtime().unwrap();
        (path, Entry { kind, mode, uid, gid, device, modified, attributes })
    });
    entries.filter(|(path, _)| !path.is_empty()).collect()
}

/// `./a/b/` and `/a/b` are `a/b`.
fn plain(path: &Path) -> String {
    let parts = path.components().filter(|part| matches!(part, std::path::Component::Normal(_)));
    parts.collect::<PathBuf>().to_str().unwrap().to_owned()
}
