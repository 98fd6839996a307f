//! Blobs by digest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::Store;
use super::error::StoreError;
use super::following::{Following, Lead, follow};
use super::pins;
use super::record::{BlobRecord, Record as _};
use super::session::Temporary;
use crate::image::{Digest, Hasher};
use crate::sys::At;

/// The blobs of a store.
#[derive(Debug, Clone, Copy)]
pub struct Blobs<'a> {
    store: &'a Store,
}

/// A blob being written: it has no name before [`BlobWriter::complete`], and is gone with the value.
#[derive(Debug)]
pub struct BlobWriter<'a> {
    store: &'a Store,
    temporary: Temporary,
    file: File,
    hasher: Hasher,
    size: u64,
    /// Those who read along.
    lead: Option<Lead>,
}

impl<'a> Blobs<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store }
    }

    pub fn path(self, digest: &Digest) -> PathBuf {
        self.store.root.join("blobs/sha256").join(digest.hex())
    }

    /// The size of a blob that is there and whole. It stays as long as this process lives.
    pub fn size(self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let Some(record) = self.store.record::<BlobRecord>(&digest.hex())? else { return Ok(None) };
        let there = std::fs::metadata(self.path(digest)).is_ok_and(|metadata| metadata.len() == record.size);
        Ok(there.then_some(record.size))
    }

    pub fn open(self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.path(digest);
        match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StoreError::NoBlob(*digest)),
            answer => Ok(answer.at("open", &path)?),
        }
    }

    /// Reads a small blob and checks it.
    pub fn read(self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let path = self.path(digest);
        self.open(digest)?.take(crate::image::MAX_DOCUMENT).read_to_end(&mut bytes).at("read", &path)?;
        match Digest::of(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(StoreError::Digest { expected: *digest, found }),
        }
    }

    /// Stores bytes that are in memory.
    pub fn put(self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let mut writer = self.writer()?;
        writer.write_all(bytes).at("write", writer.temporary.path())?;
        Ok(writer.complete()?.0)
    }

    pub fn writer(self) -> Result<BlobWriter<'a>, StoreError> {
        let temporary = self.store.session.file()?;
        let file = File::create(temporary.path()).at("create", temporary.path())?;
        Ok(BlobWriter { store: self.store, temporary, file, hasher: Hasher::new(), size: 0, lead: None })
    }
}

impl<'a> BlobWriter<'a> {
    /// Lets somebody read the blob while it is written.
    pub fn follow(&mut self) -> Result<Following, StoreError> {
        let file = File::open(self.temporary.path()).at("open", self.temporary.path())?;
        let (lead, following) = follow(file, self.size);
        self.lead = Some(lead);
        Ok(following)
    }

    /// Ends the writing, but gives the blob no name yet.
    pub fn finish(self) -> NamelessBlob<'a> {
        let digest = self.hasher.finish();
        NamelessBlob { store: self.store, temporary: self.temporary, digest, size: self.size }
    }

    /// Gives the blob its name.
    pub fn complete(mut self) -> Result<(Digest, u64), StoreError> {
        let lead = self.lead.take();
        let nameless = self.finish();
        let (digest, size) = (nameless.digest, nameless.size);
        nameless.keep()?;
        if let Some(lead) = lead {
            lead.whole();
        }
        Ok((digest, size))
    }

    /// As [`BlobWriter::complete`], if it is what was expected.
    pub fn complete_as(self, expected: &Digest) -> Result<u64, StoreError> {
        match self.hasher.clone().finish() {
            found if found == *expected => Ok(self.complete()?.1),
            found => Err(StoreError::Digest { expected: *expected, found }),
        }
    }
}

/// A blob that is whole and that nobody can find yet; gone with the value unless it is kept.
#[derive(Debug)]
pub struct NamelessBlob<'a> {
    store: &'a Store,
    temporary: Temporary,
    digest: Digest,
    size: u64,
}

impl NamelessBlob<'_> {
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn open(&self) -> Result<File, StoreError> {
        Ok(File::open(self.temporary.path()).at("open", self.temporary.path())?)
    }

    /// Gives the blob its name.
    pub fn keep(mut self) -> Result<(), StoreError> {
        let (store, hex) = (self.store, self.digest.hex());
        let path = store.blobs().path(&self.digest);
        store.pins.pin(&[pins::name(BlobRecord::KIND, &hex)])?;
        // Written before the blob has its name: when there is no room for it there is no blob either.
        let record = store.records.prepare(&store.session, &hex, &BlobRecord { size: self.size })?;
        self.temporary.rename(&path).at("rename to", &path)?;
        record.commit(&store.records)
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        if let Some(lead) = &self.lead {
            lead.grown(self.size);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
