//! How a command came to its end, in words.

use crate::sandbox::Outcome;

/// The end of a command that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    pub outcome: Outcome,
    /// Whether memory was used up, where somebody counts.
    pub out_of_memory: Option<bool>,
}

/// What a shell adds to the number of the signal that killed its child.
const KILLED: i32 = 128;
const SIGKILL: i32 = 9;

impl Death {
    pub(super) fn words(self) -> String {
        let (signal, ending) = match self.outcome {
            Outcome::Exited(code) => {
                let signal = code.checked_sub(KILLED).filter(|number| signal_name(*number).is_some());
                let died = signal.and_then(signal_name).map(|name| format!(", as after {name}"));
                (signal, format!("exit code: {code}{}", died.unwrap_or_default()))
            }
            Outcome::Signaled(signal) => {
                let name = signal_name(signal).map(|name| format!(" ({name})"));
                (Some(signal), format!("killed by signal {signal}{}", name.unwrap_or_default()))
            }
        };
        match self.out_of_memory {
            Some(true) => format!("{ending}: out of memory, at the limit of --memory"),
            None if signal == Some(SIGKILL) => format!("{ending}, perhaps for want of memory"),
            Some(false) | None => ending,
        }
    }
}

const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

fn signal_name(signal: i32) -> Option<&'static str> {
    let index = usize::try_from(signal).ok()?.checked_sub(1)?;
    SIGNALS.get(index).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(outcome: Outcome, out_of_memory: Option<bool>, expected: &str) {
        assert_eq!(Death { outcome, out_of_memory }.words(), expected);
    }

    #[test]
    fn deaths_are_told_as_what_they_were() {
        check(Outcome::Exited(3), None, "exit code: 3");
        check(Outcome::Exited(128), None, "exit code: 128");
        check(Outcome::Exited(139), None, "exit code: 139, as after SIGSEGV");
        check(Outcome::Exited(255), Some(false), "exit code: 255");
        check(Outcome::Exited(137), None, "exit code: 137, as after SIGKILL, perhaps for want of memory");
        check(Outcome::Exited(137), Some(false), "exit code: 137, as after SIGKILL");
        check(Outcome::Signaled(11), None, "killed by signal 11 (SIGSEGV)");
        check(Outcome::Signaled(34), None, "killed by signal 34");
        check(Outcome::Signaled(9), None, "killed by signal 9 (SIGKILL), perhaps for want of memory");
        let limited = "killed by signal 9 (SIGKILL): out of memory, at the limit of --memory";
        check(Outcome::Signaled(9), Some(true), limited);
        check(Outcome::Exited(1), Some(true), "exit code: 1: out of memory, at the limit of --memory");
    }
}
