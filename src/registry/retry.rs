//! Trying again: what is temporary, with growing pauses.

use std::time::Duration;

use super::error::RegistryError;
use super::settings::Retries;

/// The tries of one request.
pub(super) struct Attempts {
    retries: Retries,
    made: u32,
}

impl Attempts {
    pub(super) fn new(retries: Retries) -> Self {
        Self { retries, made: 0 }
    }

    /// Counts a failed try and waits before the next, or gives the error back when there is to be none.
    pub(super) async fn pause(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        if !error.is_temporary() {
            return Err(error);
        }
        self.pause_anyway(error).await
    }

    /// As [`Self::pause`], for an error that starting over may mend although it is not temporary by itself.
    pub(super) async fn pause_anyway(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        let asked_for = error.answer().and_then(|answer| answer.retry_after);
        if self.wait(asked_for).await { Ok(()) } else { Err(error) }
    }

    /// Counts a failed try and waits before the next; false when there is to be none.
    pub(super) async fn wait(&mut self, asked_for: Option<Duration>) -> bool {
        self.made += 1;
        if self.made >= self.retries.tries {
            return false;
        }
        tokio::time::sleep(self.delay(asked_for)).await;
        true
    }

    /// Forgets failures: enough has been achieved since.
    pub(super) fn start_over(&mut self) {
        self.made = 0;
    }

    fn delay(&self, asked_for: Option<Duration>) -> Duration {
        let doubled = self.retries.first_pause.saturating_mul(1 << (self.made - 1).min(16));
        // Between half and all of it, so that many clients that failed together do not come back together.
        let jittered = doubled.mul_f64(0.5 + fraction() / 2.0);
        asked_for.map_or(jittered, |asked| asked.max(jittered)).min(self.retries.longest_pause)
    }
}

/// A number from 0 to 1 that need not be unpredictable.
fn fraction() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    f64::from(u16::try_from(RandomState::new().hash_one(0) & 0xffff).unwrap_or_default()) / 65535.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_respect_the_registry() {
        let mut attempts = Attempts::new(Retries {
            tries: 9,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
        });
        attempts.made = 1;
        assert!(attempts.delay(None) <= Duration::from_secs(1));
        assert_eq!(attempts.delay(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(attempts.delay(Some(Duration::from_secs(700))), Duration::from_secs(30));
        attempts.made = 4;
        assert!(attempts.delay(None) >= Duration::from_secs(4));
    }
}
