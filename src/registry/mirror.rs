//! A mirror as a person gives it: `https://mirror.example`, `http://10.0.0.5:5000`, `mirror.example/hub`.

use std::str::FromStr;

/// A place that serves what docker.io serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MirrorAddress {
    /// Host with port, and a path if there is one.
    pub(super) location: String,
    /// Whether it was said to be reached in plain HTTP.
    pub(super) plain: bool,
}

impl FromStr for MirrorAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, plain) = match text.split_once("://") {
            Some(("http", rest)) => (rest, true),
            Some(("https", rest)) => (rest, false),
            Some((scheme, _)) => return Err(format!("mirrors speak http or https, not {scheme}")),
            None => (text, false),
        };
        let location = rest.trim_end_matches('/');
        let fits = |letter: char| letter.is_ascii_alphanumeric() || ".-_:[]/".contains(letter);
        if location.is_empty() || location.starts_with('/') || !location.chars().all(fits) {
            return Err(
                "a host is meant, with a port or path if need be, such as mirror.example:5000".to_owned()
            );
        }
        Ok(Self { location: location.to_owned(), plain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_addresses_are_mirrors() {
        let mirror = |text: &str| text.parse::<MirrorAddress>().map(|mirror| (mirror.location, mirror.plain));
        assert_eq!(mirror("m.example"), Ok(("m.example".to_owned(), false)));
        assert_eq!(mirror("https://m.example:5000/hub/"), Ok(("m.example:5000/hub".to_owned(), false)));
        assert_eq!(mirror("http://127.0.0.1:5000"), Ok(("127.0.0.1:5000".to_owned(), true)));
        for wrong in ["", "ftp://m.example", "http://", "https://u:p@m.example", "m.example?x=1", "/x"] {
            assert!(mirror(wrong).is_err(), "{wrong}");
        }
    }
}
