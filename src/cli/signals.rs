//! Keys and signals: what Ctrl-C means while something runs.

use std::io::IsTerminal;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::report::{Code, Report};
use crate::sys::process;

/// How long blocking work may take to notice that nobody waits for it any more.
const PATIENCE: Duration = Duration::from_millis(500);

/// Directories are gone into by recursion, as deep as paths can be long. Only what is used takes memory.
const STACK: usize = 16 << 20;

/// Runs work to its end, or gives it up at the first interrupt; a second one ends the process at once.
pub(super) fn until_interrupted<T>(work: impl Future<Output = T>) -> Result<T, Report> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let mut hangup = listen(SignalKind::hangup())?;
        let mut work = std::pin::pin!(work);
        tokio::select! {
            result = &mut work => return Ok(result),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        // From here on another signal ends the process at once: a killed process leaves the store whole.
        process::default_terminal_signals();
        Err(Report::interrupted())
    });
    end(runtime, result.is_ok());
    result
}

/// Runs work with the signals that are for the process it runs. At a terminal the keys reach that process directly.
pub(super) fn passing_on<T, F: Future<Output = T>>(
    work: impl FnOnce(UnboundedReceiver<i32>) -> F,
) -> Result<T, Report> {
    let runtime = runtime()?;
    let at_terminal = std::io::stdin().is_terminal();
    let result = runtime.block_on(async {
        let (sender, receiver) = unbounded_channel();
        for (kind, from_keys) in [
            (SignalKind::interrupt(), true),
            (SignalKind::quit(), true),
            (SignalKind::terminate(), false),
            (SignalKind::hangup(), false),
            (SignalKind::user_defined1(), false),
            (SignalKind::user_defined2(), false),
        ] {
            let mut signals = listen(kind)?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if !(from_keys && at_terminal) && sender.send(kind.as_raw_value()).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(work(receiver).await)
    });
    end(runtime, true);
    result
}

/// Work that came to its end has waited for all it needs; work that was given up gets a moment to notice.
fn end(runtime: tokio::runtime::Runtime, finished: bool) {
    if finished { runtime.shutdown_background() } else { runtime.shutdown_timeout(PATIENCE) }
}

fn runtime() -> Result<tokio::runtime::Runtime, Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(STACK)
        .enable_all()
        .build();
    runtime.map_err(|error| Report::new(Code::Bug, format!("cannot start the runtime: {error}")))
}

fn listen(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Report> {
    signal(kind).map_err(|error| Report::new(Code::Bug, format!("cannot listen for signals: {error}")))
}
