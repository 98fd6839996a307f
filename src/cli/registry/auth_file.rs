//! Auth files: which are read, which one `login` writes to, and writing one.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::AccessArgs;
use crate::cli::environment::{config_home, home, own_id, read_if_there, variable};
use crate::cli::report::{Code, Report};
use crate::registry::AuthDocument;

/// Earlier ones win.
pub(in crate::cli) fn read_in_turn(args: &AccessArgs) -> Vec<PathBuf> {
    match named(args) {
        Some(file) => vec![file],
        None => podman_files().into_iter().chain(docker_file()).collect(),
    }
}

/// The one that a login is written to, so that every command finds it, and whatever else the user has: where it is
/// already, else podman's file if podman's are in use, else docker's.
pub(in crate::cli) fn written(args: &AccessArgs, key: &str) -> Result<PathBuf, Report> {
    if let Some(file) = named(args) {
        return Ok(file);
    }
    for file in read_in_turn(args) {
        if document(&file)?.has_entry(key) {
            return Ok(file);
        }
    }
    let in_use = podman_files().into_iter().find(|file| file.exists());
    in_use.or_else(docker_file).ok_or_else(|| {
        let hint = "name one with --authfile or REGISTRY_AUTH_FILE".to_owned();
        Report::usage("there is no home directory to keep logins in").hint(Some(hint))
    })
}

/// What a file says now; a file that is not there says nothing.
pub(in crate::cli) fn document(path: &Path) -> Result<AuthDocument, Report> {
    AuthDocument::parse(path, &read_if_there(path)?.unwrap_or_default()).map_err(Report::usage)
}

/// Changes a file, or makes it. Whoever else does the same at the same time waits; whoever reads sees the file before or
/// after it.
pub(in crate::cli) fn change<T>(
    path: &Path,
    change: impl FnOnce(&mut AuthDocument) -> Result<T, Report>,
) -> Result<T, Report> {
    // What a link leads to is replaced, not the link.
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |what: &str, error: std::io::Error| {
        Report::new(Code::Registry, format!("cannot {what} the auth file {}: {error}", path.display()))
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_directory(directory).map_err(|error| failed("make a directory for", error))?;
    let lock = File::open(directory).map_err(|error| failed("open", error))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| failed("lock", error.into()))?;
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed("read", error)),
    };
    let mut document = AuthDocument::parse(&path, &text).map_err(Report::usage)?;
    let result = change(&mut document)?;
    replace(&path, document.text().as_bytes()).map_err(|error| failed("write", error))?;
    Ok(result)
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = (|| {
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Directories that are made for secrets are their owner's alone.
fn make_directory(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn named(args: &AccessArgs) -> Option<PathBuf> {
    args.authfile.clone().or_else(|| variable("REGISTRY_AUTH_FILE").map(PathBuf::from))
}

fn podman_files() -> Vec<PathBuf> {
    let runtime = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.unwrap_or_else(|| PathBuf::from(format!("/run/user/{}", own_id())));
    let mut files = vec![runtime.join("containers/auth.json")];
    files.extend(config_home().map(|config| config.join("containers/auth.json")));
    files
}

fn docker_file() -> Option<PathBuf> {
    let docker = variable("DOCKER_CONFIG").map(PathBuf::from);
    let docker = docker.or_else(|| home().map(|home| home.join(".docker")));
    docker.map(|docker| docker.join("config.json"))
}
