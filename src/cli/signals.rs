//! Keys and signals: what Ctrl-C means while something runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::report::{Code, Report};
use crate::sandbox::Endings;
use crate::sys::process;

/// How long blocking work may take to notice that nobody waits for it any more, and to tidy up on a disk that is busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long idle threads may take to end.
const AT_ONCE: Duration = Duration::from_millis(100);

/// Directories are gone into by recursion, as deep as paths can be long. Only what is used takes memory.
const STACK: usize = 16 << 20;

/// Runs work to its end, or gives it up at the first interrupt; a second one ends the process at once.
pub(super) fn until_interrupted<T>(work: impl Future<Output = T>, endings: &Endings) -> Result<T, Report> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        let mut hangup = listen(SignalKind::hangup())?;
        let mut work = Box::pin(work);
        tokio::select! {
            result = &mut work => return Ok(result),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        // From here on another signal ends the process at once: a killed process leaves the store whole.
        process::default_terminal_signals();
        drop(work);
        endings.all().await;
        Err(Report::interrupted())
    });
    end(runtime, result.is_ok());
    result
}

/// Runs work that ends soon; no thread of it is left then.
pub(super) fn on_this_thread<T>(work: impl Future<Output = T>) -> Option<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().thread_stack_size(STACK).enable_all().build();
    let result = runtime.ok()?.block_on(work);
    process::wait_for_threads();
    Some(result)
}

/// How often a container is asked to end before it is not asked any more.
const ASKED: usize = 3;

/// Runs work with the signals that are for the process it runs. That is the first of its namespace, which ignores what it
/// does not handle: one that is asked again and again to end is ended.
pub(super) fn passing_on<T, F: Future<Output = T>>(
    work: impl FnOnce(UnboundedReceiver<i32>) -> F,
    endings: &Endings,
) -> Result<T, Report> {
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let (sender, receiver) = unbounded_channel();
        let insisted = Arc::new(Notify::new());
        let asked = Arc::new(AtomicUsize::new(0));
        for (kind, is_request_to_end) in [
            (SignalKind::interrupt(), true),
            (SignalKind::terminate(), true),
            (SignalKind::quit(), false),
            (SignalKind::hangup(), false),
            (SignalKind::user_defined1(), false),
            (SignalKind::user_defined2(), false),
        ] {
            let mut signals = listen(kind)?;
            let (sender, insisted, asked) = (sender.clone(), Arc::clone(&insisted), Arc::clone(&asked));
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    if is_request_to_end && asked.fetch_add(1, Ordering::Relaxed) + 1 == ASKED {
                        insisted.notify_one();
                    }
                    if sender.send(kind.as_raw_value()).is_err() {
                        return;
                    }
                }
            });
        }
        let result = tokio::select! {
            result = work(receiver) => Ok(result),
            () = insisted.notified() => Err(Report::interrupted()),
        };
        if result.is_err() {
            process::default_terminal_signals();
        }
        endings.all().await;
        result
    });
    end(runtime, result.is_ok());
    result
}

/// Work that came to its end has waited for all it needs, and its threads are gone at once but for those that tidy up; work that was
/// given up gets a moment to notice. They are waited for because letting go of a thread that is just ending crashes: glibc looks
/// at it once more after its stack is gone (`pthread_detach`).
fn end(runtime: tokio::runtime::Runtime, finished: bool) {
    runtime.shutdown_timeout(if finished { AT_ONCE } else { PATIENCE });
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
