//! rbuild's side of a sandbox: starts the child, hands it its job, and hears how it went. Runs in the threaded process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::pin::pin;
use std::process::Stdio as ProcessStdio;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::child::ARGUMENT;
use super::message::{self, Failure, Job, Order, Outcome, Report};
use super::settings::Sandboxing;
use super::spec::Spec;
use super::steps::plan;
use crate::sys::socket::send_descriptors;
use crate::sys::{At, IoError};

/// Where the program's standard streams lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// Nothing to read; what it writes is read from [`Running::output`].
    Piped,
    /// The caller's own.
    Inherited,
    /// The caller's own to write to; nothing to read.
    OutputInherited,
}

/// A sandboxed process. Dropping it kills the process and all it started.
#[derive(Debug)]
pub struct Running {
    socket: UnixStream,
    /// Standard output and standard error, when piped; take them out to read them.
    pub output: Option<(pipe::Receiver, pipe::Receiver)>,
    child: Child,
}

/// How it ended, or why it never began.
#[derive(Debug)]
pub struct Finished {
    pub outcome: Outcome,
    pub failure: Option<Failure>,
    pub notices: Vec<String>,
}

/// Starts a sandboxed process.
pub async fn spawn(sandboxing: &Sandboxing, spec: &Spec, stdio: Stdio) -> Result<Running, IoError> {
    let (ours, theirs) = StdStream::pair().at("create", "socket pair")?;
    // The path is looked up by the new process, which shares the descriptor until it executes.
    let child = Command::new(format!("/proc/self/fd/{}", sandboxing.entered.program.as_raw_fd()))
        .arg0("rbuild")
        .arg(ARGUMENT)
        .stdin(ProcessStdio::from(OwnedFd::from(theirs)))
        .stdout(ProcessStdio::null())
        .spawn()
        .at("start", "sandbox process")?;
    let output = hand_over_stdio(&ours, stdio)?;
    ours.set_nonblocking(true).at("configure", "socket")?;
    let mut socket = UnixStream::from_std(ours).at("watch", "socket")?;
    let job = Job { network: spec.network, steps: plan(spec), process: spec.process.clone() };
    socket.write_all(&message::encode(&job)).await.at("write", "sandbox socket")?;
    Ok(Running { socket, output, child })
}

fn hand_over_stdio(
    socket: &StdStream,
    stdio: Stdio,
) -> Result<Option<(pipe::Receiver, pipe::Receiver)>, IoError> {
    match stdio {
        Stdio::Inherited => {
            let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
            send_descriptors(socket, &[input.as_fd(), output.as_fd(), error.as_fd()])
                .at("send", "standard streams")?;
            Ok(None)
        }
        Stdio::OutputInherited => {
            let (input, output, error) = (nothing()?, io::stdout(), io::stderr());
            send_descriptors(socket, &[input.as_fd(), output.as_fd(), error.as_fd()])
                .at("send", "standard streams")?;
            Ok(None)
        }
        Stdio::Piped => {
            let null = nothing()?;
            let (output, their_output) = io::pipe().at("create", "pipe")?;
            let (error, their_error) = io::pipe().at("create", "pipe")?;
            send_descriptors(socket, &[null.as_fd(), their_output.as_fd(), their_error.as_fd()])
                .at("send", "standard streams")?;
            let receiver =
                |end: io::PipeReader| pipe::Receiver::from_owned_fd(end.into()).at("watch", "pipe");
            Ok(Some((receiver(output)?, receiver(error)?)))
        }
    }
}

fn nothing() -> Result<File, IoError> {
    File::open("/dev/null").at("open", "/dev/null")
}

impl Running {
    /// Waits for the end; meanwhile passes signals on to the program.
    pub async fn finish(
        mut self,
        mut signals: Option<mpsc::UnboundedReceiver<i32>>,
    ) -> Result<Finished, IoError> {
        let (mut reports, mut orders) = self.socket.split();
        let (mut failure, mut notices) = (None, Vec::new());
        loop {
            // A frame is read to its end even when a signal comes between its parts.
            let mut next = pin!(next_report(&mut reports));
            let report = loop {
                tokio::select! {
                    report = &mut next => break report,
                    Some(signal) = receive(&mut signals) => {
                        // The program may have ended just now; its report is on the way.
                        let _ = orders.write_all(&message::encode(&Order::Signal(signal))).await;
                    }
                }
            };
            match report.at("read", "sandbox socket")? {
                Some(Report::Notice(text)) => notices.push(text),
                Some(Report::Failed(reason)) => failure = Some(reason),
                Some(Report::Ended(outcome)) => {
                    // Reap it; how it ended was said.
                    let _ = self.child.wait().await;
                    return Ok(Finished { outcome, failure, notices });
                }
                None => {
                    let error = io::Error::other("it ended without a report; was it killed?");
                    return Err(error).at("hear from", "sandbox process");
                }
            }
        }
    }
}

async fn receive(signals: &mut Option<mpsc::UnboundedReceiver<i32>>) -> Option<i32> {
    match signals {
        Some(signals) => signals.recv().await,
        None => None,
    }
}

async fn next_report(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Report>> {
    let mut header = [0; 4];
    match from.read_exact(&mut header).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        answer => answer?,
    };
    let mut body = vec![0; message::frame_length(header)?];
    from.read_exact(&mut body).await?;
    message::decode(&body).map(Some)
}
