//! The environment and the files of the user, read once and handed down as values.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Global;
use super::quantity::Bytes;
use super::report::{Code, Report};
use crate::registry::{Proxies, Secret, Settings};
use crate::sandbox::{self, Entered, Host};
use crate::store::Store;

/// How long threads may take to notice that what they do has failed.
const PATIENCE: Duration = Duration::from_secs(3);

/// A process that has moved into its namespace and opened the store.
#[derive(Debug)]
pub(super) struct Session {
    pub store: Arc<Store>,
    pub entered: Entered,
    pub settings: Settings,
}

/// Moves this process, which has one thread, into a namespace and opens the store there.
pub(super) fn enter(global: &Global) -> Result<Session, Report> {
    // The files of the user are read as the user.
    let settings = registry_settings(global)?;
    let (root, entered) = enter_namespace(global)?;
    let store = Arc::new(Store::ensure(&root).map_err(Report::from)?);
    Ok(Session { store, entered, settings })
}

/// Moves this process, which has one thread, into a namespace and opens a store that is there already.
pub(super) fn enter_store(global: &Global) -> Result<Store, Report> {
    let root = enter_root(global)?;
    Store::ensure(&root).map_err(Report::from)
}

/// As [`enter_store`], before the store is opened.
pub(super) fn enter_root(global: &Global) -> Result<PathBuf, Report> {
    let root = store_root(global)?;
    if !root.join("records").is_dir() {
        let message = format!("there is no store at {}", root.display());
        return Err(Report::new(Code::Store, message)
            .hint(Some("builds make one; --root or RBUILD_ROOT names another place".to_owned())));
    }
    Ok(enter_namespace(global)?.0)
}

/// How large a build may leave the store, if the environment says so.
pub(super) fn max_used_space() -> Result<Option<Bytes>, Report> {
    let name = "RBUILD_MAX_USED_SPACE";
    let said = text(name).filter(|said| !said.is_empty());
    said.map(|said| said.parse().map_err(|why| Report::usage(format!("{name}: {why}")))).transpose()
}

/// Waits, though not for long, for threads that still write into the store: work that failed does not wait for what went on
/// beside it, and what that leaves is removed when the last of it lets go of the store.
pub(super) fn wait_for_the_rest(store: &Arc<Store>) {
    let until = Instant::now() + PATIENCE;
    while Arc::strong_count(store) > 1 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Opens the store without a namespace, for what looks at records and blobs alone. Snapshots mean nothing to it.
pub(super) fn open(global: &Global) -> Result<Arc<Store>, Report> {
    Ok(Arc::new(Store::ensure(&store_root(global)?).map_err(Report::from)?))
}

/// Moves this process, which has one thread, into a namespace; says where the store is, or would be.
pub(super) fn enter_namespace(global: &Global) -> Result<(PathBuf, Entered), Report> {
    let root = store_root(global)?;
    let entered = with_host(|host| sandbox::enter(host, global.isolation)).map_err(Report::from)?;
    Ok((root, entered))
}

/// Runs something that has to know who the user is and where programs are.
pub(super) fn with_host<T>(work: impl FnOnce(&Host<'_>) -> T) -> T {
    let (uid, gid) = (own_id(), rustix::process::getgid().as_raw());
    let user = user_name(uid);
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    work(&Host { search_path: &search_path, user: &user, uid, gid })
}

fn own_id() -> u32 {
    rustix::process::getuid().as_raw()
}

pub(super) fn store_root(global: &Global) -> Result<PathBuf, Report> {
    let given = global.root.clone().or_else(|| variable("RBUILD_ROOT").map(PathBuf::from));
    let root = match given {
        Some(root) => root,
        None if own_id() == 0 => PathBuf::from("/var/lib/rbuild"),
        None => {
            let data = variable("XDG_DATA_HOME").map(PathBuf::from);
            let data = data.or_else(|| home().map(|home| home.join(".local/share")));
            data.ok_or_else(|| {
                Report::usage("there is no home directory to keep images in: set --root or RBUILD_ROOT")
            })?
            .join("rbuild")
        }
    };
    // Overlays and sandboxes look from other directories.
    std::path::absolute(&root).map_err(|error| Report::usage(format!("{}: {error}", root.display())))
}

pub(super) fn registry_settings(global: &Global) -> Result<Settings, Report> {
    let uid = own_id();
    let mut settings = Settings::default();
    for path in registries_files(global) {
        if let Some(text) = read_if_there(&path)? {
            settings.registries.add(&path, &text).map_err(Report::usage)?;
        }
    }
    for path in auth_files(uid) {
        if let Some(text) = read_if_there(&path)? {
            settings.credentials.add(&path, &text).map_err(Report::usage)?;
        }
    }
    let proxy =
        |upper: &str, lower: &str| text(upper).or_else(|| text(lower)).filter(|value| !value.is_empty());
    settings.proxies = Proxies {
        http: proxy("http_proxy", "HTTP_PROXY").map(Secret::new),
        https: proxy("HTTPS_PROXY", "https_proxy").map(Secret::new),
        no_proxy: proxy("NO_PROXY", "no_proxy"),
    };
    settings.trust.file = variable("SSL_CERT_FILE").map(PathBuf::from);
    settings.trust.directory = variable("SSL_CERT_DIR").map(PathBuf::from);
    Ok(settings)
}

/// Later ones win.
fn registries_files(global: &Global) -> Vec<PathBuf> {
    if let Some(file) = &global.registries_conf {
        return vec![file.clone()];
    }
    if let Some(file) = variable("CONTAINERS_REGISTRIES_CONF") {
        return vec![PathBuf::from(file)];
    }
    let mut files = vec![PathBuf::from("/etc/containers/registries.conf")];
    files.extend(fragments(Path::new("/etc/containers/registries.conf.d")));
    if let Some(config) = config_home() {
        files.push(config.join("containers/registries.conf"));
        files.extend(fragments(&config.join("containers/registries.conf.d")));
    }
    files
}

/// The `*.conf` files of a directory, in order of their names.
fn fragments(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    files
}

/// Earlier ones win.
fn auth_files(uid: u32) -> Vec<PathBuf> {
    if let Some(file) = variable("REGISTRY_AUTH_FILE") {
        return vec![PathBuf::from(file)];
    }
    let mut files = Vec::new();
    let runtime =
        variable("XDG_RUNTIME_DIR").map_or_else(|| PathBuf::from(format!("/run/user/{uid}")), PathBuf::from);
    files.push(runtime.join("containers/auth.json"));
    files.extend(config_home().map(|config| config.join("containers/auth.json")));
    let docker =
        variable("DOCKER_CONFIG").map(PathBuf::from).or_else(|| home().map(|home| home.join(".docker")));
    files.extend(docker.map(|docker| docker.join("config.json")));
    files
}

fn read_if_there(path: &Path) -> Result<Option<String>, Report> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Report::usage(format!("cannot read {}: {error}", path.display()))),
    }
}

fn config_home() -> Option<PathBuf> {
    variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| home().map(|home| home.join(".config")))
}

fn home() -> Option<PathBuf> {
    variable("HOME").map(PathBuf::from)
}

/// The user's name, as /etc/subuid has it.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = passwd.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()));
    let name = entry.and_then(|line| line.split(':').next()).map(str::to_owned);
    name.or_else(|| text("USER")).unwrap_or_else(|| uid.to_string())
}

pub(super) fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

pub(super) fn text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
