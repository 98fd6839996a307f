//! RUN: a command in a sandbox, on a root file system whose changes become the layer.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::death::Death;
use super::error::ExecError;
use super::given::Mask;
use super::known::KnownInput;
use super::mounts::{Held, Prepared};
use super::{Executor, HOSTNAME, layers_of};
use crate::event::{Events, StepId, Stream};
use crate::graph::{RunOp, SecurityMode, VertexId};
use crate::image::Platform;
use crate::layer::{LayerError, assemble, root_of};
use crate::sandbox::{self, Confinement, Layering, Outcome, Process, RootFs, Spec, Stdio};
use crate::snapshot::{Draft, Writable};
use crate::store::Workspace;
use crate::sys::blocking;
use crate::sys::disk::{Refusal, Room};

/// How many of a command's last lines an error repeats.
const LAST_LINES: usize = 10;

/// A longer line is cut into several.
const LONGEST_LINE: usize = 64 << 10;

fn can_execute(platform: &Platform) -> Result<(), ExecError> {
    let host = Platform::host();
    sandbox::can_execute(&platform.architecture, &host.architecture).map_err(|why| ExecError::Foreign {
        platform: platform.to_string(),
        host: host.to_string(),
        why,
    })
}

impl Executor {
    pub(super) async fn run(
        &self,
        vertex: VertexId,
        op: &RunOp,
        inputs: &[KnownInput],
    ) -> Result<(Workspace, PathBuf), ExecError> {
        self.sandboxing.closed()?;
        can_execute(&op.platform)?;
        let mut lowers = self.layers.directories(&layers_of(inputs, op.root)).await?;
        if lowers.is_empty() {
            lowers.push(self.store.empty());
        }
        let mut failed: Option<ExecError> = None;
        for layering in self.sandboxing.layerings.candidates() {
            match self.attempt(vertex, op, inputs, lowers.clone(), *layering).await {
                Err(error) if trouble_with_root(&error).is_some() => {
                    // Other ways take as much room.
                    let is_over = lacks_room(&error) && !layering.is_wasteful();
                    // What the last way lacks is what is missing, unless it is room.
                    failed = failed.filter(lacks_room).or(Some(error));
                    if is_over {
                        break;
                    }
                }
                result => {
                    let is_news = self.sandboxing.layerings.works(*layering);
                    if let (true, Some(why)) = (is_news, failed.as_ref().and_then(trouble_with_root)) {
                        self.events.warn_once(&layering.instead_of(&why));
                    }
                    return result;
                }
            }
        }
        Err(failed.unwrap_or(ExecError::Unexpected("there is a way to try")))
    }

    /// Runs the command on layers that are put together in one way. Yields where the changes are.
    async fn attempt(
        &self,
        vertex: VertexId,
        op: &RunOp,
        inputs: &[KnownInput],
        lowers: Vec<PathBuf>,
        layering: Layering,
    ) -> Result<(Workspace, PathBuf), ExecError> {
        let store = Arc::clone(&self.store);
        let (workspace, draft) = blocking(move || -> Result<_, ExecError> {
            let workspace = store.workspace()?;
            let draft = Draft::create(workspace.path())?;
            Ok((workspace, draft))
        })
        .await?;
        let prepared = self.prepare_mounts(vertex, op, inputs, layering, &workspace).await?;
        let Prepared { mounts, variables, mask, held } = prepared;
        let (upper, mut spec) = (draft.upper(), self.spec(op, root_of(&draft, lowers)).await?);
        spec.mounts = mounts;
        for variable in variables {
            // Programs take the first of two.
            let name = variable.split_inclusive('=').next().unwrap_or_default();
            spec.process.environment.retain(|other| !other.starts_with(name));
            spec.process.environment.push(variable);
        }
        let store = Arc::clone(&self.store);
        let (spec, writable) = match layering {
            Layering::Kernel => (spec, None),
            Layering::Mount | Layering::Fuse | Layering::Copy => {
                blocking(move || {
                    let writable = assemble(&mut spec, layering, &draft, &store)?;
                    Ok::<_, ExecError>((spec, writable))
                })
                .await?
            }
        };
        let kept = (writable, workspace, held);
        let ((writable, workspace, held), result) =
            self.run_command(self.step(vertex), op, &spec, kept, mask).await?;
        drop(held);
        if let Err(error) = result {
            blocking(move || drop((writable, workspace))).await;
            return Err(error);
        }
        if let Some(writable) = writable {
            blocking(move || writable.collect()).await?;
        }
        Ok((workspace, upper))
    }

    async fn spec(&self, op: &RunOp, root: RootFs) -> Result<Spec, ExecError> {
        let provided = self.networks.of(op.network).await?;
        provided.warning.into_iter().for_each(|warning| self.events.warn(warning));
        Ok(Spec {
            root,
            hostname: op.hostname.clone().unwrap_or_else(|| HOSTNAME.to_owned()),
            files: provided.files,
            hostname_file: None,
            network: provided.network,
            mounts: sandbox::Mounts::default(),
            process: Process {
                arguments: op.arguments.clone(),
                environment: [&op.environment[..], &op.transient_environment].concat(),
                directory: op.directory.clone(),
                user: op.user.clone(),
            },
            confinement: match op.security {
                SecurityMode::Sandbox => Confinement::USUAL,
                SecurityMode::Insecure => Confinement::NONE,
            },
            emulated: self.sandboxing.emulated(),
            limits: self.sandboxing.settings.limits.clone(),
        })
    }

    /// Runs the command; what is kept for it is kept until it is gone, also when nobody waits for it any more.
    async fn run_command(
        &self,
        step: StepId,
        op: &RunOp,
        spec: &Spec,
        kept: Kept,
        mask: Mask,
    ) -> Result<(Kept, Result<(), ExecError>), ExecError> {
        let mut running = sandbox::spawn(&self.sandboxing, spec, Stdio::Piped, kept).await?;
        let (output, error) = running.output.take().expect("the output is piped");
        let log = |stream| Log { events: self.events.clone(), step, stream, mask: mask.clone() };
        let (finished, output, error) = tokio::join!(
            running.finish(None),
            log(Stream::Stdout).follow(output),
            log(Stream::Stderr).follow(error)
        );
        let command = mask.text(&op.arguments.join(" "));
        let Ok(finished) = finished else { return Err(ExecError::Lost { command }) };
        finished.notices.iter().for_each(|notice| self.events.warn_once(notice));
        let log = last_lines(output, error);
        let result = match (finished.failure, finished.timed_out, finished.outcome) {
            (Some(failure), _, _) => Err(ExecError::Start { command, failure, log }),
            (None, Some(limit), _) => Err(ExecError::TimedOut { command, limit, log }),
            (None, None, Outcome::Exited(0)) => Ok(()),
            (None, None, outcome) => {
                let hint = self.want_of_space(&log);
                let death = Death { outcome, out_of_memory: finished.out_of_memory };
                Err(ExecError::Command { command, death, log, hint })
            }
        };
        Ok((finished.kept, result))
    }

    /// What is to be said of the disk when a command complained about it, or may well have failed for it.
    pub(super) fn want_of_space(&self, log: &[String]) -> Option<String> {
        const COMPLAINTS: [&str; 2] = ["No space left on device", "Disk quota exceeded"];
        let complained = log.iter().any(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)));
        let root = self.store.root();
        let room = Room::around(root).filter(|room| complained || room.is_used_up())?;
        let store = format!("the file system of the store, {}, has {room}", root.display());
        Some(if room.is_short() {
            format!(
                "{store}: free some space, for example with `rbuild prune`, or choose another place with --root or RBUILD_ROOT"
            )
        } else {
            format!("{store}; what was full may be /dev/shm (--shm-size) or another mount of the step")
        })
    }
}

/// The mount that it works on, then the directories, then what it shares with others.
type Kept = (Option<Writable>, Workspace, Held);

/// Why the root file system could not be put together, if that is it: then nothing has been run.
fn trouble_with_root(error: &ExecError) -> Option<String> {
    if let ExecError::Layer(LayerError::Snapshot(error)) = error {
        return Some(error.to_string());
    }
    let ExecError::Start { failure, .. } = error else { return None };
    failure.is_of_root().then(|| failure.to_string())
}

/// Whether the file system of the layers takes no more.
fn lacks_room(error: &ExecError) -> bool {
    let refusal = if let ExecError::Layer(error) = error {
        error.refusal()
    } else if let ExecError::Start { failure, .. } = error {
        failure.refusal()
    } else {
        None
    };
    refusal.is_some_and(Refusal::is_want_of_room)
}

/// Passes on what a command writes, line by line.
struct Log {
    events: Events,
    step: StepId,
    stream: Stream,
    mask: Mask,
}

type Lines = VecDeque<(Instant, String)>;

impl Log {
    /// Follows until the last process that has the pipe is gone; returns the last lines.
    async fn follow(self, mut from: impl AsyncRead + Unpin) -> Lines {
        let mut last = Lines::new();
        let mut unfinished = Vec::new();
        let mut buffer = vec![0; 16 << 10];
        // A pipe that breaks has ended as far as its reader is concerned.
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let mut rest = &buffer[..length];
            while let Some(end) = memchr::memchr(b'\n', rest) {
                unfinished.extend_from_slice(&rest[..end]);
                self.line(std::mem::take(&mut unfinished), &mut last).await;
                rest = &rest[end + 1..];
            }
            unfinished.extend_from_slice(rest);
            if unfinished.len() >= LONGEST_LINE {
                self.line(std::mem::take(&mut unfinished), &mut last).await;
            }
        }
        if !unfinished.is_empty() {
            self.line(unfinished, &mut last).await;
        }
        last
    }

    async fn line(&self, bytes: Vec<u8>, last: &mut Lines) {
        let bytes = self.mask.apply(bytes);
        let line = String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(&bytes)).into_owned();
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back((Instant::now(), line.clone()));
        self.events.log(self.step, self.stream, line).await;
    }
}

/// The last lines of both streams in the order in which they came.
fn last_lines(output: Lines, error: Lines) -> Vec<String> {
    let mut lines: Vec<_> = output.into_iter().chain(error).collect();
    lines.sort_by_key(|(at, _)| *at);
    let from = lines.len().saturating_sub(LAST_LINES);
    lines.into_iter().skip(from).map(|(_, line)| line).collect()
}
