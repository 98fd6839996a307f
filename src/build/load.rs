//! What is read before anything is planned: the Dockerfile, and the context that it may lie in.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use super::contexts::{ContextSource, DockerfileSource};
use super::error::BuildError;
use super::fetch::{FETCHED, Fetched, Fetcher};
use super::memory::ContextMemories;
use super::steps::Steps;
use super::{NamedSource, Request};
use crate::context::{
    ContextError, Ignore, IgnoreFrom, LocalContext, Parents, SelectError, Selector, Source, Tree,
};
use crate::dockerfile::{Dockerfile, GitSource, GitTimes, is_builtin_frontend, parse, parse_builtin};
use crate::exec::Contexts;
use crate::graph::{GitOp, Graph, Op};
use crate::plan::{self, EPOCH_ARG, MAIN_CONTEXT};
use crate::store::Store;
use crate::sys::rooted::Irregular;
use crate::sys::{At, blocking};

/// The context of a build, whose files are at hand.
#[derive(Debug)]
pub struct Found {
    files: Files,
    beside: Beside,
}

/// Where the files of a context are now.
#[derive(Debug, Clone)]
pub(super) enum Files {
    Nothing,
    /// In somebody's directory, whose owners mean nothing to a build.
    Directory(PathBuf),
    /// In a directory of the store, with the owners that an archive gave them.
    Unpacked {
        directory: PathBuf,
        archive: String,
    },
}

/// Where an ignore file may lie that is the Dockerfile's own.
#[derive(Debug)]
enum Beside {
    Nowhere,
    /// Beside this file of the machine.
    Outside(PathBuf),
    /// Beside this file of the context.
    Inside(PathBuf),
}

/// The names of a Dockerfile that has not been named.
const USUAL: [&str; 2] = ["Dockerfile", "dockerfile"];

/// Whether the Dockerfile and the context can be read without a store.
pub fn is_at_hand(request: &Request) -> bool {
    request.context.is_at_hand() && request.dockerfile.is_at_hand()
}

/// Reads the Dockerfile, and fetches the context if it is elsewhere. Without somebody who fetches, only what is at hand is read.
pub(super) async fn load(
    request: &Request,
    fetcher: Option<&Fetcher>,
    steps: &Steps,
) -> Result<(Dockerfile, Found), BuildError> {
    let fetcher_of = || fetcher.ok_or(BuildError::NotHere);
    let headline = if let ContextSource::Git(source) = &request.context {
        format!("[internal] load git source {source}")
    } else {
        "[internal] load remote build context".to_owned()
    };
    let repository = |source: &GitSource| of_context(source, request);
    let files = match brought(&request.context, FETCHED, &headline, repository, fetcher, steps).await? {
        Brought::Files(files) => files,
        Brought::File(fetched) => {
            let url = request.context.to_string();
            return dockerfile_of_address(&url, &fetched.path(), request, steps);
        }
    };
    let (text, shown, beside) = match &request.dockerfile {
        DockerfileSource::Text { text, shown } => (Ok(text.to_vec()), shown.clone(), Beside::Nowhere),
        DockerfileSource::Url(url) => {
            let shown = plan::without_password(url);
            let fetched = fetcher_of()?.file(url, FETCHED, &format!("[internal] fetch {shown}")).await?;
            if fetched.is_archive()? {
                return Err(BuildError::ArchiveAsDockerfile { url: shown });
            }
            (read_bounded(&fetched.path()), shown, Beside::Nowhere)
        }
        DockerfileSource::Usual => match &files {
            Files::Unpacked { .. } => inside(&files, &USUAL.map(Path::new), request)?,
            Files::Nothing | Files::Directory(_) => outside(request, None)?,
        },
        DockerfileSource::Path(path) => match &files {
            Files::Unpacked { .. } if path.is_relative() => inside(&files, &[path], request)?,
            Files::Unpacked { .. } | Files::Nothing | Files::Directory(_) => outside(request, Some(path))?,
        },
    };
    let step = steps.start(&format!("[internal] load build definition from {shown}"));
    let file = step.ended(text.and_then(|text| parsed(text, &shown, request)))?;
    Ok((file, Found { files, beside }))
}

/// What the build's arguments say of the repository that is its context.
fn of_context(source: &GitSource, request: &Request) -> GitOp {
    let mut op = GitOp::from(source.clone());
    op.keep_git_dir |= request.wanted.keeps_git_dir();
    // Who wants the same image at any time wants the same files.
    let epoch = request.wanted.build_args.get(EPOCH_ARG);
    if source.modified.is_none() && epoch.is_some_and(|epoch| !epoch.is_empty()) {
        op.times = GitTimes::Commit;
    }
    op
}

/// What a context has come to.
enum Brought {
    Files(Files),
    /// What was at an address, and is no archive.
    File(Fetched),
}

/// Has the files of a context brought here, if they are not. What comes from an address is called `name`.
async fn brought(
    source: &ContextSource,
    name: &str,
    headline: &str,
    repository: impl Fn(&GitSource) -> GitOp,
    fetcher: Option<&Fetcher>,
    steps: &Steps,
) -> Result<Brought, BuildError> {
    let fetcher = || fetcher.ok_or(BuildError::NotHere);
    Ok(Brought::Files(match source {
        ContextSource::Nothing => Files::Nothing,
        ContextSource::Directory(path) => Files::Directory(path.clone()),
        ContextSource::Stream(stream) => fetcher()?.unpack_stream(stream, steps).await?,
        ContextSource::Url(url) => {
            let fetched = fetcher()?.file(url, name, headline).await?;
            if !fetched.is_archive()? {
                return Ok(Brought::File(fetched));
            }
            fetcher()?.unpack(&fetched.directory, name, &source.to_string()).await?
        }
        ContextSource::Git(git) => fetcher()?.repository(repository(git), headline, &git.to_string()).await?,
    }))
}

type Text = (Result<Vec<u8>, BuildError>, String, Beside);

/// A Dockerfile at the address that was to be the context: there are no other files then.
fn dockerfile_of_address(
    url: &str,
    path: &Path,
    request: &Request,
    steps: &Steps,
) -> Result<(Dockerfile, Found), BuildError> {
    if !matches!(request.dockerfile, DockerfileSource::Usual) {
        return Err(BuildError::TwoDockerfiles { context: url.to_owned() });
    }
    let step = steps.start(&format!("[internal] load build definition from {url}"));
    let file = step.ended(read_bounded(path).and_then(|text| parsed(text, url, request)))?;
    Ok((file, Found { files: Files::Nothing, beside: Beside::Nowhere }))
}

/// A Dockerfile of this machine.
fn outside(request: &Request, given: Option<&Path>) -> Result<Text, BuildError> {
    let directory = match &request.context {
        ContextSource::Directory(directory) => directory.clone(),
        ContextSource::Nothing | ContextSource::Stream(_) | ContextSource::Url(_) | ContextSource::Git(_) => {
            PathBuf::from(".")
        }
    };
    let names = match given {
        Some(path) => vec![(path.to_owned(), path.display().to_string())],
        None => USUAL.map(|name| (directory.join(name), name.to_owned())).into(),
    };
    match names.iter().find(|(path, _)| path.is_file()) {
        Some((path, shown)) => Ok((read_bounded(path), shown.clone(), Beside::Outside(path.clone()))),
        None if directory.is_dir() => Err(no_dockerfile(&names[0].0)),
        None if !directory.exists() => Err(ContextError::Missing { path: directory }.into()),
        None => Err(BuildError::NoContext { path: directory }),
    }
}

/// Says what there is in its place.
fn no_dockerfile(path: &Path) -> BuildError {
    let problem = match (path.metadata(), path.read_link()) {
        (Ok(metadata), _) => Irregular(FileType::from_raw_mode(metadata.mode())).is_what(),
        (Err(_), Ok(target)) => format!("is a link to {}, which is not there", target.display()),
        (Err(_), Err(_)) => return BuildError::NoDockerfile { path: path.to_owned() },
    };
    BuildError::NotADockerfileHere { path: path.to_owned(), problem }
}

/// A Dockerfile of a context that was unpacked.
fn inside(files: &Files, names: &[&Path], request: &Request) -> Result<Text, BuildError> {
    let tree = files.tree(IgnoreFrom::Given(Ignore::nothing()), Path::new("/"))?;
    let (mut near, mut problem) = (Vec::new(), None);
    for name in names {
        match Selector::literal(name).select(&tree) {
            Ok(found) => {
                let is_file = |found: &&Source<'_>| found.entry.metadata.kind == FileType::RegularFile;
                let Some(file) = found.iter().find(is_file) else {
                    let kind = found.first().map(|found| Irregular(found.entry.metadata.kind));
                    problem = problem.or(kind.map(|kind| ((*name).to_owned(), kind.is_what())));
                    continue;
                };
                let text = file.entry.open().map_err(BuildError::Input);
                let text = text.and_then(|file| read_all(file).at("read", *name).map_err(BuildError::Input));
                return Ok((text, name.display().to_string(), Beside::Inside((*name).to_owned())));
            }
            Err(SelectError::NotFound { nearest, .. }) => near.extend(nearest),
            Err(SelectError::Dangling { link, target }) if link == **name => {
                let said = format!("is a link to {}, which is not there", target.display());
                problem = problem.or(Some((link, said)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if let Some((path, problem)) = problem {
        let context = request.context.to_string();
        return Err(BuildError::NotADockerfile { path, context, problem });
    }
    if near.is_empty() {
        near = one_further_down(&tree, names[0]);
    }
    let is_outside = names[0].is_file();
    let context = request.context.to_string();
    Err(BuildError::NoDockerfileInside { path: names[0].to_owned(), context, near, is_outside })
}

/// Archives often have everything in one directory.
fn one_further_down(tree: &Tree, name: &Path) -> Vec<PathBuf> {
    let Some(name) = name.to_str() else { return Vec::new() };
    let Ok(selector) = Selector::parse(&format!("*/{name}"), None, Parents::Drop) else { return Vec::new() };
    let found = selector.select(tree).unwrap_or_default();
    found.into_iter().map(|found| found.path).take(3).collect()
}

fn parsed(text: Vec<u8>, shown: &str, request: &Request) -> Result<Dockerfile, BuildError> {
    let text = String::from_utf8(text).map_err(|_| BuildError::NotText { path: PathBuf::from(shown) })?;
    let frontend = request.wanted.build_args.get("BUILDKIT_SYNTAX").filter(|syntax| !syntax.is_empty());
    let parsed = match frontend {
        None => parse(shown, &text),
        Some(syntax) if is_builtin_frontend(syntax) => parse_builtin(shown, &text),
        Some(syntax) => return Err(BuildError::Frontend { name: syntax.clone() }),
    };
    parsed.map_err(|errors| BuildError::Dockerfile(Box::new(plan::look_further(errors, &request.wanted))))
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, BuildError> {
    File::open(path).and_then(read_all).at("read", path).map_err(BuildError::Input)
}

/// Reads a Dockerfile, which may be anything, even a device without end.
fn read_all(file: File) -> std::io::Result<Vec<u8>> {
    const LARGEST: u64 = 64 << 20;
    let mut text = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(std::io::Error::other("larger than the 64 MiB that a Dockerfile may have"));
    }
    Ok(text)
}

impl Found {
    /// What of the context counts as absent.
    pub fn ignore(&self) -> Result<Ignore, BuildError> {
        match &self.files {
            Files::Nothing => Ok(Ignore::nothing()),
            Files::Directory(_) | Files::Unpacked { .. } => Ok(self.tree(Path::new("/"))?.ignore().clone()),
        }
    }

    /// The context as a build sees it.
    fn tree(&self, empty: &Path) -> Result<Tree, BuildError> {
        let ignore = match &self.beside {
            Beside::Nowhere => IgnoreFrom::Files { dockerfile: None },
            Beside::Outside(path) => IgnoreFrom::Files { dockerfile: Some(path) },
            Beside::Inside(path) => IgnoreFrom::Inside { dockerfile: path },
        };
        self.files.tree(ignore, empty)
    }
}

impl Files {
    fn tree(&self, ignore: IgnoreFrom<'_>, empty: &Path) -> Result<Tree, BuildError> {
        Ok(match self {
            Self::Nothing => LocalContext::open_nothing(empty)?.into_tree(),
            Self::Directory(path) => LocalContext::open(path, ignore)?.into_tree(),
            Self::Unpacked { directory, archive } => {
                LocalContext::open_unpacked(directory, archive, ignore)?.into_tree()
            }
        })
    }
}

/// Opens the build context.
pub(super) async fn open(found: Found, store: &Store, steps: &Steps) -> Result<Tree, BuildError> {
    let step = steps.start("[internal] load build context");
    let empty = store.empty();
    step.ended(blocking(move || found.tree(&empty)).await)
}

/// Opens those of the named contexts that a graph has, beside the build context.
pub(super) async fn open_named(
    request: &Request,
    context: Tree,
    graph: &Graph,
    fetcher: Option<&Fetcher>,
    store: &Arc<Store>,
    steps: &Steps,
) -> Result<Contexts, BuildError> {
    let mut memories = ContextMemories::new(store);
    let mut contexts = Contexts::default();
    contexts.add(MAIN_CONTEXT, memories.remembering(context));
    let names =
        graph.iter().filter_map(|(_, it)| if let Op::Context(op) = &it.op { Some(&op.name) } else { None });
    for name in names.filter(|name| *name != MAIN_CONTEXT) {
        let Some(NamedSource::Files(source)) = request.contexts.get(name) else { continue };
        let tree = open_one(name, source, fetcher, store, steps).await;
        let tree =
            tree.map_err(|error| BuildError::NamedContext { name: name.clone(), error: Box::new(error) })?;
        contexts.add(name, memories.remembering(tree));
    }
    Ok(contexts)
}

async fn open_one(
    name: &str,
    source: &ContextSource,
    fetcher: Option<&Fetcher>,
    store: &Store,
    steps: &Steps,
) -> Result<Tree, BuildError> {
    let headline = format!("[context {name}] load");
    let file = if let ContextSource::Url(url) = source { plan::name_in_url(url) } else { FETCHED.to_owned() };
    let files = match brought(
        source,
        &file,
        &format!("{headline} {source}"),
        |source| GitOp::from(source.clone()),
        fetcher,
        steps,
    )
    .await?
    {
        Brought::Files(files) => files,
        // That file is all there is.
        Brought::File(fetched) => Files::Directory(fetched.directory),
    };
    let step = steps.start(&headline);
    let empty = store.empty();
    step.ended(blocking(move || files.tree(IgnoreFrom::Files { dockerfile: None }, &empty)).await)
}
