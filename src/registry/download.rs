//! Blobs, verified while they stream.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::mpsc;

use super::call::{Call, Target};
use super::client::Client;
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::retry::Attempts;
use crate::image::{Descriptor, Hasher, MAX_DOCUMENT, Reference};

/// Hears how many of a blob's bytes have been moved so far. The count falls when an upload begins anew.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// The sending end of a download, for [`Client::fetch_blob`].
#[derive(Debug)]
pub struct BlobSender(mpsc::Sender<Message>);

/// The reading end, for a blocking thread. It reports the end only after length and digest have proved right; a
/// download that fails is an error of `read`, never a short file.
#[derive(Debug)]
pub struct BlobReader {
    messages: mpsc::Receiver<Message>,
    chunk: Bytes,
    ended: bool,
}

#[derive(Debug)]
enum Message {
    Chunk(Bytes),
    Verified,
}

/// Connects a download with its reader; at most `depth` chunks wait in between.
pub fn blob_channel(depth: usize) -> (BlobSender, BlobReader) {
    let (sender, messages) = mpsc::channel(depth);
    (BlobSender(sender), BlobReader { messages, chunk: Bytes::new(), ended: false })
}

impl io::Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.ended {
            match self.messages.blocking_recv() {
                Some(Message::Chunk(chunk)) => self.chunk = chunk,
                Some(Message::Verified) => self.ended = true,
                None => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the download did not finish"));
                }
            }
        }
        let size = self.chunk.len().min(buffer.len());
        buffer[..size].copy_from_slice(&self.chunk.split_to(size));
        Ok(size)
    }
}

impl Client {
    /// Fetches a small blob, such as a config, into memory.
    pub async fn fetch_blob_bytes(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, RegistryError> {
        self.fetch_blob_within(reference, descriptor, MAX_DOCUMENT).await
    }

    /// The same with another limit.
    pub async fn fetch_blob_within(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        self.ask_in_turn(reference, |endpoint, mut attempts| async move {
            let call = blob_call(&endpoint, descriptor, Method::GET);
            if descriptor.size > limit {
                return Err(RegistryError::TooLarge { asked: call.asked(), limit });
            }
            let unheard: Progress = Arc::new(|_| {});
            let mut download = Download::new(descriptor, Sink::Memory(Vec::new()), &unheard);
            self.download(&endpoint, &mut download, &mut attempts).await?;
            download.finish(&call).await
        })
        .await
    }

    /// Streams a blob to the reader at the other end of `sink`, resuming after cuts. `progress` hears how many bytes
    /// have been delivered so far. The reader must read to the end: if it goes away earlier, this fails.
    pub async fn fetch_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        sink: BlobSender,
        progress: &Progress,
    ) -> Result<(), RegistryError> {
        let mut download = Download::new(descriptor, Sink::Reader(sink), progress);
        let (origin, mirrors) = self.places(reference)?;
        for mirror in mirrors {
            // Where one place breaks off, the next goes on: the digest at the end is of all of it.
            match self.download(&mirror, &mut download, &mut self.mirror_attempts()).await {
                Ok(()) => {
                    let call = blob_call(&mirror, descriptor, Method::GET);
                    return download.finish(&call).await.map(drop);
                }
                Err(error) => self.mirror_failed(&mirror, error)?,
            }
        }
        let mut fetched = self.download(&origin, &mut download, &mut self.attempts()).await;
        for address in publishers(&origin, descriptor) {
            if !matches!(fetched, Err(RegistryError::NotFound { .. })) {
                break;
            }
            download.address = Some(address);
            fetched = self.download(&origin, &mut download, &mut self.attempts()).await;
        }
        fetched?;
        download.finish(&blob_call(&origin, descriptor, Method::GET)).await.map(drop)
    }

    /// Brings in what is missing from one place, as often as it breaks off.
    async fn download(
        &self,
        endpoint: &Endpoint,
        download: &mut Download<'_>,
        attempts: &mut Attempts,
    ) -> Result<(), RegistryError> {
        while download.received < download.descriptor.size || download.unasked {
            let before = download.received;
            let continued = before > 0 && download.asks_for_parts;
            if let Err(error) = self.download_once(endpoint, download).await {
                if download.received - before >= MUCH {
                    attempts.start_over();
                }
                if continued && is_about_parts(&error) {
                    // All of it is to be had still; what is here already is skipped.
                    download.asks_for_parts = false;
                    attempts.pause_anyway(error).await?;
                } else {
                    attempts.pause(error).await?;
                }
            }
        }
        Ok(())
    }

    async fn download_once(
        &self,
        endpoint: &Endpoint,
        download: &mut Download<'_>,
    ) -> Result<(), RegistryError> {
        let mut call = blob_call(endpoint, download.descriptor, Method::GET);
        if let Some(address) = &download.address {
            call.target = Target::Url(address.clone());
        }
        if download.received > 0 && download.asks_for_parts {
            call.headers.push((RANGE, format!("bytes={}-", download.received)));
        }
        let mut response = self.expect(&call, &[StatusCode::OK, StatusCode::PARTIAL_CONTENT]).await?;
        download.unasked = false;
        let start = start(&response, download.received)
            .ok_or_else(|| call.protocol("the registry sent another part of the blob than was asked for"))?;
        let expected = download.descriptor.size;
        // Part of a part is allowed; a whole of another size is another blob.
        if response.status() == StatusCode::OK
            && let Some(found) = number(&response, CONTENT_LENGTH).filter(|found| *found != expected)
        {
            return Err(RegistryError::WrongSize { asked: call.asked(), expected, found });
        }
        // A registry that ignores ranges sends again what has been delivered already.
        let mut repeated = download.received - start;
        let mut pace = Pace::default();
        loop {
            let waiting = Instant::now();
            let Some(mut chunk) = self.chunk(&call, &mut response).await? else { break };
            let after = self.settings().timeouts.stall;
            if pace.is_too_slow(chunk.len(), waiting.elapsed(), after) {
                return Err(RegistryError::Stalled { asked: call.asked(), after });
            }
            let again = usize::try_from(repeated).unwrap_or(usize::MAX).min(chunk.len());
            let _ = chunk.split_to(again);
            repeated -= again as u64;
            if !chunk.is_empty() {
                download.take(&call, chunk).await?;
            }
        }
        match download.received {
            received if received == expected => Ok(()),
            received => Err(RegistryError::Cut { asked: call.asked(), received, expected }),
        }
    }
}

/// After this many bytes earlier failures do not count any more.
const MUCH: u64 = 1 << 20;

/// A blob on its way; it outlives connections and even endpoints.
struct Download<'a> {
    descriptor: &'a Descriptor,
    received: u64,
    /// Whether what is missing is asked for alone.
    asks_for_parts: bool,
    /// Where the blob is, if not at the endpoint.
    address: Option<Url>,
    /// Even an empty blob is asked for once.
    unasked: bool,
    hasher: Hasher,
    sink: Sink,
    progress: &'a Progress,
}

enum Sink {
    Memory(Vec<u8>),
    Reader(BlobSender),
}

impl<'a> Download<'a> {
    fn new(descriptor: &'a Descriptor, sink: Sink, progress: &'a Progress) -> Self {
        let (hasher, asks_for_parts) = (Hasher::new(), true);
        Self { descriptor, received: 0, asks_for_parts, address: None, unasked: true, hasher, sink, progress }
    }

    async fn take(&mut self, call: &Call<'_>, chunk: Bytes) -> Result<(), RegistryError> {
        let length = chunk.len() as u64;
        let (expected, found) = (self.descriptor.size, self.received + length);
        if found > expected {
            return Err(RegistryError::WrongSize { asked: call.asked(), expected, found });
        }
        self.hasher.update(&chunk);
        match &mut self.sink {
            Sink::Memory(bytes) => bytes.extend_from_slice(&chunk),
            Sink::Reader(sender) => sender.send(call, Message::Chunk(chunk)).await?,
        }
        self.received = found;
        (self.progress)(found);
        Ok(())
    }

    async fn finish(self, call: &Call<'_>) -> Result<Vec<u8>, RegistryError> {
        let (expected, found) = (self.descriptor.digest, self.hasher.finish());
        if expected != found {
            return Err(RegistryError::WrongDigest { asked: call.asked(), expected, found });
        }
        match self.sink {
            Sink::Memory(bytes) => Ok(bytes),
            Sink::Reader(sender) => sender.send(call, Message::Verified).await.map(|()| Vec::new()),
        }
    }
}

impl BlobSender {
    async fn send(&self, call: &Call<'_>, message: Message) -> Result<(), RegistryError> {
        self.0.send(message).await.map_err(|_| RegistryError::Abandoned { asked: call.asked() })
    }
}

pub(super) fn blob_call<'a>(endpoint: &'a Endpoint, descriptor: &Descriptor, method: Method) -> Call<'a> {
    let scope = if method == Method::HEAD { endpoint.push_scope() } else { endpoint.pull_scope() };
    Call {
        endpoint,
        what: format!("blob {}", descriptor.digest),
        method,
        target: Target::Path(format!("blobs/{}", descriptor.digest)),
        headers: Vec::new(),
        scopes: vec![scope],
        body: None,
    }
}

/// Where the publisher of a layer that is not distributed hands it out. Nobody is told who we are there, and what comes
/// has to have the digest; yet an image must not lead anybody to plain addresses, where what answers only to neighbours
/// listens.
fn publishers(origin: &Endpoint, descriptor: &Descriptor) -> Vec<Url> {
    let urls = descriptor.urls.iter().filter(|_| descriptor.is_foreign());
    let safe = |url: &Url| match url.scheme() {
        "https" => true,
        "http" => origin.security.allows_plain(),
        _ => false,
    };
    urls.filter_map(|url| Url::parse(url).ok()).filter(safe).collect()
}

/// Notices a connection that never stands still and never gets anywhere.
#[derive(Default)]
struct Pace {
    waited: Duration,
    bytes: usize,
}

impl Pace {
    /// What has to come within the time that a transfer may stand still.
    const LEAST: usize = 16 << 10;

    /// Counts what has come after how much waiting. The time that the reader takes is not the registry's.
    fn is_too_slow(&mut self, length: usize, waited: Duration, patience: Duration) -> bool {
        self.bytes += length;
        self.waited += waited;
        if self.bytes >= Self::LEAST {
            *self = Self::default();
        }
        self.waited > patience
    }
}

/// Whether a registry failed at giving a part of a blob, and not at giving the blob.
fn is_about_parts(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Protocol { .. })
        || error.answer().is_some_and(|answer| answer.status == 416)
}

/// Where in the blob an answer begins; none if that is after the place that was asked for.
fn start(response: &Response, asked_for: u64) -> Option<u64> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Some(0);
    }
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let start = range.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()?;
    (start <= asked_for).then_some(start)
}

fn number(response: &Response, name: reqwest::header::HeaderName) -> Option<u64> {
    response.headers().get(name)?.to_str().ok()?.parse().ok()
}
