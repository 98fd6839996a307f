//! Where names lead: to which places, in which order, and how each is reached.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::certificates::Certificates;
use super::endpoint::{Endpoint, Security};
use super::error::RegistryError;
use super::hosts_toml::{Host, Hosts};
use super::mirror::MirrorAddress;
use super::registries_conf::{self, Entry};
use super::settings::SettingsError;
use crate::image::{DEFAULT_REGISTRY, Reference};

/// The `[[registry]]` tables of all files, and what the command line adds to them.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    entries: Vec<Entry>,
    /// Asked for images of docker.io before all others.
    hub_mirrors: Vec<MirrorAddress>,
    tls_verify: Option<bool>,
    /// Hosts that need not have a trusted certificate, by the command line.
    insecure: Vec<String>,
    /// What files say that short names mean, which is not followed: registries to search, and other names for some.
    search: Vec<String>,
    aliases: HashMap<String, String>,
    /// Where directories with the certificates of single hosts are.
    certificate_directories: Vec<PathBuf>,
    /// Where directories with the hosts.toml of single registries are.
    hosts_directories: Vec<PathBuf>,
    /// What was found there, by host.
    found: Arc<Mutex<Found>>,
}

#[derive(Debug, Default)]
struct Found {
    certificates: HashMap<String, Option<Arc<Certificates>>>,
    hosts: HashMap<String, Option<Arc<Hosts>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    Read,
    /// Mirrors are only for reading.
    Write,
}

impl Registries {
    /// Adds the text of a file; an entry replaces an earlier one with the same prefix.
    pub fn add(&mut self, path: &Path, text: &str) -> Result<(), SettingsError> {
        let file = registries_conf::parse(path, text)?;
        if let Some(search) = file.unqualified_search_registries {
            self.search = search;
        }
        self.aliases.extend(file.aliases);
        for entry in file.registry {
            self.entries.retain(|old| old.prefix != entry.prefix);
            self.entries.push(entry);
        }
        Ok(())
    }

    /// What podman would have taken a short name for, by the files, if that is something else than an image of docker.io.
    pub(super) fn other_meaning(&self, reference: &Reference) -> Option<String> {
        let short = reference.repository.strip_prefix("library/")?;
        if reference.registry != DEFAULT_REGISTRY {
            return None;
        }
        if let Some(alias) = self.aliases.get(short) {
            return (alias != &reference.name()).then(|| alias.clone());
        }
        let first = self.search.first().filter(|first| *first != DEFAULT_REGISTRY)?;
        Some(format!("{first}/{short}"))
    }

    /// Adds a mirror of docker.io.
    pub fn add_hub_mirror(&mut self, mirror: MirrorAddress) {
        self.hub_mirrors.push(mirror);
    }

    /// Says of all registries whether they must have a trusted certificate, whatever the files say.
    pub fn verify_tls(&mut self, verify: Option<bool>) {
        self.tls_verify = verify;
    }

    /// Says of one registry that it need not have a trusted certificate, unless all must have one.
    pub fn allow_insecure(&mut self, registry: &str) {
        self.insecure.push(registry.to_owned());
    }

    /// Whether everything may be insecure, because somebody said so for this command.
    pub(super) fn is_anything_allowed(&self) -> bool {
        self.tls_verify == Some(false)
    }

    /// Adds a directory that may have directories of certificates, each for one host.
    pub fn add_certificate_directory(&mut self, directory: PathBuf) {
        self.certificate_directories.push(directory);
    }

    /// Adds a directory that may have directories with a hosts.toml, each for one registry.
    pub fn add_hosts_directory(&mut self, directory: PathBuf) {
        self.hosts_directories.push(directory);
    }

    /// A host itself, without any repository.
    pub(super) fn host(&self, host: &str) -> Result<Endpoint, RegistryError> {
        let insecure = self.find(host).is_some_and(|(entry, _)| entry.insecure);
        let origin = self.endpoint(host, insecure)?;
        let Some(hosts) = self.hosts_of(host)? else { return Ok(origin) };
        let server = self.served_by(&hosts.server, &origin)?;
        // Another host that stands in does not take this one's login.
        Ok(if server.registry == origin.registry { server } else { origin })
    }

    /// Where to ask for a name, in order: mirrors, then the origin.
    pub(super) fn endpoints(
        &self,
        reference: &Reference,
        access: Access,
    ) -> Result<Vec<Endpoint>, RegistryError> {
        let name = reference.name();
        let found = self.find(&reference.to_string());
        if let Some((entry, _)) = found
            && entry.blocked
        {
            return Err(RegistryError::Blocked { name, prefix: entry.prefix.clone() });
        }
        let mut endpoints = Vec::new();
        if access == Access::Read && reference.registry == DEFAULT_REGISTRY {
            for mirror in &self.hub_mirrors {
                endpoints.push(self.hub_mirror(mirror, &reference.repository)?);
            }
        }
        let Some((entry, matched)) = found else {
            let origin = self.endpoint(&name, false)?;
            return self.with_hosts(endpoints, origin, reference, access);
        };
        // A prefix may reach into the tag, which is no part of a location.
        let rest = name.get(matched..).unwrap_or_default();
        let by_digest = reference.digest.is_some();
        if access == Access::Read {
            for mirror in entry.mirrors(by_digest) {
                endpoints.push(self.endpoint(&format!("{}{rest}", mirror.location), mirror.insecure)?);
            }
        }
        let origin =
            if entry.location.is_empty() { name.clone() } else { format!("{}{rest}", entry.location) };
        let origin = self.endpoint(&origin, entry.insecure)?;
        self.with_hosts(endpoints, origin, reference, access)
    }

    /// Adds the origin, or what a hosts.toml names for it. For writing one place is enough.
    fn with_hosts(
        &self,
        mut endpoints: Vec<Endpoint>,
        origin: Endpoint,
        reference: &Reference,
        access: Access,
    ) -> Result<Vec<Endpoint>, RegistryError> {
        let Some(hosts) = self.hosts_of(&origin.registry)? else {
            endpoints.push(origin);
            return Ok(endpoints);
        };
        let by_digest = reference.digest.is_some();
        let serves = |host: &&Host| match access {
            Access::Read => host.pull && (host.resolve || by_digest),
            Access::Write => host.push,
        };
        for host in hosts.hosts.iter().chain([&hosts.server]).filter(serves) {
            endpoints.push(self.served_by(host, &origin)?);
        }
        if access == Access::Write {
            endpoints.truncate(1);
        }
        if endpoints.is_empty() {
            let problem = format!("no host may serve this for {}", origin.registry);
            return Err(RegistryError::Setup { what: "hosts.toml", problem });
        }
        Ok(endpoints)
    }

    /// The place of a hosts.toml that stands in for an origin, or the origin as the file has it.
    fn served_by(&self, host: &Host, origin: &Endpoint) -> Result<Endpoint, RegistryError> {
        let mut endpoint = match &host.address {
            None => origin.clone(),
            Some(address) => {
                let mut endpoint =
                    self.endpoint(&format!("{}/{}", address.authority, origin.repository), false)?;
                endpoint.base.clone_from(&address.base);
                if endpoint.authority() == origin.authority() {
                    // The same host by another of its names: logins go by the one that people know.
                    endpoint.registry.clone_from(&origin.registry);
                } else {
                    endpoint.namespace = Some(origin.registry.clone());
                }
                match address.is_plain {
                    Some(true) => endpoint.security = Security::Plain,
                    Some(false) if self.tls_verify != Some(false) => endpoint.security = Security::Verified,
                    Some(false) | None => {}
                }
                endpoint
            }
        };
        if host.skip_verify && endpoint.security == Security::Verified && self.tls_verify != Some(true) {
            endpoint.security = Security::Unverified;
        }
        if let Some(certificates) = &host.certificates {
            endpoint.certificates = Some(Arc::new(certificates.clone()));
        }
        Ok(endpoint)
    }

    fn hosts_of(&self, registry: &str) -> Result<Option<Arc<Hosts>>, RegistryError> {
        let mut known = self.found.lock().expect("nobody panics while holding it");
        if let Some(found) = known.hosts.get(registry) {
            return Ok(found.clone());
        }
        let found = Hosts::find(&self.hosts_directories, registry);
        let found =
            found.map_err(|error| RegistryError::Setup { what: "the hosts", problem: error.to_string() })?;
        let found = found.map(Arc::new);
        known.hosts.insert(registry.to_owned(), found.clone());
        Ok(found)
    }

    fn hub_mirror(&self, mirror: &MirrorAddress, repository: &str) -> Result<Endpoint, RegistryError> {
        let mut endpoint = self.endpoint(&format!("{}/{repository}", mirror.location), false)?;
        if mirror.plain {
            endpoint.security = Security::Plain;
        }
        Ok(endpoint)
    }

    fn endpoint(&self, name: &str, insecure: bool) -> Result<Endpoint, RegistryError> {
        let (registry, repository) = name.split_once('/').unwrap_or((name, ""));
        let security = match self.tls_verify {
            Some(true) => Security::Verified,
            Some(false) => Security::of(registry, true),
            None => Security::of(registry, insecure || self.insecure.iter().any(|host| host == registry)),
        };
        let mut endpoint = Endpoint::new(registry, repository, security);
        endpoint.certificates = self.certificates_of(&endpoint)?;
        Ok(endpoint)
    }

    fn certificates_of(&self, endpoint: &Endpoint) -> Result<Option<Arc<Certificates>>, RegistryError> {
        let mut known = self.found.lock().expect("nobody panics while holding it");
        let known = &mut known.certificates;
        if let Some(found) = known.get(&endpoint.registry) {
            return Ok(found.clone());
        }
        let mut hosts = vec![endpoint.registry.as_str()];
        if endpoint.authority() != endpoint.registry {
            hosts.push(endpoint.authority());
        }
        let found = Certificates::find(&self.certificate_directories, &hosts)?.map(Arc::new);
        known.insert(endpoint.registry.clone(), found.clone());
        Ok(found)
    }

    /// The entry with the longest matching prefix, and how much of the name it covers.
    fn find(&self, name: &str) -> Option<(&Entry, usize)> {
        let matching = self.entries.iter().filter_map(|entry| Some((entry, entry.covers(name)?)));
        matching.max_by_key(|(entry, _)| entry.prefix.len())
    }
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
}
