//! The client: one per process, shared by everything that talks to registries.

use std::fmt;
use std::sync::Arc;

use super::settings::Settings;
use crate::event::Events;

/// Talks to registries. Cheap to clone; clones share connections, tokens and what is known about hosts.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[allow(dead_code)]
struct Inner {
    settings: Settings,
    events: Events,
}

impl Client {
    /// Opens no connection and reads no certificate yet.
    pub fn new(settings: Settings, events: Events) -> Self {
        Self { inner: Arc::new(Inner { settings, events }) }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}
