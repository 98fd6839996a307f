//! Manifests and indexes: small documents, fetched whole and forwarded as the bytes they came as.

use reqwest::header::{ACCEPT, CONTENT_LENGTH};
use reqwest::{Method, Response, StatusCode};
use serde::Deserialize;

use super::call::{Call, Target};
use super::client::Client;
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::retry::Attempts;
use crate::image::{Digest, Document, MAX_DOCUMENT, ManifestError, Reference, media_type};

/// A manifest or an index as a registry sent it.
#[derive(Clone, PartialEq, Debug)]
pub struct Fetched {
    /// The original bytes, which the digest is of.
    pub bytes: Vec<u8>,
    pub digest: Digest,
    /// What the document is by its own words or its shape, whatever the registry called it.
    pub media_type: &'static str,
    pub document: Document,
    /// Host and repository that served it: a mirror or the origin.
    pub endpoint: String,
}

const DIGEST_HEADER: &str = "docker-content-digest";

impl Client {
    /// Fetches a manifest or an index by the reference's digest, else by its tag. Mirrors are asked first.
    pub async fn fetch_document(&self, reference: &Reference) -> Result<Fetched, RegistryError> {
        let fetched = self.ask_in_turn(reference, |endpoint, mut attempts| async move {
            loop {
                match self.fetch_document_from(&endpoint, reference).await {
                    Ok(fetched) => return Ok(fetched),
                    Err(error) => attempts.pause(error).await?,
                }
            }
        });
        fetched.await.inspect_err(|_| self.tell_other_meaning(reference))
    }

    /// Names mean the same everywhere, whatever a machine's registries.conf says. Whom that may have misled is told.
    fn tell_other_meaning(&self, reference: &Reference) {
        if let Some(other) = self.settings().registries.other_meaning(reference) {
            let short = reference.familiar();
            self.events().warn_once(&format!(
                "{short} means {reference}: names without a registry are docker.io's. podman would ask for {other}, by the \
                 registries.conf here; if that is meant, give it in full"
            ));
        }
    }

    /// The digest a name stands for; none if there is no such thing. Registries do not count this as a pull.
    pub async fn head_manifest(&self, reference: &Reference) -> Result<Option<Digest>, RegistryError> {
        let found = self.ask_in_turn(reference, |endpoint, attempts| async move {
            self.head_manifest_at(&endpoint, reference, attempts).await
        });
        match found.await {
            Ok(digest) => Ok(Some(digest)),
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the place to push to has under a name already; none if there is nothing that can be read.
    pub async fn fetch_pushed(&self, to: &Reference) -> Option<Fetched> {
        let endpoint = self.destination(to).ok()?;
        self.fetch_document_from(&endpoint, to).await.ok()
    }

    pub(super) async fn fetch_document_from(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
    ) -> Result<Fetched, RegistryError> {
        let call = manifest_call(endpoint, reference, Method::GET);
        let mut response = self.expect(&call, &[StatusCode::OK]).await?;
        self.heed_limits(endpoint, &response);
        let claimed = claimed_digest(&response);
        let bytes = self.whole(&call, &mut response, MAX_DOCUMENT).await?;
        let digest = Digest::of(&bytes);
        if let Some(expected) = reference.digest.or(claimed)
            && expected != digest
        {
            return Err(RegistryError::WrongDigest { asked: call.asked(), expected, found: digest });
        }
        let (document, media_type) = parse(&call, &bytes)?;
        let endpoint = endpoint.name();
        Ok(Fetched { bytes, digest, media_type, document, endpoint })
    }

    pub(super) async fn head_manifest_at(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        mut attempts: Attempts,
    ) -> Result<Digest, RegistryError> {
        let call = manifest_call(endpoint, reference, Method::HEAD);
        let response = loop {
            match self.expect(&call, &[StatusCode::OK]).await {
                Ok(response) => break response,
                Err(error) => attempts.pause(error).await?,
            }
        };
        match reference.digest.or_else(|| claimed_digest(&response)) {
            Some(digest) => Ok(digest),
            // The header is optional; without it, only the document itself tells.
            None => Ok(self.fetch_document_from(endpoint, reference).await?.digest),
        }
    }

    /// A whole body, if it is within a limit.
    pub(super) async fn whole(
        &self,
        call: &Call<'_>,
        response: &mut Response,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let too_large = || RegistryError::TooLarge { asked: call.asked(), limit };
        let announced = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if announced.and_then(|text| text.parse().ok()).is_some_and(|length: u64| length > limit) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(call, response).await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > limit {
                return Err(too_large());
            }
        }
        Ok(bytes)
    }
}

fn manifest_call<'a>(endpoint: &'a Endpoint, reference: &Reference, method: Method) -> Call<'a> {
    let version = reference.version();
    let accept = [
        media_type::OCI_INDEX,
        media_type::DOCKER_LIST,
        media_type::OCI_MANIFEST,
        media_type::DOCKER_MANIFEST,
    ];
    Call {
        endpoint,
        what: format!("manifest {version}"),
        method,
        target: Target::Path(format!("manifests/{version}")),
        headers: vec![(ACCEPT, accept.join(", "))],
        scopes: vec![endpoint.pull_scope()],
        body: None,
    }
}

pub(super) fn claimed_digest(response: &Response) -> Option<Digest> {
    response.headers().get(DIGEST_HEADER)?.to_str().ok()?.parse().ok()
}

fn parse(call: &Call<'_>, bytes: &[u8]) -> Result<(Document, &'static str), RegistryError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Version {
        schema_version: Option<u64>,
        media_type: Option<String>,
    }
    let refuse = |source| RegistryError::Document { asked: call.asked(), source };
    let version: Version =
        serde_json::from_slice(bytes).map_err(|error| refuse(ManifestError::Json(error)))?;
    if version.schema_version == Some(1) {
        return Err(RegistryError::Schema1 { asked: call.asked() });
    }
    let document = Document::parse(bytes).map_err(refuse)?;
    let media_type = match (&document, version.media_type.as_deref()) {
        (Document::Index(_), Some(media_type::DOCKER_LIST)) => media_type::DOCKER_LIST,
        (Document::Index(_), _) => media_type::OCI_INDEX,
        (Document::Manifest(_), Some(media_type::DOCKER_MANIFEST)) => media_type::DOCKER_MANIFEST,
        (Document::Manifest(_), _) => media_type::OCI_MANIFEST,
    };
    Ok((document, media_type))
}
