//! What a person sees while work goes on: consumes events, knows nothing else of the work.

mod plain;

use std::io::Write;
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};

use crate::event::Event;

/// How progress is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// Numbered lines, for logs.
    Plain,
    /// Nothing but the result.
    Quiet,
}

/// Shows events on a thread of its own until their senders are gone.
pub fn show(events: Receiver<Event>, style: Style, to: impl Write + Send + 'static) -> JoinHandle<()> {
    thread::spawn(move || match style {
        Style::Plain => plain::show(events, to),
        Style::Quiet => events.into_iter().for_each(drop),
    })
}
