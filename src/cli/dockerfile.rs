//! `--file`: where the Dockerfile is. What can be read just once (standard input, a pipe, a device) is read here, to its end,
//! because a Dockerfile is looked at more than once.

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal as _, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use super::report::{Code, Report};
use crate::build::{ContextSource, DockerfileSource};
use crate::dockerfile::Remote;

pub(super) const STDIN: &str = "-";
/// As messages name it.
pub(super) const STDIN_SHOWN: &str = "standard input";
/// As much as any Dockerfile may have.
const LARGEST_TEXT: u64 = 64 << 20;

/// What `--file` names, beside a context.
pub(super) fn dockerfile(file: Option<PathBuf>, context: &ContextSource) -> Result<DockerfileSource, Report> {
    let Some(path) = file else { return Ok(DockerfileSource::Usual) };
    match path.to_str() {
        Some(STDIN) => return text(Vec::new(), stdin_file()?, STDIN_SHOWN),
        Some(named) => match Remote::of(named) {
            Some(Remote::Url) => return Ok(DockerfileSource::Url(named.to_owned())),
            Some(Remote::Git) => {
                return Err(Report::usage(format!(
                    "--file {named}: a Dockerfile is not taken out of a git repository by itself"
                ))
                .hint(Some("give the repository as the context, and --file as a path in it".to_owned())));
            }
            None => {}
        },
        None => {}
    }
    let is_here = match context {
        ContextSource::Directory(_) | ContextSource::Nothing => true,
        ContextSource::Stream(_) | ContextSource::Url(_) | ContextSource::Git(_) => path.is_absolute(),
    };
    let stream = if is_here { read_once(&path)? } else { None };
    match stream {
        Some(rest) => text(Vec::new(), rest, &path.display().to_string()),
        None => Ok(DockerfileSource::Path(path)),
    }
}

/// Whether a path is another name of standard input, such as `/dev/stdin`.
pub(super) fn is_stdin(path: &Path) -> bool {
    path == Path::new(STDIN) || path.metadata().is_ok_and(|metadata| is_same_as_stdin(&metadata))
}

fn is_same_as_stdin(metadata: &Metadata) -> bool {
    let stdin = rustix::fs::fstat(io::stdin());
    stdin.is_ok_and(|stdin| (stdin.st_dev, stdin.st_ino) == (metadata.dev(), metadata.ino()))
}

/// What can be read but once, and only from its beginning to its end; none of what is a file, or nothing at all. It may take
/// as long as somebody takes to write.
fn read_once(path: &Path) -> Result<Option<File>, Report> {
    let Ok(metadata) = path.metadata() else { return Ok(None) };
    let kind = metadata.file_type();
    let is_stdin = is_same_as_stdin(&metadata);
    // No socket can be opened by a path, but one may stand on standard input.
    let is_readable_socket = kind.is_socket() && is_stdin;
    if !(kind.is_fifo() || kind.is_char_device() || kind.is_block_device() || is_readable_socket) {
        return Ok(None);
    }
    let shown = path.display().to_string();
    let opened = if is_stdin {
        stdin_file()?
    } else {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        let opened = rustix::fs::open(path, flags, Mode::empty());
        File::from(opened.map_err(|error| unreadable(&shown, &error.into()))?)
    };
    if opened.is_terminal() {
        return Err(Report::new(Code::Input, format!("{shown} is a terminal, and no Dockerfile"))
            .hint(Some("to type one, give --file - and end it with Ctrl-D".to_owned())));
    }
    Ok(Some(opened))
}

pub(super) fn stdin_file() -> Result<File, Report> {
    let file = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    file.map_err(|error| unreadable(STDIN_SHOWN, &error))
}

/// All of a Dockerfile of which the beginning has been read.
pub(super) fn text(mut text: Vec<u8>, rest: File, shown: &str) -> Result<DockerfileSource, Report> {
    rest.take(LARGEST_TEXT + 1).read_to_end(&mut text).map_err(|error| unreadable(shown, &error))?;
    if text.is_empty() {
        return Err(empty(shown).hint(Some("a Dockerfile is expected there".to_owned())));
    }
    if text.len() as u64 > LARGEST_TEXT {
        let message = format!("{shown} is larger than the 64 MiB that a Dockerfile may have");
        return Err(Report::new(Code::Input, message));
    }
    Ok(DockerfileSource::Text { text: Arc::from(text), shown: shown.to_owned() })
}

pub(super) fn empty(shown: &str) -> Report {
    Report::new(Code::Input, format!("{shown} is empty"))
}

pub(super) fn unreadable(shown: &str, error: &io::Error) -> Report {
    Report::new(Code::Input, format!("cannot read {shown}: {error}"))
}
