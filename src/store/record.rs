//! The kinds of records: what each says, and what it leads to.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::layout::LayoutDirectory;
use super::snapshots::SnapshotId;
use crate::image::{Annotations, Descriptor, DiffId, Digest, LayerSource, Timestamp};

/// A kind of record.
pub trait Record: Serialize + DeserializeOwned {
    /// The directory below `records/`.
    const KIND: &'static str;
    /// Whether who reads or writes one pins it, and marks it as used. Not where something else stands for it.
    const PINNED: bool = true;

    /// The snapshot that it leads to, pinned with it.
    fn snapshot(&self) -> Option<&SnapshotId> {
        None
    }
}

/// The result of a step, by its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepRecord {
    pub snapshot: SnapshotId,
    pub created: Timestamp,
    /// What the step is called, for people.
    #[serde(default)]
    pub name: String,
    /// The snapshot that the step built upon, if a step made that one, too.
    #[serde(default)]
    pub parent: Option<SnapshotId>,
    /// The layers that it built upon: the result fits nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// What was read of each input, where content decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<Option<Digest>>,
    /// What was done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub definition: String,
    /// The keys of the inputs, where they have any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Option<Digest>>,
}

/// That a step, known by the definitions of what it reads, is the same as one that is known by content; by its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRecord {
    pub to: Digest,
    /// What each input was when that was found out: it is true of nothing else.
    pub tops: Vec<Option<String>>,
}

/// That steps of an operation are known, by the operation's digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// Whether caches from elsewhere know of it. Their records here do not tell what they are about.
    pub imported: bool,
}

/// What came from an address last, by what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownloadRecord {
    /// The digest of the bytes.
    pub body: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// As the server wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// Whether the server can be asked by that time: it was not of just now when the file came.
    #[serde(default)]
    pub may_be_asked_by_time: bool,
    /// The key of the step whose result is the file.
    pub step: Digest,
}

/// What a content consists of, packed; by its record digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListingRecord {
    pub entries: String,
}

/// A step that a cache from elsewhere knows, by its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportRecord {
    /// None where that cache has just passed on that there is such a step.
    pub result: Option<ImportResult>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<Option<Digest>>,
}

/// Layers that may not be here yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportResult {
    /// Lowest first.
    pub layers: Vec<DiffId>,
    /// Whether these are all; otherwise they lie on what the step was built upon.
    pub whole: bool,
    /// What the step was built upon when that was found out: the result fits nothing else. None if that was not at hand.
    pub on: Option<String>,
    pub created: Option<Timestamp>,
}

impl DownloadRecord {
    /// The time by which the server can tell whether the file has changed.
    pub fn last_modified_to_ask_with(&self) -> Option<String> {
        self.last_modified.clone().filter(|_| self.may_be_asked_by_time)
    }
}

impl ImportRecord {
    /// The layers of its own.
    pub fn layers(&self) -> &[DiffId] {
        self.result.as_ref().map_or(&[], |result| &result.layers)
    }
}

/// Where a layer can be had, by its diff id.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LayerRecord {
    pub snapshot: Option<SnapshotId>,
    /// What the snapshot's times were cut to when it was packed: the layer has nothing newer, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<i64>,
    /// The bytes of its tar, uncompressed; known once it was unpacked, packed or checked here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Compressed forms, in the store or in a registry.
    pub blobs: Vec<KnownBlob>,
}

/// A blob that is a layer, or is said to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KnownBlob {
    pub blob: Descriptor,
    /// Whether it has been unpacked or packed here. Otherwise it is what some image's manifest claims: anybody's word.
    pub verified: bool,
    /// Where else it can be had ([`LayerSource`]), the latest last.
    pub sources: Vec<String>,
    /// Repositories that it was pushed to, the latest last. They may have lost it since: nothing is fetched from there,
    /// but another repository of the same registry may get it from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pushed_to: Vec<String>,
}

/// How many repositories, and how many other places, are remembered of a blob.
const MOST_REPOSITORIES: usize = 8;

impl KnownBlob {
    /// Whether it is said to be somewhere else than in the store. A directory is looked into; a registry may have lost it.
    pub fn is_elsewhere(&self) -> bool {
        let sources = self.sources.iter().filter_map(|source| source.parse().ok());
        sources.into_iter().any(|source| match source {
            LayerSource::Registry(_) => true,
            LayerSource::Layout(path) => LayoutDirectory::open(&path).is_ok_and(|it| it.has(&self.blob)),
        })
    }
}

impl LayerRecord {
    /// Notes what an image or a cache says of the layer. The source, a [`LayerSource`], is none where the blob is in the
    /// store already.
    pub fn claim(&mut self, blob: &Descriptor, source: Option<String>) {
        match self.blobs.iter_mut().find(|known| known.blob.digest == blob.digest) {
            Some(known) => {
                known.sources.retain(|other| Some(other) != source.as_ref());
                known.sources.extend(source);
                let excess = known.sources.len().saturating_sub(MOST_REPOSITORIES);
                known.sources.drain(..excess);
            }
            None => self.blobs.push(KnownBlob {
                blob: blob.clone(),
                verified: false,
                sources: source.into_iter().collect(),
                pushed_to: Vec::new(),
            }),
        }
    }

    /// Whether [`Self::claim`] would say nothing new: then nobody has to write the record again.
    pub fn has_claim(&self, blob: &Digest, source: Option<&str>) -> bool {
        let known = self.blobs.iter().find(|known| known.blob.digest == *blob);
        known.is_some_and(|known| {
            source.is_none_or(|source| known.sources.iter().any(|other| other == source))
        })
    }

    /// Notes that a blob has proved to be the layer.
    pub fn confirm(&mut self, blob: &Descriptor) {
        match self.blobs.iter_mut().find(|known| known.blob.digest == blob.digest) {
            Some(known) => known.verified = true,
            None => self.blobs.push(KnownBlob {
                blob: blob.clone(),
                verified: true,
                sources: Vec::new(),
                pushed_to: Vec::new(),
            }),
        }
    }

    /// Notes that a repository has got a blob.
    pub fn pushed(&mut self, blob: &Digest, repository: &str) {
        if let Some(known) = self.blobs.iter_mut().find(|known| known.blob.digest == *blob) {
            known.pushed_to.retain(|other| other != repository);
            known.pushed_to.push(repository.to_owned());
            let excess = known.pushed_to.len().saturating_sub(MOST_REPOSITORIES);
            known.pushed_to.drain(..excess);
        }
    }

    /// Where a blob was pushed to, the latest last.
    pub fn pushed_to(&self, blob: &Digest) -> &[String] {
        let known = self.blobs.iter().find(|known| known.blob.digest == *blob);
        known.map_or(&[], |known| &known.pushed_to)
    }

    pub fn verified(&self) -> impl Iterator<Item = &KnownBlob> {
        self.blobs.iter().filter(|known| known.verified)
    }

    pub fn claimed(&self) -> impl Iterator<Item = &KnownBlob> {
        self.blobs.iter().filter(|known| !known.verified)
    }
}

/// What a snapshot is as a layer, by its id, and, if its times are cut, a dot and the latest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SealRecord {
    pub diff_id: DiffId,
    /// Whether packing it has shown that; otherwise it was unpacked from a tar, which may be written in another way.
    #[serde(default)]
    pub packed: bool,
}

/// What is known of an image, by its id; its config is a blob.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ImageRecord {
    pub manifest: Option<Descriptor>,
    /// Names with a digest under which registries have it: `registry/repository@sha256:...`, each repository once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
    /// Of the manifests that are made for it here.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
}

impl ImageRecord {
    /// The digest under which a repository has the image.
    pub fn place_in(&self, repository: &str) -> Option<Digest> {
        let places = self.places.iter().filter_map(|place| place.split_once('@'));
        places.rev().find(|(name, _)| *name == repository)?.1.parse().ok()
    }

    /// Notes that a registry has the image; what the repository had of it before is forgotten.
    pub fn found_at(&mut self, repository: &str, digest: &Digest) {
        self.places.retain(|place| place.split_once('@').is_none_or(|(name, _)| name != repository));
        self.places.push(format!("{repository}@{digest}"));
    }
}

/// Layers that were made one, by the digest of their snapshots' names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MergedRecord {
    pub snapshot: SnapshotId,
}

/// What a COPY has made last, by what it was like: files that have not changed since are shared with the next one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CopyRecord {
    pub snapshot: SnapshotId,
}

/// That a blob is whole, by its digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BlobRecord {
    pub size: u64,
}

/// How much of the disk a snapshot takes, by its id: measured when somebody first asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SizeRecord {
    pub bytes: u64,
}

impl SealRecord {
    /// The snapshot that a key means, and what its times were cut to.
    pub(super) fn parse_key(key: &str) -> (SnapshotId, Option<i64>) {
        let (snapshot, latest) = match key.split_once('.') {
            Some((snapshot, latest)) => (snapshot, latest.parse().ok()),
            None => (key, None),
        };
        (SnapshotId::named(snapshot.to_owned()), latest)
    }
}

impl StepRecord {
    /// Of something that nothing more is known of.
    #[cfg(test)]
    pub(super) fn of(snapshot: SnapshotId, name: &str) -> Self {
        Self {
            snapshot,
            created: Timestamp::now(),
            name: name.to_owned(),
            parent: None,
            on: None,
            contents: Vec::new(),
            definition: String::new(),
            inputs: Vec::new(),
        }
    }
}

impl Record for StepRecord {
    const KIND: &'static str = "steps";

    fn snapshot(&self) -> Option<&SnapshotId> {
        Some(&self.snapshot)
    }
}
impl Record for LinkRecord {
    const KIND: &'static str = "links";
}
impl Record for OperationRecord {
    const KIND: &'static str = "operations";
    const PINNED: bool = false;
}
impl Record for DownloadRecord {
    const KIND: &'static str = "downloads";
}
impl Record for ListingRecord {
    const KIND: &'static str = "listings";
    const PINNED: bool = false;
}
impl Record for ImportRecord {
    const KIND: &'static str = "imports";
}
impl Record for LayerRecord {
    const KIND: &'static str = "layers";

    fn snapshot(&self) -> Option<&SnapshotId> {
        self.snapshot.as_ref()
    }
}
impl Record for SealRecord {
    const KIND: &'static str = "seals";
    const PINNED: bool = false;
}
impl Record for SizeRecord {
    const KIND: &'static str = "sizes";
    const PINNED: bool = false;
}
impl Record for ImageRecord {
    const KIND: &'static str = "images";
}
impl Record for MergedRecord {
    const KIND: &'static str = "merged";

    fn snapshot(&self) -> Option<&SnapshotId> {
        Some(&self.snapshot)
    }
}
impl Record for CopyRecord {
    const KIND: &'static str = "copies";

    fn snapshot(&self) -> Option<&SnapshotId> {
        Some(&self.snapshot)
    }
}
impl Record for BlobRecord {
    const KIND: &'static str = "blobs";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::media_type;

    #[test]
    fn claims_are_noted_once_and_bounded() {
        let blob = Descriptor::new(media_type::OCI_LAYER, Digest::of(b"x"), 1);
        let mut record = LayerRecord::default();
        assert!(!record.has_claim(&blob.digest, None));
        for number in [0, 1, 0, 2, 3, 4, 5, 6, 7, 8] {
            record.claim(&blob, Some(format!("reg.io/app{number}:1")));
        }
        let sources = &record.blobs[0].sources;
        assert_eq!((sources.len(), sources.last().map(String::as_str)), (8, Some("reg.io/app8:1")));
        assert!(
            record.has_claim(&blob.digest, Some("reg.io/app8:1")) && record.has_claim(&blob.digest, None)
        );
        assert!(!record.has_claim(&blob.digest, Some("reg.io/app1:1")));
    }

    #[test]
    fn records_of_earlier_versions_are_read() {
        let text = format!(
            r#"{{"snapshot":null,"blobs":[{{"blob":{{"mediaType":"{}","digest":"{}","size":1}},"verified":false,"sources":["reg.io/app:1"]}}]}}"#,
            media_type::OCI_LAYER,
            Digest::of(b"x")
        );
        let record: LayerRecord = serde_json::from_str(&text).unwrap();
        assert!(record.blobs[0].is_elsewhere());
    }
}
