//! The client: one per process, shared by everything that talks to registries.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use super::auth::Auth;
use super::certificates::Certificates;
use super::endpoint::Endpoint;
use super::error::RegistryError;
use super::registries::Access;
use super::retry::Attempts;
use super::settings::{Retries, Settings};
use super::tls::{HttpClients, Tls};
use crate::event::Events;
use crate::image::Reference;

/// Talks to registries. Cheap to clone; clones share connections, tokens and what is known about hosts.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    events: Events,
    http: HttpClients,
    auth: Auth,
    /// By host, for those that may speak HTTP.
    schemes: Mutex<HashMap<String, Arc<OnceCell<Tls>>>>,
    /// Mirrors (whole hosts, or repositories of them) that could not be used, so that each is waited for and complained about only once.
    dead_mirrors: Mutex<HashSet<String>>,
    /// Registries of which something has been said that need not be said again.
    told: Mutex<HashSet<String>>,
}

impl Client {
    /// Opens no connection and reads no certificate yet.
    pub fn new(settings: Settings, events: Events) -> Self {
        Self {
            inner: Arc::new(Inner {
                settings,
                events,
                http: HttpClients::default(),
                auth: Auth::default(),
                schemes: Mutex::default(),
                dead_mirrors: Mutex::default(),
                told: Mutex::default(),
            }),
        }
    }

    /// Asks the mirrors of a name and then its origin until one does not fail. A mirror that lacks what is wanted is
    /// passed over in silence; one that is broken, with a warning.
    pub(super) async fn ask_in_turn<T, F>(
        &self,
        reference: &Reference,
        mut ask: impl FnMut(Endpoint, Attempts) -> F,
    ) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, RegistryError>>,
    {
        let (origin, mirrors) = self.places(reference)?;
        for mirror in mirrors {
            match ask(mirror.clone(), self.mirror_attempts()).await {
                Ok(found) => return Ok(found),
                Err(error) => self.mirror_failed(&mirror, error)?,
            }
        }
        ask(origin, self.attempts()).await
    }

    /// The origin of a name, and the mirrors to ask before it.
    pub(super) fn places(&self, reference: &Reference) -> Result<(Endpoint, Vec<Endpoint>), RegistryError> {
        let mut places = self.inner.settings.registries.endpoints(reference, Access::Read)?;
        let origin = places.pop().expect("the origin is always among them");
        let dead = self.inner.dead_mirrors.lock().expect("nobody panics while holding it");
        places.retain(|mirror| !dead.contains(&mirror.registry) && !dead.contains(&mirror.name()));
        Ok((origin, places))
    }

    /// Notes that a mirror failed, or gives the error back where no other place could do better.
    pub(super) fn mirror_failed(&self, mirror: &Endpoint, error: RegistryError) -> Result<(), RegistryError> {
        if matches!(error, RegistryError::Abandoned { .. } | RegistryError::Setup { .. }) {
            return Err(error);
        }
        if !matches!(error, RegistryError::NotFound { .. }) {
            let mut dead = self.inner.dead_mirrors.lock().expect("nobody panics while holding it");
            let gone = matches!(error, RegistryError::Unreachable { .. } | RegistryError::Stalled { .. });
            if dead.insert(if gone { mirror.registry.clone() } else { mirror.name() }) {
                self.inner.events.warn(format!("mirror not used: {error}"));
            }
        }
        Ok(())
    }

    /// Says something of a registry, once for each.
    pub(super) fn warn_once(&self, registry: &str, what: impl FnOnce() -> String) {
        let mut told = self.inner.told.lock().expect("nobody panics while holding it");
        if told.insert(registry.to_owned()) {
            self.inner.events.warn(what());
        }
    }

    /// The place to push to.
    pub(super) fn destination(&self, to: &Reference) -> Result<Endpoint, RegistryError> {
        let mut places = self.inner.settings.registries.endpoints(to, Access::Write)?;
        Ok(places.pop().expect("the origin is always among them"))
    }

    pub(super) fn attempts(&self) -> Attempts {
        Attempts::new(self.inner.settings.retries)
    }

    /// Another place stands ready, so patience is short.
    pub(super) fn mirror_attempts(&self) -> Attempts {
        let retries = self.inner.settings.retries;
        Attempts::new(Retries { tries: retries.tries.min(2), ..retries })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(super) fn events(&self) -> &Events {
        &self.inner.events
    }

    pub(super) fn auth(&self) -> &Auth {
        &self.inner.auth
    }

    pub(super) fn http(
        &self,
        tls: Tls,
        certificates: Option<&Certificates>,
    ) -> Result<reqwest::Client, RegistryError> {
        self.inner.http.get(tls, certificates, &self.inner.settings)
    }

    pub(super) fn scheme_of(&self, host: &str) -> Arc<OnceCell<Tls>> {
        let mut schemes = self.inner.schemes.lock().expect("nobody panics while holding it");
        schemes.entry(host.to_owned()).or_default().clone()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}
