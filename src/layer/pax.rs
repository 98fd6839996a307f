//! What PAX records say of an entry beyond its name, size and owner.

use std::borrow::Cow;
use std::io;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use tar_core::PaxExtensions;

/// What an attribute's record begins with; its value is as it is.
pub(super) const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";
/// The same from libarchive, which writes both: the name is encoded as in a URL, the value in base 64.
const ENCODED_ATTRIBUTE: &[u8] = b"LIBARCHIVE.xattr.";

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    /// With a fraction, perhaps before 1970: seconds and nanoseconds.
    pub mtime: Option<(i64, i64)>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Records {
    /// Reads all records of an entry. Of several with one key the last counts. Those that the parser of headers reads are looked
    /// at, too: it passes over numbers that are none.
    pub(super) fn read(bytes: &[u8]) -> io::Result<Self> {
        let mut records = Self::default();
        let mut encoded = Vec::new();
        for record in PaxExtensions::new(bytes) {
            let record = record.map_err(io::Error::other)?;
            let (key, value) = (record.key_bytes(), record.value_bytes());
            let wrong = || io::Error::other(format!("its record {} is wrong", key.escape_ascii()));
            match key {
                // An empty value takes back what was said before.
                b"mtime" if value.is_empty() => records.mtime = None,
                b"mtime" => records.mtime = Some(time(value).ok_or_else(wrong)?),
                b"size" | b"uid" | b"gid" => number(value).ok_or_else(wrong)?,
                key if key.starts_with(b"GNU.sparse.")
                    && !matches!(key, b"GNU.sparse.name" | b"GNU.sparse.map") =>
                {
                    number(value).ok_or_else(wrong)?;
                }
                key => {
                    if let Some(name) = key.strip_prefix(ATTRIBUTE) {
                        records.set(decode_name(name), value.to_owned());
                    } else if let Some(name) = key.strip_prefix(ENCODED_ATTRIBUTE) {
                        encoded.push((url_decode(name), LENIENT.decode(value).map_err(|_| wrong())?));
                    }
                }
            }
        }
        for (name, value) in encoded {
            if !records.xattrs.iter().any(|(known, _)| *known == name) {
                records.set(name, value);
            }
        }
        Ok(records)
    }

    fn set(&mut self, name: Vec<u8>, value: Vec<u8>) {
        self.xattrs.retain(|(known, _)| *known != name);
        self.xattrs.push((name, value));
    }
}

/// libarchive leaves the padding out.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn number(value: &[u8]) -> Option<()> {
    let text = std::str::from_utf8(value).ok()?;
    (text.is_empty() || text.parse::<u64>().is_ok()).then_some(())
}

fn time(value: &[u8]) -> Option<(i64, i64)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let (seconds, nanoseconds): (i64, u32) = (whole.parse().ok()?, digits.parse().ok()?);
    let nanoseconds = i64::from(nanoseconds);
    // -1.25 lies a quarter before -1.
    Some(if whole.starts_with('-') && nanoseconds > 0 {
        (seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)
    } else {
        (seconds, nanoseconds)
    })
}

/// An attribute's name as a record's key, which ends at the first `=`: written as GNU tar does it.
pub(super) fn encode_name(name: &[u8]) -> Cow<'_, [u8]> {
    let is_ambiguous = name.contains(&b'=') || decode_name(name) != name;
    if !is_ambiguous {
        return Cow::Borrowed(name);
    }
    let encode = |byte: &u8| match byte {
        b'=' => b"%3D".to_vec(),
        b'%' => b"%25".to_vec(),
        other => vec![*other],
    };
    Cow::Owned(name.iter().flat_map(encode).collect())
}

fn decode_name(name: &[u8]) -> Vec<u8> {
    decode(name, |code| matches!(code, b"3D" | b"25"))
}

fn url_decode(name: &[u8]) -> Vec<u8> {
    decode(name, |_| true)
}

/// Replaces `%XX` where it is taken for a code.
fn decode(mut name: &[u8], is_code: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(name.len());
    while let Some((first, rest)) = name.split_first() {
        let code = rest.get(..2).filter(|code| *first == b'%' && is_code(code));
        let byte = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        name = if byte.is_some() { &rest[2..] } else { rest };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> String {
        let rest = key.len() + value.len() + 3;
        let length = (rest + 1..).find(|length| rest + length.to_string().len() == *length).unwrap();
        format!("{length} {key}={value}\n")
    }

    #[test]
    fn times_may_have_fractions_and_lie_before_1970() {
        for (text, time) in [
            ("1", (1, 0)),
            ("1.5", (1, 500_000_000)),
            ("-1", (-1, 0)),
            ("-1.25", (-2, 750_000_000)),
            ("-0.000000001", (-1, 999_999_999)),
            ("0.1234567891", (0, 123_456_789)),
        ] {
            assert_eq!(Records::read(record("mtime", text).as_bytes()).unwrap().mtime, Some(time), "{text}");
        }
        let last = record("mtime", "1") + &record("mtime", "2");
        assert_eq!(Records::read(last.as_bytes()).unwrap().mtime, Some((2, 0)));
        for (key, wrong) in
            [("mtime", "x"), ("mtime", "1.x"), ("size", "-1"), ("uid", "1.5"), ("GNU.sparse.offset", "?")]
        {
            let error = Records::read(record(key, wrong).as_bytes()).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }

    #[test]
    fn both_forms_of_attributes_are_read() {
        let text = record("LIBARCHIVE.xattr.user.a%20b", "dmFsdWU") + &record("SCHILY.xattr.user.c", "plain");
        let expected = [("user.c", "plain"), ("user.a b", "value")];
        let expected = expected.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        assert_eq!(Records::read(text.as_bytes()).unwrap().xattrs, expected);
    }

    #[test]
    fn names_of_attributes_come_back() {
        for name in
            ["user.a", "user.a=b", "user.%", "user.%25", "user.%3D=%", "user.%2525", "user.%3d", "user.%"]
        {
            let encoded = encode_name(name.as_bytes());
            assert!(!encoded.contains(&b'='));
            assert_eq!(decode_name(&encoded), name.as_bytes());
        }
        assert_eq!(encode_name(b"user.100%").as_ref(), b"user.100%", "others do not decode");
    }
}
