//! The files of a root file system, without the layers they come from: as one tar, or as files in a directory.

pub mod directory;
pub mod tar;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ExportError;
use crate::layer::{Shown, walk};

/// The files that layers make together.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The layers' directories, uppermost first.
    pub chain: Vec<PathBuf>,
    /// The time that everything is given, in seconds since 1970; its own if none.
    pub time: Option<i64>,
    pub given_up: GivenUp,
}

/// Whether nobody waits for the work any more.
#[derive(Debug, Clone, Default)]
pub struct GivenUp(Arc<AtomicBool>);

/// Gives the work up when it is dropped.
#[derive(Debug)]
pub struct Waiting(GivenUp);

/// What could not be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// No place outside has one: it is made by who listens.
    pub sockets: u64,
    /// Only the host's root may make them.
    pub devices: u64,
}

impl Tree {
    /// Shows every entry, as long as somebody waits.
    fn each(&self, mut show: impl FnMut(&Shown<'_>) -> Result<(), ExportError>) -> Result<(), ExportError> {
        walk(&self.chain, |shown| {
            self.check_waiting()?;
            show(shown)
        })
    }

    fn check_waiting(&self) -> Result<(), ExportError> {
        if self.given_up.0.load(Ordering::Relaxed) { Err(ExportError::GivenUp) } else { Ok(()) }
    }

    /// When an entry was modified: seconds and nanoseconds.
    fn time_of(&self, shown: &Shown<'_>) -> (i64, i64) {
        let own = || (shown.stat.st_mtime, i64::try_from(shown.stat.st_mtime_nsec).unwrap_or(0));
        self.time.map_or_else(own, |time| (time, 0))
    }
}

impl GivenUp {
    pub fn when_dropped(&self) -> Waiting {
        Waiting(self.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl LeftOut {
    /// What is to be said of it, if there is anything.
    pub fn text(self, place: &Path) -> Option<String> {
        let parts =
            [(self.sockets, "sockets"), (self.devices, "devices, which only the host's root may make")];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> = parts.map(|(count, what)| format!("{count} {what}")).collect();
        (!parts.is_empty()).then(|| format!("left out of {}: {}", place.display(), parts.join("; ")))
    }
}
