//! Answering challenges: Basic, or tokens from the service the registry names.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::call::{Call, Outgoing, Target};
use super::challenge::Challenge;
use super::client::Client;
use super::credentials::{Credential, Login, Origin};
use super::endpoint::is_loopback;
use super::error::RegistryError;
use super::login::Answers;
use super::settings::Secret;

/// What is known about hosts and what they have granted. Shared by all clones of a client.
#[derive(Default)]
pub(super) struct Auth {
    challenges: Mutex<HashMap<String, Challenge>>,
    /// By host and scopes. The lock around a token lets one request fetch it while others wait for it.
    tokens: Mutex<HashMap<(String, Vec<String>), Slot>>,
    pub(super) answers: Answers,
}

type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

struct Token {
    header: HeaderValue,
    renew_at: Instant,
}

/// A token's answer is this large at most.
const MOST_READ: usize = 1 << 20;

impl Client {
    /// The header for a host that has challenged us before; none for one that has not.
    pub(super) async fn authorization(&self, call: &Call<'_>) -> Result<Option<HeaderValue>, RegistryError> {
        match self.auth().challenge(&call.endpoint.registry) {
            Some(challenge) => self.authorize(call, &challenge, None).await,
            None => Ok(None),
        }
    }

    /// The header that answers a challenge, made anew if `refused` was it; none if there is nothing else to offer.
    pub(super) async fn renewed_authorization(
        &self,
        call: &Call<'_>,
        challenge: Challenge,
        refused: Option<HeaderValue>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        self.auth().remember(&call.endpoint.registry, &challenge);
        let header = self.authorize(call, &challenge, refused.as_ref()).await?;
        Ok(header.filter(|header| Some(header) != refused.as_ref()))
    }

    async fn authorize(
        &self,
        call: &Call<'_>,
        challenge: &Challenge,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let login = self.login(call).await?;
        match (challenge, &login.credential) {
            (Challenge::Basic, Credential::Password { user, password }) => Ok(Some(basic(user, password))),
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { .. }, Credential::Bearer(token)) => Ok(Some(
                bearer(token.reveal())
                    .ok_or_else(|| call.protocol("the stored registry token is not fit for a header"))?,
            )),
            (Challenge::Bearer { realm, service, scopes }, _) => {
                let slot = self.auth().slot(&call.endpoint.registry, &call.scopes);
                let mut token = slot.lock().await;
                let usable = token
                    .as_ref()
                    .filter(|token| token.renew_at > Instant::now() && Some(&token.header) != refused);
                if let Some(token) = usable {
                    return Ok(Some(token.header.clone()));
                }
                // What the registry asks for comes first: some services honour only the first scope.
                let mut wanted = scopes.clone();
                wanted.extend(call.scopes.iter().filter(|scope| !scopes.contains(scope)).cloned());
                let fetched = self.grant(call, &login, realm, service.as_deref(), &wanted).await?;
                Ok(Some(token.insert(fetched).header.clone()))
            }
        }
    }

    /// A token for a login; for nobody's where one that nobody chose is refused and reading is all that is wanted.
    async fn grant(
        &self,
        call: &Call<'_>,
        login: &Login,
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
    ) -> Result<Token, RegistryError> {
        let error = match self.fetch_token(call, &login.credential, realm, service, scopes).await {
            Err(error @ RegistryError::Denied { .. }) => error,
            other => return other,
        };
        let Origin::Environment(variable) = login.origin else { return Err(error) };
        if scopes.is_empty() || scopes.iter().any(|scope| !scope.ends_with(":pull")) {
            return Err(error);
        }
        let token = self.fetch_token(call, &Credential::Anonymous, realm, service, scopes).await;
        let token = token.map_err(|_| error)?;
        let host = &call.endpoint.registry;
        self.events()
            .warn_once(&format!("{host} refuses the login that {variable} gives: going on without one"));
        Ok(token)
    }

    async fn fetch_token(
        &self,
        call: &Call<'_>,
        credential: &Credential,
        realm: &str,
        service: Option<&str>,
        scopes: &[String],
    ) -> Result<Token, RegistryError> {
        let mut url = Url::parse(realm)
            .ok()
            .filter(|url| is_trustworthy(url, call))
            .ok_or_else(|| call.protocol("the registry names a token service that must not be trusted"))?;
        let mut pairs: Vec<(&str, &str)> = service.iter().map(|service| ("service", *service)).collect();
        let form;
        let (make_body, header);
        let mut headers = vec![(ACCEPT, "application/json".to_owned())];
        let (method, body): (_, Option<&(dyn Fn() -> Result<Outgoing, RegistryError> + Send + Sync)>) =
            if let Credential::Identity(refresh_token) = credential {
                let scope = scopes.join(" ");
                pairs.extend([("grant_type", "refresh_token"), ("client_id", "rbuild"), ("scope", &scope)]);
                pairs.push(("refresh_token", refresh_token.reveal()));
                form = encoded(&pairs);
                headers.push((CONTENT_TYPE, "application/x-www-form-urlencoded".to_owned()));
                make_body = || Ok(Outgoing::small(form.clone().into_bytes()));
                header = None;
                (Method::POST, Some(&make_body))
            } else {
                pairs.extend(scopes.iter().map(|scope| ("scope", scope.as_str())));
                url.query_pairs_mut().extend_pairs(pairs);
                header = match credential {
                    Credential::Password { user, password } => Some(basic(user, password)),
                    Credential::Anonymous | Credential::Identity(_) | Credential::Bearer(_) => None,
                };
                (Method::GET, None)
            };
        let request = Call {
            endpoint: call.endpoint,
            what: format!("{} (token from {})", call.what, url.host_str().unwrap_or_default()),
            method,
            target: Target::Url(url.clone()),
            headers,
            scopes: Vec::new(),
            body,
        };
        let mut response = self.follow(&request, url, header).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(&request, response).await);
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk(&request, &mut response).await? {
            body.extend_from_slice(&chunk);
            if body.len() > MOST_READ {
                return Err(RegistryError::TooLarge { asked: request.asked(), limit: MOST_READ as u64 });
            }
        }
        Token::parse(&body).ok_or_else(|| request.protocol("the token service gave no token"))
    }
}

impl Auth {
    pub(super) fn challenge(&self, host: &str) -> Option<Challenge> {
        self.challenges.lock().expect("nobody panics while holding it").get(host).cloned()
    }

    fn remember(&self, host: &str, challenge: &Challenge) {
        let challenge = match challenge {
            Challenge::Basic => Challenge::Basic,
            // The scopes were for one request; the next one has its own.
            Challenge::Bearer { realm, service, .. } => {
                Challenge::Bearer { realm: realm.clone(), service: service.clone(), scopes: Vec::new() }
            }
        };
        self.challenges.lock().expect("nobody panics while holding it").insert(host.to_owned(), challenge);
    }

    fn slot(&self, host: &str, scopes: &[String]) -> Slot {
        let mut tokens = self.tokens.lock().expect("nobody panics while holding it");
        tokens.entry((host.to_owned(), scopes.to_vec())).or_default().clone()
    }
}

#[derive(Deserialize)]
struct Json {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Token {
    fn parse(body: &[u8]) -> Option<Self> {
        let json: Json = serde_json::from_slice(body).ok()?;
        let text = json.token.or(json.access_token).filter(|token| !token.is_empty())?;
        // A minute is the protocol's minimum and its default; zero is how some say that they do not know.
        let lifetime = Duration::from_secs(json.expires_in.unwrap_or(60).clamp(60, 86_400));
        Some(Self { header: bearer(&text)?, renew_at: Instant::now() + lifetime.mul_f64(0.8) })
    }
}

fn basic(user: &str, password: &Secret) -> HeaderValue {
    let pair = STANDARD.encode(format!("{user}:{}", password.reveal()));
    let mut value = HeaderValue::from_str(&format!("Basic {pair}")).expect("base64 is fit for a header");
    value.set_sensitive(true);
    value
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn encoded(pairs: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://form/").expect("a constant");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

/// Whether credentials may go to a token service: over TLS, and not to an address inside somebody's network that a
/// registry on the outside names, such as a cloud's metadata service.
fn is_trustworthy(realm: &Url, call: &Call<'_>) -> bool {
    let own = Url::parse(&format!("https://{}/", call.endpoint.authority()));
    if call.endpoint.security.allows_plain() {
        return matches!(realm.scheme(), "http" | "https");
    }
    if realm.scheme() != "https" {
        return false;
    }
    let Some(host) = realm.host_str() else { return false };
    if own.is_ok_and(|own| own.host_str() == Some(host)) {
        return true;
    }
    let inside = match host.trim_matches(['[', ']']).parse() {
        Ok(IpAddr::V4(address)) => {
            address.is_private() || address.is_link_local() || address.is_unspecified()
        }
        Ok(IpAddr::V6(address)) => {
            address.is_unique_local() || address.is_unicast_link_local() || address.is_unspecified()
        }
        Err(_) => false,
    };
    !inside && !is_loopback(host)
}
