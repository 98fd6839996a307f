//! RUN: a command in a sandbox, on a root file system whose changes become the layer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::error::ExecError;
use super::{Executor, HOSTNAME, Output};
use crate::event::{Events, StepId, Stream};
use crate::graph::{NetworkMode, RunOp, VertexId};
use crate::sandbox::{self, Network, Outcome, Process, RootFs, Spec, Stdio};
use crate::snapshot::Draft;
use crate::solve::StepKey;
use crate::sys::blocking;

/// How many of a command's last lines an error repeats.
const LAST_LINES: usize = 10;

/// A longer line is cut into several.
const LONGEST_LINE: usize = 64 << 10;

impl Executor {
    pub(super) async fn run(
        &self,
        vertex: VertexId,
        op: &RunOp,
        key: &StepKey,
        base: Option<&Output>,
    ) -> Result<Output, ExecError> {
        let chain = base.map(|base| base.chain.as_slice()).unwrap_or_default();
        let mut lowers = self.layers.directories(chain).await?;
        if lowers.is_empty() {
            lowers.push(self.store.empty());
        }
        let store = Arc::clone(&self.store);
        let (workspace, draft) = blocking(move || -> Result<_, ExecError> {
            let workspace = store.workspace()?;
            let draft = Draft::create(workspace.path())?;
            Ok((workspace, draft))
        })
        .await?;
        let root = RootFs {
            lowers,
            upper: draft.upper(),
            work: draft.work(),
            staging: draft.staging(),
            stubs: draft.stubs(),
        };
        self.run_command(self.step(vertex), op, root).await?;
        self.finish(key, base, workspace, draft.upper()).await
    }

    async fn run_command(&self, step: StepId, op: &RunOp, root: RootFs) -> Result<(), ExecError> {
        let spec = Spec {
            root,
            hostname: HOSTNAME.to_owned(),
            hosts: self.host_files.hosts.clone(),
            resolv_conf: self.host_files.resolv_conf.clone(),
            network: match op.network {
                NetworkMode::Default | NetworkMode::Host => Network::Host,
                NetworkMode::None => Network::None,
            },
            process: Process {
                arguments: op.arguments.clone(),
                environment: [&op.environment[..], &op.transient_environment].concat(),
                directory: op.directory.clone(),
                user: op.user.clone(),
            },
            emulated: self.sandboxing.emulated(),
        };
        let mut running = sandbox::spawn(&self.sandboxing, &spec, Stdio::Piped).await?;
        let (output, error) = running.output.take().expect("the output is piped");
        let log = |stream| Log { events: self.events.clone(), step, stream };
        let (finished, output, error) = tokio::join!(
            running.finish(None),
            log(Stream::Stdout).follow(output),
            log(Stream::Stderr).follow(error)
        );
        let command = op.arguments.join(" ");
        let Ok(finished) = finished else { return Err(ExecError::Lost { command }) };
        finished.notices.iter().for_each(|notice| self.events.warn(notice.clone()));
        let log = last_lines(output, error);
        match (finished.failure, finished.outcome) {
            (Some(failure), _) => Err(ExecError::Start { command, failure, log }),
            (None, Outcome::Exited(0)) => Ok(()),
            (None, outcome) => Err(ExecError::Command { command, outcome, log }),
        }
    }
}

/// Passes on what a command writes, line by line.
struct Log {
    events: Events,
    step: StepId,
    stream: Stream,
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
