//! What refers to what: a manifest with a `subject`, such as a signature, is looked for by way of the one that it is about.
//!
//! Registries that keep account of that themselves say so when such a manifest is put. For all others the client keeps an
//! index of them, under a tag that is the subject's digest.

use reqwest::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::endpoint::Endpoint;
use super::error::RegistryError;
use crate::image::{Digest, Reference, media_type};

/// With it a registry says that it has understood what a manifest is about.
const UNDERSTOOD: &str = "oci-subject";
/// Somebody else may write the index at the same time, and the last one wins.
const TRIES: u32 = 4;

/// A manifest that is about another one.
#[derive(Debug)]
pub(super) struct Referrer {
    subject: Digest,
    /// Its entry in the index.
    entry: Value,
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    subject: Option<Subject>,
    artifact_type: Option<String>,
    config: Option<Config>,
    annotations: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Subject {
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: String,
}

impl Referrer {
    /// None if the manifest is about nothing but itself.
    pub(super) fn of(media_type: &str, bytes: &[u8]) -> Option<Self> {
        let shape: Shape = serde_json::from_slice(bytes).ok()?;
        let digest = Digest::of(bytes);
        let mut entry = json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() });
        let kind = shape.artifact_type.filter(|kind| !kind.is_empty());
        if let Some(kind) = kind.or_else(|| shape.config.map(|config| config.media_type)) {
            entry["artifactType"] = kind.into();
        }
        if let Some(annotations) = shape.annotations {
            entry["annotations"] = annotations.into();
        }
        Some(Self { subject: shape.subject?.digest, entry, digest })
    }

    fn tag(&self) -> String {
        self.subject.to_string().replace(':', "-")
    }

    /// Whether an index has this entry.
    fn is_in(&self, index: &[u8]) -> bool {
        let index: Value = serde_json::from_slice(index).unwrap_or_default();
        let own = self.digest.to_string();
        index["manifests"]
            .as_array()
            .is_some_and(|entries| entries.iter().any(|entry| entry["digest"] == *own))
    }

    /// The index with this entry added; none if it is no index.
    fn added_to(&self, index: Option<&[u8]>) -> Option<Vec<u8>> {
        let empty = || json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [] });
        let mut index = match index {
            None => empty(),
            Some(bytes) => serde_json::from_slice(bytes).ok()?,
        };
        index.get_mut("manifests")?.as_array_mut()?.push(self.entry.clone());
        Some(index.to_string().into_bytes())
    }
}

/// Whether a registry keeps account itself of what a manifest is about.
pub(super) fn is_understood(response: &Response) -> bool {
    response.headers().contains_key(UNDERSTOOD)
}

impl Client {
    /// Adds a manifest that has been put to the index of those that are about the same one.
    pub(super) async fn note(
        &self,
        endpoint: &Endpoint,
        to: &Reference,
        referrer: &Referrer,
    ) -> Result<(), RegistryError> {
        let index = Reference { tag: Some(referrer.tag()), digest: None, ..to.clone() };
        for _ in 0..TRIES {
            let there = self.document_at(endpoint, &index).await?;
            if there.as_deref().is_some_and(|index| referrer.is_in(index)) {
                return Ok(());
            }
            let Some(bytes) = referrer.added_to(there.as_deref()) else { break };
            self.put_manifest(endpoint, &index, media_type::OCI_INDEX, &bytes).await?;
        }
        self.events().warn_once(&format!(
            "{index} lists what is about that digest, but {} could not be added to it: the tag is somebody's image, or others \
             write it all the time",
            referrer.digest
        ));
        Ok(())
    }

    /// What is there now; none if nothing is.
    async fn document_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let mut attempts = self.attempts();
        loop {
            match self.fetch_document_from(endpoint, reference).await {
                Ok(fetched) => return Ok(Some(fetched.bytes)),
                Err(RegistryError::NotFound { .. }) => return Ok(None),
                Err(error) => attempts.pause(error).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_say_what_they_are_and_stand_once() {
        let subject = Digest::of(b"image");
        let manifest = |more: &str| format!(r#"{{"subject":{{"digest":"{subject}","size":1}},{more}}}"#);
        assert!(Referrer::of(media_type::OCI_MANIFEST, br#"{"config":{"mediaType":"x/y"}}"#).is_none());
        let text = manifest(r#""artifactType":"","config":{"mediaType":"x/y"},"annotations":{"a":"b"}"#);
        let one = Referrer::of(media_type::OCI_MANIFEST, text.as_bytes()).unwrap();
        let text = manifest(r#""artifactType":"sbom/v1","config":{"mediaType":"x/y"}"#);
        let other = Referrer::of(media_type::OCI_MANIFEST, text.as_bytes()).unwrap();
        assert_eq!(one.tag(), format!("sha256-{}", subject.hex()));
        let first = one.added_to(None).unwrap();
        let both = other.added_to(Some(&first)).unwrap();
        assert!(one.is_in(&both) && other.is_in(&both) && one.is_in(&first) && !other.is_in(&first));
        let index: Value = serde_json::from_slice(&both).unwrap();
        assert_eq!(index["manifests"][0]["artifactType"], "x/y");
        assert_eq!(index["manifests"][0]["annotations"], json!({ "a": "b" }));
        assert_eq!(index["manifests"][1]["artifactType"], "sbom/v1");
        assert_eq!(index["manifests"][1]["digest"], Digest::of(text.as_bytes()).to_string());
        // Somebody's image has the tag: it is left alone.
        assert!(one.added_to(Some(b"{\"layers\":[]}")).is_none());
    }
}
