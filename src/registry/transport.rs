//! One request: over the right scheme, with the right credentials, along redirects; and what its failure means.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};

use super::answer;
use super::call::{Activity, Call, Target};
use super::certificates::Certificates;
use super::challenge::Challenge;
use super::client::Client;
use super::credentials::Login;
use super::endpoint::{Endpoint, Security};
use super::error::{Reason, RegistryError};
use super::tls::Tls;

pub(super) const MOST_REDIRECTS: usize = 10;

impl Client {
    /// Sends a call once, twice if it must authenticate first. Any answer but 401 is a success here.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Response, RegistryError> {
        let url = match &call.target {
            Target::Url(url) => url.clone(),
            Target::Root => self.address(call, "").await?,
            Target::Path(path) => self.address(call, &format!("{}/{path}", call.endpoint.repository)).await?,
        };
        // An upload may have been sent elsewhere, where credentials must not follow.
        if !is_at(&url, call.endpoint) {
            if url.scheme() != "https" && !call.endpoint.security.allows_plain() {
                return Err(call.protocol("the registry sends an upload to an insecure address"));
            }
            return self.follow(call, url, None).await;
        }
        let known = self.authorization(call).await?;
        let response = self.follow(call, url.clone(), known.clone()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let challenge = is_at(response.url(), call.endpoint)
            .then(|| Challenge::from_headers(response.headers()))
            .flatten();
        let answer = answer::read(response, self.settings().timeouts.stall).await;
        let renewed = match challenge {
            Some(challenge) => self.renewed_authorization(call, challenge, known).await?,
            None => None,
        };
        let Some(renewed) = renewed else {
            return Err(call.refused(answer, &self.used_login(call).await));
        };
        let response = self.follow(call, url, Some(renewed)).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let answer = answer::read(response, self.settings().timeouts.stall).await;
            return Err(call.refused(answer, &self.used_login(call).await));
        }
        Ok(response)
    }

    /// A path of the endpoint, over the scheme that it speaks.
    async fn address(&self, call: &Call<'_>, path: &str) -> Result<Url, RegistryError> {
        let scheme = if self.tls(call).await? == Tls::None { "http" } else { "https" };
        let (authority, base) = (call.endpoint.authority(), &call.endpoint.base);
        let mut url = Url::parse(&format!("{scheme}://{authority}{base}/{path}"))
            .map_err(|_| call.protocol("the registry's address is malformed"))?;
        if let Some(namespace) = &call.endpoint.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        Ok(url)
    }

    /// Sends a call once and demands one of the given answers.
    pub(super) async fn expect(
        &self,
        call: &Call<'_>,
        wanted: &[StatusCode],
    ) -> Result<Response, RegistryError> {
        let response = self.send(call).await?;
        if wanted.contains(&response.status()) {
            Ok(response)
        } else {
            Err(self.refusal(call, response).await)
        }
    }

    /// Turns an unwanted answer into an error.
    pub(super) async fn refusal(&self, call: &Call<'_>, response: Response) -> RegistryError {
        let login = self.used_login(call).await;
        call.refused(answer::read(response, self.settings().timeouts.stall).await, &login)
    }

    /// The login that requests like this one carry: none where no registry has asked for one.
    async fn used_login(&self, call: &Call<'_>) -> Login {
        match self.auth().challenge(&call.endpoint.registry) {
            Some(_) => self.login(call).await.unwrap_or_else(|_| Login::none()),
            None => Login::none(),
        }
    }

    /// The next piece of an answer's body.
    pub(super) async fn chunk(
        &self,
        call: &Call<'_>,
        response: &mut Response,
    ) -> Result<Option<Bytes>, RegistryError> {
        let after = self.settings().timeouts.stall;
        match tokio::time::timeout(after, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|error| self.unreachable(call, response.url().clone(), error)),
            Err(_) => Err(RegistryError::Stalled { asked: call.asked(), after }),
        }
    }

    /// Sends, and goes where redirects lead. Credentials stay with the host they were made for.
    pub(super) async fn follow(
        &self,
        call: &Call<'_>,
        first: Url,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let mut url = first.clone();
        for _ in 0..MOST_REDIRECTS {
            let authorization = authorization.as_ref().filter(|_| url.origin() == first.origin());
            let response = self.exchange(call, &url, authorization).await?;
            if !leads_on(call, response.status()) {
                return Ok(response);
            }
            let next = location(&response).ok_or_else(|| call.protocol("a redirect leads nowhere"))?;
            if next.scheme() != "https" && !call.endpoint.security.allows_plain() {
                return Err(call.protocol("a redirect leads from https to an insecure address"));
            }
            url = next;
        }
        Err(call.protocol("too many redirects"))
    }

    pub(super) async fn exchange(
        &self,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let is_own = is_host_of(url, call.endpoint);
        let tls = match (url.scheme(), call.endpoint.security) {
            ("http", _) => Tls::None,
            (_, Security::Verified) => Tls::Verified,
            (_, Security::Unverified | Security::Insecure | Security::Loopback | Security::Plain) => {
                if is_own { Tls::Unverified } else { Tls::Verified }
            }
        };
        let own = call.endpoint.certificates.as_deref();
        let authorities;
        let certificates = if is_own {
            own
        } else {
            // Its token service and its storage are trusted as the registry is, but need not know who we are.
            authorities = own.map(Certificates::of_authorities);
            authorities.as_ref()
        };
        self.settings().proxies.check(url)?;
        let http = self.http(tls, certificates)?;
        let mut request = http.request(call.method.clone(), url.clone());
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let mut activity = None;
        if let Some(body) = call.body {
            let outgoing = body()?;
            if let Some(length) = outgoing.length {
                request = request.header(CONTENT_LENGTH, length);
            }
            request = request.body(outgoing.body);
            activity = outgoing.activity;
        } else if call.method == Method::POST || call.method == Method::PUT {
            // Some servers ask for the length even of nothing.
            request = request.header(CONTENT_LENGTH, 0);
        }
        let answer = request.send();
        let answered = match &activity {
            None => {
                let after = self.settings().timeouts.stall;
                tokio::time::timeout(after, answer).await.map_err(|_| after)
            }
            Some(activity) => self.watched(answer, activity).await,
        };
        let answered = answered.map_err(|after| RegistryError::Stalled { asked: call.asked(), after })?;
        answered.map_err(|error| match activity.and_then(|activity| activity.fault()) {
            Some(source) => RegistryError::Source { asked: call.asked(), source },
            None => self.unreachable(call, url.clone(), error),
        })
    }

    /// Awaits an answer as long as the body moves.
    async fn watched<F: Future>(&self, answer: F, activity: &Activity) -> Result<F::Output, Duration> {
        let timeouts = self.settings().timeouts;
        let mut answer = std::pin::pin!(answer);
        loop {
            let (last, sent_all) = activity.state();
            let patience = if sent_all { timeouts.commit } else { timeouts.stall };
            let deadline = last + patience;
            match tokio::time::timeout_at(deadline.into(), &mut answer).await {
                Ok(output) => return Ok(output),
                Err(_) if activity.state() == (last, sent_all) => return Err(patience),
                Err(_) => {}
            }
        }
    }

    /// How to speak to an endpoint; found out once for each host where it is not given.
    async fn tls(&self, call: &Call<'_>) -> Result<Tls, RegistryError> {
        let candidates = match call.endpoint.security {
            Security::Verified => return Ok(Tls::Verified),
            Security::Unverified => return Ok(Tls::Unverified),
            Security::Plain => return Ok(Tls::None),
            // A registry here rarely has a certificate, and a server that wants TLS says so at once; a plain server
            // that is greeted in TLS may wait for more.
            Security::Loopback => [Tls::None, Tls::Unverified],
            // Never plain where TLS works: credentials will follow.
            Security::Insecure => [Tls::Unverified, Tls::None],
        };
        let found = self.scheme_of(&call.endpoint.registry);
        let tls = *found.get_or_try_init(|| self.probe(call, candidates)).await?;
        if call.endpoint.security == Security::Insecure && self.settings().registries.is_anything_allowed() {
            let host = &call.endpoint.registry;
            let what = if tls == Tls::None {
                "has no TLS: who is in between can read and change everything, logins too"
            } else {
                "is not asked for a trusted certificate: who is in between could be anybody"
            };
            self.events().warn_once(&format!("{host} {what} (--tls-verify=false)"));
        }
        Ok(tls)
    }

    async fn probe(&self, call: &Call<'_>, candidates: [Tls; 2]) -> Result<Tls, RegistryError> {
        let mut first_error = None;
        for tls in candidates {
            let scheme = if tls == Tls::None { "http" } else { "https" };
            let url = Url::parse(&format!("{scheme}://{}{}/", call.endpoint.authority(), call.endpoint.base))
                .map_err(|_| call.protocol("the registry's address is malformed"))?;
            let after = self.settings().timeouts.stall.min(Duration::from_secs(10));
            self.settings().proxies.check(&url)?;
            let http = self.http(tls, call.endpoint.certificates.as_deref())?;
            let error = match tokio::time::timeout(after, http.get(url.clone()).send()).await {
                // What a TLS server says to who does not speak TLS; no registry answers its root like this.
                Ok(Ok(response)) if tls == Tls::None && response.status() == StatusCode::BAD_REQUEST => {
                    call.protocol("the registry wants https, which did not work either")
                }
                Ok(Ok(_)) => return Ok(tls),
                Ok(Err(error)) => self.unreachable(call, url, error),
                Err(_) => RegistryError::Stalled { asked: call.asked(), after },
            };
            first_error.get_or_insert(error);
        }
        Err(first_error.expect("there are two candidates, and each returned or failed"))
    }

    fn unreachable(&self, call: &Call<'_>, url: Url, error: reqwest::Error) -> RegistryError {
        let proxied = self.settings().proxies.of(&url).is_some();
        let reason = reason(&error);
        // The address may be a signed one.
        RegistryError::Unreachable { asked: call.asked(), reason, proxied, source: error.without_url() }
    }
}

/// The address an answer points to, which may be relative.
pub(super) fn location(response: &Response) -> Option<Url> {
    let text = response.headers().get(LOCATION)?.to_str().ok()?;
    let mut url = response.url().join(text).ok()?;
    // A registry behind a TLS proxy may not know that it is.
    if response.url().scheme() == "https" && url.scheme() == "http" && url.host() == response.url().host() {
        url.set_scheme("https").ok()?;
    }
    matches!(url.scheme(), "http" | "https").then_some(url)
}

fn leads_on(call: &Call<'_>, status: StatusCode) -> bool {
    match status.as_u16() {
        307 | 308 => true,
        // These turn other methods into GET, which is never meant here.
        301..=303 => call.method == Method::GET || call.method == Method::HEAD,
        _ => false,
    }
}

/// Whether an address belongs to an endpoint's host and port.
fn is_at(url: &Url, endpoint: &Endpoint) -> bool {
    let own = Url::parse(&format!("{}://{}/", url.scheme(), endpoint.authority()));
    // Plain where the endpoint wants TLS is another place.
    (url.scheme() == "https" || endpoint.security.allows_plain())
        && own.is_ok_and(|own| own.origin() == url.origin())
}

fn is_host_of(url: &Url, endpoint: &Endpoint) -> bool {
    let own = Url::parse(&format!("https://{}/", endpoint.authority()));
    own.is_ok_and(|own| own.host() == url.host())
}

pub(super) fn reason(error: &reqwest::Error) -> Reason {
    if error.is_dns() {
        return Reason::Name;
    }
    if error.is_timeout() {
        return Reason::Timeout;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return Reason::Tls;
        }
        // An I/O error that wraps another is transparent: its source is not the wrapped one, but what is below that.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(error) = error.downcast_ref::<io::Error>()
            && matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof)
        {
            return Reason::Cut;
        }
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    if error.is_connect() { Reason::ConnectionRefused } else { Reason::Cut }
}
