//! The digest of one entry, and many of them at once.
//!
//! An entry's digest covers its metadata (no name, no times) and, for a file, its bytes: the sum that docker took over a
//! tar header long ago and that BuildKit's cache keys still rest on.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{self, FileType};
use rustix::io::Errno;

use super::remembered::{Remembered, StatKey};
use super::taken::Taken;
use super::tree::{Entry, Instant, Metadata, Tree};
use crate::image::{Digest, Hasher};
use crate::sys::{At, Crew, IoError, Work, ownership, with_crew};

/// Takes the digests of all entries that `collect` hands over; the answer has them in the order of their tickets.
pub(super) fn digests<T, E: From<IoError>>(
    known: Known<'_>,
    tree: &Tree,
    collect: impl FnOnce(&mut Hashing<'_, '_, '_>) -> Result<T, E>,
) -> Result<(T, Vec<Digest>), E> {
    let shared = Shared { known, tree, digests: Mutex::default() };
    let (collected, mut digests) = with_crew(&shared, |crew| {
        let mut hashing = Hashing { crew, digests: Vec::new() };
        let collected = collect(&mut hashing)?;
        Ok::<_, E>((collected, hashing.digests))
    })?;
    for (ticket, digest) in shared.digests.into_inner().unwrap_or_else(PoisonError::into_inner) {
        digests[ticket] = Some(digest);
    }
    let digests = digests.into_iter().collect::<Option<Vec<_>>>();
    Ok((collected, digests.expect("without an error, every ticket has got its digest")))
}

/// Takes in entries while a crew hashes those before.
pub(super) struct Hashing<'a, 'crew, 'tree> {
    crew: &'a mut Crew<'crew, Shared<'tree>>,
    digests: Vec<Option<Digest>>,
}

/// What need not be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub remembered: &'a dyn Remembered,
    /// What was read just now.
    pub taken: Option<&'a Taken>,
}

pub(super) struct Shared<'env> {
    known: Known<'env>,
    tree: &'env Tree,
    digests: Mutex<Vec<(usize, Digest)>>,
}

pub(super) struct Job {
    ticket: usize,
    entry: Entry,
}

impl Hashing<'_, '_, '_> {
    /// Takes an entry; its digest will stand at the ticket this returns.
    pub(super) fn add(&mut self, entry: Entry) -> usize {
        let ticket = self.digests.len();
        let known = match entry.metadata.kind {
            FileType::RegularFile => self.crew.work().known(&entry),
            // Its attributes have to be read.
            FileType::Directory => None,
            _ => Some(header(&entry, &entry.metadata, &[]).finish()),
        };
        self.digests.push(known);
        if known.is_none() {
            self.crew.add(Job { ticket, entry });
        }
        ticket
    }

    /// Whether an entry taken in earlier could not be read: no need to go on.
    pub(super) fn failed(&self) -> bool {
        self.crew.failed()
    }
}

impl Work for Shared<'_> {
    type Job = Job;
    type Desk = Buffers;
    type Error = IoError;

    fn bytes(&self, job: &Job) -> u64 {
        job.entry.metadata.size
    }

    fn work(&self, Job { ticket, entry }: Job, buffers: &mut Buffers) -> Result<(), IoError> {
        let digest = self.digest(&entry, buffers)?;
        self.digests.lock().unwrap_or_else(PoisonError::into_inner).push((ticket, digest));
        Ok(())
    }
}

impl Shared<'_> {
    fn known(&self, entry: &Entry) -> Option<Digest> {
        let taken = self.known.taken.and_then(|taken| taken.get(entry));
        taken.or_else(|| self.known.remembered.get(&self.tree.key(entry)?))
    }

    /// Remembers a digest for which the file was read from `began` on.
    fn remember(
        &self,
        entry: &Entry,
        file: &File,
        was: &Metadata,
        began: Instant,
        digest: Digest,
    ) -> Result<(), IoError> {
        // What was opened may lie elsewhere than what was listed.
        if was.device != entry.metadata.device {
            return Ok(());
        }
        let Some(file_system) = self.tree.file_system(entry) else { return Ok(()) };
        let key = StatKey::new(was, file_system);
        if key.settled(began) && entry.place.metadata(file, self.tree.owner())? == *was {
            self.known.remembered.put(key, digest);
        }
        Ok(())
    }

    fn digest(&self, entry: &Entry, buffers: &mut Buffers) -> Result<Digest, IoError> {
        let began = now();
        let file = entry.place.open(entry.metadata.kind)?;
        // Of what was opened, not of what was listed a moment ago.
        let metadata = entry.place.metadata(&file, self.tree.owner())?;
        let attributes = buffers.attributes(&file).at("read attributes", entry.place.shown())?;
        let mut hasher = header(entry, &metadata, &attributes);
        if metadata.kind != FileType::RegularFile {
            return Ok(hasher.finish());
        }
        if let Some(taken) = self.known.taken {
            taken.note_other();
        }
        buffers.read(&file, metadata.size, &mut hasher).at("read", entry.place.shown())?;
        let digest = hasher.finish();
        if !attributes.iter().any(|(name, _)| depends_on_reader(name)) {
            self.remember(entry, &file, &metadata, began, digest)?;
        }
        Ok(digest)
    }
}

/// The digest's first part: key and value of each field, one after the other.
pub(super) fn header(entry: &Entry, metadata: &Metadata, attributes: &[(Vec<u8>, Vec<u8>)]) -> Hasher {
    let (flag, size) = match metadata.kind {
        FileType::Directory => (5, 0),
        FileType::Symlink => (2, 0),
        FileType::CharacterDevice => (3, 0),
        FileType::BlockDevice => (4, 0),
        FileType::Fifo => (6, 0),
        FileType::RegularFile => (0, metadata.size),
        // A socket is copied as an empty file.
        FileType::Socket | FileType::Unknown => (0, 0),
    };
    let Metadata { mode, uid, gid, special, .. } = *metadata;
    let (major, minor) = match metadata.kind {
        FileType::CharacterDevice | FileType::BlockDevice => {
            ((special >> 8) & 0xfff, (special & 0xff) | ((special >> 12) & 0xfff00))
        }
        _ => (0, 0),
    };
    let mut hasher = Hasher::new();
    hasher.update(format!("namemode{mode}uid{uid}gid{gid}size{size}typeflag{flag}linkname").as_bytes());
    if let Some(target) = &entry.target {
        hasher.update(target.as_os_str().as_bytes());
    }
    hasher.update(format!("unamegnamedevmajor{major}devminor{minor}").as_bytes());
    for (name, value) in attributes {
        hasher.update(name);
        hasher.update(value);
    }
    hasher
}

pub(super) fn now() -> Instant {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos().cast_signed())
}

/// What a thread that hashes keeps from file to file.
#[derive(Debug)]
pub struct Buffers {
    bytes: Vec<u8>,
    names: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { bytes: vec![0; 128 << 10], names: vec![0; MAX_ATTRIBUTE] }
    }
}

/// The kernel's bound for one attribute, and for the list of their names.
const MAX_ATTRIBUTE: usize = 64 << 10;

impl Buffers {
    /// The attributes that count, sorted by name.
    pub(super) fn attributes(&mut self, file: &File) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let length = match fs::flistxattr(file, self.names.as_mut_slice()) {
            Ok(length) => length,
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut attributes = Vec::new();
        for name in self.names[..length].split(|&byte| byte == 0).filter(|name| counts(name)) {
            // An error means: gone meanwhile, or not for us to read.
            if let Ok(length) = fs::fgetxattr(file, name, self.bytes.as_mut_slice()) {
                attributes.push((name.to_vec(), self.bytes[..length].to_vec()));
            }
        }
        attributes.sort();
        Ok(attributes)
    }

    /// Reads to the end of a file that is said to be so large. What it gets meanwhile makes it another one anyway.
    fn read(&mut self, mut file: &File, size: u64, hasher: &mut Hasher) -> std::io::Result<()> {
        let mut read = 0;
        loop {
            match file.read(&mut self.bytes) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    hasher.update(&self.bytes[..length]);
                    read += length as u64;
                    if read >= size && size > 0 {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Labels and ACLs belong to the host, except for capabilities.
fn counts(name: &[u8]) -> bool {
    let of_host = [&b"security."[..], b"system.", b"com.apple."];
    let own = ownership::ATTRIBUTE.as_bytes();
    name == b"security.capability"
        || (!name.is_empty() && name != own && !of_host.iter().any(|prefix| name.starts_with(prefix)))
}

/// Capabilities look different from inside and outside of a namespace, and some attributes are shown to few.
pub(super) fn depends_on_reader(name: &[u8]) -> bool {
    name == b"security.capability" || name.starts_with(b"trusted.")
}
