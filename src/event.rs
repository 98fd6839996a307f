//! The only channel from work to what a person sees.
//!
//! Work sends [`Event`]s and never prints; `ui` receives them and never works. Sending cannot fail: when nobody listens
//! any more, events are dropped. It waits only where there is no end of events: a step that writes faster than somebody
//! reads is held up by its own log ([`Events::log`]).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A step of a build as progress shows it, numbered in order of first mention.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StepId(pub u32);

#[derive(Clone, Debug)]
pub struct Event {
    pub at: Instant,
    pub kind: EventKind,
    /// Given back when the event has been shown.
    _room: Option<Room>,
}

/// A place among the lines that wait to be shown.
#[derive(Clone, Debug)]
struct Room(#[expect(dead_code, reason = "held until it is dropped")] Arc<OwnedSemaphorePermit>);

/// How many lines may wait.
const WAITING_LINES: usize = 4096;

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
    /// Something that is to be known of the step, and that its process did not write.
    Remark {
        step: StepId,
        text: String,
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
    /// Another build has made it just now.
    Shared {
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

impl Event {
    #[cfg(test)]
    pub(crate) fn now(kind: EventKind) -> Self {
        Self { at: Instant::now(), kind, _room: None }
    }
}

/// The sending end; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Events {
    sender: mpsc::Sender<Event>,
    /// Room for lines of logs that nobody has shown yet.
    room: Arc<Semaphore>,
    /// What is not to be said again.
    said: Arc<Mutex<BTreeSet<String>>>,
}

/// Makes a channel; the receiver ends when every sender is gone.
pub fn channel() -> (Events, mpsc::Receiver<Event>) {
    let (sender, receiver) = mpsc::channel();
    let room = Arc::new(Semaphore::new(WAITING_LINES));
    (Events { sender, room, said: Arc::default() }, receiver)
}

impl Events {
    pub fn send(&self, kind: EventKind) {
        // A receiver that is gone has stopped showing progress; work goes on all the same.
        let _ = self.sender.send(Event { at: Instant::now(), kind, _room: None });
    }

    /// Sends a line of a log, as soon as there is room for it.
    pub async fn log(&self, step: StepId, stream: Stream, line: String) {
        let room = Arc::clone(&self.room).acquire_owned().await.ok();
        let room = room.map(|permit| Room(Arc::new(permit)));
        let kind = EventKind::Log { step, stream, line };
        let _ = self.sender.send(Event { at: Instant::now(), kind, _room: room });
    }

    pub fn warn(&self, message: impl Into<String>) {
        self.send(EventKind::Warning { message: message.into() });
    }

    /// Warns of what is true of every step, the first time.
    pub fn warn_once(&self, message: &str) {
        if self.said.lock().unwrap_or_else(PoisonError::into_inner).insert(message.to_owned()) {
            self.warn(message);
        }
    }
}

/// What others have written, so that a terminal that shows it obeys none of it.
pub fn harmless(text: &str) -> String {
    harmless_but(&[], text)
}

/// The same for text of several lines.
pub fn harmless_lines(text: &str) -> String {
    harmless_but(&['\n', '\t'], text)
}

fn harmless_but(kept: &[char], text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() && !kept.contains(&letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}
