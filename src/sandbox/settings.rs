//! What holds for every sandbox of a command: where it was found to stand, and what the user asks for.

use super::isolation::{Entered, Rung};

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
    /// Whether there is just one id inside.
    pub fn single_id(&self) -> bool {
        self.entered.rung == Rung::Single
    }
}
