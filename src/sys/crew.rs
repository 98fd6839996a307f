//! Threads that do what one thread finds to be done: it walks through a tree, they read and write its files.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope};

/// What a crew does.
pub trait Work: Sync {
    type Job: Send;
    /// What each thread keeps from one job to the next.
    type Desk: Default;
    type Error: Send;

    /// How many bytes a job is about, roughly.
    fn bytes(&self, job: &Self::Job) -> u64;
    fn work(&self, job: Self::Job, desk: &mut Self::Desk) -> Result<(), Self::Error>;
}

/// Where jobs are handed over. A handful of small ones is done on the spot, when all have been found.
#[expect(missing_debug_implementations, reason = "jobs have none")]
pub struct Crew<'a, W: Work> {
    shared: &'a Shared<'a, W>,
    /// Starts threads; says how many.
    start: &'a dyn Fn() -> usize,
    queue: SyncSender<Vec<W::Job>>,
    batch: Vec<W::Job>,
    bytes: u64,
    /// How many are at work, once there was enough for them.
    threads: Option<usize>,
}

struct Shared<'a, W: Work> {
    work: &'a W,
    jobs: Mutex<Receiver<Vec<W::Job>>>,
    failed: AtomicBool,
    failure: Mutex<Option<W::Error>>,
}

/// Jobs that go to a thread together, unless their bytes are many.
const BATCH: usize = 16;
const BATCH_BYTES: u64 = 1 << 20;
/// Batches that wait for a thread. Each job may hold a descriptor, so this bounds them.
const WAITING_BATCHES: usize = 4;
const MOST_THREADS: usize = 16;

/// Has a crew do all that `find` hands over. All of it is done, or has been given up, when this returns.
pub fn with_crew<W: Work, T, E: From<W::Error>>(
    work: &W,
    find: impl FnOnce(&mut Crew<'_, W>) -> Result<T, E>,
) -> Result<T, E> {
    let (queue, jobs) = mpsc::sync_channel(WAITING_BATCHES);
    let (failed, failure) = (AtomicBool::new(false), Mutex::new(None));
    let shared = Shared { work, jobs: Mutex::new(jobs), failed, failure };
    let found = thread::scope(|scope| {
        let start = || start(scope, &shared);
        let mut crew =
            Crew { shared: &shared, start: &start, queue, batch: Vec::new(), bytes: 0, threads: None };
        let found = find(&mut crew);
        crew.finish(found.is_err());
        found
    });
    match shared.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(failure) => Err(failure.into()),
        None => found,
    }
}

impl<'a, W: Work> Crew<'a, W> {
    pub fn work(&self) -> &'a W {
        self.shared.work
    }

    pub fn add(&mut self, job: W::Job) {
        self.bytes = self.bytes.saturating_add(self.shared.work.bytes(&job));
        self.batch.push(job);
        if self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES {
            self.send();
        }
    }

    /// Whether a job has failed: no need to go on.
    pub fn failed(&self) -> bool {
        self.shared.failed.load(Ordering::Relaxed)
    }

    fn send(&mut self) {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        if *self.threads.get_or_insert_with(self.start) == 0 {
            self.shared.take(batch, &mut W::Desk::default());
            return;
        }
        self.queue.send(batch).expect("the receiver outlives the threads");
    }

    fn finish(mut self, given_up: bool) {
        if given_up {
            self.shared.failed.store(true, Ordering::Relaxed);
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let shared = self.shared;
        // Who waits for the threads may as well help them.
        let is_begun = self.threads.is_some_and(|threads| threads > 0);
        drop(self);
        let mut desk = W::Desk::default();
        shared.take(batch, &mut desk);
        if is_begun {
            shared.work(&mut desk);
        }
    }
}

/// Starts as many threads as are useful and to be had.
fn start<'scope, W: Work>(scope: &'scope Scope<'scope, '_>, shared: &'scope Shared<'_, W>) -> usize {
    let useful = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let threads = (0..useful)
        .map(|_| thread::Builder::new().spawn_scoped(scope, || shared.work(&mut W::Desk::default())));
    threads.filter(Result::is_ok).count()
}

impl<W: Work> Shared<'_, W> {
    fn work(&self, desk: &mut W::Desk) {
        loop {
            let batch = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(batch) = batch else { return };
            self.take(batch, desk);
        }
    }

    fn take(&self, batch: Vec<W::Job>, desk: &mut W::Desk) {
        for job in batch {
            if self.failed.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = self.work.work(job, desk) {
                self.failed.store(true, Ordering::Relaxed);
                self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts; fails at one number.
    struct Counting {
        done: AtomicUsize,
        fails_at: usize,
    }

    impl Work for Counting {
        type Job = usize;
        type Desk = ();
        type Error = usize;

        fn bytes(&self, _: &usize) -> u64 {
            1000
        }

        fn work(&self, job: usize, (): &mut ()) -> Result<(), usize> {
            if job == self.fails_at {
                return Err(job);
            }
            self.done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    fn count(jobs: usize, fails_at: usize) -> (Result<usize, usize>, usize) {
        let work = Counting { done: AtomicUsize::new(0), fails_at };
        let result = with_crew(&work, |crew| {
            let mut found = 0;
            while found < jobs && !crew.failed() {
                crew.add(found);
                found += 1;
            }
            Ok(found)
        });
        (result, work.done.into_inner())
    }

    #[test]
    fn everything_is_done_before_it_returns() {
        for jobs in [0, 1, BATCH - 1, BATCH, BATCH + 1, 10_000] {
            assert_eq!(count(jobs, usize::MAX), (Ok(jobs), jobs));
        }
    }

    #[test]
    fn a_failure_ends_it() {
        for fails_at in [0, 3, 1000] {
            let (result, done) = count(1_000_000, fails_at);
            assert_eq!(result, Err(fails_at));
            assert!(done < 1_000_000);
        }
    }

    #[test]
    fn who_finds_nothing_more_is_believed() {
        let work = Counting { done: AtomicUsize::new(0), fails_at: usize::MAX };
        let result: Result<(), usize> = with_crew(&work, |crew| {
            crew.add(1);
            Err(7)
        });
        assert_eq!((result, work.done.into_inner()), (Err(7), 0));
    }
}
