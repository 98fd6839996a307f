//! One blob into one session after the other, until the registry has it.

use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::call::{Call, Outgoing, Target};
use super::client::Client;
use super::download::{Progress, blob_call};
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::outgoing::{BlobSource, Part, outgoing};
use super::push::upload_call;
use super::transport::location;
use crate::image::Descriptor;

/// With less than this at the registry, an upload is begun anew rather than continued.
const WORTH_RESUMING: u64 = 1 << 20;

/// Where a registry wants a blob sent.
#[derive(Debug)]
pub(super) enum Session {
    New(Url),
    /// Some bytes may have arrived.
    Begun(Url),
    /// All have; only the digest has to be said.
    Sent(Url),
}

pub(super) struct Upload<'a> {
    pub(super) client: &'a Client,
    pub(super) endpoint: &'a Endpoint,
    pub(super) descriptor: &'a Descriptor,
    pub(super) source: &'a dyn BlobSource,
    pub(super) progress: &'a Progress,
}

/// How one try ended.
struct Failed {
    error: RegistryError,
    /// Where the upload may be continued.
    session: Option<Url>,
    /// Whether it was the continuation of an earlier try.
    continued: bool,
}

impl From<RegistryError> for Failed {
    fn from(error: RegistryError) -> Self {
        Self { error, session: None, continued: false }
    }
}

/// Opens a session.
pub(super) async fn begin(client: &Client, endpoint: &Endpoint, what: &str) -> Result<Url, RegistryError> {
    let path = Target::Path("blobs/uploads/".to_owned());
    let call = upload_call(endpoint, what.to_owned(), Method::POST, path);
    let response = client.expect(&call, &[StatusCode::ACCEPTED]).await?;
    location(&response).ok_or_else(|| call.protocol("the registry does not say where to upload"))
}

impl Upload<'_> {
    pub(super) async fn run(&self, mut session: Option<Session>) -> Result<(), RegistryError> {
        let mut attempts = self.client.attempts();
        let (mut lost_sessions, mut may_continue) = (0, true);
        loop {
            let Failed { error, session: left, continued } = match self.attempt(session.take()).await {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            let refused = error.answer().is_some_and(|answer| matches!(answer.status, 400 | 404 | 416));
            if left.is_some() && refused && continued && may_continue {
                // What a registry says of a session is not always what it then wants to have.
                may_continue = false;
                attempts.pause_anyway(error).await?;
            } else if left.is_some() && refused && lost_sessions == 0 {
                lost_sessions += 1;
                attempts.pause_anyway(error).await?;
            } else {
                attempts.pause(error).await?;
                session = left.filter(|_| may_continue).map(Session::Begun);
            }
            // An answer may have been lost after the blob was taken; many a session is gone for that reason.
            let call = blob_call(self.endpoint, self.descriptor, Method::HEAD);
            if self.client.expect(&call, &[StatusCode::OK]).await.is_ok() {
                return Ok(());
            }
        }
    }

    /// Sends the blob into a session: an old one from where it stands, or else a new one.
    async fn attempt(&self, session: Option<Session>) -> Result<(), Failed> {
        let standing = match session {
            Some(Session::New(url)) => Some((url, 0)),
            Some(Session::Begun(url)) => self.standing(&url).await,
            Some(Session::Sent(url)) => Some((url, self.descriptor.size)),
            None => None,
        };
        let (session, offset) = match standing {
            Some(standing) => standing,
            None => (begin(self.client, self.endpoint, &self.what()).await?, 0),
        };
        let at = session.clone();
        let sent = if offset > 0 && offset == self.descriptor.size {
            self.complete(session).await
        } else {
            self.put(session, offset).await
        };
        sent.map_err(|error| Failed { error, session: Some(at), continued: offset > 0 })
    }

    /// Where to go on in a session, and after how many bytes; none if it is better to begin anew.
    async fn standing(&self, session: &Url) -> Option<(Url, u64)> {
        let call = self.call(Method::GET, Target::Url(session.clone()));
        let response = self.client.expect(&call, &[StatusCode::NO_CONTENT]).await.ok()?;
        let next = location(&response).unwrap_or_else(|| session.clone());
        match received(&response) {
            0 => Some((next, 0)),
            offset if (WORTH_RESUMING..=self.descriptor.size).contains(&offset) => Some((next, offset)),
            _ => None,
        }
    }

    async fn put(&self, session: Url, offset: u64) -> Result<(), RegistryError> {
        let size = self.descriptor.size;
        let body = || self.outgoing(offset);
        if offset == 0 {
            let mut call = self.call(Method::PUT, Target::Url(self.closing(session)));
            call.headers = vec![(CONTENT_TYPE, "application/octet-stream".to_owned())];
            call.body = Some(&body);
            return self.client.expect(&call, &[StatusCode::CREATED]).await.map(drop);
        }
        let mut call = self.call(Method::PATCH, Target::Url(session));
        call.headers = vec![
            (CONTENT_TYPE, "application/octet-stream".to_owned()),
            (CONTENT_RANGE, format!("{offset}-{}", size - 1)),
        ];
        call.body = Some(&body);
        let response = self.client.expect(&call, &[StatusCode::ACCEPTED, StatusCode::NO_CONTENT]).await?;
        let next =
            location(&response).ok_or_else(|| call.protocol("the registry does not say where to finish"))?;
        self.complete(next).await
    }

    /// Says which blob it was that a session has all of.
    async fn complete(&self, session: Url) -> Result<(), RegistryError> {
        let call = self.call(Method::PUT, Target::Url(self.closing(session)));
        self.client.expect(&call, &[StatusCode::CREATED]).await.map(drop)
    }

    /// A session's address with the digest, which completes the upload. The registry's own query stays as it is.
    fn closing(&self, mut session: Url) -> Url {
        session.query_pairs_mut().append_pair("digest", &self.descriptor.digest.to_string());
        session
    }

    fn call(&self, method: Method, target: Target) -> Call<'_> {
        upload_call(self.endpoint, self.what(), method, target)
    }

    fn what(&self) -> String {
        format!("upload of blob {}", self.descriptor.digest)
    }

    fn outgoing(&self, offset: u64) -> Result<Outgoing, RegistryError> {
        let part = Part { offset, size: Some(self.descriptor.size) };
        outgoing(self.source, part, self.progress).map_err(|source| RegistryError::Source {
            asked: self.call(Method::PUT, Target::Path(String::new())).asked(),
            source,
        })
    }
}

/// How many bytes of an upload a registry has, out of `Range: 0-N`, where N is the last one.
fn received(response: &Response) -> u64 {
    let range = response.headers().get(RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let last =
        range.trim_start_matches("bytes=").split_once('-').and_then(|(_, last)| last.parse::<u64>().ok());
    match last {
        // Nothing and one byte look the same; taking it for nothing costs one byte.
        None | Some(0) => 0,
        Some(last) => last.saturating_add(1),
    }
}
