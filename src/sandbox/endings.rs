//! Sandboxes that are not gone yet, counted: whoever gives work up waits for their end. Runs in the threaded process.

use std::time::Duration;

use tokio::sync::watch;

/// A count of sandboxes; its copies are one.
#[derive(Debug, Clone)]
pub struct Endings(watch::Sender<usize>);

/// One sandbox; dropped when nothing of it is left.
#[derive(Debug)]
pub(super) struct Counted(watch::Sender<usize>);

/// How long the end of what was killed is waited for. Whatever is left then is swept by a later command.
const PATIENCE: Duration = Duration::from_secs(15);

impl Default for Endings {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Endings {
    pub(super) fn begin(&self) -> Counted {
        self.0.send_modify(|count| *count += 1);
        Counted(self.0.clone())
    }

    /// Waits until no sandbox is left, but not for ever.
    pub async fn all(&self) {
        let mut count = self.0.subscribe();
        // Only time can end it otherwise: the sender is held here.
        let _ = tokio::time::timeout(PATIENCE, count.wait_for(|count| *count == 0)).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
