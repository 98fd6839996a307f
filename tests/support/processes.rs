//! Processes that are started to be ended, and looked for afterwards.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::Rbuild;

/// A number of seconds that no other process sleeps.
pub(crate) fn mark(number: u32) -> String {
    format!("{}.{number}", 100_000 + std::process::id())
}

/// Starts a program and waits until its error output has a line that ends so.
pub(crate) fn started(program: Rbuild, line: &str) -> Child {
    let mut command = program.into_command();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|said| said.unwrap().ends_with(line)), "it ended before it said {line:?}");
    // Kept open: a program whose error output is closed behaves in another way.
    std::thread::spawn(move || lines.count());
    child
}

/// Asserts that no process has the mark among its arguments, soon.
#[track_caller]
pub(crate) fn is_gone(mark: &str) {
    let patience = Instant::now() + Duration::from_secs(5);
    loop {
        let found = processes(mark);
        if found == 0 {
            return;
        }
        assert!(Instant::now() < patience, "{found} processes with {mark} live on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many processes have the mark among their arguments.
pub(crate) fn processes(mark: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let arguments = processes.map(|process| fs::read(process.path().join("cmdline")).unwrap_or_default());
    arguments.filter(|it| it.windows(mark.len()).any(|part| part == mark.as_bytes())).count()
}
