//! What the caller decides for the client: files, variables and flags have been read by then.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use super::credentials::Credentials;
use super::error::RegistryError;
use super::exceptions::Exceptions;
use super::registries::Registries;

#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// From the registries.conf files.
    pub registries: Registries,
    /// From docker's and containers' auth files.
    pub credentials: Credentials,
    pub proxies: Proxies,
    pub trust: Trust,
    pub retries: Retries,
    pub timeouts: Timeouts,
}

/// Proxies as the usual variables name them. Loopback hosts are never proxied.
#[derive(Clone, Default)]
pub struct Proxies {
    pub http: Option<Secret>,
    pub https: Option<Secret>,
    /// Hosts, domains, addresses and networks, separated by commas.
    pub no_proxy: Option<String>,
}

/// Which certificate authorities are trusted; the system's own by default.
#[derive(Clone, Default, Debug)]
pub struct Trust {
    /// A bundle that replaces the system's (`SSL_CERT_FILE`).
    pub file: Option<PathBuf>,
    /// A directory that replaces the system's (`SSL_CERT_DIR`).
    pub directory: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
pub struct Retries {
    /// Tries in all, the first included.
    pub tries: u32,
    /// The pause before the second try; doubled for each further one.
    pub first_pause: Duration,
    /// No pause is longer than this, whatever the registry asks for.
    pub longest_pause: Duration,
}

#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub connect: Duration,
    /// How long a transfer may stand still, or an answer be awaited.
    pub stall: Duration,
    /// How long a registry may think about a blob after its last byte; some copy it to another place.
    pub commit: Duration,
}

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// A settings file that cannot be used. Its secrets are not part of the message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", .path.display())]
pub struct SettingsError {
    pub path: PathBuf,
    pub problem: String,
}

impl Default for Retries {
    fn default() -> Self {
        Self { tries: 5, first_pause: Duration::from_millis(500), longest_pause: Duration::from_secs(60) }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            stall: Duration::from_secs(60),
            commit: Duration::from_secs(300),
        }
    }
}

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Proxies {
    /// The proxy through which an address is reached, if there is one.
    pub(super) fn of(&self, url: &Url) -> Option<&Secret> {
        let proxy = if url.scheme() == "http" { &self.http } else { &self.https };
        proxy.as_ref().filter(|_| !self.exceptions().cover(url))
    }

    /// Whether the proxy for an address can be used. One that is not needed may be of any kind.
    pub(super) fn check(&self, url: &Url) -> Result<(), RegistryError> {
        match self.of(url) {
            Some(proxy) if proxy_address(proxy).is_none() => Err(RegistryError::Setup {
                what: "the proxy",
                // The address may hold a password.
                problem: format!(
                    "what is set for {} is not the address of an http proxy, the only kind supported",
                    url.scheme()
                ),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// The hosts that are reached without a proxy.
    pub(super) fn exceptions(&self) -> Exceptions {
        Exceptions::parse(self.no_proxy.as_deref().unwrap_or_default())
    }
}

/// Without a scheme, http is meant.
pub(super) fn proxy_address(proxy: &Secret) -> Option<Url> {
    let text = proxy.reveal();
    let url = if text.contains("://") { Url::parse(text) } else { Url::parse(&format!("http://{text}")) };
    url.ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"))
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(..)")
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's address may hold a password, so only whether there is one is shown.
        out.debug_struct("Proxies")
            .field("http", &self.http.is_some())
            .field("https", &self.https.is_some())
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}
