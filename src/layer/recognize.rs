//! Whether bytes are the beginning of an archive.

use super::decompress;

const BLOCK: usize = 512;
/// Where the sum of a header's bytes stands, and how long it is.
const SUM_AT: usize = 148;
const SUM: usize = 8;

/// Whether a file that begins like this is meant to be an archive: something compressed, or a tar. What is neither is text, or
/// nothing that could be unpacked.
pub fn is_archive(beginning: &[u8]) -> bool {
    decompress::is_compressed(beginning)
        || beginning.get(..BLOCK).is_some_and(|block| is_end(block) || is_header(block))
}

/// A tar without entries is just its end mark.
fn is_end(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// The sum is over all bytes, with blanks in its own place.
fn is_header(block: &[u8]) -> bool {
    let field = &block[SUM_AT..SUM_AT + SUM];
    let digits = std::str::from_utf8(field).unwrap_or_default();
    let written = u64::from_str_radix(digits.trim_matches([' ', '\0']), 8).ok();
    let others = block.iter().enumerate().filter(|(at, _)| !(SUM_AT..SUM_AT + SUM).contains(at));
    let sum = others.map(|(_, byte)| u64::from(*byte)).sum::<u64>() + (SUM as u64) * u64::from(b' ');
    written == Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_cksum();
        builder.append_data(&mut header, "FROM", &b"x"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn archives_are_told_from_texts() {
        let tar = tar();
        assert!(is_archive(&tar) && is_archive(&[0; BLOCK]) && is_archive(&[0x1f, 0x8b, 8]));
        assert!(!is_archive(&tar[..BLOCK - 1]));
        let mut changed = tar;
        changed[0] ^= 1;
        assert!(!is_archive(&changed));
        let long = format!("FROM scratch\n{}", "# a comment\n".repeat(100));
        for text in ["", "FROM scratch\n", "BZh", "\u{feff}FROM scratch\n", &long] {
            assert!(!is_archive(text.as_bytes()), "{text}");
        }
    }
}
