//! What is said of each error: the exit code it means, and what would help.

use std::path::Path;

use super::excerpt::underlined;
use super::{Code, Report, state_of};
use crate::build::{BuildError, FindError, PullError};
use crate::catalog;
use crate::container::ContainerError;
use crate::context::{ContextError, SelectError};
use crate::dockerfile::{Diagnostic, Source};
use crate::exec::{ExecError, GitError};
use crate::export::ExportError;
use crate::import::ImportError;
use crate::layer::LayerError;
use crate::registry::{DownloadError, RegistryError};
use crate::sandbox::{Failure, IsolationError, LimitError, NetworkError};
use crate::snapshot::SnapshotError;
use crate::store::StoreError;
use crate::sys::IoError;

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
            BuildError::NoContext { ref path } => {
                let hint = match path.is_file() {
                    true => format!("if it is an archive: rbuild … - < {}", path.display()),
                    false => "the last argument is the directory that COPY takes files from".to_owned(),
                };
                Self::new(Code::Input, &error).hint(Some(hint))
            }
            BuildError::NoDockerfile { .. } => {
                Self::new(Code::Input, &error).hint(Some("name it with --file".to_owned()))
            }
            BuildError::NotADockerfile { .. } | BuildError::NotADockerfileHere { .. } => {
                Self::new(Code::Input, &error).hint(Some("name the Dockerfile with --file".to_owned()))
            }
            BuildError::NoDockerfileInside { ref near, is_outside, .. } => {
                let near: Vec<String> = near.iter().map(|path| format!("/{}", path.display())).collect();
                let hint = if !near.is_empty() {
                    format!("there is {}; name it with --file", near.join(", "))
                } else if is_outside {
                    "a relative path is one in the context: give the file of this machine with an absolute one"
                        .to_owned()
                } else {
                    "name it with --file: a relative path is one in the context".to_owned()
                };
                Self::new(Code::Input, &error).hint(Some(hint))
            }
            BuildError::Context(ContextError::Missing { .. }) => Self::new(Code::Input, &error)
                .hint(Some("the context is the directory that COPY takes files from".to_owned())),
            BuildError::TwoDockerfiles { .. } => Self::usage(&error),
            BuildError::ArchiveAsDockerfile { .. } => Self::new(Code::Input, &error)
                .hint(Some("as the context, instead of PATH, it would be unpacked".to_owned())),
            // It names the address itself.
            BuildError::Fetch { error, .. } if matches!(*error, ExecError::Download(_)) => Self::from(*error),
            BuildError::Fetch { from, error } => Self::from(*error).about(&format!("cannot load {from}")),
            BuildError::NamedContext { name, error } => {
                Self::from(*error).about(&format!("--build-context {name}"))
            }
            BuildError::Select(error) => of_select(&error),
            BuildError::Layout { name, error, place } => {
                Self::new(Code::Input, error).about(&name).at(&place)
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
            BuildError::CacheExport { name, error } => {
                let hint = "--cache-to …,ignore-error=true makes this a warning".to_owned();
                Self::from(error).about(&format!("the cache {name} could not be written")).hint(Some(hint))
            }
            BuildError::NotHere => Self::new(Code::Registry, &error),
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
        ExecError::Git(error) if !error.log().is_empty() => error.log(),
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
            ExecError::Start { failure: Failure::Step { refusal, .. }, .. } if refusal.is_some() => {
                Self { refusal, ..Self::new(Code::Store, &error) }
            }
            ExecError::Start { failure: Failure::Step { .. }, .. } => Self::new(Code::Isolation, &error),
            ExecError::Start { ref failure, .. } => {
                Self::new(Code::StepFailed, &error).hint(failure.hint().map(str::to_owned))
            }
            ExecError::Closed(ref closed) => Self::new(Code::Isolation, &error).hint(closed.hint.clone()),
            ExecError::Foreign { ref why, .. } => {
                Self::new(Code::Isolation, &error).hint(Some(why.hint().to_owned()))
            }
            ExecError::Select(error) => of_select(&error),
            ExecError::SelectFrom { error: ref of, .. } => {
                Self::new(Code::Input, &error).hint(hint_of_select(of))
            }
            ExecError::NoSecret { ref id } => Self::new(Code::Input, &error).hint(Some(format!(
                "give it with --secret id={id},src=FILE or --secret id={id},env=VARIABLE"
            ))),
            ExecError::NoAgent { ref id } => {
                let what = if id == "default" { id.clone() } else { format!("{id}=SOCKET") };
                Self::new(Code::Input, &error).hint(Some(format!(
                    "give it with --ssh {what}; without a socket it is the one of SSH_AUTH_SOCK. --ssh {id}=KEYFILE serves a key"
                )))
            }
            ExecError::OwnAgent(ref wrong) => Self::new(Code::Input, &error).hint(wrong.hint()),
            ExecError::NoDevice { .. } => Self::new(Code::Input, &error).hint(Some(
                "descriptions (CDI) are looked for in /etc/cdi and /var/run/cdi, or in --cdi-spec-dir; without \
                 `required` the step goes without it"
                    .to_owned(),
            )),
            ExecError::Device(ref wrong) => Self::new(Code::Input, &error).hint(wrong.hint()),
            ExecError::User(_)
            | ExecError::Destination { .. }
            | ExecError::WorkingDirectory { .. }
            | ExecError::Archive { .. }
            | ExecError::SecretNotText { .. }
            | ExecError::SecretNotHeader { .. }
            | ExecError::CacheSource { .. } => Self::new(Code::Input, &error),
            ExecError::Layer(error) => Self::from(error),
            ExecError::Download(error) => {
                let is_written_wrong = matches!(*error, DownloadError::Address { .. });
                let code = if is_written_wrong { Code::Input } else { Code::Registry };
                Self::new(code, &error).hint(error.hint())
            }
            ExecError::Git(error) => {
                let code = match () {
                    () if error.is_of_disk() => Code::Store,
                    () if error.is_of_content() => Code::Input,
                    () if matches!(*error, GitError::TimedOut { .. }) => Code::TimedOut,
                    () => Code::Registry,
                };
                Self::new(code, &error).hint(error.hint())
            }
            ExecError::Network(error) => Self::from(error),
            ExecError::Snapshot(error) => Self::from(error),
            ExecError::Io(error) => Self::from(error),
            ExecError::Store(error) => Self::from(error),
            ExecError::Unexpected(_) => Self::new(Code::Bug, &error),
        }
    }
}

fn of_select(error: &SelectError) -> Report {
    Report::new(Code::Input, error).hint(hint_of_select(error))
}

fn hint_of_select(error: &SelectError) -> Option<String> {
    let SelectError::NotFound { path, hidden_by, nearest } = error else { return None };
    if hidden_by.is_some() {
        return Some(format!("a line !{} behind that pattern lets it through", path.display()));
    }
    if !nearest.is_empty() {
        let names: Vec<String> = nearest.iter().map(|path| format!("/{}", path.display())).collect();
        return Some(format!("there is {}", names.join(", ")));
    }
    is_address(path)
        .then(|| "addresses that begin with http:// or https:// are fetched, and git repositories".to_owned())
}

/// Whether a path was an address before it was cleaned: `ftp:/host/file`.
fn is_address(path: &Path) -> bool {
    let first = path.iter().next().and_then(|name| name.to_str()).unwrap_or_default();
    let scheme = first.strip_suffix(':').unwrap_or_default();
    !scheme.is_empty()
        && scheme.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"+-.".contains(&letter))
}

impl From<ExportError> for Report {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Registry(error) => Self::from(error),
            ExportError::Layer(error) => Self::from(error),
            ExportError::Store(error) => Self::from(error),
            // The file is the caller's, and not a thing of the store.
            ExportError::Write(error) => {
                Self::new(Code::Store, &error).hint(error.refusal().map(|refusal| {
                    let state = state_of(&error.path.display().to_string(), &error.path, refusal);
                    format!("{state}: make room there, or write to another place")
                }))
            }
            ExportError::NeedsOci(_) => Self::usage(&error).hint(Some(
                "oci-mediatypes=true takes OCI's; compression=gzip,force-compression=true packs the layer anew"
                    .to_owned(),
            )),
            ExportError::Index { .. } => Self::new(Code::Input, &error).hint(Some(
                "choose another directory; for a cache, reset=true replaces all that is in this one".to_owned(),
            )),
            ExportError::GivenUp => Self::interrupted(),
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
            PullError::Platform { .. } => Self::new(Code::Registry, &error),
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
            LayerError::Unrepresentable { .. } | LayerError::Layout(_) => Self::new(Code::Input, &error),
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
        let refusal = error.refusal();
        match error {
            SnapshotError::Mount(error) if refusal.is_some() => {
                Self { refusal, ..Self::new(Code::Store, &error) }
            }
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
            FindError::NotHere => Self::new(Code::Registry, &error),
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
            ContainerError::Start(Failure::Step { refusal, .. }) if refusal.is_some() => {
                Self { refusal, ..Self::new(Code::ContainerFailed, &error) }
            }
            ContainerError::Start(Failure::NotFound { .. }) => Self::new(Code::NotFound, &error),
            ContainerError::Start(Failure::NotExecutable { .. }) => Self::new(Code::NotExecutable, &error),
            ContainerError::TimedOut { .. } => Self::new(Code::TimedOut, &error),
            ContainerError::Start(ref failure) => {
                Self::new(Code::ContainerFailed, &error).hint(failure.hint().map(str::to_owned))
            }
            ContainerError::NoCommand | ContainerError::System { .. } => {
                Self::new(Code::ContainerFailed, &error)
            }
            ContainerError::Foreign { ref why, .. } => {
                Self::new(Code::ContainerFailed, &error).hint(Some(why.hint().to_owned()))
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
        Self { refusal: error.refusal(), ..Self::new(Code::Store, &error).hint(error.hint()) }
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
