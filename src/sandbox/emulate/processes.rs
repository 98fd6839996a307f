//! Which ids which process has, as it believes.
//!
//! As long as nobody has set any, everybody has those of the first process, and nothing is looked up. From then on each
//! process is remembered when it first asks for something, with what its parent had; those that have not asked yet get
//! theirs when the parent changes its own, ends or may be killed, so that none of it touches what they were born with. When
//! nobody is left who differs from the first process, all is forgotten again. A parent that crashed before its child asked
//! for anything leaves that one with the first process's.

use std::collections::HashMap;
use std::rc::Rc;

use super::ids::State;
use super::procfs::{Held, Proc, Program};

#[derive(Debug)]
pub(super) struct Processes {
    /// The first process; what it sets is where everybody else begins.
    init: i32,
    initial: Rc<State>,
    /// Of processes that differ from it or have been asked about since one did.
    known: HashMap<i32, Known>,
    /// Threads that are not their process's first, and the process.
    threads: HashMap<i32, (Held, i32)>,
    /// At so many entries those of processes that are gone are looked for.
    full: usize,
    /// How many have ended since those that are gone were looked for.
    ended: usize,
}

#[derive(Debug)]
struct Known {
    held: Held,
    state: Rc<State>,
    /// What a program about to be executed brings with it.
    next: Option<Next>,
}

/// Another state from when another program runs.
#[derive(Debug)]
pub(super) struct Next {
    pub state: State,
    /// What runs until then.
    pub before: Option<Program>,
    /// Device and inode of what is to run; none for anything else than now.
    pub file: Option<(u64, u64)>,
}

/// A chain of ancestors is short; the bound is for chains that change while they are followed.
const MOST_ANCESTORS: usize = 64;

const LEAST_FULL: usize = 256;

impl Processes {
    pub(super) fn new(init: i32) -> Self {
        Self {
            init,
            initial: Rc::default(),
            known: HashMap::new(),
            threads: HashMap::new(),
            full: LEAST_FULL,
            ended: 0,
        }
    }

    /// What a thread of the process that asks has.
    pub(super) fn state(&mut self, proc: &Proc, thread: i32) -> Rc<State> {
        if self.known.is_empty() {
            return Rc::clone(&self.initial);
        }
        let Some(process) = self.process_of(proc, thread) else { return Rc::clone(&self.initial) };
        self.settle(proc, process, true);
        self.inherited(proc, process)
    }

    /// Sets what a process has. What it has started so far keeps what it was born with.
    pub(super) fn set(&mut self, proc: &Proc, thread: i32, state: State) {
        let Some(process) = self.process_of(proc, thread) else { return };
        self.remember_children(proc, process);
        if process == self.init {
            self.initial = Rc::new(state);
        } else {
            self.remember(proc, process, Rc::new(state));
        }
    }

    /// A process is about to execute a program that changes what it has.
    pub(super) fn executes(&mut self, proc: &Proc, thread: i32, next: Next) {
        let Some(process) = self.process_of(proc, thread) else { return };
        let state = self.inherited(proc, process);
        self.remember(proc, process, state);
        if let Some(known) = self.known.get_mut(&process) {
            known.next = Some(next);
        }
    }

    /// A thread or process ends: its children are about to have another parent.
    pub(super) fn ends(&mut self, proc: &Proc, thread: i32) {
        if self.known.is_empty() {
            return;
        }
        let Some(process) = self.process_of(proc, thread) else { return };
        if *self.inherited(proc, process) != *self.initial {
            self.remember_children(proc, process);
        }
        if process != thread {
            self.threads.remove(&thread);
        }
        self.ended += 1;
        if self.ended * 4 > self.known.len() {
            self.forget_the_gone();
            // Nobody is left who differs from the first process, as whoever was started by one that did is known: it is
            // as if nobody had ever set anything.
            if self.known.values().all(|known| known.state == self.initial && known.next.is_none()) {
                self.known.clear();
                self.threads.clear();
            }
        }
    }

    fn forget_the_gone(&mut self) {
        self.ended = 0;
        self.known.retain(|_, known| known.held.is_there());
        self.threads.retain(|_, (held, _)| held.is_there());
        self.full = LEAST_FULL.max(2 * (self.known.len() + self.threads.len()));
    }

    /// Somebody is about to be sent a signal and may end by it: whoever has ids of its own hands them on now.
    pub(super) fn may_be_killed(&mut self, proc: &Proc) {
        let differs = |(process, known): (&i32, &Known)| (known.state != self.initial).then_some(*process);
        let parents: Vec<i32> = self.known.iter().filter_map(differs).collect();
        for parent in parents {
            self.remember_children(proc, parent);
        }
    }

    fn process_of(&mut self, proc: &Proc, thread: i32) -> Option<i32> {
        if self.known.get(&thread).is_some_and(|known| known.held.is_there()) {
            return Some(thread);
        }
        match self.threads.get(&thread) {
            Some((held, process)) if held.is_there() => return Some(*process),
            Some(_) => drop(self.threads.remove(&thread)),
            None => {}
        }
        let process = proc.status(thread)?.process;
        if process != thread
            && let Some(held) = proc.hold(thread)
        {
            self.threads.insert(thread, (held, process));
        }
        Some(process)
    }

    /// What a process has itself, else what its nearest ancestor has of which something is known; remembered for all
    /// between them.
    fn inherited(&mut self, proc: &Proc, process: i32) -> Rc<State> {
        let mut between = Vec::new();
        let mut at = process;
        let mut state = Rc::clone(&self.initial);
        while at != self.init && between.len() < MOST_ANCESTORS {
            self.settle(proc, at, false);
            match self.known.get(&at) {
                Some(known) if known.held.is_there() => {
                    state = Rc::clone(&known.state);
                    break;
                }
                // Somebody else's, gone since.
                Some(_) => drop(self.known.remove(&at)),
                None => {}
            }
            between.push(at);
            match proc.status(at) {
                Some(status) if status.parent != 0 => at = status.parent,
                Some(_) | None => break,
            }
        }
        for process in between {
            self.remember(proc, process, Rc::clone(&state));
        }
        state
    }

    fn remember_children(&mut self, proc: &Proc, process: i32) {
        for child in proc.children(process) {
            self.inherited(proc, child);
            if !self.known.contains_key(&child) {
                let state = Rc::clone(&self.initial);
                self.remember(proc, child, state);
            }
        }
    }

    fn remember(&mut self, proc: &Proc, process: i32, state: Rc<State>) {
        if process == self.init {
            return;
        }
        if self.known.len() + self.threads.len() >= self.full {
            self.forget_the_gone();
        }
        // One that cannot be held is gone.
        let Some(held) = proc.hold(process) else { return };
        self.known.insert(process, Known { held, state, next: None });
    }

    /// Finds out whether the program that a process was about to execute runs.
    fn settle(&mut self, proc: &Proc, process: i32, asks: bool) {
        let Some(known) = self.known.get_mut(&process) else { return };
        let Some(next) = &known.next else { return };
        let now = proc.program(process);
        let other = now.is_some() && now != next.before;
        let meant = next.file.is_none_or(|file| now.is_some_and(|now| now.file == file));
        if other && meant {
            known.state = Rc::new(next.state.clone());
            known.next = None;
        } else if asks {
            // It asks for something else, so it was refused.
            known.next = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_differs_is_remembered_until_nobody_does() {
        let proc = Proc::new(&File::open("/proc").unwrap()).unwrap();
        let own = rustix::process::getpid().as_raw_nonzero().get();
        // Somebody who is there all the time and has set nothing.
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let number = |child: &std::process::Child| i32::try_from(child.id()).unwrap();
        let mut processes = Processes::new(own);
        let app = State::default().executing(Some(1000), None);
        processes.set(&proc, number(&child), app.clone());
        assert_eq!(*processes.state(&proc, number(&child)), app);
        assert_eq!(*processes.state(&proc, number(&other)), State::default());
        // As long as the one is there, whoever else ends.
        for _ in 0..4 {
            processes.ends(&proc, number(&other));
            assert_eq!(*processes.state(&proc, number(&child)), app);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for _ in 0..4 {
            processes.ends(&proc, number(&other));
        }
        assert!(processes.known.is_empty() && processes.threads.is_empty());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
