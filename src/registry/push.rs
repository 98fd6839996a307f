//! Blobs into a repository, each only if it is missing: looked for, mounted from another repository, or uploaded.

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode, Url};

use super::call::{Call, Target};
use super::client::Client;
use super::download::{Progress, blob_call};
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::outgoing::{BlobSource, Part, outgoing};
use super::transport::location;
use super::upload::{Session, Upload, begin};
use crate::image::{Descriptor, Reference};

/// How a blob came to be in the registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// It was in another repository of the same registry.
    Mounted,
    Uploaded,
}

impl Pushed {
    /// A word for it, to be shown.
    pub fn text(self) -> &'static str {
        match self {
            Self::Existed => "exists",
            Self::Mounted => "mounted",
            Self::Uploaded => "pushed",
        }
    }
}

/// What a look and mounting have achieved.
#[derive(Debug)]
pub enum Placed {
    There(Pushed),
    /// It has to be uploaded.
    Missing(Opening),
}

/// Where an upload may begin: nowhere in particular, or in a session that the registry has opened already.
#[derive(Debug, Default)]
pub struct Opening(pub(super) Option<Session>);

/// Every refused mount is a round trip that an upload of a small blob would not need.
const MOST_MOUNTS: usize = 3;

impl Client {
    /// Sees to it that a blob is in the repository without its bytes: looks, else mounts it from one of `mount_from`
    /// (repositories of the same registry that probably have it).
    pub async fn place_blob(
        &self,
        to: &Reference,
        descriptor: &Descriptor,
        mount_from: &[&str],
    ) -> Result<Placed, RegistryError> {
        let endpoint = self.destination(to)?;
        if self.has_blob(&endpoint, descriptor).await? {
            return Ok(Placed::There(Pushed::Existed));
        }
        let mut session = None;
        let candidates = mount_from.iter().filter(|from| **from != endpoint.repository);
        for from in candidates.take(MOST_MOUNTS) {
            match self.mount(&endpoint, descriptor, from).await {
                Mount::Mounted => return Ok(Placed::There(Pushed::Mounted)),
                Mount::Session(url) => session = Some(Session::New(url)),
                Mount::Refused => {}
            }
        }
        Ok(Placed::Missing(Opening(session)))
    }

    /// Uploads a blob that a repository lacks. `progress` hears how many bytes have been sent.
    pub async fn upload_blob(
        &self,
        to: &Reference,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
        opening: Opening,
        progress: &Progress,
    ) -> Result<(), RegistryError> {
        let endpoint = self.destination(to)?;
        let upload = Upload { client: self, endpoint: &endpoint, descriptor, source, progress };
        upload.run(opening.0).await
    }

    /// Sees to it that a small blob is in the repository.
    pub async fn push_blob(
        &self,
        to: &Reference,
        descriptor: &Descriptor,
        bytes: &Bytes,
        progress: &Progress,
    ) -> Result<Pushed, RegistryError> {
        match self.place_blob(to, descriptor, &[]).await? {
            Placed::There(how) => Ok(how),
            Placed::Missing(opening) => {
                self.upload_blob(to, descriptor, bytes, opening, progress).await?;
                Ok(Pushed::Uploaded)
            }
        }
    }

    /// Sends a blob whose digest and size nobody knows before its end, and leaves it in a session that
    /// [`Self::upload_blob`] completes. What fails here is no error: the upload that follows goes on where this one
    /// stopped, or meets the same trouble and tells it.
    pub async fn stream_blob(&self, to: &Reference, source: &dyn BlobSource, progress: &Progress) -> Opening {
        let streamed = async {
            let endpoint = self.destination(to)?;
            let session = begin(self, &endpoint, WHAT).await?;
            match self.stream_into(&endpoint, session.clone(), source, progress).await {
                Ok(next) => Ok(Session::Sent(next)),
                Err(_) => Ok::<_, RegistryError>(Session::Begun(session)),
            }
        };
        Opening(streamed.await.ok())
    }

    /// One request with all of the blob. It says neither how long it is nor which part: some registries take only
    /// little from who says that.
    async fn stream_into(
        &self,
        endpoint: &Endpoint,
        session: Url,
        source: &dyn BlobSource,
        progress: &Progress,
    ) -> Result<Url, RegistryError> {
        let mut call = upload_call(endpoint, WHAT.to_owned(), Method::PATCH, Target::Url(session));
        let asked = call.asked();
        let body = || {
            outgoing(source, Part { offset: 0, size: None }, progress)
                .map_err(|source| RegistryError::Source { asked: asked.clone(), source })
        };
        call.headers = vec![(CONTENT_TYPE, "application/octet-stream".to_owned())];
        call.body = Some(&body);
        let response = self.expect(&call, &[StatusCode::ACCEPTED, StatusCode::NO_CONTENT]).await?;
        location(&response).ok_or_else(|| call.protocol("the registry does not say where to finish"))
    }

    /// Whether the place to push to has a blob.
    pub(super) async fn has_blob(
        &self,
        endpoint: &Endpoint,
        descriptor: &Descriptor,
    ) -> Result<bool, RegistryError> {
        let call = blob_call(endpoint, descriptor, Method::HEAD);
        let mut attempts = self.attempts();
        loop {
            match self.expect(&call, &[StatusCode::OK]).await {
                Ok(_) => return Ok(true),
                Err(RegistryError::NotFound { .. }) => return Ok(false),
                Err(error) => attempts.pause(error).await?,
            }
        }
    }

    /// Asks for a blob of another repository. Whatever goes wrong here, an upload still can do.
    async fn mount(&self, endpoint: &Endpoint, descriptor: &Descriptor, from: &str) -> Mount {
        let what = format!("mount of blob {} from {from}", descriptor.digest);
        let path = format!("blobs/uploads/?mount={}&from={from}", descriptor.digest);
        let mut call = upload_call(endpoint, what, Method::POST, Target::Path(path));
        // One token for both: the registry has to see that the one who may write here may read there.
        call.scopes.push(format!("repository:{from}:pull"));
        match self.send(&call).await {
            Ok(response) if response.status() == StatusCode::CREATED => Mount::Mounted,
            Ok(response) if response.status() == StatusCode::ACCEPTED => {
                location(&response).map_or(Mount::Refused, Mount::Session)
            }
            Ok(_) | Err(_) => Mount::Refused,
        }
    }
}

/// What a blob without a digest is called.
const WHAT: &str = "upload of a layer";

enum Mount {
    Mounted,
    /// Not mounted, but the bytes may be sent here.
    Session(Url),
    Refused,
}

pub(super) fn upload_call(endpoint: &Endpoint, what: String, method: Method, target: Target) -> Call<'_> {
    let scopes = vec![endpoint.push_scope()];
    Call { endpoint, what, method, target, headers: Vec::new(), scopes, body: None }
}
