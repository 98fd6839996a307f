//! Which umask which thread has. What /proc says of it costs more than all the rest of making a file, so it is remembered
//! until somebody changes theirs.

use std::collections::{HashMap, HashSet};

use rustix::fs::RawMode;

use super::procfs::{Held, Proc};

#[derive(Debug, Default)]
pub(super) struct Umasks {
    known: HashMap<i32, (Held, RawMode)>,
    /// Threads that were about to change theirs when they were last heard of. Until each asks for something else, and so
    /// has changed it, nothing is remembered: threads of one process share it.
    changing: HashSet<i32>,
}

/// What a process that is gone before it is looked at would have had.
const USUAL: RawMode = 0o022;
/// More are forgotten: programs that make files and end come one after the other.
const MOST: usize = 256;

impl Umasks {
    pub(super) fn of(&mut self, proc: &Proc, thread: i32) -> RawMode {
        self.changing.remove(&thread);
        match self.known.get(&thread) {
            Some((held, umask)) if held.is_there() => return *umask,
            Some(_) | None => {}
        }
        let Some(status) = proc.status(thread) else { return USUAL };
        if self.changing.is_empty()
            && let Some(held) = proc.hold(thread)
        {
            if self.known.len() >= MOST {
                self.known.clear();
            }
            self.known.insert(thread, (held, status.umask));
        }
        status.umask
    }

    /// A thread is about to change its process's.
    pub(super) fn changes(&mut self, thread: i32) {
        self.known.clear();
        self.changing.insert(thread);
    }

    /// A thread ends, and will not ask for anything else.
    pub(super) fn ends(&mut self, thread: i32) {
        self.known.remove(&thread);
        self.changing.remove(&thread);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn nothing_is_remembered_while_somebody_changes_theirs() {
        let proc = Proc::new(&File::open("/proc").unwrap()).unwrap();
        let own = rustix::thread::gettid().as_raw_nonzero().get();
        let mut umasks = Umasks::default();
        let now = umasks.of(&proc, own);
        assert!(umasks.known.contains_key(&own));
        umasks.changes(1);
        assert_eq!(umasks.of(&proc, own), now);
        assert!(umasks.known.is_empty(), "what may be old by now was remembered");
        // It is heard of again.
        umasks.of(&proc, 1);
        umasks.of(&proc, own);
        assert!(umasks.known.contains_key(&own));
        umasks.ends(own);
        assert!(!umasks.known.contains_key(&own));
    }
}
