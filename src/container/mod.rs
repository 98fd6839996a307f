//! Containers: running what was built, in the same sandbox as a build's steps.
//!
//! For now a container lives as long as the command that runs it, and leaves nothing behind.

mod process;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::event::{Events, StepId};

use crate::image::{Config, Platform};
use crate::layer::{LayerError, LayerRef, Layers, assemble, root_of};
use crate::registry::Client;
use crate::sandbox::{
    self, Closed, Confinement, Failure, Mounts, NetworkError, Networks, NoInterpreter, Reach, Sandboxing,
    Spec, Stdio,
};
use crate::snapshot::{Draft, SnapshotError};
use crate::store::{Store, StoreError};
use crate::sys::disk::Refusal;
use crate::sys::{IoError, blocking};

/// What the user says about the process, over what the image says.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Replaces the image's command.
    pub command: Vec<String>,
    /// Replaces the image's entrypoint, and then its command, too; an empty one clears it.
    pub entrypoint: Option<String>,
    pub environment: BTreeMap<String, String>,
    pub directory: Option<String>,
    pub user: Option<String>,
    /// Whether standard input is the container's to read.
    pub interactive: bool,
    pub confinement: Confinement,
    pub reach: Reach,
}

/// What a container works with, and a build.
#[derive(Debug, Clone)]
pub struct Tools {
    pub store: Arc<Store>,
    pub client: Client,
    pub events: Events,
    pub sandboxing: Arc<Sandboxing>,
}

#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    #[error("the image says no command, and none was given")]
    NoCommand,
    #[error("the image is for {found}, and this machine is {host}")]
    System { found: String, host: String },
    #[error("the image is for {found}, and this machine is {host}: {why}")]
    Foreign { found: String, host: String, why: NoInterpreter },
    #[error("{0}")]
    Start(Failure),
    #[error("the container was killed: it took longer than the {limit:?} that it may take (--timeout)")]
    TimedOut { limit: Duration },
    #[error("{0}")]
    Network(#[from] NetworkError),
    #[error("nothing can be isolated here: {0}")]
    Closed(#[from] Closed),
    #[error(transparent)]
    Layer(#[from] LayerError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Io(#[from] IoError),
}

impl ContainerError {
    /// Whether the file system of the layers takes no more.
    fn lacks_room(&self) -> bool {
        let refusal = match self {
            Self::Layer(error) => error.refusal(),
            Self::Start(failure) => failure.refusal(),
            _ => None,
        };
        refusal.is_some_and(Refusal::is_want_of_room)
    }
}

/// Runs a container of an image to its end; returns its exit code. `signals` are passed on to it.
pub async fn run(
    config: &Config,
    request: &Request,
    tools: Tools,
    mut signals: UnboundedReceiver<i32>,
) -> Result<i32, ContainerError> {
    let host = Platform::host();
    let (found, of_here) = (config.platform().to_string(), host.to_string());
    if config.os != host.os {
        return Err(ContainerError::System { found, host: of_here });
    }
    if let Err(why) = sandbox::can_execute(&config.architecture, &host.architecture) {
        return Err(ContainerError::Foreign { found, host: of_here, why });
    }
    tools.sandboxing.closed()?;
    let sandboxing = tools.sandboxing;
    let mut workspace = tools.store.workspace()?;
    let hostname = hostname(workspace.path());
    let networks = Networks::of_container(Arc::clone(&sandboxing), workspace.path().to_owned(), &hostname);
    // Beside what comes first: layers may have to be downloaded and unpacked.
    networks.begin(request.reach);
    let layers = Layers::new(Arc::clone(&tools.store), tools.client, tools.events.clone(), StepId(0));
    let chain: Vec<LayerRef> = config.rootfs.diff_ids.iter().copied().map(LayerRef::Image).collect();
    let mut lowers = layers.directories(&chain).await?;
    if lowers.is_empty() {
        lowers.push(tools.store.empty());
    }
    let process = process::process(&config.config, request, &hostname)?;
    let hostname_file = sandbox::hostname_file(workspace.path(), &hostname)?;
    let provided = networks.provide(request.reach).await?;
    provided.warning.into_iter().for_each(|warning| tools.events.warn(warning));
    let spec = |root| Spec {
        root,
        process: process.clone(),
        hostname: hostname.clone(),
        files: provided.files.clone(),
        hostname_file: Some(hostname_file.clone()),
        network: provided.network.clone(),
        mounts: Mounts::default(),
        confinement: request.confinement,
        emulated: sandboxing.emulated(),
        limits: sandboxing.settings.limits.clone(),
    };
    let stdio = if request.interactive { Stdio::Inherited } else { Stdio::OutputInherited };
    let mut failed: Option<ContainerError> = None;
    for layering in sandboxing.layerings.candidates() {
        let draft = Draft::create(&workspace.directory(layering.name())?)?;
        let mut spec = spec(root_of(&draft, lowers.clone()));
        let writable = match assemble(&mut spec, *layering, &draft, &tools.store) {
            Err(error) => {
                let error = ContainerError::Layer(error);
                let is_over = error.lacks_room() && !layering.is_wasteful();
                failed = failed.filter(ContainerError::lacks_room).or(Some(error));
                if is_over {
                    break;
                }
                continue;
            }
            Ok(writable) => writable,
        };
        // The mount, if there is one, goes before the directories.
        let running = sandbox::spawn(&sandboxing, &spec, stdio, (writable, workspace)).await?;
        let finished = running.finish(Some(&mut signals)).await?;
        finished.notices.iter().for_each(|notice| tools.events.warn(notice.clone()));
        let (writable, directories) = finished.kept;
        blocking(move || drop(writable)).await;
        workspace = directories;
        if let Some(failure) = finished.failure.clone().filter(Failure::is_of_root) {
            let error = ContainerError::Start(failure);
            let is_over = error.lacks_room() && !layering.is_wasteful();
            failed = failed.filter(ContainerError::lacks_room).or(Some(error));
            if is_over {
                break;
            }
            continue;
        }
        if let (true, Some(why)) = (sandboxing.layerings.works(*layering), failed) {
            tools.events.warn(layering.instead_of(&why.to_string()));
        }
        blocking(move || drop(workspace)).await;
        if finished.out_of_memory == Some(true) {
            tools.events.warn("the container ran out of memory, at the limit of --memory");
        }
        return match (finished.failure, finished.timed_out) {
            (Some(failure), _) => Err(ContainerError::Start(failure)),
            (None, Some(limit)) => Err(ContainerError::TimedOut { limit }),
            (None, None) => Ok(finished.outcome.code()),
        };
    }
    // What the last way lacks is what is missing, unless it is room.
    Err(failed.expect("there is a way to try"))
}

/// Twelve digits, as docker's containers have: the workspace's name is random.
fn hostname(workspace: &Path) -> String {
    let name = workspace.file_name().unwrap_or_default().to_string_lossy();
    name.chars().take(12).collect()
}
