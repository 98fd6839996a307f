//! What holds for every sandbox of a command: where it was found to stand, and what the user asks for.

use super::cgroup::{Groups, LimitError};
use super::endings::Endings;
use super::isolation::{Entered, Rung};
use super::limits::Limits;
use super::network::NetworkSettings;
use super::ulimits;

/// How sandboxes are made here.
#[derive(Debug)]
pub struct Sandboxing {
    pub entered: Entered,
    pub settings: Settings,
    /// The sandboxes that were made so and are not gone.
    pub endings: Endings,
    /// Where control groups are made, if limits need them.
    pub(super) groups: Option<Groups>,
}

/// What the user asks for, whatever runs inside.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub limits: Limits,
    pub network: NetworkSettings,
}

impl Sandboxing {
    /// Finds out whether the limits can be kept here. This process has one thread.
    pub fn new(entered: Entered, settings: Settings) -> Result<Self, LimitError> {
        ulimits::check(&settings.limits.ulimits)?;
        let groups = Groups::prepare(&settings.limits.resources, entered.rung == Rung::Root)?;
        Ok(Self { entered, settings, endings: Endings::default(), groups })
    }

    /// Whether there is just one id inside.
    pub fn single_id(&self) -> bool {
        self.entered.rung == Rung::Single
    }
}
