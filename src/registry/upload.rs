//! Pushing: blobs first, each only if it is missing, then the manifest that names them.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::mpsc;

use super::call::{Activity, Call, Outgoing, Target};
use super::client::Client;
use super::document::claimed_digest;
use super::download::{Progress, blob_call};
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::transport::location;
use crate::image::{Descriptor, Digest, Reference};

/// The bytes of a blob, which may have to be sent more than once.
pub trait BlobSource: Send + Sync {
    /// Opens the bytes from `offset` on. Reading happens on a blocking thread; opening should be quick.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>>;
}

/// A blob that is a file.
#[derive(Clone, Debug)]
pub struct FileSource(pub PathBuf);

/// How a blob came to be in the registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// It was in another repository of the same registry.
    Mounted,
    Uploaded,
}

impl BlobSource for FileSource {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = fs::File::open(&self.0)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

impl BlobSource for Bytes {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        Ok(Box::new(io::Cursor::new(self.slice(start..))))
    }
}

/// Every refused mount is a round trip that an upload of a small blob would not need.
const MOST_MOUNTS: usize = 3;
/// What is sent at a time.
const CHUNK: usize = 256 << 10;
/// With less than this at the registry, an upload is begun anew rather than continued.
const WORTH_RESUMING: u64 = 1 << 20;

impl Client {
    /// Sees to it that a blob is in the repository: looks, mounts it from one of `mount_from` (repositories of the
    /// same registry that probably have it), or uploads it. `progress` hears how many bytes have been sent.
    pub async fn push_blob(
        &self,
        to: &Reference,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
        mount_from: &[&str],
        progress: &Progress,
    ) -> Result<Pushed, RegistryError> {
        if self.blob_exists(to, descriptor).await? {
            return Ok(Pushed::Existed);
        }
        let endpoint = self.destination(to)?;
        let mut session = None;
        let candidates = mount_from.iter().filter(|from| **from != endpoint.repository);
        for from in candidates.take(MOST_MOUNTS) {
            match self.mount(&endpoint, descriptor, from).await {
                Mount::Mounted => return Ok(Pushed::Mounted),
                Mount::Session(url) => session = Some(Session::New(url)),
                Mount::Refused => {}
            }
        }
        let upload = Upload { client: self, endpoint: &endpoint, descriptor, source, progress };
        upload.run(session).await
    }

    /// Puts a manifest or an index under the reference's tag, or under its digest where it has no tag. Everything it
    /// names must have been pushed before.
    pub async fn push_manifest(
        &self,
        to: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let endpoint = self.destination(to)?;
        let digest = Digest::of(bytes);
        let version = to.tag.clone().unwrap_or_else(|| digest.to_string());
        let bytes = Bytes::copy_from_slice(bytes);
        let body = || Ok(Outgoing::small(bytes.clone()));
        let call = Call {
            endpoint: &endpoint,
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
                    _ => return Ok(digest),
                },
                // Replicas of a registry learn of a blob at different times.
                Err(error) if mentions(&error, "BLOB_UNKNOWN") => attempts.pause_anyway(error).await?,
                // A tag that must not change is no trouble where it would not change.
                Err(error) if mentions(&error, "TAG_") || mentions(&error, "ImageTagAlreadyExists") => {
                    let tagged = Reference { digest: None, ..to.clone() };
                    let there = self.head_manifest_at(&endpoint, &tagged, self.attempts()).await;
                    return if there.is_ok_and(|there| there == digest) { Ok(digest) } else { Err(error) };
                }
                Err(error) => attempts.pause(error).await?,
            }
        }
    }

    /// Asks for a blob of another repository. Whatever goes wrong here, an upload still can do.
    async fn mount(&self, endpoint: &Endpoint, descriptor: &Descriptor, from: &str) -> Mount {
        let call = Call {
            endpoint,
            what: format!("mount of blob {} from {from}", descriptor.digest),
            method: Method::POST,
            target: Target::Path(format!("blobs/uploads/?mount={}&from={from}", descriptor.digest)),
            headers: Vec::new(),
            scopes: vec![endpoint.push_scope(), format!("repository:{from}:pull")],
            body: None,
        };
        match self.send(&call).await {
            Ok(response) if response.status() == StatusCode::CREATED => Mount::Mounted,
            Ok(response) if response.status() == StatusCode::ACCEPTED => {
                location(&response).map_or(Mount::Refused, Mount::Session)
            }
            Ok(_) | Err(_) => Mount::Refused,
        }
    }
}

enum Mount {
    Mounted,
    /// Not mounted, but the bytes may be sent here.
    Session(Url),
    Refused,
}

struct Upload<'a> {
    client: &'a Client,
    endpoint: &'a Endpoint,
    descriptor: &'a Descriptor,
    source: &'a dyn BlobSource,
    progress: &'a Progress,
}

impl Upload<'_> {
    async fn run(&self, mut session: Option<Session>) -> Result<Pushed, RegistryError> {
        let mut attempts = self.client.attempts();
        let mut lost_sessions = 0;
        loop {
            let Failed { error, session: left } = match self.attempt(session.take()).await {
                Ok(()) => return Ok(Pushed::Uploaded),
                Err(failed) => failed,
            };
            let refused = error.answer().is_some_and(|answer| matches!(answer.status, 400 | 404 | 416));
            if left.is_some() && refused && lost_sessions == 0 {
                lost_sessions += 1;
                attempts.pause_anyway(error).await?;
            } else {
                attempts.pause(error).await?;
                session = left.map(Session::Begun);
            }
            // An answer may have been lost after the blob was taken; many a session is gone for that reason.
            let call = blob_call(self.endpoint, self.descriptor, Method::HEAD);
            if self.client.expect(&call, &[StatusCode::OK]).await.is_ok() {
                return Ok(Pushed::Uploaded);
            }
        }
    }

    /// Sends the blob into a session: an old one from where it stands, or else a new one.
    async fn attempt(&self, session: Option<Session>) -> Result<(), Failed> {
        let standing = match session {
            Some(Session::New(url)) => Some((url, 0)),
            Some(Session::Begun(url)) => self.standing(&url).await,
            None => None,
        };
        let (session, offset) = match standing {
            Some(standing) => standing,
            None => (self.begin().await?, 0),
        };
        let at = session.clone();
        self.put(session, offset).await.map_err(|error| Failed { error, session: Some(at) })
    }

    async fn begin(&self) -> Result<Url, RegistryError> {
        let call = self.call(Method::POST, Target::Path("blobs/uploads/".to_owned()));
        let response = self.client.expect(&call, &[StatusCode::ACCEPTED]).await?;
        location(&response).ok_or_else(|| call.protocol("the registry does not say where to upload"))
    }

    /// Where to go on in a session, and after how many bytes; none if it is better to begin anew.
    async fn standing(&self, session: &Url) -> Option<(Url, u64)> {
        let call = self.call(Method::GET, Target::Url(session.clone()));
        let response = self.client.expect(&call, &[StatusCode::NO_CONTENT]).await.ok()?;
        let next = location(&response).unwrap_or_else(|| session.clone());
        match received(&response) {
            0 => Some((next, 0)),
            offset if (WORTH_RESUMING..self.descriptor.size).contains(&offset) => Some((next, offset)),
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
        let call = self.call(Method::PUT, Target::Url(self.closing(next)));
        self.client.expect(&call, &[StatusCode::CREATED]).await.map(drop)
    }

    /// A session's address with the digest, which completes the upload. The registry's own query stays as it is.
    fn closing(&self, mut session: Url) -> Url {
        session.query_pairs_mut().append_pair("digest", &self.descriptor.digest.to_string());
        session
    }

    fn call(&self, method: Method, target: Target) -> Call<'_> {
        Call {
            endpoint: self.endpoint,
            what: format!("upload of blob {}", self.descriptor.digest),
            method,
            target,
            headers: Vec::new(),
            scopes: vec![self.endpoint.push_scope()],
            body: None,
        }
    }

    /// A body that reads the source on a blocking thread, never more than a few chunks ahead of the network.
    fn outgoing(&self, offset: u64) -> Result<Outgoing, RegistryError> {
        let fault = |source| RegistryError::Source {
            asked: self.call(Method::PUT, Target::Path(String::new())).asked(),
            source,
        };
        let reader = self.source.open(offset).map_err(fault)?;
        let length = self.descriptor.size - offset;
        let activity = Arc::new(Activity::new());
        let (sender, receiver) = mpsc::channel(4);
        let watched = activity.clone();
        tokio::task::spawn_blocking(move || pump(reader, length, &sender, &watched));
        let (watched, progress, size) = (activity.clone(), self.progress.clone(), self.descriptor.size);
        let body = stream::unfold((receiver, offset), move |(mut receiver, sent)| {
            let (activity, progress) = (watched.clone(), progress.clone());
            async move {
                let chunk: io::Result<Bytes> = receiver.recv().await?;
                let sent = sent + chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
                if sent == size {
                    activity.finished()
                } else {
                    activity.moved()
                }
                progress(sent);
                Some((chunk, (receiver, sent)))
            }
        });
        Ok(Outgoing { body: reqwest::Body::wrap_stream(body), length, activity: Some(activity) })
    }
}

/// Where a registry wants a blob sent.
enum Session {
    New(Url),
    /// Some bytes may have arrived.
    Begun(Url),
}

struct Failed {
    error: RegistryError,
    /// Where the upload may be continued.
    session: Option<Url>,
}

impl From<RegistryError> for Failed {
    fn from(error: RegistryError) -> Self {
        Self { error, session: None }
    }
}

/// Reads exactly `length` bytes into the channel. A source of another size would make a request nobody understands.
fn pump(
    mut reader: Box<dyn Read + Send>,
    length: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
    activity: &Activity,
) {
    let fail = |error: io::Error| {
        let kind = error.kind();
        activity.failed(error);
        let _ = sender.blocking_send(Err(io::Error::new(kind, "the source cannot be read")));
    };
    let mut left = length;
    while left > 0 {
        let mut chunk = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
        match reader.read(&mut chunk) {
            Ok(0) => {
                let problem = format!("{left} of the blob's bytes are missing");
                return fail(io::Error::new(io::ErrorKind::UnexpectedEof, problem));
            }
            Ok(read) => {
                chunk.truncate(read);
                left -= read as u64;
                if sender.blocking_send(Ok(chunk.into())).is_err() {
                    // The registry has answered already, or is gone.
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return fail(error),
        }
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

fn mentions(error: &RegistryError, code: &str) -> bool {
    error.answer().is_some_and(|answer| {
        (400..500).contains(&answer.status) && answer.messages.iter().any(|message| message.contains(code))
    })
}
