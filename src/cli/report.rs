//! From an error to what a person reads: the message, the place, hints, and the exit code. The one place that knows
//! exit codes.

use std::fmt::{Display, Write as _};
use std::io::Write as _;

use crate::build::{BuildError, FindError, Place, PullError};
use crate::catalog;
use crate::container::ContainerError;
use crate::context::SelectError;
use crate::dockerfile::{Diagnostic, Source, Span};
use crate::exec::ExecError;
use crate::export::ExportError;
use crate::import::ImportError;
use crate::layer::LayerError;
use crate::registry::RegistryError;
use crate::sandbox::{Failure, IsolationError, LimitError, NetworkError};
use crate::snapshot::SnapshotError;
use crate::store::StoreError;
use crate::sys::IoError;

/// The exit codes of rbuild itself; `run` returns its container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Code {
    /// A step of the build failed.
    StepFailed = 1,
    Usage = 2,
    /// The Dockerfile or another input of the build is invalid.
    Input = 3,
    /// This host cannot isolate processes.
    Isolation = 4,
    /// A registry, credentials or the network.
    Registry = 5,
    /// The store or the disk.
    Store = 6,
    /// A bug in rbuild.
    Bug = 70,
    /// It took longer than it may.
    TimedOut = 124,
    /// `run`: the container could not be started.
    ContainerFailed = 125,
    NotExecutable = 126,
    NotFound = 127,
    Interrupted = 130,
}

/// Everything that is to be said about a failure.
#[derive(Debug)]
pub(super) struct Report {
    code: Code,
    message: String,
    /// What belongs between the message and the hints: excerpts, last lines of a log.
    details: Vec<String>,
    hints: Vec<String>,
}

impl Report {
    pub(super) fn new(code: Code, message: impl Display) -> Self {
        Self { code, message: message.to_string(), details: Vec::new(), hints: Vec::new() }
    }

    pub(super) fn usage(message: impl Display) -> Self {
        Self::new(Code::Usage, message)
    }

    pub(super) fn interrupted() -> Self {
        Self::new(Code::Interrupted, "interrupted")
    }

    /// As `run` reports whatever kept it from starting a container: with docker's codes, because the others may be the
    /// container's own.
    pub(super) fn of_run(mut self) -> Self {
        if !matches!(
            self.code,
            Code::Usage | Code::TimedOut | Code::NotExecutable | Code::NotFound | Code::Interrupted
        ) {
            self.code = Code::ContainerFailed;
        }
        self
    }

    /// Prints it; returns the exit code.
    pub(super) fn print(&self) -> i32 {
        let mut text = String::new();
        for detail in &self.details {
            text.push_str(detail.trim_end());
            text.push('\n');
        }
        let _ = writeln!(text, "error: {}", self.message);
        for hint in &self.hints {
            let _ = writeln!(text, "hint: {hint}");
        }
        // Whoever closed standard error does not want to know.
        let _ = std::io::stderr().write_all(harmless(&text).as_bytes());
        self.code as i32
    }

    pub(super) fn hint(mut self, hint: Option<String>) -> Self {
        self.hints.extend(hint);
        self
    }

    fn detail(mut self, detail: String) -> Self {
        self.details.push(detail);
        self
    }

    fn at(self, place: &Place) -> Self {
        match place.span {
            Some(span) => self.detail(frame(&place.source, span)),
            None => self,
        }
    }
}

/// Names and texts of others may contain anything, also what would make a terminal do things.
fn harmless(text: &str) -> String {
    let escape = |letter: char| match letter {
        '\n' | '\t' => letter.to_string(),
        letter if letter.is_control() => letter.escape_default().to_string(),
        letter => letter.to_string(),
    };
    text.chars().map(escape).collect()
}

/// The lines of a Dockerfile around an instruction, with its own lines marked.
pub(super) fn frame(source: &Source, span: Span) -> String {
    let rule = "--------------------";
    let mut text = format!("{}:{}\n{rule}\n", source.name, source.line_of(span.start));
    for (number, line, marked) in source.excerpt(span, 2) {
        let mark = if marked { ">>>" } else { "   " };
        let _ = writeln!(text, "{}", format!("{number:4} | {mark} {line}").trim_end());
    }
    text.push_str(rule);
    text
}

/// As [`frame`], for words within lines: they are underlined.
fn underlined(source: &Source, diagnostic: &Diagnostic) -> String {
    let (file, source) = (source, diagnostic.within.as_deref().unwrap_or(source));
    let span = diagnostic.span;
    let (line, column) = (source.line_of(span.start), source.column_of(span.start));
    let mut text = format!("{}:{line}:{column}: {}\n", source.name, diagnostic.message);
    let (_, last) = source.lines_of(span);
    let Some(content) = source.line(line) else { return text };
    let _ = writeln!(text, "{line:4} | {content}");
    let width = if last > line {
        content.chars().count().saturating_sub(column - 1)
    } else {
        source.slice(span).trim_end().chars().count()
    };
    let _ = writeln!(text, "     | {}{}", " ".repeat(column - 1), "^".repeat(width.max(1)));
    for note in &diagnostic.notes {
        let line = file.line_of(note.span.start);
        let _ = writeln!(text, "     = {} ({}:{line})", note.message, file.name);
    }
    for hint in &diagnostic.hints {
        let _ = writeln!(text, "     = {hint}");
    }
    text
}

fn of_diagnostics(source: &Source, diagnostics: &[Diagnostic]) -> Report {
    let message = match diagnostics.len() {
        1 => format!("{} cannot be built: {}", source.name, diagnostics[0].message),
        count => format!("{} cannot be built: {count} errors", source.name),
    };
    let report = Report::new(Code::Input, message);
    diagnostics.iter().fold(report, |report, diagnostic| report.detail(underlined(source, diagnostic)))
}

impl From<BuildError> for Report {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::NoContext { .. } => Self::new(Code::Input, &error)
                .hint(Some("the last argument is the directory that COPY takes files from".to_owned())),
            BuildError::NoDockerfile { .. } => {
                Self::new(Code::Input, &error).hint(Some("name it with --file".to_owned()))
            }
            BuildError::NotText { .. } | BuildError::Input(_) | BuildError::Context(_) => {
                Self::new(Code::Input, &error)
            }
            BuildError::Dockerfile(errors) => of_diagnostics(&errors.source, &errors.errors),
            BuildError::Plan { text, diagnostics } => of_diagnostics(&text, &diagnostics),
            BuildError::BaseName { error, place } => Self::new(Code::Input, error).at(&place),
            BuildError::BaseImage { error, near, place } => {
                Self::from(*error).at(&place).hint(near.map(|near| format!("did you mean {near}?")))
            }
            BuildError::Frontend { .. } | BuildError::Lint { .. } => Self::new(Code::Input, &error),
            BuildError::Check(_) => Self::usage(&error),
            BuildError::Step { name, error, place } => {
                let report =
                    Self { details: failed_log(&name, &error).into_iter().collect(), ..Self::from(*error) };
                report.at(&place)
            }
            BuildError::Export(error) => Self::from(error),
            BuildError::Store(error) => Self::from(error),
            BuildError::Io(error) => Self::from(error),
        }
    }
}

/// The last lines of a step that failed.
fn failed_log(name: &str, error: &ExecError) -> Option<String> {
    let log = match error {
        ExecError::Command { log, .. } | ExecError::Start { log, .. } if !log.is_empty() => log,
        // The name of the step belongs to what is said, also of one that said nothing.
        ExecError::TimedOut { log, .. } => log,
        _ => return None,
    };
    Some(format!("------\n > {name}:\n{}\n------", log.join("\n")))
}

impl From<ExecError> for Report {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::Command { ref hint, .. } => Self::new(Code::StepFailed, &error).hint(hint.clone()),
            ExecError::Lost { .. } => Self::new(Code::StepFailed, &error),
            ExecError::TimedOut { .. } => Self::new(Code::TimedOut, &error),
            ExecError::Start { failure: Failure::Step { .. }, .. } => Self::new(Code::Isolation, &error),
            ExecError::Start { ref failure, .. } => {
                Self::new(Code::StepFailed, &error).hint(failure.hint().map(str::to_owned))
            }
            ExecError::Closed(ref closed) => Self::new(Code::Isolation, &error).hint(closed.hint.clone()),
            ExecError::Select(error) => of_select(&error),
            ExecError::User(_) | ExecError::Destination { .. } => Self::new(Code::Input, &error),
            ExecError::Layer(error) => Self::from(error),
            ExecError::Network(error) => Self::from(error),
            ExecError::Snapshot(error) => Self::from(error),
            ExecError::Io(error) => Self::from(error),
            ExecError::Store(error) => Self::from(error),
            ExecError::Unexpected(_) => Self::new(Code::Bug, &error),
        }
    }
}

fn of_select(error: &SelectError) -> Report {
    let report = Report::new(Code::Input, error);
    match error {
        SelectError::NotFound { nearest, .. } if !nearest.is_empty() => {
            let names: Vec<String> = nearest.iter().map(|path| format!("/{}", path.display())).collect();
            report.hint(Some(format!("there is {}", names.join(", "))))
        }
        _ => report,
    }
}

impl From<ExportError> for Report {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Registry(error) => Self::from(error),
            ExportError::Layer(error) => Self::from(error),
            ExportError::Store(error) => Self::from(error),
            // The file is the caller's, and not a thing of the store.
            ExportError::Write(error) => Self::new(Code::Store, &error),
            ExportError::NotCompressed(_) => Self::new(Code::Bug, &error),
            ExportError::Changed(_) | ExportError::Damaged { .. } => Self::new(Code::Store, &error),
        }
    }
}

impl From<PullError> for Report {
    fn from(error: PullError) -> Self {
        match error {
            PullError::Find(error) => Self::from(error),
            PullError::Layer(error) => Self::from(error),
            PullError::Store(error) => Self::from(error),
        }
    }
}

impl From<ImportError> for Report {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Layer { source, .. } if source.is_of_disk() => Self::from(source),
            ImportError::Store(error) => Self::from(error),
            error => Self::new(Code::Input, &error).hint(error.hint()),
        }
    }
}

impl From<catalog::FindError> for Report {
    fn from(error: catalog::FindError) -> Self {
        match &error {
            catalog::FindError::Unknown { .. } => {
                let ask = "`rbuild images` lists what is there; `rbuild pull` asks a registry".to_owned();
                Self::new(Code::Input, &error).hint(error.hint().or(Some(ask)))
            }
            catalog::FindError::Ambiguous { .. } | catalog::FindError::Name(_) => {
                Self::new(Code::Usage, &error).hint(error.hint())
            }
        }
    }
}

impl From<catalog::ListError> for Report {
    fn from(error: catalog::ListError) -> Self {
        match error {
            catalog::ListError::Store(error) => Self::from(error),
            catalog::ListError::Find(error) => Self::from(error),
        }
    }
}

impl From<catalog::RemoveError> for Report {
    fn from(error: catalog::RemoveError) -> Self {
        match error {
            catalog::RemoveError::Store(error) => Self::from(error),
            catalog::RemoveError::Find(error) => Self::from(error),
            catalog::RemoveError::SeveralNames { .. } => Self::new(Code::Usage, &error)
                .hint(Some("remove it by one of them, or the image and all of them with --force".to_owned())),
        }
    }
}

impl From<LayerError> for Report {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Registry(error) => Self::from(error),
            LayerError::Snapshot(error) => Self::from(error),
            LayerError::Store(error) => Self::from(error),
            LayerError::Io(error) => Self::from(error),
            LayerError::Unrepresentable { .. } => Self::new(Code::Input, &error),
            LayerError::Foreign { .. } => Self::new(Code::Isolation, &error).hint(Some(
                "take the --isolation that the image was made with, or make the image again with this one"
                    .to_owned(),
            )),
            // The layer may be whole, and the disk full.
            LayerError::Damaged { source, .. } if source.is_of_disk() => Self::from(*source),
            // What a registry sent is not what it should be.
            LayerError::Damaged { .. }
            | LayerError::Lost { .. }
            | LayerError::Tar(_)
            | LayerError::Escape(_)
            | LayerError::DeadLink { .. }
            | LayerError::DiffId { .. }
            | LayerError::MediaType(_) => Self::new(Code::Registry, &error),
        }
    }
}

impl From<SnapshotError> for Report {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Mount(error) => Self::new(Code::Isolation, &error)
                .hint(Some("overlays in a user namespace need Linux 5.11 or later".to_owned())),
            SnapshotError::Io(error) => Self::from(error),
        }
    }
}

impl From<FindError> for Report {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Registry(error) => Self::from(error),
            FindError::Store(error) => Self::from(error),
        }
    }
}

impl From<NetworkError> for Report {
    fn from(error: NetworkError) -> Self {
        match error {
            NetworkError::Disconnected(why) => {
                let hint = why.remedy().map(|remedy| remedy.to_string());
                Self::new(Code::Isolation, NetworkError::Disconnected(why)).hint(hint)
            }
            NetworkError::NoGateway => {
                let hint = "give --add-host the address itself".to_owned();
                Self::new(Code::Usage, error).hint(Some(hint))
            }
            NetworkError::Io(error) => Self::from(error),
        }
    }
}

impl From<ContainerError> for Report {
    fn from(error: ContainerError) -> Self {
        match error {
            ContainerError::Start(Failure::NotFound { .. }) => Self::new(Code::NotFound, &error),
            ContainerError::Start(Failure::NotExecutable { .. }) => Self::new(Code::NotExecutable, &error),
            ContainerError::TimedOut { .. } => Self::new(Code::TimedOut, &error),
            ContainerError::Start(ref failure) => {
                Self::new(Code::ContainerFailed, &error).hint(failure.hint().map(str::to_owned))
            }
            ContainerError::NoCommand | ContainerError::Platform { .. } => {
                Self::new(Code::ContainerFailed, &error)
            }
            ContainerError::Closed(ref closed) => {
                Self::new(Code::ContainerFailed, &error).hint(closed.hint.clone())
            }
            ContainerError::Layer(error) => Self::from(error),
            ContainerError::Network(error) => Self::from(error),
            ContainerError::Snapshot(error) => Self::from(error),
            ContainerError::Store(error) => Self::from(error),
            ContainerError::Io(error) => Self::from(error),
        }
    }
}

impl From<RegistryError> for Report {
    fn from(error: RegistryError) -> Self {
        Self::new(Code::Registry, &error).hint(error.hint())
    }
}

impl From<StoreError> for Report {
    fn from(error: StoreError) -> Self {
        Self::new(Code::Store, &error).hint(error.hint())
    }
}

impl From<IoError> for Report {
    fn from(error: IoError) -> Self {
        Self::from(StoreError::Io(error))
    }
}

impl From<LimitError> for Report {
    fn from(error: LimitError) -> Self {
        Self::new(Code::Isolation, &error).hint(error.hint())
    }
}

impl From<IsolationError> for Report {
    fn from(error: IsolationError) -> Self {
        Self::new(Code::Isolation, &error).hint(error.hint())
    }
}
