//! Files that have to be in the store before anything can be planned: what comes from addresses or as a stream, unpacked if it
//! is an archive.
//!
//! Each is a small graph of its own, so that it is fetched, locked, found again and collected as whatever steps make.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::contexts::Stream;
use super::error::BuildError;
use super::load::Files;
use super::steps::{self, Steps, layers};
use crate::container::Tools;
use crate::context::{Ignore, IgnoreFrom, LocalContext};
use crate::exec::{
    self, Contexts, Executor, Given, HOSTNAME, LookUps, Looks, Output, StepMounts, StepNetworks,
};
use crate::graph::{ContextOp, CopyOp, CopySource, GitOp, Graph, HttpOp, Op, SourcePath, Vertex, VertexId};
use crate::layer::is_archive;
use crate::plan;
use crate::sandbox::Networks;
use crate::solve::solve;
use crate::store::Workspace;
use crate::sys::{At, blocking};

/// What a file is called that is a context, wherever it comes from: the same bytes are the same context.
pub(super) const FETCHED: &str = "context";
/// The name of what is unpacked, as an input.
const ARCHIVE: &str = "archive";
/// As files have that are fetched.
const MODE: u32 = 0o600;
/// How long nobody may have noticed that nobody waits for a stream any more.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Fetches and unpacks, for one build.
#[derive(Debug)]
pub(super) struct Fetcher {
    tools: Tools,
    given: Given,
    next: AtomicU32,
}

/// A directory with nothing but one file in it.
#[derive(Debug)]
pub(super) struct Fetched {
    pub directory: PathBuf,
    name: String,
}

impl Fetched {
    pub(super) fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    pub(super) fn is_archive(&self) -> Result<bool, BuildError> {
        let path = self.path();
        let mut beginning = Vec::new();
        let file = File::open(&path).at("open", &path)?;
        file.take(Stream::BEGINNING as u64).read_to_end(&mut beginning).at("read", &path)?;
        Ok(is_archive(&beginning))
    }
}

impl Stream {
    /// As many bytes tell what it is.
    pub const BEGINNING: usize = 1024;
}

impl Fetcher {
    pub(super) fn new(tools: &Tools, given: &Given) -> Self {
        Self { tools: tools.clone(), given: given.clone(), next: AtomicU32::new(steps::FIRST_FETCHED) }
    }

    /// Fetches what is at an address.
    pub(super) async fn file(&self, url: &str, name: &str, headline: &str) -> Result<Fetched, BuildError> {
        let mut graph = Graph::default();
        let op = Op::Http(HttpOp { url: url.to_owned(), checksum: None, name: name.to_owned() });
        let (inputs, headline) = (Vec::new(), headline.to_owned());
        let vertex = graph.add(Vertex { op, inputs, name: headline, origin: None, forced: false });
        let directory = self.made(graph, vertex, Contexts::default(), &plan::without_password(url)).await?;
        Ok(Fetched { directory, name: name.to_owned() })
    }

    /// Fetches the files of a repository.
    pub(super) async fn repository(
        &self,
        op: GitOp,
        headline: &str,
        from: &str,
    ) -> Result<Files, BuildError> {
        let mut graph = Graph::default();
        let (inputs, name) = (Vec::new(), headline.to_owned());
        let vertex = graph.add(Vertex { op: Op::Git(op), inputs, name, origin: None, forced: false });
        let directory = self.made(graph, vertex, Contexts::default(), from).await?;
        Ok(Files::Unpacked { directory, archive: from.to_owned() })
    }

    /// Unpacks an archive that is a file of a directory, which has nothing else.
    pub(super) async fn unpack(&self, directory: &Path, name: &str, from: &str) -> Result<Files, BuildError> {
        let path = directory.join(name);
        let checked = blocking(move || exec::check_archive(File::open(&path).at("open", &path)?)).await;
        checked.map_err(|error| BuildError::fetch(from, error))?;
        let tree = LocalContext::open(directory, IgnoreFrom::Given(Ignore::nothing()))?.into_tree();
        let mut contexts = Contexts::default();
        contexts.add(ARCHIVE, tree);
        let mut graph = Graph::default();
        let vertex = |op, inputs, name: &str| Vertex {
            op,
            inputs,
            name: name.to_owned(),
            origin: None,
            forced: false,
        };
        let archive = Op::Context(ContextOp { name: ARCHIVE.to_owned() });
        let archive = graph.add(vertex(archive, Vec::new(), "[internal] archive"));
        let op = CopyOp {
            base: None,
            sources: vec![CopySource { input: Some(0), path: SourcePath::Archive(name.to_owned()) }],
            destination: "/".to_owned(),
            owner: None,
            mode: None,
            excludes: Vec::new(),
            unpack: true,
            if_exists: false,
        };
        let headline = format!("[internal] unpack {from}");
        let unpacked = graph.add(vertex(Op::Copy(op), vec![archive], &headline));
        let directory = self.made(graph, unpacked, contexts, from).await?;
        Ok(Files::Unpacked { directory, archive: from.to_owned() })
    }

    /// Reads a stream to its end, and unpacks it.
    pub(super) async fn unpack_stream(&self, stream: &Stream, steps: &Steps) -> Result<Files, BuildError> {
        let step = steps.start("[internal] read standard input");
        let workspace = self.tools.store.workspace()?;
        let path = workspace.path().join(FETCHED);
        let given_up = GivenUp::default();
        let (stream, watch) = (stream.clone(), Arc::clone(&given_up.0));
        let written = blocking(move || write_stream(&stream, &path, &watch).map(|()| workspace)).await;
        let workspace: Workspace = step.ended(written)?;
        self.unpack(workspace.path(), FETCHED, "standard input").await
    }

    /// The directory that a vertex comes to, which is a layer of its own.
    async fn made(
        &self,
        graph: Graph,
        vertex: VertexId,
        contexts: Contexts,
        from: &str,
    ) -> Result<PathBuf, BuildError> {
        let Tools { store, client, events, sandboxing } = &self.tools;
        let workspace = store.workspace()?;
        let count = u32::try_from(graph.len()).expect("small graphs");
        let graph = Arc::new(graph);
        let networks = Networks::of_steps(Arc::clone(sandboxing), workspace.path().to_owned(), HOSTNAME);
        let executor = Arc::new(Executor {
            networks: StepNetworks::new(&graph, networks),
            known: LookUps {
                graph: Arc::clone(&graph),
                store: Arc::clone(store),
                contexts,
                imported: Arc::default(),
                lost: Arc::default(),
                listed: Mutex::default(),
                looks: Looks::default(),
                events: events.clone(),
                first_step: self.next.fetch_add(count, Ordering::Relaxed),
            },
            layers: layers(store, client, events),
            mounts: StepMounts::new(self.given.clone()),
            client: client.clone(),
            sandboxing: Arc::clone(sandboxing),
            explaining: None,
        });
        let solved = solve(&graph, &[vertex], &executor, 1, |_, _: &Output| ()).await;
        let solution = solved.map_err(|failed| BuildError::of_fetch(from, &executor, failed))?;
        let files = solution.output(vertex).and_then(Output::files).map(|files| files.layers.to_vec());
        let found = executor.layers.directories(&files.unwrap_or_default()).await;
        let found = found.map_err(|error| BuildError::fetch(from, error.into()))?;
        found.into_iter().next().ok_or(BuildError::NotHere)
    }
}

/// Set when nobody waits any more.
#[derive(Default)]
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Writes a stream to a file. A read that waits for more cannot be given up, so what is there is asked for first.
fn write_stream(stream: &Stream, path: &Path, given_up: &AtomicBool) -> Result<(), BuildError> {
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(MODE).open(path).at("create", path)?;
    file.write_all(&stream.beginning).at("write", path)?;
    let mut buffer = vec![0; 256 << 10];
    let timeout = Timespec::try_from(LOOK_AGAIN_AFTER).expect("a moment");
    loop {
        let mut asked = [PollFd::new(&*stream.rest, PollFlags::IN)];
        let ready = poll(&mut asked, Some(&timeout)).map_err(io::Error::from);
        if given_up.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::Interrupted)).at("read", "standard input")?;
        }
        match ready {
            Ok(0) => continue,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).at("wait for", "standard input")?,
        }
        match (&*stream.rest).read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => file.write_all(&buffer[..length]).at("write", path)?,
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error).at("read", "standard input")?,
        }
    }
}
