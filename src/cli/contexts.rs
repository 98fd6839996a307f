//! Contexts and the Dockerfile as the command line names them: directories, standard input, addresses, images.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::dockerfile::{self, STDIN, STDIN_SHOWN, is_stdin};
use super::report::Report;
use crate::build::{ContextSource, DockerfileSource, LayoutImage, NamedSource, Stream};
use crate::dockerfile::{GitSource, nearest, without_logins};
use crate::image::{Digest, Reference};
use crate::layer::is_archive;

/// What stands before `://`, and what it means is made out of the rest.
const SCHEMES: [&str; 8] = ["docker-image", "oci-layout", "http", "https", "git", "ssh", "target", "input"];

/// `NAME=VALUE` of `--build-context`.
#[derive(Debug, Clone)]
pub(super) struct BuildContext {
    name: String,
    source: NamedSource,
}

impl FromStr for BuildContext {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            format!("{text:?} has no name: write NAME=VALUE, such as src=../sources or alpine=docker-image://alpine:3.20")
        })?;
        if value.is_empty() {
            return Err(format!("the context {name} has no value: write {name}=DIRECTORY or another place"));
        }
        if value == STDIN {
            return Err(format!(
                "{name}=-: standard input can only be the context itself, or the Dockerfile"
            ));
        }
        if matches!(name.to_ascii_lowercase().as_str(), "scratch" | "context") {
            return Err(format!("no context can be called {name}: that name always means something else"));
        }
        // Stages have names in lower case, and images, too.
        name.parse::<Reference>().map_err(|error| format!("{name:?} cannot name a context: {error}"))?;
        Ok(Self { name: name.to_owned(), source: named_source(value)? })
    }
}

/// Each name once, however it is written; what is given last under a name counts.
pub(super) fn named(given: Vec<BuildContext>) -> Result<BTreeMap<String, NamedSource>, Report> {
    let mut named: BTreeMap<String, NamedSource> = BTreeMap::new();
    let normal = |name: &str| name.parse::<Reference>().ok();
    for BuildContext { name, source } in given {
        let is_other = |known: &&String| **known != name && normal(known) == normal(&name);
        if let Some(known) = named.keys().find(is_other) {
            let message = format!("--build-context {name} and --build-context {known} name the same image");
            return Err(Report::usage(message).hint(Some("leave one of them out".to_owned())));
        }
        named.insert(name, source);
    }
    Ok(named)
}

fn named_source(value: &str) -> Result<NamedSource, String> {
    let Some((scheme, rest)) = value.split_once("://") else {
        for prefix in ["target:", "input:"] {
            let Some(target) = value.strip_prefix(prefix) else { continue };
            return Err(of_bake(prefix, target));
        }
        return Ok(NamedSource::Files(files(value).map_err(|refusal| refusal.0)?));
    };
    match scheme {
        "docker-image" if rest == "scratch" => Ok(NamedSource::Files(ContextSource::Nothing)),
        "docker-image" => {
            rest.parse().map(NamedSource::Image).map_err(|error| format!("docker-image://{rest}: {error}"))
        }
        "oci-layout" => layout(rest).map(NamedSource::Layout),
        "target" | "input" => Err(of_bake(&format!("{scheme}://"), rest)),
        _ => Ok(NamedSource::Files(files(value).map_err(|refusal| refusal.0)?)),
    }
}

fn of_bake(prefix: &str, rest: &str) -> String {
    format!(
        "{prefix}{rest} is not supported: only bake knows other targets; build {rest:?} with -t and name it as docker-image://"
    )
}

/// `path[:tag][@digest]`
fn layout(text: &str) -> Result<LayoutImage, String> {
    let (place, digest) = match text.split_once('@') {
        Some((place, digest)) => {
            let wrong = |error| format!("oci-layout://{text}: {error}");
            (place, Some(digest.parse::<Digest>().map_err(wrong)?))
        }
        None => (text, None),
    };
    let (directory, tag) = match place.rsplit_once(':') {
        Some((directory, tag)) if !tag.contains('/') => (directory, Some(tag.to_owned())),
        Some(_) | None => (place, None),
    };
    if directory.is_empty() || tag.as_deref() == Some("") {
        return Err(format!("oci-layout://{text}: write oci-layout://DIRECTORY[:TAG][@DIGEST]"));
    }
    Ok(LayoutImage { directory: PathBuf::from(directory), tag, digest })
}

/// Why something is no place of files.
struct Refusal(String);

fn files(text: &str) -> Result<ContextSource, Refusal> {
    if Path::new(text).is_dir() {
        return Ok(ContextSource::Directory(PathBuf::from(text)));
    }
    if let Some(source) = GitSource::parse_context(text) {
        let source = source.map_err(|error| Refusal(format!("{}: {error}", without_logins(text))))?;
        return Ok(ContextSource::Git(Box::new(source)));
    }
    match text.split_once("://") {
        Some(("http" | "https", _)) => Ok(ContextSource::Url(text.to_owned())),
        Some((scheme @ ("docker-image" | "oci-layout"), _)) => Err(Refusal(format!(
            "{scheme}:// cannot be the context itself: give it a name with --build-context NAME={text}"
        ))),
        Some((scheme, _)) => {
            let near = nearest(scheme, SCHEMES).map(|near| format!(" (did you mean {near}://?)"));
            Err(Refusal(format!("nothing is known about {scheme}://{}: {text}", near.unwrap_or_default())))
        }
        None => Ok(ContextSource::Directory(PathBuf::from(text))),
    }
}

/// The context and the Dockerfile. Of standard input as much is read as tells what it is, and all of it if it is a Dockerfile.
pub(super) fn main_source(
    context: &Path,
    file: Option<PathBuf>,
) -> Result<(ContextSource, DockerfileSource), Report> {
    if context != Path::new(STDIN) {
        let files = match context.to_str() {
            Some(text) => files(text).map_err(|refusal| Report::usage(refusal.0))?,
            None => ContextSource::Directory(context.to_owned()),
        };
        let dockerfile = dockerfile::dockerfile(file, &files)?;
        return Ok((files, dockerfile));
    }
    if file.as_deref().is_some_and(is_stdin) {
        let message = "standard input cannot be the context and the Dockerfile at once";
        return Err(Report::usage(message).hint(Some(
            "with `-` alone it is either of them: what is no archive is a Dockerfile".to_owned(),
        )));
    }
    let mut stdin = dockerfile::stdin_file()?;
    let mut beginning = Vec::new();
    let read = stdin.by_ref().take(Stream::BEGINNING as u64).read_to_end(&mut beginning);
    read.map_err(|error| dockerfile::unreadable(STDIN_SHOWN, &error))?;
    if is_archive(&beginning) {
        let (beginning, rest) = (Arc::from(beginning), Arc::new(stdin));
        let context = ContextSource::Stream(Stream { beginning, rest });
        let dockerfile = dockerfile::dockerfile(file, &context)?;
        return Ok((context, dockerfile));
    }
    if beginning.is_empty() {
        let hint = "a Dockerfile or an archive is expected there".to_owned();
        return Err(dockerfile::empty(STDIN_SHOWN).hint(Some(hint)));
    }
    if file.is_some() {
        let message = "standard input is no archive, so it is the Dockerfile, and --file names another one";
        return Err(Report::usage(message));
    }
    Ok((ContextSource::Nothing, dockerfile::text(beginning, stdin, STDIN_SHOWN)?))
}
