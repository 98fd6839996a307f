//! A request as a value, which can be sent any number of times.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use reqwest::header::HeaderName;
use reqwest::{Method, Url};

use super::credentials::Login;
use super::endpoint::Endpoint;
use super::error::{Answer, Asked, RegistryError};

/// A request to an endpoint.
pub(super) struct Call<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) what: String,
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) headers: Vec<(HeaderName, String)>,
    /// What a token must allow, as `repository:NAME:pull,push`.
    pub(super) scopes: Vec<String>,
    pub(super) body: Option<&'a (dyn Fn() -> Result<Outgoing, RegistryError> + Send + Sync)>,
}

pub(super) enum Target {
    /// `/v2/`, which says who is there.
    Root,
    /// Below `/v2/NAME/`.
    Path(String),
    /// Where an earlier answer said.
    Url(Url),
}

/// The body of one sending.
pub(super) struct Outgoing {
    pub(super) body: reqwest::Body,
    /// None: it ends when it ends.
    pub(super) length: Option<u64>,
    /// For bodies that take a while.
    pub(super) activity: Option<Arc<Activity>>,
}

/// What a streaming body tells the one who waits for the answer.
pub(super) struct Activity(Mutex<Progress>);

struct Progress {
    last: Instant,
    sent_all: bool,
    /// The network waits for the source.
    starving: bool,
    fault: Option<io::Error>,
}

impl Call<'_> {
    pub(super) fn asked(&self) -> Box<Asked> {
        let endpoint = self.endpoint;
        Box::new(Asked {
            registry: endpoint.registry.clone(),
            repository: endpoint.repository.clone(),
            what: self.what.clone(),
        })
    }

    pub(super) fn protocol(&self, problem: &'static str) -> RegistryError {
        RegistryError::Protocol { asked: self.asked(), problem }
    }

    pub(super) fn refused(&self, answer: Answer, login: &Login) -> RegistryError {
        let asked = self.asked();
        match answer.status {
            401 | 403 => RegistryError::Denied { asked, answer, login: Box::new(login.origin.clone()) },
            404 => RegistryError::NotFound { asked, answer },
            _ => RegistryError::Status { asked, answer },
        }
    }
}

impl Outgoing {
    pub(super) fn small(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { length: Some(bytes.len() as u64), body: bytes.into(), activity: None }
    }
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Progress { last: Instant::now(), sent_all: false, starving: false, fault: None }))
    }

    pub(super) fn moved(&self) {
        let mut progress = self.lock();
        progress.last = Instant::now();
        progress.starving = false;
    }

    /// Everything that there was has been sent; whether more comes is not the network's affair.
    pub(super) fn starving(&self) {
        self.lock().starving = true;
    }

    pub(super) fn finished(&self) {
        let mut progress = self.lock();
        progress.last = Instant::now();
        progress.sent_all = true;
        progress.starving = false;
    }

    pub(super) fn failed(&self, fault: io::Error) {
        self.lock().fault = Some(fault);
    }

    /// Since when the network has stood still, and whether all has been sent.
    pub(super) fn state(&self) -> (Instant, bool) {
        let mut progress = self.lock();
        if progress.starving {
            progress.last = Instant::now();
        }
        (progress.last, progress.sent_all)
    }

    pub(super) fn fault(&self) -> Option<io::Error> {
        self.lock().fault.take()
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().expect("nobody panics while holding it")
    }
}
