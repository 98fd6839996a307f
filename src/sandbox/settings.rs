//! What holds for every sandbox of a command: where it was found to stand, and what the user asks for.

use super::isolation::{Entered, Rung};
use super::ranges::owned_ids;
use super::spec::Emulated;
use crate::sys::namespace;

/// How sandboxes are made here.
#[derive(Debug)]
pub struct Sandboxing {
    pub entered: Entered,
    pub settings: Settings,
}

/// What the user asks for, whatever runs inside.
#[derive(Debug, Clone, Default)]
pub struct Settings {}

impl Sandboxing {
    /// What has to be answered from outside.
    pub fn emulated(&self) -> Emulated {
        match self.entered.rung {
            Rung::Root if may_make_devices() => Emulated::Nothing,
            Rung::Root | Rung::Range => Emulated::Devices,
            Rung::Single => Emulated::Owners,
        }
    }
}

/// Only the host's root may, which a root with every id mostly is; and only as long as nobody took the right away.
fn may_make_devices() -> bool {
    owned_ids() >= u64::from(u32::MAX) && namespace::may_make_devices()
}
