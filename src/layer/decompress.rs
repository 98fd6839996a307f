//! Streams as they were before they were compressed.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// A stream that is decompressed as its first bytes say: media types are claims, and registries and tools make wrong ones.
#[allow(clippy::large_enum_variant, reason = "one for each layer, never in a list")]
pub(crate) enum Decompressed<R: Read> {
    Plain(BufReader<R>),
    Gzip(MultiGzDecoder<BufReader<R>>),
    Zstd(zstd::Decoder<'static, BufReader<R>>),
}

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Frames that a decoder passes over, such as the tables of contents that some tools add.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// Reads this much at a time.
const BUFFER: usize = 64 << 10;
/// A window of 128 MiB: more than the highest level of zstd takes by itself, and what anybody may make us hold.
const LARGEST_WINDOW: u32 = 27;

impl<R: Read> Decompressed<R> {
    pub(crate) fn new(from: R) -> io::Result<Self> {
        let mut from = BufReader::with_capacity(BUFFER, from);
        let start = from.fill_buf()?;
        if start.starts_with(&GZIP) {
            return Ok(Self::Gzip(MultiGzDecoder::new(from)));
        }
        let is_skippable = start.first().is_some_and(|first| first & 0xf0 == 0x50)
            && start.get(1..).is_some_and(|rest| rest.starts_with(&ZSTD_SKIPPABLE));
        if start.starts_with(&ZSTD) || is_skippable {
            let mut decoder = zstd::Decoder::with_buffer(from)?;
            decoder.window_log_max(LARGEST_WINDOW)?;
            return Ok(Self::Zstd(decoder));
        }
        Ok(Self::Plain(from))
    }
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(from) => from.read(buffer),
            Self::Gzip(from) => from.read(buffer),
            Self::Zstd(from) => from.read(buffer),
        }
    }
}
