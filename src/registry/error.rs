//! What can go wrong between here and a registry, with the facts a person needs to mend it.

use std::fmt;
use std::io;
use std::time::Duration;

use super::credentials::Origin;
use super::endpoint::is_loopback;
use crate::image::{Digest, ManifestError};

/// What was asked of whom; the head of every message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The host that was asked, as names spell it: `docker.io`, `127.0.0.1:5000`.
    pub registry: String,
    pub repository: String,
    /// Such as `manifest latest` or `upload of blob sha256:…`.
    pub what: String,
}

/// A registry's refusal in its own words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: u16,
    /// `CODE: message` for each of the registry's errors, or the first text of an HTML page.
    pub messages: Vec<String>,
    pub retry_after: Option<Duration>,
}

/// Why no answer came at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The host name does not resolve.
    Name,
    /// Nobody listens there.
    ConnectionRefused,
    /// The other end is not who it should be, or does not speak TLS.
    Tls,
    Timeout,
    /// The connection broke while in use.
    Cut,
}

#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("{asked}: not found ({answer})")]
    NotFound { asked: Box<Asked>, answer: Answer },
    /// 401 or 403; `login` says whose credentials were sent.
    #[error("{asked}: access denied ({answer})")]
    Denied { asked: Box<Asked>, answer: Answer, login: Box<Origin> },
    /// Who keeps the credentials does not give them out.
    #[error("{asked}: {problem}")]
    Login { asked: Box<Asked>, problem: String },
    #[error("{asked}: the registry answered {answer}")]
    Status { asked: Box<Asked>, answer: Answer },
    #[error("{asked}: {}", .reason.text())]
    Unreachable { asked: Box<Asked>, reason: Reason, proxied: bool, source: reqwest::Error },
    #[error("{asked}: nothing moved for {} seconds", .after.as_secs())]
    Stalled { asked: Box<Asked>, after: Duration },
    #[error("{asked}: the connection was cut after {received} of {expected} bytes")]
    Cut { asked: Box<Asked>, received: u64, expected: u64 },
    #[error("{asked}: the bytes have digest {found}, not {expected}")]
    WrongDigest { asked: Box<Asked>, expected: Digest, found: Digest },
    #[error("{asked}: the registry has {found} bytes, not {expected}")]
    WrongSize { asked: Box<Asked>, expected: u64, found: u64 },
    #[error("{asked}: larger than the {limit} bytes that are read")]
    TooLarge { asked: Box<Asked>, limit: u64 },
    #[error("{asked}: an image of the schema 1 format of 2015, which is not supported")]
    Schema1 { asked: Box<Asked> },
    #[error("{asked}: {source}")]
    Document { asked: Box<Asked>, source: ManifestError },
    #[error("{asked}: not an image config: {source}")]
    Config { asked: Box<Asked>, source: serde_json::Error },
    /// The registry does not let the tag move from what it names.
    #[error("{asked}: the tag must not change there, and it names {there} ({answer})")]
    Immutable { asked: Box<Asked>, answer: Answer, there: Digest },
    /// The registry broke the rules of the protocol.
    #[error("{asked}: {problem}")]
    Protocol { asked: Box<Asked>, problem: &'static str },
    #[error("{name}: blocked by the entry for {prefix:?} in registries.conf")]
    Blocked { name: String, prefix: String },
    /// What was to be pushed cannot be read.
    #[error("{asked}: {source}")]
    Source { asked: Box<Asked>, source: io::Error },
    /// The reading end of a download is gone; it knows the reason.
    #[error("{asked}: the download was given up")]
    Abandoned { asked: Box<Asked> },
    /// A proxy or a set of certificates cannot be used.
    #[error("cannot set up {what}: {problem}")]
    Setup { what: &'static str, problem: String },
}

impl RegistryError {
    /// Whether asking again may help.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Status { answer, .. } => matches!(answer.status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::Unreachable { asked, reason, .. } => match reason {
                // On this machine nobody is about to recover: nothing runs there.
                Reason::ConnectionRefused => !is_loopback(&asked.registry),
                Reason::Timeout | Reason::Cut => true,
                Reason::Name | Reason::Tls => false,
            },
            Self::Stalled { .. } | Self::Cut { .. } => true,
            Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::Login { .. }
            | Self::WrongDigest { .. }
            | Self::WrongSize { .. }
            | Self::TooLarge { .. }
            | Self::Schema1 { .. }
            | Self::Document { .. }
            | Self::Config { .. }
            | Self::Immutable { .. }
            | Self::Protocol { .. }
            | Self::Blocked { .. }
            | Self::Source { .. }
            | Self::Abandoned { .. }
            | Self::Setup { .. } => false,
        }
    }

    /// What the person at the keyboard can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { asked, .. } => Some(format!(
                "check the spelling of the name and tag; a private image also looks missing to who may not see it \
                 (registry {})",
                asked.registry
            )),
            Self::Denied { asked, login, .. } if **login == Origin::Nobody => Some(format!(
                "log in with `rbuild login {}`, if this is the right name; a login can also come from an auth file \
                 (--authfile, REGISTRY_AUTH_FILE) or --creds",
                asked.registry
            )),
            Self::Denied { asked, answer, login } => {
                let (registry, repository) = (&asked.registry, &asked.repository);
                Some(if repository.is_empty() {
                    format!(
                        "{registry} does not take this user and password; some registries want a token as the password"
                    )
                } else if answer.status == 401 {
                    format!(
                        "the login from {login} was used: either it may not do this in {repository}, or it is no longer \
                         valid, and `rbuild login {registry}` renews it"
                    )
                } else {
                    format!("the login from {login} was used: it may not do this in {repository}")
                })
            }
            Self::Login { asked, .. } => {
                Some(format!("`rbuild login {}` keeps a login in an auth file instead", asked.registry))
            }
            Self::Status { answer, .. } if answer.status == 429 => {
                Some("the registry limits how often it may be asked; log in or wait".to_owned())
            }
            Self::Unreachable { asked, proxied: true, .. } => Some(format!(
                "a proxy is set for {}; check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
                asked.registry
            )),
            Self::Unreachable { asked, reason, .. } => Some(match reason {
                Reason::Name => {
                    format!("check the name {:?} and the network; is a proxy needed?", asked.registry)
                }
                Reason::ConnectionRefused => {
                    format!("is a registry running at {}?", asked.registry)
                }
                Reason::Tls => format!(
                    "if {0} has a certificate of its own authority, put that into ~/.config/containers/certs.d/{0}/ as \
                     ca.crt or name it in SSL_CERT_FILE; if it has none to be trusted, --tls-verify=false does without",
                    asked.registry
                ),
                Reason::Timeout | Reason::Cut => "check the network; is a proxy needed?".to_owned(),
            }),
            Self::Immutable { .. } => Some("push under a tag that is not taken".to_owned()),
            Self::Status { .. }
            | Self::Stalled { .. }
            | Self::Cut { .. }
            | Self::WrongDigest { .. }
            | Self::WrongSize { .. }
            | Self::TooLarge { .. }
            | Self::Schema1 { .. }
            | Self::Document { .. }
            | Self::Config { .. }
            | Self::Protocol { .. }
            | Self::Blocked { .. }
            | Self::Source { .. }
            | Self::Abandoned { .. }
            | Self::Setup { .. } => None,
        }
    }

    /// The registry's refusal, where it is one.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Self::NotFound { answer, .. }
            | Self::Denied { answer, .. }
            | Self::Immutable { answer, .. }
            | Self::Status { answer, .. } => Some(answer),
            _ => None,
        }
    }
}

impl Reason {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Name => "the host name cannot be resolved",
            Self::ConnectionRefused => "cannot connect",
            Self::Tls => "no trusted TLS connection",
            Self::Timeout => "no connection in time",
            Self::Cut => "the connection was cut",
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.repository.is_empty() { "" } else { "/" };
        write!(out, "{}{slash}{}: {}", self.registry, self.repository, self.what)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.status)?;
        if let Some(reason) =
            reqwest::StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason())
        {
            write!(out, " {reason}")?;
        }
        if !self.messages.is_empty() {
            write!(out, ": {}", self.messages.join("; "))?;
        }
        Ok(())
    }
}
