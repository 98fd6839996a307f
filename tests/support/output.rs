//! What a finished program said, with assertions that show all of it when they fail.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

#[must_use = "a result that nobody checks proves nothing"]
pub(crate) struct Output {
    line: String,
    status: ExitStatus,
    stdout: String,
    stderr: String,
    pub(crate) took: Duration,
}

impl Output {
    pub(crate) fn new(line: String, output: std::process::Output, took: Duration) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { line, status: output.status, stdout: text(output.stdout), stderr: text(output.stderr), took }
    }

    #[track_caller]
    pub(crate) fn success(self) -> Finished {
        self.code(0)
    }

    #[track_caller]
    pub(crate) fn code(self, expected: i32) -> Finished {
        assert_eq!(self.status.code(), Some(expected), "unexpected exit code\n{self}");
        Finished(self)
    }
}

/// An [`Output`] whose exit code was checked, so that it may be dropped.
pub(crate) struct Finished(Output);

impl Finished {
    pub(crate) fn stdout(&self) -> &str {
        &self.0.stdout
    }

    pub(crate) fn stderr(&self) -> &str {
        &self.0.stderr
    }

    pub(crate) fn took(&self) -> Duration {
        self.0.took
    }

    /// Asserts that stderr has each of these texts.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr().contains(text), "stderr lacks {text:?}\n{self}");
        }
        self
    }

    /// Asserts that stderr has none of these texts.
    #[track_caller]
    pub(crate) fn omits(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(!self.stderr().contains(text), "stderr has {text:?}\n{self}");
        }
        self
    }

    /// Asserts the whole of stdout.
    #[track_caller]
    pub(crate) fn prints(self, expected: &str) -> Self {
        assert_eq!(self.stdout(), expected, "unexpected stdout\n{self}");
        self
    }

    /// How the progress says a step went, by a text of its headline: `CACHED`, `DONE 0.1s`, `ERROR: ...`; none while it
    /// says nothing of that step.
    pub(crate) fn outcome(&self, headline: &str) -> Option<&str> {
        let title = self.stderr().lines().find(|line| line.starts_with('#') && line.contains(headline))?;
        let number = title.split(' ').next()?;
        let outcomes = self.stderr().lines().filter_map(|line| line.strip_prefix(number)?.strip_prefix(' '));
        outcomes
            .filter(|rest| ["CACHED", "DONE", "ERROR", "CANCELED"].iter().any(|word| rest.starts_with(word)))
            .next_back()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "$ {}\n{} after {:?}", self.line, self.status, self.took)?;
        writeln!(out, "--- stdout\n{}\n--- stderr\n{}\n---", self.stdout, self.stderr)
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}
