//! `--ssh`: an agent by its socket, or private keys that one is started for. Keys are read here, as the user and once.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::environment;
use super::private_key::{self, Unfit};
use super::report::{Code, Report};
use crate::exec::{AgentSource, PrivateKey, Secret};

const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";
/// What a mount asks for that names no id.
const DEFAULT: &str = "default";
/// As BuildKit's clients have it.
const LARGEST_KEY: u64 = 100 << 10;

/// An id and who answers for it.
pub(super) fn agent(text: &str) -> Result<(String, AgentSource), Report> {
    let (id, paths) = text.split_once('=').unwrap_or((text, ""));
    let id = if id.is_empty() { DEFAULT } else { id };
    let source = if paths.is_empty() { of_environment(text)? } else { named(text, id, paths)? };
    Ok((id.to_owned(), source))
}

fn of_environment(text: &str) -> Result<AgentSource, Report> {
    let Some(path) = environment::variable(AGENT_VARIABLE).map(PathBuf::from) else {
        let message = format!("--ssh {text}: no agent is known, because {AGENT_VARIABLE} is not set");
        return Err(Report::usage(message).hint(Some(
            "start one with `eval $(ssh-agent)` and `ssh-add`, or name its socket, or a file with a private key: \
             --ssh default=SOCKET, --ssh default=KEYFILE"
                .to_owned(),
        )));
    };
    if !is_socket(text, &path)? {
        let message = format!("--ssh {text}: {}, which {AGENT_VARIABLE} names, is no socket", path.display());
        return Err(
            Report::usage(message).hint(Some("a key is named itself: --ssh default=KEYFILE".to_owned()))
        );
    }
    Ok(AgentSource::Socket(absolute(path)))
}

fn named(text: &str, id: &str, paths: &str) -> Result<AgentSource, Report> {
    let (mut sockets, mut files) = (Vec::new(), Vec::new());
    for path in paths.split(',') {
        if path.is_empty() {
            return Err(Report::usage(format!("--ssh {text}: a name between the commas is missing")));
        }
        let path = PathBuf::from(path);
        if is_socket(text, &path)? { sockets.push(path) } else { files.push(path) }
    }
    match (sockets.pop(), files.is_empty(), sockets.is_empty()) {
        (Some(socket), true, true) => Ok(AgentSource::Socket(absolute(socket))),
        (Some(_), false, _) => {
            let message = format!("--ssh {text}: sockets and keys cannot be given for the same id");
            Err(Report::usage(message).hint(Some(
                "load the keys into the agent with `ssh-add FILE`, or give them by another id: --ssh ID=KEYFILE"
                    .to_owned(),
            )))
        }
        (Some(_), true, false) => {
            let message = format!("--ssh {text}: an id has one socket only");
            Err(Report::usage(message)
                .hint(Some("give the other one by another id: --ssh ID=SOCKET".to_owned())))
        }
        (None, _, _) => {
            let keys = files.into_iter().map(|file| key(text, id, file)).collect::<Result<_, _>>()?;
            Ok(AgentSource::Keys(keys))
        }
    }
}

fn key(text: &str, id: &str, file: PathBuf) -> Result<PrivateKey, Report> {
    let content = read(&file).map_err(|error| unreadable(text, &file, &error))?;
    let key = private_key::recognize(&content).map_err(|unfit| {
        let shown = file.display();
        let message = format!("--ssh {text}: {shown} {unfit}");
        Report::new(Code::Input, message).hint(Some(match unfit {
            Unfit::Public => {
                "name the file with the private key, which mostly has the same name without .pub".to_owned()
            }
            Unfit::Locked => format!(
                "nobody is asked for it; load the key into an agent, and give that: `ssh-add {shown}`, --ssh {id}"
            ),
            Unfit::Putty => format!("puttygen converts it: puttygen {shown} -O private-openssh -o KEYFILE"),
            Unfit::CutOff => format!("`ssh-keygen -y -f {shown}` shows whether a key is whole"),
            Unfit::NoKey => {
                "name a private key in a format of OpenSSH's or in PEM, or the socket of an agent".to_owned()
            }
        }))
    })?;
    Ok(PrivateKey { file, text: Secret::new(key) })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(LARGEST_KEY + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST_KEY {
        return Err(io::Error::other("larger than the 100 KiB that a key may have"));
    }
    Ok(content)
}

fn is_socket(text: &str, path: &Path) -> Result<bool, Report> {
    let found = std::fs::metadata(path).map_err(|error| unreadable(text, path, &error))?;
    Ok(found.file_type().is_socket())
}

fn unreadable(text: &str, path: &Path, error: &io::Error) -> Report {
    Report::new(Code::Input, format!("--ssh {text}: {}: {error}", path.display())).hint(Some(
        "what is named is the socket of an agent, or a private key that you may read: --ssh ID=SOCKET, --ssh ID=KEYFILE"
            .to_owned(),
    ))
}

/// Others look from other directories.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
