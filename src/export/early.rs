//! Uploads that begin while a layer is still being packed: what the compressor gives is on its way at once. They end
//! without a digest; pushing says it later, and does itself what did not work here.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::image::{Digest, Reference};
use crate::registry::{BlobSource, Client, Opening, Progress};
use crate::store::Following;

/// What is smaller is packed before a registry has answered once. It is looked for there first.
const WORTH_IT: u64 = 4 << 20;

/// The uploads of one push.
#[derive(Debug)]
pub(super) struct Early {
    client: Client,
    /// One name in each registry; its other repositories mount from there.
    to: Vec<Reference>,
    begun: Mutex<HashMap<Digest, Vec<Begun>>>,
}

/// An upload to a repository; given up when it is dropped.
#[derive(Debug)]
pub(super) struct Begun {
    to: String,
    upload: JoinHandle<Option<Opening>>,
}

impl Early {
    pub(super) fn new(client: Client, to: Vec<Reference>) -> Self {
        Self { client, to, begun: Mutex::default() }
    }

    /// Sends a blob that grows, from the moment on when it is large.
    pub(super) fn begin(&self, runtime: &Handle, blob: &Following) -> Vec<Begun> {
        let begin = |to: &Reference| {
            let (client, name, blob) = (self.client.clone(), to.clone(), Growing(blob.clone()));
            let upload = async move {
                let growing = blob.0.clone();
                let large = tokio::task::spawn_blocking(move || growing.reaches(WORTH_IT)).await;
                let silent: Progress = Arc::new(|_| {});
                match large {
                    Ok(true) => Some(client.stream_blob(&name, &blob, &silent).await),
                    Ok(false) | Err(_) => None,
                }
            };
            Begun { to: to.name(), upload: runtime.spawn(upload) }
        };
        self.to.iter().map(begin).collect()
    }

    /// Notes which blob it was that is being uploaded.
    pub(super) fn settle(&self, digest: Digest, uploads: Vec<Begun>) {
        self.lock().entry(digest).or_default().extend(uploads);
    }

    /// The upload of a blob to a repository, if one has begun.
    pub(super) fn take(&self, digest: &Digest, to: &Reference) -> Option<Begun> {
        let mut begun = self.lock();
        let uploads = begun.get_mut(digest)?;
        let place = uploads.iter().position(|begun| begun.to == to.name())?;
        Some(uploads.swap_remove(place))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Vec<Begun>>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Begun {
    pub(super) fn is_finished(&self) -> bool {
        self.upload.is_finished()
    }

    /// Waits until nothing more is to be sent. None if the blob was too small to be sent early.
    pub(super) async fn opening(mut self) -> Option<Opening> {
        (&mut self.upload).await.ok().flatten()
    }
}

impl Drop for Begun {
    /// What nobody waits for any more need not arrive.
    fn drop(&mut self) {
        self.upload.abort();
    }
}

struct Growing(Following);

impl BlobSource for Growing {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.0.reader(offset)))
    }
}
