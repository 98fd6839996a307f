//! Writing tar: ustar headers, with PAX records for what does not fit. Every byte depends on the input alone.

use std::io::{self, Read, Write};

use super::pax;

/// One entry's metadata.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// Relative, without leading `./`; directories end in `/`.
    pub path: &'a [u8],
    pub kind: Kind<'a>,
    /// The twelve permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Whole seconds.
    pub mtime: i64,
    /// Sorted by name.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind<'a> {
    File { size: u64 },
    Directory,
    Symlink { target: &'a [u8] },
    HardLink { target: &'a [u8] },
    Fifo,
    CharacterDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
}

pub(crate) struct TarWriter<W> {
    to: W,
    buffer: Vec<u8>,
}

const BLOCK: usize = 512;
const AT_ONCE: usize = 128 << 10;

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, buffer: vec![0; AT_ONCE] }
    }

    pub(crate) fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let records = pax_records(entry);
        if !records.is_empty() {
            self.pax_header(&records)?;
        }
        self.to.write_all(&header(entry))
    }

    /// The content of the file entry written last, which must be exactly as long as it said.
    pub(crate) fn content(&mut self, from: &mut impl Read, size: u64) -> io::Result<()> {
        // By hand: the library looks for a way through the kernel for each file, and reads small pieces without one.
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            match from.read(&mut self.buffer[..most]) {
                Ok(0) => {
                    let shorter = "the file became shorter while it was read";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, shorter));
                }
                Ok(length) => {
                    self.to.write_all(&self.buffer[..length])?;
                    left -= length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pad(size)
    }

    /// Two empty blocks end the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        Ok(self.to)
    }

    fn pax_header(&mut self, records: &[u8]) -> io::Result<()> {
        let mut block = [0; BLOCK];
        put(&mut block, 0..100, b"PaxHeaders.0/entry");
        octal(&mut block, 100..108, 0o644);
        octal(&mut block, 108..116, 0);
        octal(&mut block, 116..124, 0);
        octal(&mut block, 124..136, records.len() as u64);
        octal(&mut block, 136..148, 0);
        block[156] = b'x';
        seal_header(&mut block);
        self.to.write_all(&block)?;
        self.to.write_all(records)?;
        self.pad(records.len() as u64)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size % BLOCK as u64).expect("less than a block");
        if rest == 0 { Ok(()) } else { self.to.write_all(&[0; BLOCK][rest..]) }
    }
}

/// The largest numbers that the octal fields hold.
const MAX_ID: u32 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;

fn header(entry: &Entry<'_>) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block, 0..100, entry.path);
    octal(&mut block, 100..108, entry.mode.into());
    octal(&mut block, 108..116, if entry.uid <= MAX_ID { entry.uid.into() } else { 0 });
    octal(&mut block, 116..124, if entry.gid <= MAX_ID { entry.gid.into() } else { 0 });
    let size = match entry.kind {
        Kind::File { size } if size <= MAX_SIZE => size,
        _ => 0,
    };
    octal(&mut block, 124..136, size);
    octal(&mut block, 136..148, u64::try_from(entry.mtime).unwrap_or(0).min(MAX_SIZE));
    let (flag, link, device) = match entry.kind {
        Kind::File { .. } => (b'0', None, None),
        Kind::HardLink { target } => (b'1', Some(target), None),
        Kind::Symlink { target } => (b'2', Some(target), None),
        Kind::CharacterDevice { major, minor } => (b'3', None, Some((major, minor))),
        Kind::BlockDevice { major, minor } => (b'4', None, Some((major, minor))),
        Kind::Directory => (b'5', None, None),
        Kind::Fifo => (b'6', None, None),
    };
    block[156] = flag;
    if let Some(target) = link {
        put(&mut block, 157..257, target);
    }
    let (major, minor) = device.unwrap_or((0, 0));
    octal(&mut block, 329..337, major.into());
    octal(&mut block, 337..345, minor.into());
    seal_header(&mut block);
    block
}

fn seal_header(block: &mut [u8; BLOCK]) {
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let text = format!("{sum:06o}\0 ");
    block[148..156].copy_from_slice(text.as_bytes());
}

/// Puts as much of a text as fits; what does not is in a PAX record.
fn put(block: &mut [u8; BLOCK], field: std::ops::Range<usize>, text: &[u8]) {
    let length = text.len().min(field.len());
    block[field.start..field.start + length].copy_from_slice(&text[..length]);
}

fn octal(block: &mut [u8; BLOCK], field: std::ops::Range<usize>, number: u64) {
    let width = field.len() - 1;
    let text = format!("{number:0width$o}");
    block[field.start..field.start + width].copy_from_slice(&text.as_bytes()[text.len() - width..]);
}

fn pax_records(entry: &Entry<'_>) -> Vec<u8> {
    let mut records = Vec::new();
    if !fits(entry.path) {
        pax_record(&mut records, b"path", entry.path);
    }
    if let Kind::Symlink { target } | Kind::HardLink { target } = entry.kind
        && !fits(target)
    {
        pax_record(&mut records, b"linkpath", target);
    }
    if let Kind::File { size } = entry.kind
        && size > MAX_SIZE
    {
        pax_record(&mut records, b"size", size.to_string().as_bytes());
    }
    for (name, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
        if id > MAX_ID {
            pax_record(&mut records, name, id.to_string().as_bytes());
        }
    }
    if u64::try_from(entry.mtime).is_ok_and(|mtime| mtime > MAX_SIZE) || entry.mtime < 0 {
        pax_record(&mut records, b"mtime", entry.mtime.to_string().as_bytes());
    }
    for (name, value) in entry.xattrs {
        pax_record(&mut records, &[pax::ATTRIBUTE, &pax::encode_name(name)].concat(), value);
    }
    records
}

/// Whether a name can stand in a plain header: short enough, and ASCII, so that no reader guesses its encoding.
fn fits(name: &[u8]) -> bool {
    name.len() <= 100 && name.is_ascii()
}

/// `<length> <key>=<value>\n`, where the length counts its own digits.
fn pax_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::super::tar_reader::TarReader;
    use super::*;

    fn write(entry: &Entry<'_>) -> Vec<u8> {
        let mut writer = TarWriter::new(Vec::new());
        writer.entry(entry).unwrap();
        if let Kind::File { size } = entry.kind {
            writer.content(&mut io::repeat(b'x'), size).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn readers_see_what_was_written() {
        let long = "long/".repeat(60) + "näme";
        let xattrs = [(b"user.a".to_vec(), b"1\n2".to_vec())];
        let bytes = write(&Entry {
            path: long.as_bytes(),
            kind: Kind::File { size: 513 },
            mode: 0o4755,
            uid: 3_000_000,
            gid: 7,
            mtime: 1_700_000_000,
            xattrs: &xattrs,
        });
        assert_eq!(bytes.len() % BLOCK, 0);
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path_bytes().as_ref(), long.as_bytes());
        assert_eq!(entry.header().mode().unwrap(), 0o4755);
        assert_eq!(entry.header().gid().unwrap(), 7);
        assert_eq!(entry.header().mtime().unwrap(), 1_700_000_000);
        assert_eq!(io::copy(&mut entry, &mut io::sink()).unwrap(), 513);
        let mut own = TarReader::new(&bytes[..]);
        let entry = own.next().unwrap().unwrap();
        assert_eq!((entry.uid, entry.gid, entry.mode), (3_000_000, 7, 0o4755));
        assert_eq!(entry.xattrs, xattrs);
        assert!(own.next().unwrap().is_none());
    }

    #[test]
    fn an_empty_archive_is_a_kibibyte_of_zeros() {
        let bytes = TarWriter::new(Vec::new()).finish().unwrap();
        assert_eq!(bytes, [0; 1024]);
        let digest = crate::image::Digest::of(&bytes).to_string();
        assert!(digest.starts_with("sha256:5f70bf18a086"), "{digest}");
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for length in [1, 88, 89, 90, 91, 988, 989, 990] {
            let mut record = Vec::new();
            pax_record(&mut record, b"k", &vec![b'v'; length]);
            let text = String::from_utf8(record).unwrap();
            assert_eq!(text.split_once(' ').unwrap().0.parse::<usize>().unwrap(), text.len());
        }
    }
}
