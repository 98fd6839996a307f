//! Bodies of uploads: read on a blocking thread, never more than a few chunks ahead of the network.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;

use super::call::{Activity, Outgoing};
use super::download::Progress;

/// The bytes of a blob, which may have to be sent more than once.
pub trait BlobSource: Send + Sync {
    /// Opens the bytes from `offset` on. Reading happens on a blocking thread; opening should be quick.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>>;
}

/// A blob that is a file.
#[derive(Clone, Debug)]
pub struct FileSource(pub PathBuf);

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

/// What is sent at a time.
const CHUNK: usize = 256 << 10;
/// How many chunks wait for the network.
const AHEAD: usize = 4;

/// The part of a blob that is sent.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) offset: u64,
    /// Where the blob ends; none if only its source knows, when it has come to its end.
    pub(super) size: Option<u64>,
}

/// A body of the bytes of a source.
pub(super) fn outgoing(source: &dyn BlobSource, part: Part, progress: &Progress) -> io::Result<Outgoing> {
    let reader = source.open(part.offset)?;
    let length = part.size.map(|size| size - part.offset);
    let activity = Arc::new(Activity::new());
    let (sender, receiver) = mpsc::channel(AHEAD);
    let watched = activity.clone();
    tokio::task::spawn_blocking(move || pump(reader, length, &sender, &watched));
    let (watched, progress) = (activity.clone(), progress.clone());
    let body = stream::unfold((receiver, part.offset), move |(mut receiver, sent)| {
        let (activity, progress) = (watched.clone(), progress.clone());
        async move {
            activity.starving();
            let Some(chunk): Option<io::Result<Bytes>> = receiver.recv().await else {
                activity.finished();
                return None;
            };
            let sent = sent + chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            if part.size == Some(sent) {
                activity.finished();
            } else {
                activity.moved();
            }
            progress(sent);
            Some((chunk, (receiver, sent)))
        }
    });
    Ok(Outgoing { body: reqwest::Body::wrap_stream(body), length, activity: Some(activity) })
}

/// Reads into the channel: exactly `length` bytes where that is known. A source of another size would make a request
/// nobody understands.
fn pump(
    mut reader: Box<dyn Read + Send>,
    length: Option<u64>,
    sender: &mpsc::Sender<io::Result<Bytes>>,
    activity: &Activity,
) {
    let fail = |error: io::Error| {
        let kind = error.kind();
        activity.failed(error);
        let _ = sender.blocking_send(Err(io::Error::new(kind, "the source cannot be read")));
    };
    let mut left = length.unwrap_or(u64::MAX);
    while left > 0 {
        let mut chunk = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
        match reader.read(&mut chunk) {
            Ok(0) if length.is_none() => return,
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
