//! Streams as they were before they were compressed.

use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

/// A stream that is decompressed as its first bytes say: media types are claims, and registries and tools make wrong ones.
#[allow(clippy::large_enum_variant, reason = "one for each layer, never in a list")]
pub(crate) enum Decompressed<R: Read> {
    Plain(BufReader<R>),
    Gzip(MultiGzDecoder<BufReader<R>>),
    Bzip2(MultiBzDecoder<BufReader<R>>),
    Xz(XzReader<BufReader<R>>),
    Zstd(zstd::Decoder<'static, BufReader<R>>),
}

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Followed by a digit from 1 to 9, and what a block or the end of the stream begins with.
const BZIP2: &[u8] = b"BZh";
const BZIP2_THEN: [[u8; 6]; 2] = [[0x31, 0x41, 0x59, 0x26, 0x53, 0x59], [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]];
const XZ: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Frames that a decoder passes over, such as the tables of contents that some tools add.
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

/// Reads this much at a time.
const BUFFER: usize = 64 << 10;
/// A window of 128 MiB: more than the highest level of zstd takes by itself, and what anybody may make us hold.
const LARGEST_WINDOW: u32 = 27;
/// The same for xz, in KiB, with a little for the decoder itself; its highest level takes 64 MiB.
const MOST_FOR_XZ: u32 = (128 << 10) + 256;

impl<R: Read> Decompressed<R> {
    pub(crate) fn new(from: R) -> io::Result<Self> {
        let mut from = BufReader::with_capacity(BUFFER, from);
        let start = from.fill_buf()?;
        if start.starts_with(&GZIP) {
            return Ok(Self::Gzip(MultiGzDecoder::new(from)));
        }
        if is_bzip2(start) {
            return Ok(Self::Bzip2(MultiBzDecoder::new(from)));
        }
        if start.starts_with(&XZ) {
            return Ok(Self::Xz(XzReader::new_mem_limit(from, true, MOST_FOR_XZ)));
        }
        if is_zstd(start) {
            let mut decoder = zstd::Decoder::with_buffer(from)?;
            decoder.window_log_max(LARGEST_WINDOW)?;
            return Ok(Self::Zstd(decoder));
        }
        Ok(Self::Plain(from))
    }
}

/// Whether something compressed begins like this.
pub(crate) fn is_compressed(start: &[u8]) -> bool {
    start.starts_with(&GZIP) || is_bzip2(start) || start.starts_with(&XZ) || is_zstd(start)
}

fn is_zstd(start: &[u8]) -> bool {
    let is_skippable = start.first().is_some_and(|first| first & 0xf0 == 0x50)
        && start.get(1..).is_some_and(|rest| rest.starts_with(&ZSTD_SKIPPABLE));
    start.starts_with(&ZSTD) || is_skippable
}

/// Three letters are little: a tar may begin with a file of such a name.
fn is_bzip2(start: &[u8]) -> bool {
    start.starts_with(BZIP2)
        && start.get(3).is_some_and(|level| (b'1'..=b'9').contains(level))
        && start.get(4..10).is_some_and(|then| BZIP2_THEN.iter().any(|known| then == known))
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(from) => from.read(buffer),
            Self::Gzip(from) => from.read(buffer),
            Self::Bzip2(from) => from.read(buffer),
            Self::Xz(from) => from.read(buffer).map_err(|error| match error.kind() {
                io::ErrorKind::OutOfMemory => io::Error::other("its xz dictionary is larger than 128 MiB"),
                _ => error,
            }),
            Self::Zstd(from) => from.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const TEXT: &[u8] = b"once upon a time, ";

    /// What a program makes of a text that is repeated many times.
    fn packed(program: &str, arguments: &[&str], text: &[u8]) -> Vec<u8> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        let text = text.to_vec();
        let writer = std::thread::spawn(move || io::Write::write_all(&mut stdin, &text));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    fn unpacked(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        Decompressed::new(packed)?.read_to_end(&mut text).map(|_| text)
    }

    fn is_installed(program: &str) -> bool {
        Command::new(program).arg("--version").stdin(Stdio::null()).output().is_ok()
    }

    const PROGRAMS: [(&str, &[&str]); 7] = [
        ("gzip", &["-c"]),
        ("bzip2", &["-c"]),
        ("bzip2", &["-1", "-c"]),
        ("xz", &["-c"]),
        ("xz", &["-9e", "--check=sha256", "-c"]),
        ("xz", &["-0", "--block-size=10000", "--check=crc32", "-c"]),
        ("xz", &["--x86", "--lzma2=dict=64KiB", "--check=none", "-c"]),
    ];

    /// `once upon a time`, as bzip2 and xz write it.
    const KNOWN: [&str; 2] = [
        "425a6839314159265359e57261ba000006118040002a23c60020003100d34d040d06464d0158b4b23c9bc5dc914e1424395c986e80",
        "fd377a585a0000016922de36020021010c0000008f98419c01000f6f6e63652075706f6e20612074696d6500d2ee8fb300012410e944d9cc9042990d010000000001595a",
    ];

    #[test]
    fn bzip2_and_xz_are_known_by_their_content() {
        for known in KNOWN {
            let digit = |place: usize| u8::from_str_radix(&known[place..place + 2], 16).unwrap();
            let packed: Vec<u8> = (0..known.len()).step_by(2).map(digit).collect();
            assert_eq!(unpacked(&packed).unwrap(), b"once upon a time");
            assert_eq!(unpacked(&packed.repeat(3)).unwrap(), b"once upon a time".repeat(3));
            for length in 14..packed.len() {
                assert!(unpacked(&packed[..length]).is_err(), "{length} of {}", packed.len());
            }
        }
    }

    /// What other programs write, one stream after the other, is read; what is cut off or changed is refused.
    #[test]
    fn whole_streams_are_read_and_others_refused() {
        let text = TEXT.repeat(5000);
        for (program, arguments) in PROGRAMS.into_iter().filter(|(program, _)| is_installed(program)) {
            let one = packed(program, arguments, &text);
            assert_eq!(unpacked(&one).unwrap(), text, "{program} {arguments:?}");
            let other = packed(program, arguments, b"and so on");
            let both = unpacked(&[&one[..], &other].concat()).unwrap();
            assert!(both.starts_with(&text) && both.ends_with(b"and so on"), "{program} {arguments:?}");
            assert_eq!(unpacked(&packed(program, arguments, b"")).unwrap(), b"", "{program} {arguments:?}");
            // So short that it cannot be told from anything else.
            let recognised = 18;
            for length in (recognised..one.len()).step_by(1 + one.len() / 200) {
                assert!(
                    unpacked(&one[..length]).is_err(),
                    "{program} {arguments:?}: {length} of {}",
                    one.len()
                );
            }
        }
    }

    /// Whatever is changed, nothing panics.
    #[test]
    fn changed_streams_do_no_harm() {
        let text: Vec<u8> = (0..3000_u32).flat_map(|number| (number * number).to_le_bytes()).collect();
        for (program, arguments) in PROGRAMS.into_iter().filter(|(program, _)| is_installed(program)) {
            let whole = packed(program, arguments, &text);
            for place in (0..whole.len()).step_by(1 + whole.len() / 100) {
                for change in [1, 0x80, 0xff] {
                    let mut changed = whole.clone();
                    changed[place] ^= change;
                    let _ = unpacked(&changed);
                }
            }
        }
    }

    #[test]
    fn an_xz_stream_does_not_take_all_memory() {
        if !is_installed("xz") {
            return;
        }
        let small = packed("xz", &["--lzma2=dict=128MiB", "-c"], b"text");
        assert_eq!(unpacked(&small).unwrap(), b"text");
        let greedy = packed("xz", &["--lzma2=dict=129MiB", "-c"], b"text");
        assert!(unpacked(&greedy).unwrap_err().to_string().contains("larger than 128 MiB"));
    }

    #[test]
    fn what_only_begins_like_a_compressed_stream_is_plain() {
        for start in [&b"BZh9 is a name"[..], b"BZ", b"\xfd7zX", b"", b"\x1f"] {
            assert!(matches!(Decompressed::new(start).unwrap(), Decompressed::Plain(_)), "{start:?}");
        }
    }
}
