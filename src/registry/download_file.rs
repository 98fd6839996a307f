//! Single files from any server: no registry, no login, and a look first whether what was there has changed.

use std::io::{self, Seek as _, Write as _};
use std::time::{Duration, SystemTime};

use reqwest::header::{
    AUTHORIZATION, DATE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use reqwest::{Response, StatusCode, Url};

use super::answer::{self, http_date};
use super::client::Client;
use super::endpoint::is_loopback;
use super::error::{Answer, Reason, RegistryError};
use super::settings::Secret;
use super::tls::Tls;
use super::transport::{MOST_REDIRECTS, location, reason};
use crate::image::{Digest, Hasher};

/// No file that belongs into an image is larger.
const LARGEST: u64 = 64 << 30;
/// A time of change says nothing of a change in the same moment; so old it has to be.
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// What is wanted.
#[derive(Debug)]
pub struct FileRequest<'a> {
    pub url: &'a str,
    /// What the server is told of who asks.
    pub authorization: Option<Secret>,
    /// What there is already.
    pub known: Option<Validators>,
    /// `algorithm:digits` that the bytes must have.
    pub checksum: Option<&'a str>,
}

/// What a server said of a file, by which it can tell whether that has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

/// A file that is there now.
#[derive(Debug)]
pub struct Downloaded {
    pub body: Digest,
    /// The time of its last change, as the server wrote it.
    pub last_modified: Option<String>,
    /// The same, if it is one.
    pub modified: Option<SystemTime>,
    /// What to ask with the next time.
    pub validators: Validators,
}

#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("{url} is not the address of a file: {problem}")]
    Address { url: String, problem: String },
    /// `told` is whether the server was told who asks.
    #[error("cannot fetch {url}: invalid response status {}", .answer)]
    Status { url: String, answer: Answer, told: bool },
    #[error("cannot fetch {url}: {}", .reason.text())]
    Unreachable { url: String, reason: Reason, host: String, proxied: bool, source: reqwest::Error },
    #[error("cannot fetch {url}: nothing moved for {} seconds", .after.as_secs())]
    Stalled { url: String, after: Duration },
    #[error("cannot fetch {url}: larger than the {LARGEST} bytes that a file may have")]
    TooLarge { url: String },
    #[error("cannot fetch {url}: {problem}")]
    Redirect { url: String, problem: RedirectProblem },
    #[error("digest mismatch: {url} has {found}, not {expected}")]
    Checksum { url: String, expected: String, found: String },
    #[error("cannot fetch {url}: {source}")]
    Write { url: String, source: io::Error },
    #[error("cannot fetch {url}: {source}")]
    Setup { url: String, source: Box<RegistryError> },
}

/// Why a redirect is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedirectProblem {
    #[error("a redirect leads nowhere")]
    Nowhere,
    #[error("too many redirects")]
    TooMany,
    #[error("a redirect leads from https to an insecure address")]
    Insecure,
}

impl DownloadError {
    fn is_temporary(&self) -> bool {
        match self {
            Self::Status { answer, .. } => matches!(answer.status, 408 | 429 | 500 | 502 | 503 | 504),
            Self::Unreachable { reason, host, .. } => match reason {
                // On this machine nobody is about to recover: nothing runs there.
                Reason::ConnectionRefused => !is_loopback(host),
                Reason::Timeout | Reason::Cut => true,
                Reason::Name | Reason::Tls => false,
            },
            Self::Stalled { .. } => true,
            Self::Address { .. }
            | Self::TooLarge { .. }
            | Self::Redirect { .. }
            | Self::Checksum { .. }
            | Self::Write { .. }
            | Self::Setup { .. } => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        if let Self::Status { answer, .. } = self { answer.retry_after } else { None }
    }

    /// What would help.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Status { url, answer, told } if matches!(answer.status, 401 | 403) => {
                let host = hosts_of(url).pop().unwrap_or_default();
                Some(if *told {
                    format!("the secret that is given for {host} was sent, and the server refused it: is it still valid?")
                } else {
                    format!("a token for it is given with --secret id=HTTP_AUTH_TOKEN_{host},env=VARIABLE")
                })
            }
            Self::Status { answer, .. } if answer.status == 404 => {
                Some("check the spelling of the address".to_owned())
            }
            Self::Unreachable { host, proxied: true, .. } => {
                Some(format!("a proxy is set for {host}; check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"))
            }
            Self::Unreachable { host, reason, .. } => Some(match reason {
                Reason::Name => format!("check the name {host:?} and the network; is a proxy needed?"),
                Reason::ConnectionRefused => format!("is a server running at {host}?"),
                Reason::Tls => {
                    format!("if {host} has a certificate of its own authority, name that in SSL_CERT_FILE")
                }
                Reason::Timeout | Reason::Cut => "check the network; is a proxy needed?".to_owned(),
            }),
            Self::Checksum { .. } => Some(
                "either the file has changed, and --checksum has to change with it, or it is not the right one"
                    .to_owned(),
            ),
            Self::Redirect { problem, .. } => Some(match problem {
                RedirectProblem::Nowhere | RedirectProblem::TooMany => {
                    "the server is to blame; give the address that it should lead to".to_owned()
                }
                RedirectProblem::Insecure => {
                    "where ADD fetches it, --checksum makes it matter no more who sends the file; else give an address \
                     that stays with https"
                        .to_owned()
                }
            }),
            Self::Setup { source, .. } => source.hint(),
            Self::Status { .. }
            | Self::Address { .. }
            | Self::Stalled { .. }
            | Self::TooLarge { .. }
            | Self::Write { .. } => None,
        }
    }
}

/// How a host may be named where something is given for it: with its port, and without.
pub fn hosts_of(url: &str) -> Vec<String> {
    let Some(url) = Url::parse(url).ok() else { return Vec::new() };
    let Some(host) = url.host_str() else { return Vec::new() };
    let with_port = url.port().map(|port| format!("{host}:{port}"));
    with_port.into_iter().chain([host.to_owned()]).collect()
}

impl Client {
    /// Writes what is at an address into a file, which is empty at first; nothing if it is what is known already.
    pub async fn download_file(
        &self,
        request: &FileRequest<'_>,
        into: &mut std::fs::File,
    ) -> Result<Option<Downloaded>, DownloadError> {
        let mut attempts = self.attempts();
        loop {
            match self.try_download(request, into).await {
                Err(error) if error.is_temporary() => {
                    if !attempts.wait(error.retry_after()).await {
                        return Err(error);
                    }
                }
                result => return result,
            }
        }
    }

    async fn try_download(
        &self,
        request: &FileRequest<'_>,
        into: &mut std::fs::File,
    ) -> Result<Option<Downloaded>, DownloadError> {
        let mut response = self.ask_for_file(request).await?;
        let url = || shown(request.url);
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED && request.known.is_some() {
            return Ok(None);
        }
        if !status.is_success() {
            // Who we are is told to the first server only.
            let is_first =
                Url::parse(request.url).is_ok_and(|first| first.origin() == response.url().origin());
            let told = is_first && request.authorization.is_some();
            let answer = answer::read(response, self.settings().timeouts.stall).await;
            return Err(DownloadError::Status { url: url(), answer, told });
        }
        let too_large = || DownloadError::TooLarge { url: url() };
        if response.content_length().is_some_and(|length| length > LARGEST) {
            return Err(too_large());
        }
        let write = |source| DownloadError::Write { url: url(), source };
        // What an earlier try has left.
        into.set_len(0).and_then(|()| into.rewind()).map_err(write)?;
        let mut checksum = request.checksum.and_then(Checksum::new);
        let (mut hasher, mut size) = (Hasher::new(), 0);
        while let Some(chunk) = self.file_chunk(request, &mut response).await? {
            size += chunk.len() as u64;
            if size > LARGEST {
                return Err(too_large());
            }
            hasher.update(&chunk);
            checksum.iter_mut().for_each(|checksum| checksum.context.update(&chunk));
            into.write_all(&chunk).map_err(write)?;
        }
        if let Some(checksum) = checksum {
            checksum.check().map_err(|(expected, found)| DownloadError::Checksum {
                url: url(),
                expected,
                found,
            })?;
        }
        Ok(Some(Downloaded::new(hasher.finish(), response.headers())))
    }

    async fn file_chunk(
        &self,
        request: &FileRequest<'_>,
        response: &mut Response,
    ) -> Result<Option<bytes::Bytes>, DownloadError> {
        let after = self.settings().timeouts.stall;
        match tokio::time::timeout(after, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| self.no_file(request, &response.url().clone(), error)),
            Err(_) => Err(DownloadError::Stalled { url: shown(request.url), after }),
        }
    }

    /// Asks, and goes where redirects lead. What the server is told of who asks stays with it.
    async fn ask_for_file(&self, request: &FileRequest<'_>) -> Result<Response, DownloadError> {
        let address = |problem: String| DownloadError::Address { url: shown(request.url), problem };
        let redirect = |problem| DownloadError::Redirect { url: shown(request.url), problem };
        let first = Url::parse(request.url).map_err(|error| address(error.to_string()))?;
        let headers = headers(request).map_err(|problem| address(problem.to_owned()))?;
        let mut url = first.clone();
        for _ in 0..MOST_REDIRECTS {
            let mut headers = headers.clone();
            if url.origin() != first.origin() {
                headers.remove(AUTHORIZATION);
            }
            let response = self.exchange_file(request, &url, headers).await?;
            if !matches!(response.status().as_u16(), 301..=303 | 307 | 308) {
                return Ok(response);
            }
            let next = location(&response).ok_or_else(|| redirect(RedirectProblem::Nowhere))?;
            if url.scheme() == "https" && next.scheme() != "https" && request.checksum.is_none() {
                return Err(redirect(RedirectProblem::Insecure));
            }
            url = next;
        }
        Err(redirect(RedirectProblem::TooMany))
    }

    async fn exchange_file(
        &self,
        request: &FileRequest<'_>,
        url: &Url,
        headers: HeaderMap,
    ) -> Result<Response, DownloadError> {
        let setup = |source| DownloadError::Setup { url: shown(request.url), source: Box::new(source) };
        self.settings().proxies.check(url).map_err(setup)?;
        let tls = if url.scheme() == "http" { Tls::None } else { Tls::Verified };
        let http = self.http(tls, None).map_err(setup)?;
        let after = self.settings().timeouts.stall;
        match tokio::time::timeout(after, http.get(url.clone()).headers(headers).send()).await {
            Ok(answered) => answered.map_err(|error| self.no_file(request, url, error)),
            Err(_) => Err(DownloadError::Stalled { url: shown(request.url), after }),
        }
    }

    fn no_file(&self, request: &FileRequest<'_>, url: &Url, error: reqwest::Error) -> DownloadError {
        DownloadError::Unreachable {
            url: shown(request.url),
            reason: reason(&error),
            host: url.host_str().unwrap_or_default().to_owned(),
            proxied: self.settings().proxies.of(url).is_some(),
            // The address may be a signed one.
            source: error.without_url(),
        }
    }
}

impl Downloaded {
    fn new(body: Digest, headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::to_owned);
        let last_modified = text(LAST_MODIFIED);
        let modified = last_modified.as_deref().and_then(http_date);
        let now = text(DATE).as_deref().and_then(http_date).unwrap_or_else(SystemTime::now);
        let is_settled = modified
            .and_then(|modified| now.duration_since(modified).ok())
            .is_some_and(|age| age >= SETTLED_AFTER);
        let validators =
            Validators { etag: text(ETAG), last_modified: last_modified.clone().filter(|_| is_settled) };
        Self { body, last_modified, modified, validators }
    }
}

fn headers(request: &FileRequest<'_>) -> Result<HeaderMap, &'static str> {
    let mut headers = HeaderMap::new();
    if let Some(secret) = &request.authorization {
        let mut value =
            HeaderValue::from_str(secret.reveal()).map_err(|_| "what authorizes it cannot be sent")?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let known = request.known.iter();
    for (name, value) in known.flat_map(|known| match (&known.etag, &known.last_modified) {
        (Some(etag), _) => Some((IF_NONE_MATCH, etag)),
        (None, Some(last_modified)) => Some((IF_MODIFIED_SINCE, last_modified)),
        (None, None) => None,
    }) {
        // It came as a header, so it can go as one.
        headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
    }
    Ok(headers)
}

/// An address without the password that may be in it.
fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut url) if url.password().is_some() => {
            // Only an address without a host refuses it.
            let _ = url.set_password(Some("xxxxx"));
            url.to_string()
        }
        Ok(_) | Err(_) => url.to_owned(),
    }
}

/// Bytes being compared with what they have to be.
struct Checksum {
    expected: String,
    algorithm: String,
    context: aws_lc_rs::digest::Context,
}

impl Checksum {
    /// None for an algorithm that nobody lets through to here.
    fn new(expected: &str) -> Option<Self> {
        let (algorithm, _) = expected.split_once(':')?;
        let context = aws_lc_rs::digest::Context::new(match algorithm {
            "sha256" => &aws_lc_rs::digest::SHA256,
            "sha384" => &aws_lc_rs::digest::SHA384,
            "sha512" => &aws_lc_rs::digest::SHA512,
            _ => return None,
        });
        Some(Self { expected: expected.to_owned(), algorithm: algorithm.to_owned(), context })
    }

    fn check(self) -> Result<(), (String, String)> {
        let digits = self.context.finish();
        let digits: String = digits.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let found = format!("{}:{digits}", self.algorithm);
        if found == self.expected { Ok(()) } else { Err((self.expected, found)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_time_of_change_is_not_asked_with() {
        let told = |last_modified: &'static str| {
            let headers = [
                (DATE, HeaderValue::from_static("Wed, 21 Oct 2015 07:28:00 GMT")),
                (LAST_MODIFIED, HeaderValue::from_static(last_modified)),
            ];
            Downloaded::new(Digest::of(b""), &HeaderMap::from_iter(headers))
        };
        let old = told("Wed, 21 Oct 2015 07:27:00 GMT");
        assert_eq!(old.validators.last_modified, old.last_modified);
        assert!(old.last_modified.is_some() && old.modified.is_some());
        let fresh = told("Wed, 21 Oct 2015 07:27:01 GMT");
        assert!(fresh.validators.last_modified.is_none() && fresh.last_modified.is_some());
        assert_eq!(told("soon").modified, None);
    }

    #[test]
    fn addresses_are_shown_without_passwords() {
        assert_eq!(shown("https://me:tiger@h/x"), "https://me:xxxxx@h/x");
        assert_eq!(shown("https://h/x"), "https://h/x");
        assert_eq!(hosts_of("https://me:tiger@h:1/x"), ["h:1", "h"]);
        assert_eq!(hosts_of("https://h:443/x"), ["h"]);
    }
}
