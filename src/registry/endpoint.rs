//! One place that may serve a name.

use std::net::IpAddr;
use std::sync::Arc;

use super::certificates::Certificates;
use crate::image::DEFAULT_REGISTRY;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Endpoint {
    /// Host with port, as names and auth files spell it.
    pub(super) registry: String,
    pub(super) repository: String,
    pub(super) security: Security,
    /// What all paths begin with: `/v2`, unless a hosts.toml says otherwise.
    pub(super) base: String,
    /// The registry that this place stands in for, where it wants to be told.
    pub(super) namespace: Option<String>,
    /// What this host is trusted and identified by, beyond what holds for all.
    pub(super) certificates: Option<Arc<Certificates>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Security {
    /// HTTPS with a trusted certificate.
    Verified,
    /// HTTPS with any certificate.
    Unverified,
    /// HTTPS with any certificate, else plain HTTP.
    Insecure,
    /// As insecure, but plain HTTP is likelier, and nobody can listen in.
    Loopback,
    /// HTTP.
    Plain,
}

impl Endpoint {
    pub(super) fn new(registry: &str, repository: &str, security: Security) -> Self {
        Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            security,
            base: "/v2".to_owned(),
            namespace: None,
            certificates: None,
        }
    }

    /// What a token must allow for reading.
    pub(super) fn pull_scope(&self) -> String {
        format!("repository:{}:pull", self.repository)
    }

    /// What a token must allow for writing.
    pub(super) fn push_scope(&self) -> String {
        format!("repository:{}:pull,push", self.repository)
    }

    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Where connections go.
    pub(super) fn authority(&self) -> &str {
        match self.registry.as_str() {
            DEFAULT_REGISTRY => "registry-1.docker.io",
            other => other,
        }
    }
}

impl Security {
    /// Whether plain HTTP may be spoken, and whether what comes over it is believed.
    pub(super) fn allows_plain(self) -> bool {
        match self {
            Self::Verified | Self::Unverified => false,
            Self::Insecure | Self::Loopback | Self::Plain => true,
        }
    }

    /// What holds for a host that nothing more is known of.
    pub(super) fn of(registry: &str, insecure: bool) -> Self {
        match (is_loopback(registry), insecure) {
            (true, _) => Self::Loopback,
            (false, true) => Self::Insecure,
            (false, false) => Self::Verified,
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
