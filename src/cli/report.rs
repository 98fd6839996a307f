//! From an error to what a person reads: the message, the place, hints, and the exit code. The one place that knows
//! exit codes; [`causes`] says which error has which.

mod causes;
mod excerpt;

use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::path::Path;

pub(super) use self::excerpt::frame;
use self::excerpt::shortened;
use crate::build::Place;
use crate::event::harmless_lines;
use crate::sys::disk::{Refusal, Room};

/// The exit codes of rbuild itself; `run` returns its container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Code {
    /// A step of the build failed.
    StepFailed = 1,
    Usage = 2,
    /// The Dockerfile or another input of the build is invalid.
    Input = 3,
    /// This host cannot isolate processes.
    Isolation = 4,
    /// A registry, credentials or the network.
    Registry = 5,
    /// The store or the disk.
    Store = 6,
    /// A bug in rbuild.
    Bug = 70,
    /// It took longer than it may.
    TimedOut = 124,
    /// `run`: the container could not be started.
    ContainerFailed = 125,
    NotExecutable = 126,
    NotFound = 127,
    Interrupted = 130,
}

/// Everything that is to be said about a failure.
#[derive(Debug)]
pub(super) struct Report {
    code: Code,
    message: String,
    /// What belongs between the message and the hints: excerpts, last lines of a log.
    details: Vec<String>,
    hints: Vec<String>,
    /// Whether the store's file system is to blame, and for what.
    refusal: Option<Refusal>,
}

impl Report {
    pub(super) fn new(code: Code, message: impl Display) -> Self {
        let (details, hints) = (Vec::new(), Vec::new());
        Self { code, message: message.to_string(), details, hints, refusal: None }
    }

    pub(super) fn usage(message: impl Display) -> Self {
        Self::new(Code::Usage, message)
    }

    pub(super) fn interrupted() -> Self {
        Self::new(Code::Interrupted, "interrupted")
    }

    /// As `run` reports whatever kept it from starting a container: with docker's codes, because the others may be the
    /// container's own.
    pub(super) fn of_run(mut self) -> Self {
        if !matches!(
            self.code,
            Code::Usage | Code::TimedOut | Code::NotExecutable | Code::NotFound | Code::Interrupted
        ) {
            self.code = Code::ContainerFailed;
        }
        self
    }

    /// Prints it; returns the exit code.
    pub(super) fn print(&self) -> i32 {
        let mut text = String::new();
        for detail in &self.details {
            text.push_str(detail.trim_end());
            text.push('\n');
        }
        let _ = writeln!(text, "error: {}", shortened(&self.message));
        for hint in &self.hints {
            let _ = writeln!(text, "hint: {hint}");
        }
        // Whoever closed standard error does not want to know.
        let _ = std::io::stderr().write_all(harmless_lines(&text).as_bytes());
        self.code as i32
    }

    /// Says first what it is about.
    fn about(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub(super) fn hint(mut self, hint: Option<String>) -> Self {
        self.hints.extend(hint);
        self
    }

    /// Says how the file system of the store is, if that is to blame.
    pub(super) fn with_store(self, root: &Path) -> Self {
        let hint = self.refusal.map(|refusal| {
            let place = "another place with --root or RBUILD_ROOT";
            let remedy = match refusal {
                Refusal::Full | Refusal::Quota => {
                    format!("free some space, for example with `rbuild prune`, or choose {place}")
                }
                Refusal::ReadOnly => format!("choose {place}"),
            };
            format!("{}: {remedy}", state_of(&format!("the store, {},", root.display()), root, refusal))
        });
        self.hint(hint)
    }

    fn detail(mut self, detail: String) -> Self {
        self.details.push(detail);
        self
    }

    fn at(self, place: &Place) -> Self {
        match place.span {
            Some(span) => self.detail(frame(&place.source, span)),
            None => self,
        }
    }
}

/// How a file system is that takes nothing more.
fn state_of(what: &str, path: &Path, refusal: Refusal) -> String {
    match refusal {
        Refusal::Full => {
            // What was unfinished may be removed by now, so that there is room again.
            let room = Room::around(path).map(|room| format!(" (now {room})"));
            format!("the file system of {what} was full{}", room.unwrap_or_default())
        }
        Refusal::Quota => {
            format!("what this user or project may have on the file system of {what} is used up (its quota)")
        }
        Refusal::ReadOnly => format!("the file system of {what} is read-only"),
    }
}
