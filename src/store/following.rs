//! Reading a blob while it is still being written.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A blob that grows. Whoever reads it waits for the writer, and comes to the end only when the blob is whole.
#[derive(Debug, Clone)]
pub struct Following {
    file: Arc<File>,
    growth: Arc<Growth>,
}

/// The writer's side. Dropped before the blob is whole, it tells the readers that nothing more comes.
#[derive(Debug)]
pub(super) struct Lead(Arc<Growth>);

#[derive(Debug, Default)]
struct Growth {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy)]
struct State {
    written: u64,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    GivenUp,
}

/// The two sides of a file of which `written` bytes are there.
pub(super) fn follow(file: File, written: u64) -> (Lead, Following) {
    let growth = Arc::new(Growth::default());
    growth.lock().written = written;
    (Lead(Arc::clone(&growth)), Following { file: Arc::new(file), growth })
}

impl Following {
    /// Waits until there are so many bytes; false if the blob ends before.
    pub fn reaches(&self, size: u64) -> bool {
        self.growth.wait(|state| state.written >= size).written >= size
    }

    /// The bytes from a place on.
    pub fn reader(&self, offset: u64) -> impl Read + Send + use<> {
        Reader { following: self.clone(), offset }
    }
}

struct Reader {
    following: Following,
    offset: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.following.growth.wait(|state| state.written > self.offset);
        let there = state.written.saturating_sub(self.offset);
        if there == 0 && state.end == Some(End::GivenUp) {
            return Err(io::Error::other("the blob was given up while it was written"));
        }
        let length = buffer.len().min(usize::try_from(there).unwrap_or(usize::MAX));
        let read = self.following.file.read_at(&mut buffer[..length], self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl Lead {
    pub(super) fn grown(&self, written: u64) {
        self.0.lock().written = written;
        self.0.changed.notify_all();
    }

    pub(super) fn whole(&self) {
        self.end(End::Whole);
    }

    fn end(&self, end: End) {
        self.0.lock().end.get_or_insert(end);
        self.0.changed.notify_all();
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.end(End::GivenUp);
    }
}

impl Growth {
    /// Waits until there is enough or nothing more comes.
    fn wait(&self, enough: impl Fn(&State) -> bool) -> State {
        let waiting = |state: &mut State| !enough(state) && state.end.is_none();
        *self.changed.wait_while(self.lock(), waiting).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_reader_waits_for_the_writer_and_ends_with_the_whole() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let (lead, following) = follow(file.reopen().unwrap(), 0);
        let mut reader = following.reader(2);
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        for (piece, written) in [("ab", 2), ("cd", 4), ("ef", 6)] {
            file.write_all(piece.as_bytes()).unwrap();
            lead.grown(written);
        }
        assert!(following.reaches(6));
        lead.whole();
        drop(lead);
        assert_eq!(reading.join().unwrap().unwrap(), "cdef");
        assert!(!following.reaches(7));
    }

    #[test]
    fn what_is_given_up_has_no_end() {
        let (lead, following) = follow(tempfile::tempfile().unwrap(), 0);
        drop(lead);
        assert!(following.reader(0).read(&mut [0; 8]).is_err());
    }
}
