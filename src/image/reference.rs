//! Image names: `[host[:port]/]repository[:tag][@digest]`.

use std::fmt;
use std::str::FromStr;

use super::digest::Digest;

/// Where a name without a host leads, as everywhere else.
pub const DEFAULT_REGISTRY: &str = "docker.io";

/// A normalised image name. `alpine` becomes `docker.io/library/alpine:latest`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Reference {
    /// Host with its port, as written; `docker.io` by default.
    pub registry: String,
    /// Path below the host, `library/` included.
    pub repository: String,
    /// `latest` unless given; none when only a digest is given.
    pub tag: Option<String>,
    /// Wins over the tag when something is fetched.
    pub digest: Option<Digest>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid image name {name:?}: {reason}")]
pub struct ReferenceError {
    pub name: String,
    pub reason: &'static str,
}

impl Reference {
    /// The name as people type it: without the default host, `library/` and a digest's tag.
    pub fn familiar(&self) -> String {
        let mut text = String::new();
        if self.registry != DEFAULT_REGISTRY {
            text.push_str(&self.registry);
            text.push('/');
            text.push_str(&self.repository);
        } else {
            text.push_str(self.repository.strip_prefix("library/").unwrap_or(&self.repository));
        }
        self.push_suffix(&mut text);
        text
    }

    /// The name without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What a registry is asked for: the digest if there is one, else the tag.
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }

    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    fn push_suffix(&self, text: &mut String) {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let refuse = |reason| ReferenceError { name: text.to_owned(), reason };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|_| refuse("the part after @ is not a sha256 digest"))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (host, path) = split_host(rest);
        // A colon after the last slash starts the tag; one before it belongs to a port.
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
            _ => (path, None),
        };
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(refuse(
                "a tag has up to 128 letters, digits, '_', '.' and '-', and starts with none of the last two",
            ));
        }
        if path.is_empty() {
            return Err(refuse("the name is empty"));
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(refuse("the repository must be lower-case"));
        }
        if !path.split('/').all(is_component) {
            return Err(refuse(
                "a repository is made of lower-case letters and digits, separated by '/', '.', '_', '__' or '-'",
            ));
        }
        if !is_host(host) {
            return Err(refuse("the host name is malformed"));
        }
        let repository = match (host, path.contains('/')) {
            (DEFAULT_REGISTRY, false) => format!("library/{path}"),
            _ => path.to_owned(),
        };
        if repository.len() > 255 {
            return Err(refuse("the repository is longer than 255 characters"));
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Self { registry: host.to_owned(), repository, tag, digest })
    }
}

/// The first component is a host only if it looks like one: with a dot, a port, or `localhost`.
fn split_host(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some(("index.docker.io", path)) => (DEFAULT_REGISTRY, path),
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => (DEFAULT_REGISTRY, text),
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                return address.parse::<std::net::Ipv6Addr>().is_ok()
                    && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

fn is_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !bytes.first().is_some_and(alphanumeric) || !bytes.last().is_some_and(alphanumeric) {
        return false;
    }
    // Between the words: one dot, one or two underscores, or any number of dashes.
    component.split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit()).all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    })
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.name();
        self.push_suffix(&mut text);
        out.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        text.parse::<Reference>().unwrap().to_string()
    }

    #[test]
    fn short_names_are_completed() {
        assert_eq!(full("alpine"), "docker.io/library/alpine:latest");
        assert_eq!(full("me/app:1"), "docker.io/me/app:1");
        assert_eq!(full("index.docker.io/alpine"), "docker.io/library/alpine:latest");
        assert_eq!(full("localhost/app"), "localhost/app:latest");
        assert_eq!(full("127.0.0.1:5000/a/b:v1.2_x-y"), "127.0.0.1:5000/a/b:v1.2_x-y");
        assert_eq!(full("[::1]:5000/app"), "[::1]:5000/app:latest");
        assert_eq!(full("reg.io/a__b/c--d/e.f"), "reg.io/a__b/c--d/e.f:latest");
    }

    #[test]
    fn a_digest_makes_the_tag_optional() {
        let digest = Digest::of(b"x");
        assert_eq!(full(&format!("app@{digest}")), format!("docker.io/library/app@{digest}"));
        let both: Reference = format!("app:1@{digest}").parse().unwrap();
        assert_eq!(both.version(), digest.to_string());
        assert_eq!(both.tag.as_deref(), Some("1"));
    }

    #[test]
    fn familiar_names_drop_the_defaults() {
        assert_eq!("alpine".parse::<Reference>().unwrap().familiar(), "alpine:latest");
        assert_eq!("me/app:1".parse::<Reference>().unwrap().familiar(), "me/app:1");
        assert_eq!("localhost:5000/app:1".parse::<Reference>().unwrap().familiar(), "localhost:5000/app:1");
    }

    #[test]
    fn malformed_names_are_refused() {
        for name in [
            "",
            "UPPER",
            "a//b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "app:",
            "app:.x",
            "app@sha256:1",
            "a b",
            "reg.io/",
            "reg.io:port/a",
            "reg.io:99999/a",
            "[::1/a",
            "app:tag:tag",
            "../a",
            "a/../b",
        ] {
            assert!(name.parse::<Reference>().is_err(), "{name}");
        }
    }
}
