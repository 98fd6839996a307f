//! Reading tar that nobody has to trust: headers with their extensions resolved, sizes bounded, contents streamed.

use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use tar_core::EntryType;
use tar_core::parse::{Limits, ParseEvent, ParsedEntry, Parser};

use super::pax;

/// One entry, with everything that PAX and GNU extensions say about it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As written: it may be absolute or lead out of the archive.
    pub path: PathBuf,
    pub kind: Kind,
    /// The twelve permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `sparse`: which parts of a file of this size follow, as offset and length; all of it if none.
    File {
        size: u64,
        sparse: Option<Vec<(u64, u64)>>,
    },
    Directory,
    Symlink(PathBuf),
    HardLink(PathBuf),
    Fifo,
    CharacterDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    /// What a vendor invented.
    Unknown,
}

/// Reads entry by entry.
pub(crate) struct TarReader<R> {
    from: R,
    parser: Parser,
    /// What has been read; from `start` on it has not been used.
    buffer: Vec<u8>,
    start: usize,
    /// Of the current entry: content that has not been read, and what fills its last block.
    content: u64,
    padding: u64,
}

impl<R: Read> TarReader<R> {
    pub(crate) fn new(from: R) -> Self {
        // As long as paths can be; the other limits are generous for layers that people have made, and bounded.
        let limits = Limits { max_path_len: Some(4096), ..Limits::default() };
        let mut parser = Parser::new(limits);
        // It takes times before 1970 for errors; what is one, `pax` says.
        parser.set_ignore_pax_errors(true);
        Self { from, parser, buffer: Vec::new(), start: 0, content: 0, padding: 0 }
    }

    /// The next entry; what is left of the current one is skipped.
    pub(crate) fn next(&mut self) -> io::Result<Option<Entry>> {
        self.skip(self.content + self.padding)?;
        (self.content, self.padding) = (0, 0);
        loop {
            let (consumed, found) =
                match self.parser.parse(&self.buffer[self.start..]).map_err(io::Error::other)? {
                    ParseEvent::NeedData { min_bytes } => {
                        self.fill(min_bytes)?;
                        continue;
                    }
                    // Defaults for all that follows: git's commit id, mostly; nothing that layers are made with.
                    ParseEvent::GlobalExtensions { consumed, .. } => (consumed, None),
                    ParseEvent::End { .. } => return Ok(None),
                    ParseEvent::Entry { consumed, entry } => {
                        let size = entry.size;
                        (consumed, Some((size, resolve(&entry, size, None)?)))
                    }
                    ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size } => {
                        let map = sparse_map.iter().map(|part| (part.offset, part.length)).collect();
                        (consumed, Some((entry.size, resolve(&entry, real_size, Some(map))?)))
                    }
                };
            self.start += consumed;
            if let Some((size, entry)) = found {
                (self.content, self.padding) = (size, size.next_multiple_of(512) - size);
                return Ok(Some(entry));
            }
        }
    }

    /// Makes sure that `wanted` bytes are buffered.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        const CHUNK: usize = 64 << 10;
        self.buffer.drain(..self.start);
        self.start = 0;
        while self.buffer.len() < wanted {
            let have = self.buffer.len();
            self.buffer.resize(have + CHUNK.max(wanted - have), 0);
            let length = self.from.read(&mut self.buffer[have..]);
            self.buffer.truncate(have + *length.as_ref().unwrap_or(&0));
            match length {
                Ok(0) if have == 0 => {
                    // An archive may end without its end mark: pretend it was there.
                    self.buffer.resize(wanted.max(1024), 0);
                }
                Ok(0) => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends in a header"));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn unused(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn skip(&mut self, mut length: u64) -> io::Result<()> {
        let buffered = usize::try_from(length).unwrap_or(usize::MAX).min(self.unused().len());
        self.start += buffered;
        length -= buffered as u64;
        match io::copy(&mut (&mut self.from).take(length), &mut io::sink())? {
            skipped if skipped == length => Ok(()),
            _ => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends in the middle of a file"))
            }
        }
    }
}

/// The content of the current entry.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.content).unwrap_or(usize::MAX).min(into.len());
        if wanted == 0 {
            return Ok(0);
        }
        let length = if self.unused().is_empty() {
            self.from.read(&mut into[..wanted])?
        } else {
            let length = wanted.min(self.unused().len());
            into[..length].copy_from_slice(&self.unused()[..length]);
            self.start += length;
            length
        };
        if length == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive ends in the middle of a file",
            ));
        }
        self.content -= length as u64;
        Ok(length)
    }
}

fn resolve(entry: &ParsedEntry<'_>, size: u64, sparse: Option<Vec<(u64, u64)>>) -> io::Result<Entry> {
    let id =
        |id: u64| u32::try_from(id).map_err(|_| io::Error::other("an owner's id is larger than 32 bits"));
    let target = || path(entry.link_target.as_deref().unwrap_or_default());
    let (major, minor) = (entry.dev_major.unwrap_or(0), entry.dev_minor.unwrap_or(0));
    let kind = match entry.entry_type {
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => Kind::File { size, sparse },
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(target()),
        EntryType::Link => Kind::HardLink(target()),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => Kind::CharacterDevice { major, minor },
        EntryType::Block => Kind::BlockDevice { major, minor },
        _ => Kind::Unknown,
    };
    let records = pax::Records::read(entry.pax.unwrap_or_default())?;
    // A time before 1970 in a binary field comes as its complement.
    let mtime = records.mtime.unwrap_or((entry.mtime.cast_signed(), 0));
    Ok(Entry {
        path: path(&entry.path),
        kind,
        mode: entry.mode & 0o7777,
        uid: id(entry.uid)?,
        gid: id(entry.gid)?,
        mtime,
        xattrs: records.xattrs,
    })
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()))
}
