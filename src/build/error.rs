//! What can end a build.

use std::path::PathBuf;

use super::layout::LayoutImageError;
use crate::context::{ContextError, SelectError};
use crate::dockerfile::lint::ConfigError;
use crate::dockerfile::{Diagnostic, Dockerfile, ParseErrors, Source, Span};
use crate::event::EventKind;
use crate::exec::{ExecError, Executor};
use crate::export::ExportError;
use crate::image::ReferenceError;
use crate::registry::RegistryError;
use crate::solve::Failed;
use crate::store::StoreError;
use crate::sys::IoError;

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("build context {} is not a directory", .path.display())]
    NoContext { path: PathBuf },
    #[error("there is no Dockerfile at {}", .path.display())]
    NoDockerfile { path: PathBuf },
    /// `near` is what there is that has nearly the same name; the directory of the command may have one, too.
    #[error("there is no {} in {context}", .path.display())]
    NoDockerfileInside { path: PathBuf, context: String, near: Vec<PathBuf>, is_outside: bool },
    /// There is something of that name.
    #[error("{} in {context} {problem}", .path.display())]
    NotADockerfile { path: PathBuf, context: String, problem: String },
    #[error("{} {problem}", .path.display())]
    NotADockerfileHere { path: PathBuf, problem: String },
    #[error("{context} is a Dockerfile, and --file names another one")]
    TwoDockerfiles { context: String },
    #[error("{url} is an archive, and not a Dockerfile")]
    ArchiveAsDockerfile { url: String },
    /// What has to be there before anything can be planned.
    #[error("cannot load {from}: {error}")]
    Fetch { from: String, error: Box<ExecError> },
    #[error("build context {name}: {error}")]
    NamedContext { name: String, error: Box<BuildError> },
    #[error(transparent)]
    Select(#[from] SelectError),
    #[error("{} is not text in UTF-8", .path.display())]
    NotText { path: PathBuf },
    #[error("{0}")]
    Input(IoError),
    #[error("the Dockerfile cannot be parsed")]
    Dockerfile(Box<ParseErrors>),
    #[error("the Dockerfile cannot be built")]
    Plan { text: Box<Source>, diagnostics: Vec<Diagnostic> },
    #[error(transparent)]
    Context(#[from] ContextError),
    /// Only where nothing but the store was to be asked.
    #[error("the store does not have all base images")]
    NotHere,
    #[error("{error}")]
    BaseName { error: ReferenceError, place: Place },
    /// `near` is a stage or a common image whose name is nearly the same.
    #[error("{error}")]
    BaseImage { error: Box<RegistryError>, near: Option<String>, place: Place },
    #[error("{name}: {error}")]
    Layout { name: String, error: Box<LayoutImageError>, place: Place },
    #[error("frontend {name:?} is not supported: only the Dockerfile language is read")]
    Frontend { name: String },
    #[error("BUILDKIT_DOCKERFILE_CHECK: {0}")]
    Check(ConfigError),
    /// The file wants its warnings to be errors.
    #[error("lint violation found for rules: {rules}")]
    Lint { rules: String },
    #[error("{error}")]
    Step { name: String, error: Box<ExecError>, place: Place },
    #[error(transparent)]
    Export(ExportError),
    #[error("the cache {name} could not be written: {error}")]
    CacheExport { name: String, error: ExportError },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Io(#[from] IoError),
}

/// The instruction that a failure is about.
#[derive(Debug)]
pub struct Place {
    pub source: Box<Source>,
    pub span: Option<Span>,
}

impl Place {
    pub(super) fn new(file: &Dockerfile, span: Option<Span>) -> Self {
        Self { source: Box::new(file.source.clone()), span }
    }
}

impl BuildError {
    pub(super) fn fetch(from: &str, error: ExecError) -> Self {
        Self::Fetch { from: from.to_owned(), error: Box::new(error) }
    }

    /// As [`BuildError::step`], of what no Dockerfile says.
    pub(super) fn of_fetch(from: &str, executor: &Executor, failed: Failed<ExecError>) -> Self {
        let Failed { vertex, error } = failed;
        let error = match error {
            // Its place is that of a step that nobody has written.
            ExecError::Archive { error, .. } => ExecError::Archive { path: "it".to_owned(), error },
            error => error,
        };
        executor.events.send(EventKind::Failed { step: executor.step(vertex), message: error.to_string() });
        Self::fetch(from, error)
    }

    /// The failure of a vertex, which is shown under its step, too.
    pub(super) fn step(file: &Dockerfile, executor: &Executor, failed: Failed<ExecError>) -> Self {
        let Failed { vertex: id, error } = failed;
        let vertex = executor.graph.get(id);
        let error = executor.with_place(id, error);
        executor.events.send(EventKind::Failed { step: executor.step(id), message: error.to_string() });
        Self::Step {
            name: vertex.name.clone(),
            error: Box::new(error),
            place: Place::new(file, vertex.origin),
        }
    }
}
