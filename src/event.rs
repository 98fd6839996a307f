//! The only channel from work to what a person sees.
//!
//! Work sends [`Event`]s and never prints; `ui` receives them and never works. Sending cannot fail and never waits: when
//! nobody listens any more, events are dropped.

use std::sync::mpsc;
use std::time::Instant;

/// A step of a build as progress shows it, numbered in order of first mention.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StepId(pub u32);

#[derive(Clone, Debug)]
pub struct Event {
    pub at: Instant,
    pub kind: EventKind,
}

#[derive(Clone, Debug)]
pub enum EventKind {
    /// A step has begun; `name` is its headline, such as `[build 2/4] RUN make`.
    Started {
        step: StepId,
        name: String,
    },
    /// A line (without its end) that the step's process wrote.
    Log {
        step: StepId,
        stream: Stream,
        line: String,
    },
    /// Something measurable below a step, such as a download; `id` tells several of one step apart.
    Progress {
        step: StepId,
        id: String,
        current: u64,
        total: Option<u64>,
        done: bool,
    },
    /// The step was not needed: its result was there.
    Cached {
        step: StepId,
    },
    Done {
        step: StepId,
    },
    Failed {
        step: StepId,
        message: String,
    },
    Canceled {
        step: StepId,
    },
    /// Something the user should know that fails nothing.
    Warning {
        message: String,
    },
    /// A line that is to stand as it is.
    Note {
        message: String,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The sending end; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<Event>,
}

/// Makes a channel; the receiver ends when every sender is gone.
pub fn channel() -> (Events, mpsc::Receiver<Event>) {
    let (sender, receiver) = mpsc::channel();
    (Events { sender }, receiver)
}

impl Events {
    pub fn send(&self, kind: EventKind) {
        // A receiver that is gone has stopped showing progress; work goes on all the same.
        let _ = self.sender.send(Event { at: Instant::now(), kind });
    }

    pub fn warn(&self, message: impl Into<String>) {
        self.send(EventKind::Warning { message: message.into() });
    }
}
