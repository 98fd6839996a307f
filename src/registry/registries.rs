//! registries.conf, version 2: where names lead, which mirrors stand in, what is insecure or blocked.

use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;

use super::error::RegistryError;
use super::settings::SettingsError;
use crate::image::{DEFAULT_REGISTRY, Reference};

/// The `[[registry]]` tables of all files.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    entries: Vec<Entry>,
}

/// One place that may serve a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Endpoint {
    /// Host with port, as names and auth files spell it.
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) security: Security,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Security {
    /// HTTPS with a trusted certificate.
    Verified,
    /// HTTPS with any certificate, else plain HTTP.
    Insecure,
    /// As insecure, but plain HTTP is likelier, and nobody can listen in.
    Loopback,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    Read,
    /// Mirrors are only for reading.
    Write,
}

#[derive(Deserialize)]
struct Toml {
    #[serde(default)]
    registry: Vec<Entry>,
    /// The tables of version 1 of the format.
    registries: Option<toml::Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: PullFromMirror,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

impl Registries {
    /// Adds the text of a file; an entry replaces an earlier one with the same prefix.
    pub fn add(&mut self, path: &Path, text: &str) -> Result<(), SettingsError> {
        let refuse = |problem: String| SettingsError { path: path.to_owned(), problem };
        let file: Toml = toml::from_str(text).map_err(|error| refuse(error.to_string().trim().to_owned()))?;
        if file.registries.is_some() {
            return Err(refuse("written in version 1 of the format; use [[registry]] tables".to_owned()));
        }
        for mut entry in file.registry {
            if entry.prefix.is_empty() {
                entry.prefix.clone_from(&entry.location);
            }
            if entry.prefix.is_empty() {
                return Err(refuse("a [[registry]] has neither a prefix nor a location".to_owned()));
            }
            self.entries.retain(|old| old.prefix != entry.prefix);
            self.entries.push(entry);
        }
        Ok(())
    }

    /// Where to ask for a name, in order: mirrors, then the origin.
    pub(super) fn endpoints(
        &self,
        reference: &Reference,
        access: Access,
    ) -> Result<Vec<Endpoint>, RegistryError> {
        let name = reference.name();
        let Some((entry, matched)) = self.find(&reference.to_string()) else {
            return Ok(vec![Endpoint::new(&name, false)]);
        };
        if entry.blocked {
            return Err(RegistryError::Blocked { name, prefix: entry.prefix.clone() });
        }
        // A prefix may reach into the tag, which is no part of a location.
        let rest = name.get(matched..).unwrap_or_default();
        let by_digest = reference.digest.is_some();
        let serves = |mirror: &&Mirror| match mirror.pull_from_mirror {
            PullFromMirror::All => by_digest || !entry.mirror_by_digest_only,
            PullFromMirror::DigestOnly => by_digest,
            PullFromMirror::TagOnly => !by_digest,
        };
        let mut endpoints = Vec::new();
        if access == Access::Read {
            let mirrors = entry.mirror.iter().filter(serves);
            endpoints.extend(
                mirrors.map(|mirror| Endpoint::new(&format!("{}{rest}", mirror.location), mirror.insecure)),
            );
        }
        let origin =
            if entry.location.is_empty() { name.clone() } else { format!("{}{rest}", entry.location) };
        endpoints.push(Endpoint::new(&origin, entry.insecure));
        Ok(endpoints)
    }

    /// The entry with the longest matching prefix, and how much of the name it covers.
    fn find(&self, name: &str) -> Option<(&Entry, usize)> {
        let covers = |entry: &Entry| match entry.prefix.strip_prefix('*') {
            Some(domain) => {
                let host = &name[..name.find('/').unwrap_or(name.len())];
                (host.len() > domain.len() && host.ends_with(domain)).then_some(host.len())
            }
            None => {
                let rest = name.strip_prefix(entry.prefix.as_str())?;
                (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(entry.prefix.len())
            }
        };
        let matching = self.entries.iter().filter_map(|entry| Some((entry, covers(entry)?)));
        matching.max_by_key(|(entry, _)| entry.prefix.len())
    }
}

impl Endpoint {
    fn new(name: &str, insecure: bool) -> Self {
        let (registry, repository) = name.split_once('/').unwrap_or((name, ""));
        let security = match (is_loopback(registry), insecure) {
            (true, _) => Security::Loopback,
            (false, true) => Security::Insecure,
            (false, false) => Security::Verified,
        };
        Self { registry: registry.to_owned(), repository: repository.to_owned(), security }
    }

    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// What a token must allow for reading.
    pub(super) fn pull_scope(&self) -> String {
        format!("repository:{}:pull", self.repository)
    }

    /// What a token must allow for writing.
    pub(super) fn push_scope(&self) -> String {
        format!("repository:{}:pull,push", self.repository)
    }

    /// Where connections go.
    pub(super) fn authority(&self) -> &str {
        match self.registry.as_str() {
            DEFAULT_REGISTRY => "registry-1.docker.io",
            other => other,
        }
    }
}

pub(super) fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        unqualified-search-registries = ["docker.io"]
        short-name-mode = "enforcing"
        [[registry]]
        prefix = "docker.io"
        location = "docker.io"
        [[registry.mirror]]
        location = "127.0.0.1:5000/hub"
        [[registry.mirror]]
        location = "mirror.example/hub"
        insecure = true
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "docker.io/library"
        location = "lib.example/official"
        [[registry]]
        prefix = "*.corp.example"
        insecure = true
        [[registry]]
        location = "bad.example"
        blocked = true
    "#;

    fn endpoints(name: &str, access: Access) -> Result<Vec<String>, RegistryError> {
        let mut registries = Registries::default();
        registries.add(Path::new("registries.conf"), TEXT).unwrap();
        let endpoints = registries.endpoints(&name.parse().unwrap(), access)?;
        let text = |endpoint: &Endpoint| {
            format!("{}/{} {:?}", endpoint.registry, endpoint.repository, endpoint.security)
        };
        Ok(endpoints.iter().map(text).collect())
    }

    #[test]
    fn mirrors_come_before_the_origin_and_only_for_reading() {
        let digest = crate::image::Digest::of(b"");
        assert_eq!(
            endpoints("me/app:1", Access::Read).unwrap(),
            ["127.0.0.1:5000/hub/me/app Loopback", "docker.io/me/app Verified"]
        );
        assert_eq!(endpoints(&format!("me/app@{digest}"), Access::Read).unwrap().len(), 3);
        assert_eq!(endpoints("me/app:1", Access::Write).unwrap(), ["docker.io/me/app Verified"]);
    }

    #[test]
    fn the_longest_prefix_wins() {
        assert_eq!(endpoints("alpine", Access::Read).unwrap(), ["lib.example/official/alpine Verified"]);
        assert_eq!(
            endpoints("a.corp.example:5000/x", Access::Read).unwrap(),
            ["a.corp.example:5000/x Verified"],
            "a wildcard without a port does not cover a host with one"
        );
        assert_eq!(endpoints("a.corp.example/x", Access::Read).unwrap(), ["a.corp.example/x Insecure"]);
        assert_eq!(endpoints("corp.example/x", Access::Read).unwrap(), ["corp.example/x Verified"]);
    }

    #[test]
    fn blocked_registries_are_refused() {
        let error = endpoints("bad.example/x", Access::Read).unwrap_err();
        assert_eq!(
            error.to_string(),
            "bad.example/x: blocked by the entry for \"bad.example\" in registries.conf"
        );
    }

    #[test]
    fn loopback_is_recognised() {
        for host in ["localhost", "localhost:5000", "127.0.0.1", "127.9.9.9:80", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "128.0.0.1", "[::2]", "docker.io"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
