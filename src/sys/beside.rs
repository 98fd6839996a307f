//! Programs that run beside this one and end with it.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::process::die_with_parent;

/// A running program that is killed when this process is gone.
#[derive(Debug)]
pub struct Beside {
    child: Mutex<Child>,
    /// Closed to let the thread go that holds on to it.
    _held: Sender<()>,
}

impl Beside {
    pub fn start(mut command: Command) -> io::Result<Self> {
        // SAFETY: the closure makes one system call and allocates nothing, which is allowed between fork and exec.
        unsafe { command.pre_exec(die_with_parent) };
        let (held, holding): (_, Receiver<()>) = channel();
        let (answer, answered) = channel();
        // For the kernel the parent is a thread: this one has to last as long as the program.
        thread::spawn(move || {
            // Nobody is left to be told when this fails.
            let _ = answer.send(command.spawn());
            let _ = holding.recv();
        });
        let child = answered.recv().map_err(io::Error::other)??;
        Ok(Self { child: Mutex::new(child), _held: held })
    }

    pub fn has_ended(&self) -> bool {
        self.child().try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits until it has ended by itself, for so long at most.
    pub fn wait_for(&self, patience: Duration) {
        let begun = std::time::Instant::now();
        while !self.has_ended() && begun.elapsed() < patience {
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn kill(&self) {
        let mut child = self.child();
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
