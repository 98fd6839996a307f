//! Plain progress: numbered steps, one line at a time, as BuildKit prints it.

use std::collections::HashMap;
use std::fmt::Arguments;
use std::io::{BufWriter, Write};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use crate::event::{Event, EventKind, StepId};

pub(super) fn show(events: Receiver<Event>, to: impl Write) {
    // Many lines that come at once are one write; what is there is shown before waiting for more.
    let mut plain = Plain { to: BufWriter::new(to), steps: HashMap::new(), current: None };
    while let Some(event) = events.try_recv().ok().or_else(|| {
        let _ = plain.to.flush();
        events.recv().ok()
    }) {
        plain.event(event);
    }
    let _ = plain.to.flush();
}

struct Plain<W> {
    to: W,
    steps: HashMap<StepId, Step>,
    /// The step whose lines were printed last.
    current: Option<StepId>,
}

struct Step {
    /// In order of first mention.
    number: usize,
    name: String,
    started: Instant,
    finished: bool,
}

impl<W: Write> Plain<W> {
    fn event(&mut self, event: Event) {
        match event.kind {
            EventKind::Started { step, name } => {
                let number = self.steps.len() + 1;
                self.steps.insert(step, Step { number, name, started: event.at, finished: false });
                self.turn_to(step);
            }
            EventKind::Log { step, line, .. } => {
                let seconds = self.seconds(step, event.at);
                self.line(step, format_args!("{seconds:.3} {line}"));
            }
            EventKind::Remark { step, text } => self.line(step, format_args!("{text}")),
            EventKind::Progress { step, id, current, total, done } => {
                // A line for the end of each; what lies between is for livelier displays.
                if done {
                    let size = bytes(total.unwrap_or(current));
                    self.line(step, format_args!("{id} {size} done"));
                }
            }
            EventKind::Cached { step } => self.end(step, format_args!("CACHED")),
            EventKind::Shared { step } => {
                self.end(step, format_args!("CACHED (made by another build just now)"))
            }
            EventKind::Done { step } => {
                let seconds = self.seconds(step, event.at);
                self.end(step, format_args!("DONE {seconds:.1}s"));
            }
            EventKind::Failed { step, message } => self.end(step, format_args!("ERROR: {message}")),
            EventKind::Canceled { step } => self.end(step, format_args!("CANCELED")),
            EventKind::Warning { message } => self.print(format_args!("WARN: {message}\n")),
            EventKind::Note { message } => self.print(format_args!("{message}\n")),
        }
    }

    /// Makes a step the one whose lines follow, with its headline again if others spoke in between.
    fn turn_to(&mut self, step: StepId) {
        if self.current == Some(step) {
            return;
        }
        if let Some(previous) = self.current.and_then(|previous| self.steps.get(&previous))
            && !previous.finished
        {
            let number = previous.number;
            self.print(format_args!("#{number} ...\n\n"));
        }
        self.current = Some(step);
        if let Some(Step { number, name, .. }) = self.steps.get(&step) {
            let text = format!("#{number} {name}\n");
            self.print(format_args!("{text}"));
        }
    }

    fn line(&mut self, step: StepId, text: Arguments<'_>) {
        self.turn_to(step);
        let number = self.steps.get(&step).map_or(0, |step| step.number);
        self.print(format_args!("#{number} {text}\n"));
    }

    fn end(&mut self, step: StepId, text: Arguments<'_>) {
        self.line(step, text);
        if let Some(step) = self.steps.get_mut(&step) {
            step.finished = true;
        }
        self.print(format_args!("\n"));
    }

    fn seconds(&self, step: StepId, at: Instant) -> f64 {
        self.steps.get(&step).map_or(0.0, |step| at.saturating_duration_since(step.started).as_secs_f64())
    }

    fn print(&mut self, text: Arguments<'_>) {
        // Whoever closed the log does not want the rest; the work goes on.
        let _ = self.to.write_fmt(text);
    }
}

/// A size in decimal units with two digits after the point.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["B", "kB", "MB", "GB"];
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count}B") } else { format!("{value:.2}{}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Stream;

    #[test]
    fn steps_are_numbered_and_named_again_after_an_interruption() {
        let (a, b) = (StepId(7), StepId(3));
        let log = |step, line: &str| EventKind::Log { step, stream: Stream::Stdout, line: line.to_owned() };
        let mut plain = Plain { to: Vec::new(), steps: HashMap::new(), current: None };
        for kind in [
            EventKind::Started { step: a, name: "[a 1/1] RUN one".to_owned() },
            log(a, "one"),
            EventKind::Started { step: b, name: "[b 1/1] RUN two".to_owned() },
            EventKind::Cached { step: b },
            log(a, "more"),
            EventKind::Done { step: a },
            EventKind::Warning { message: "careful".to_owned() },
        ] {
            plain.event(Event::now(kind));
        }
        let expected = "#1 [a 1/1] RUN one\n#1 0.000 one\n#1 ...\n\n#2 [b 1/1] RUN two\n#2 CACHED\n\n\
                        #1 [a 1/1] RUN one\n#1 0.000 more\n#1 DONE 0.0s\n\nWARN: careful\n";
        assert_eq!(String::from_utf8(plain.to).unwrap(), expected);
    }

    #[test]
    fn sizes_are_decimal() {
        assert_eq!([0, 999, 1000, 5_250_000].map(bytes), ["0B", "999B", "1.00kB", "5.25MB"]);
    }
}
