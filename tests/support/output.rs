//! What a finished program said, with assertions that show all of it when they fail.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

const OUTCOMES: [&str; 4] = ["CACHED", "DONE", "ERROR", "CANCELED"];

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

    /// For asking what the machine can do, not for judging rbuild.
    pub(crate) fn succeeded(&self) -> bool {
        self.status.success()
    }

    /// None if a signal ended it.
    pub(crate) fn exit_code(&self) -> Option<i32> {
        self.status.code()
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

    /// The steps that the progress names, in order of first mention, each as headline and outcome: `CACHED`, `DONE 0.1s`,
    /// `ERROR: ...`; the outcome is empty while nothing is said of it.
    pub(crate) fn steps(&self) -> Vec<(&str, &str)> {
        let mut steps: Vec<(&str, &str, &str)> = Vec::new();
        for (number, rest) in self.stderr().lines().filter_map(|line| line.strip_prefix('#')?.split_once(' '))
        {
            match steps.iter_mut().find(|(known, ..)| *known == number) {
                None => steps.push((number, rest, "")),
                Some(step) if OUTCOMES.iter().any(|outcome| rest.starts_with(outcome)) => step.2 = rest,
                Some(_) => {}
            }
        }
        steps.into_iter().map(|(_, headline, outcome)| (headline, outcome)).collect()
    }

    /// How the step went whose headline has a text; none where no step has it.
    pub(crate) fn outcome(&self, headline: &str) -> Option<&str> {
        self.steps().into_iter().find(|(name, _)| name.contains(headline)).map(|(_, outcome)| outcome)
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
