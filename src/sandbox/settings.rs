//! What holds for every sandbox of a command: where it was found to stand, and what the user asks for.

use super::cgroup::{Groups, LimitError};
use super::endings::Endings;
use super::isolation::{Closed, Entered, Rung};
use super::layering::{Layering, Layerings};
use super::limits::Limits;
use super::network::NetworkSettings;
use super::ranges::owned_ids;
use super::spec::Emulated;
use super::ulimits;
use crate::sys::namespace;

/// How sandboxes are made here.
#[derive(Debug)]
pub struct Sandboxing {
    pub entered: Entered,
    pub settings: Settings,
    pub layerings: Layerings,
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
    /// The way of putting layers together; the best that works if none.
    pub layering: Option<Layering>,
}

impl Sandboxing {
    /// Finds out whether the limits can be kept here. This process has one thread.
    pub fn new(entered: Entered, settings: Settings) -> Result<Self, LimitError> {
        ulimits::check(&settings.limits.ulimits)?;
        let groups = Groups::prepare(&settings.limits.resources, entered.rung == Rung::Root)?;
        let layerings = settings.layering.map_or_else(Layerings::default, Layerings::only);
        Ok(Self { entered, settings, layerings, endings: Endings::default(), groups })
    }

    /// What has to be answered from outside.
    pub fn emulated(&self) -> Emulated {
        match self.entered.rung {
            Rung::Root if may_make_devices() => Emulated::Nothing,
            Rung::Root | Rung::Range => Emulated::Gaps,
            Rung::Single => Emulated::Owners,
            // No process runs there.
            Rung::Bare => Emulated::Nothing,
        }
    }

    /// Whether anything can be mounted, and processes run.
    pub fn may_run(&self) -> bool {
        self.entered.rung != Rung::Bare
    }

    /// Whether the kernel is to be asked for overlays.
    pub fn may_overlay(&self) -> bool {
        self.may_run() && !self.layerings.is_without_kernel()
    }

    /// Why no process can be run, if none can.
    pub fn closed(&self) -> Result<(), Closed> {
        self.entered.closed.clone().map_or(Ok(()), Err)
    }
}

/// Only the host's root may, which a root with every id mostly is; and only as long as nobody took the right away.
fn may_make_devices() -> bool {
    owned_ids() >= u64::from(u32::MAX) && namespace::may_make_devices()
}
