//! From what may hold a login to the login itself: helpers and cloud services are asked here, when a registry wants it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use reqwest::header::HeaderName;
use reqwest::{Method, StatusCode, Url};
use tokio::sync::OnceCell;

use super::call::{Call, Outgoing, Target};
use super::client::Client;
use super::credentials::{
    Candidate, Credential, EcrHost, HelperError, Login, Origin, ask, ecr_authorization, written_key,
};
use super::endpoint::Endpoint;
use super::error::RegistryError;
use crate::image::Timestamp;

/// What was given out, by who gave it and for which host: nobody is asked twice.
#[derive(Default)]
pub(super) struct Answers(Mutex<HashMap<(String, String), Slot>>);

type Slot = Arc<OnceCell<Option<Credential>>>;

/// An answer of AWS is this large at most.
const MOST_READ: u64 = 1 << 20;

impl Client {
    /// The login for the registry and repository of a call: the first that there is.
    pub(super) async fn login(&self, call: &Call<'_>) -> Result<Login, RegistryError> {
        let endpoint = call.endpoint;
        for candidate in self.settings().credentials.candidates(&endpoint.registry, &endpoint.repository) {
            let (found, origin) = match candidate {
                Candidate::Login(login) => return Ok(login),
                Candidate::Helper(name) => {
                    let slot = self.auth().answers.slot(&name, &endpoint.registry);
                    let found = slot.get_or_try_init(|| self.ask_helper(call, &name)).await?.clone();
                    (found, Origin::Helper(name))
                }
                Candidate::Ecr(host) => {
                    let slot = self.auth().answers.slot("AWS", &endpoint.registry);
                    let found = slot.get_or_try_init(|| self.ask_ecr(call, &host)).await?.clone();
                    (found, Origin::Environment("AWS_ACCESS_KEY_ID"))
                }
            };
            if let Some(credential) = found {
                return Ok(Login { credential, origin });
            }
        }
        Ok(Login::none())
    }

    /// Shows a registry the login that was given for it; whether it wanted to see one.
    pub async fn check_login(&self, host: &str) -> Result<bool, RegistryError> {
        let endpoint = self.settings().registries.host(host)?;
        let call = login_call(&endpoint);
        let mut attempts = self.attempts();
        while let Err(error) = self.expect(&call, &[StatusCode::OK]).await {
            attempts.pause(error).await?;
        }
        Ok(self.auth().challenge(host).is_some())
    }

    /// The user that is logged in to a registry, or to a repository of it.
    pub async fn user_of(&self, host: &str, repository: &str) -> Result<Option<String>, RegistryError> {
        let mut endpoint = self.settings().registries.host(host)?;
        endpoint.repository = repository.to_owned();
        let call = login_call(&endpoint);
        Ok(match self.login(&call).await?.credential {
            Credential::Anonymous => None,
            Credential::Password { user, .. } => Some(user),
            // What auth files say where there is no user.
            Credential::Identity(_) | Credential::Bearer(_) => Some("<token>".to_owned()),
        })
    }

    async fn ask_helper(&self, call: &Call<'_>, name: &str) -> Result<Option<Credential>, RegistryError> {
        match ask(name, &written_key(&call.endpoint.registry)).await {
            Ok(found) => Ok(found),
            // Auth files are carried to machines that lack the helper, and most images can be had without a login.
            Err(error @ HelperError::Missing { .. }) => {
                self.events()
                    .warn_once(&format!("{error}; {} gets no login from it", call.endpoint.registry));
                Ok(None)
            }
            Err(error) => Err(RegistryError::Login { asked: call.asked(), problem: error.to_string() }),
        }
    }

    async fn ask_ecr(&self, call: &Call<'_>, host: &EcrHost) -> Result<Option<Credential>, RegistryError> {
        let time: String = Timestamp::now().to_string();
        // 2015-08-30T12:36:00Z in its short form.
        let time: String = time.chars().filter(|letter| !matches!(letter, '-' | ':')).collect();
        let time = format!("{}Z", time.split(['.', 'Z']).next().unwrap_or_default());
        let signed =
            host.request(&time).ok_or_else(|| call.protocol("AWS_ENDPOINT_URL_ECR is no address"))?;
        let url = Url::parse(&signed.url).map_err(|_| call.protocol("the address of AWS is malformed"))?;
        let make_body = || Ok(Outgoing::small(signed.body.as_bytes()));
        let headers = signed.headers.iter();
        let request = Call {
            endpoint: call.endpoint,
            what: format!("{} (password from AWS in {})", call.what, host.region),
            method: Method::POST,
            target: Target::Url(url.clone()),
            headers: headers.map(|(name, value)| (HeaderName::from_static(name), value.clone())).collect(),
            scopes: Vec::new(),
            body: Some(&make_body),
        };
        let mut response = self.exchange(&request, &url, None).await?;
        if response.status() != StatusCode::OK {
            let answer = super::answer::read(response, self.settings().timeouts.stall).await;
            let problem = format!("AWS gives no password for it ({answer})");
            return Err(RegistryError::Login { asked: request.asked(), problem });
        }
        let body = self.whole(&request, &mut response, MOST_READ).await?;
        let (user, password) =
            ecr_authorization(&body).ok_or_else(|| request.protocol("the answer of AWS has no password"))?;
        Ok(Some(Credential::Password { user, password }))
    }
}

fn login_call(endpoint: &Endpoint) -> Call<'_> {
    Call {
        endpoint,
        what: "login".to_owned(),
        method: Method::GET,
        target: Target::Root,
        headers: Vec::new(),
        scopes: Vec::new(),
        body: None,
    }
}

impl Answers {
    fn slot(&self, who: &str, host: &str) -> Slot {
        let mut answers = self.0.lock().expect("nobody panics while holding it");
        answers.entry((who.to_owned(), host.to_owned())).or_default().clone()
    }
}
