//! What is true of this process in the user namespace that it is in, found out once in each.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// How often this process has moved.
static MOVES: AtomicU32 = AtomicU32::new(0);

/// This process has moved, or is now somebody else: what was found out before may not be true any more.
pub(super) fn moved() {
    MOVES.fetch_add(1, Ordering::Relaxed);
}

/// A fact about this process that every namespace may change.
#[derive(Debug)]
pub(super) struct Here<T>(Mutex<Option<(u32, T)>>);

impl<T: Copy> Here<T> {
    pub(super) const fn unknown() -> Self {
        Self(Mutex::new(None))
    }

    pub(super) fn get_or(&self, find: impl FnOnce() -> T) -> T {
        let now = MOVES.load(Ordering::Relaxed);
        // What a panic left behind is a whole value all the same.
        let mut known = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match *known {
            Some((when, value)) if when == now => value,
            Some(_) | None => known.insert((now, find())).1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_found_again_after_a_move() {
        let fact = Here::unknown();
        assert_eq!(fact.get_or(|| 1), 1);
        moved();
        assert_eq!(fact.get_or(|| 2), 2);
    }
}
