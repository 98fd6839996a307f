//! Where the blob of a layer can be had.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

use super::reference::{Reference, ReferenceError};

/// A place outside the store that has a layer's blob. As text it is what records of layers keep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LayerSource {
    /// A repository, by the name of something in it.
    Registry(Reference),
    /// An OCI layout in a directory, by its absolute path: `oci-layout:///path`.
    Layout(PathBuf),
}

const LAYOUT: &str = "oci-layout://";

impl LayerSource {
    /// The name of the registry's image or cache, if it is in one.
    pub fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Registry(reference) => Some(reference),
            Self::Layout(_) => None,
        }
    }
}

impl fmt::Display for LayerSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => reference.fmt(out),
            Self::Layout(path) => {
                out.write_str(LAYOUT)?;
                // Paths need not be text.
                for byte in path.as_os_str().as_bytes() {
                    match byte {
                        b'%' | ..=b' ' | 0x7f.. => write!(out, "%{byte:02x}")?,
                        _ => write!(out, "{}", char::from(*byte))?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl FromStr for LayerSource {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let Some(path) = text.strip_prefix(LAYOUT) else { return text.parse().map(Self::Registry) };
        let refuse = |reason| ReferenceError { name: text.to_owned(), reason };
        let mut bytes = Vec::with_capacity(path.len());
        let mut pieces = path.split('%');
        bytes.extend(pieces.next().unwrap_or_default().bytes());
        for piece in pieces {
            let digits = piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
            bytes.push(digits.ok_or_else(|| refuse("two hexadecimal digits follow a %"))?);
            bytes.extend(piece[2..].bytes());
        }
        let path = PathBuf::from(OsString::from_vec(bytes));
        if path.is_absolute() {
            Ok(Self::Layout(path))
        } else {
            Err(refuse("the path of a layout is absolute"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_round_trip() {
        let paths = [&b"/a/b"[..], b"/with space/100%/\xff\xc3\xa9\n", b"/"];
        for path in paths {
            let source = LayerSource::Layout(PathBuf::from(OsString::from_vec(path.to_vec())));
            assert!(source.to_string().is_ascii());
            assert_eq!(source.to_string().parse(), Ok(source));
        }
        assert_eq!(LayerSource::Layout("/a/b".into()).to_string(), "oci-layout:///a/b");
        let name = "reg.io/app:1@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let source: LayerSource = name.parse().unwrap();
        assert_eq!(source.reference().map(Reference::to_string).as_deref(), Some(name));
        assert_eq!(source.to_string(), name);
    }

    #[test]
    fn malformed_sources_are_refused() {
        for text in ["oci-layout://a", "oci-layout://", "oci-layout:///%f", "oci-layout:///%é", "UPPER", ""]
        {
            assert!(text.parse::<LayerSource>().is_err(), "{text}");
        }
    }
}
