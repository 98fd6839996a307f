//! A program while it runs: what it writes, how long it has been silent, and its end.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Child;

/// Lists of the files of a repository may be long.
const LARGEST_ANSWER: usize = 512 << 20;

/// All that is written, within bounds.
pub(super) async fn read(mut from: impl AsyncRead + Unpin, heard: &Heard) -> Option<Vec<u8>> {
    let mut output = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        heard.something();
        if output.len() + length > LARGEST_ANSWER {
            return None;
        }
        output.extend_from_slice(&buffer[..length]);
    }
    Some(output)
}

/// When a program has written something for the last time.
pub(super) struct Heard(Mutex<Instant>);

impl Default for Heard {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Heard {
    pub(super) fn something(&self) {
        *self.last() = Instant::now();
    }

    /// Ends when nothing has been written for so long.
    pub(super) async fn nothing_for(&self, patience: Option<Duration>) -> Duration {
        let Some(patience) = patience else { return std::future::pending().await };
        loop {
            let silent = self.last().elapsed();
            if silent >= patience {
                return patience;
            }
            tokio::time::sleep(patience - silent).await;
        }
    }

    fn last(&self) -> MutexGuard<'_, Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program with all that it has started: who lets go of it before its end has all of them killed.
pub(super) struct Group {
    pub(super) child: Child,
    id: Option<Pid>,
    pub(super) is_over: bool,
}

impl Group {
    pub(super) fn of(child: Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { child, id, is_over: false }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let (false, Some(id)) = (self.is_over, self.id) {
            // They may have ended by themselves.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}
