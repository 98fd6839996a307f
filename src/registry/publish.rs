//! Manifests and tags, which come after everything that they name.

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};

use super::call::{Call, Outgoing, Target};
use super::client::Client;
use super::document::claimed_digest;
use super::endpoint::Endpoint;
use super::error::{Answer, RegistryError};
use super::referrers::{Referrer, is_understood};
use crate::image::{Digest, Reference};

/// A manifest that is where it should be.
pub(super) struct Put {
    digest: Digest,
    /// Whether the registry keeps account of what it is about.
    subject_understood: bool,
}

impl Client {
    /// Puts a manifest or an index under the reference's tag, or under its digest where it has no tag. Everything it
    /// names must have been pushed before.
    pub async fn push_manifest(
        &self,
        to: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let endpoint = self.destination(to)?;
        let put = self.put_manifest(&endpoint, to, media_type, bytes).await?;
        if !put.subject_understood
            && let Some(referrer) = Referrer::of(media_type, bytes)
        {
            self.note(&endpoint, to, &referrer).await?;
        }
        Ok(put.digest)
    }

    /// The same without what others look for it by.
    pub(super) async fn put_manifest(
        &self,
        endpoint: &Endpoint,
        to: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Put, RegistryError> {
        let digest = Digest::of(bytes);
        let version = to.tag.clone().unwrap_or_else(|| digest.to_string());
        let bytes = Bytes::copy_from_slice(bytes);
        let body = || Ok(Outgoing::small(bytes.clone()));
        let call = Call {
            endpoint,
            what: format!("push of manifest {version}"),
            method: Method::PUT,
            target: Target::Path(format!("manifests/{version}")),
            headers: vec![(CONTENT_TYPE, media_type.to_owned())],
            scopes: vec![endpoint.push_scope()],
            body: Some(&body),
        };
        let mut attempts = self.attempts();
        loop {
            let wanted = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
            match self.expect(&call, &wanted).await {
                Ok(response) => match claimed_digest(&response) {
                    Some(found) if found != digest => {
                        return Err(RegistryError::WrongDigest {
                            asked: call.asked(),
                            expected: digest,
                            found,
                        });
                    }
                    _ => return Ok(Put { digest, subject_understood: is_understood(&response) }),
                },
                // Replicas of a registry learn of a blob at different times.
                Err(error) if mentions(&error, "BLOB_UNKNOWN") => attempts.pause_anyway(error).await?,
                Err(error) => match keeps_its_tag(&error) {
                    Some(answer) => {
                        let digest = self.unchanged(endpoint, to, &call, answer, digest).await?;
                        return Ok(Put { digest, subject_understood: false });
                    }
                    None => attempts.pause(error).await?,
                },
            }
        }
    }

    /// A tag that must not change is no trouble where it would not change.
    async fn unchanged(
        &self,
        endpoint: &Endpoint,
        to: &Reference,
        call: &Call<'_>,
        answer: &Answer,
        digest: Digest,
    ) -> Result<Digest, RegistryError> {
        let tagged = Reference { digest: None, ..to.clone() };
        match self.head_manifest_at(endpoint, &tagged, self.attempts()).await {
            Ok(there) if there == digest => Ok(digest),
            Ok(there) => Err(RegistryError::Immutable { asked: call.asked(), answer: answer.clone(), there }),
            Err(_) => Err(RegistryError::Status { asked: call.asked(), answer: answer.clone() }),
        }
    }
}

/// The refusal to move a tag, in the words of those who have such tags.
fn keeps_its_tag(error: &RegistryError) -> Option<&Answer> {
    let words = ["TAG_INVALID", "TAG_ALREADY_EXISTS", "ImageTagAlreadyExists", "immutable"];
    let answer = error.answer()?;
    (answer.status == 412 || words.into_iter().any(|word| mentions(error, word))).then_some(answer)
}

fn mentions(error: &RegistryError, code: &str) -> bool {
    error.answer().is_some_and(|answer| {
        (400..500).contains(&answer.status) && answer.messages.iter().any(|message| message.contains(code))
    })
}
