//! Digests that are taken of files by somebody who reads them anyway: each is read once, to be copied and to be hashed.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::hashing::{Buffers, depends_on_reader, header, now};
use super::tree::{Entry, Instant, Metadata, Tree};
use crate::image::{Digest, Hasher};
use crate::sys::{At, IoError};

/// Digests of files of one tree, by where they lie and what they were then.
#[derive(Debug, Default)]
pub struct Taken {
    digests: Mutex<HashMap<Vec<u8>, (Metadata, Digest)>>,
    was_not_all: AtomicBool,
}

/// The digest of a file that is being read.
#[derive(Debug)]
pub struct Taking {
    hasher: Hasher,
    began: Instant,
    is_same_for_all: bool,
}

impl Taking {
    /// To be given all bytes of an open file. The entry has to be what the file is when all have been read
    /// ([`Tree::is_still`]).
    pub fn begin(entry: &Entry, file: &File, buffers: &mut Buffers) -> Result<Self, IoError> {
        let began = now();
        let attributes = buffers.attributes(file).at("read attributes", entry.place.shown())?;
        let is_same_for_all = !attributes.iter().any(|(name, _)| depends_on_reader(name));
        Ok(Self { hasher: header(entry, &entry.metadata, &attributes), began, is_same_for_all })
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The digest, for whoever hashes the tree next; and for later builds, where the tree has a memory.
    pub fn end(self, taken: &Taken, tree: &Tree, entry: &Entry) {
        let digest = self.hasher.finish();
        if let Some(key) = tree.key(entry).filter(|key| self.is_same_for_all && key.settled(self.began)) {
            tree.memory().put(key, digest);
        }
        taken.all().insert(entry.place.inside.clone(), (entry.metadata, digest));
    }
}

impl Taken {
    /// Whether other files had to be read, too, when the tree was hashed.
    pub fn was_not_all(&self) -> bool {
        self.was_not_all.load(Ordering::Relaxed)
    }

    pub(super) fn note_other(&self) {
        self.was_not_all.store(true, Ordering::Relaxed);
    }

    /// The digest of a file that is what it was.
    pub(super) fn get(&self, entry: &Entry) -> Option<Digest> {
        let all = self.all();
        let (metadata, digest) = all.get(&entry.place.inside)?;
        (*metadata == entry.metadata).then_some(*digest)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Vec<u8>, (Metadata, Digest)>> {
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
