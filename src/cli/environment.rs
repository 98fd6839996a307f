//! The environment and the files of the user, read once and handed down as values.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Global;
use super::quantity::Bytes;
use super::report::{Code, Report};
use crate::exec::Surroundings;
use crate::registry::Settings;
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

/// Moves this process, which has one thread, into a namespace and opens the store there. The files of the user, which
/// the settings come from, have been read as the user.
pub(super) fn enter(global: &Global, settings: Settings) -> Result<Session, Report> {
    let foresight = foresight(global);
    let (root, entered) = enter_namespace(global)?;
    let store = Store::ensure(&root).map_err(Report::from)?;
    // For its own sake nobody needs it.
    let _ = store.leave_word(&foresight);
    Ok(Session { store: Arc::new(store), entered, settings })
}

/// The store as this process would see it if it had moved, if that is known; to be looked into only.
pub(super) fn foresee(global: &Global) -> Option<Arc<Store>> {
    let store = Store::foreseen(&store_root(global).ok()?, &foresight(global));
    store.ok().flatten().map(Arc::new)
}

fn foresight(global: &Global) -> String {
    with_host(|host| sandbox::foresight(host, global.isolation))
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

pub(super) fn own_id() -> u32 {
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

pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, Report> {
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

pub(super) fn config_home() -> Option<PathBuf> {
    variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| home().map(|home| home.join(".config")))
}

pub(super) fn home() -> Option<PathBuf> {
    variable("HOME").map(PathBuf::from)
}

/// What git gets to know of this machine: nothing that would make it do something else than others see it do.
pub(super) fn surroundings() -> Surroundings {
    const AS_THEY_ARE: [&str; 9] = [
        "PATH",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    ];
    // What other programs have been told of authorities holds for git, too.
    const AUTHORITIES: [(&str, &str); 2] =
        [("SSL_CERT_FILE", "GIT_SSL_CAINFO"), ("SSL_CERT_DIR", "GIT_SSL_CAPATH")];
    let names = AS_THEY_ARE.into_iter().map(|name| (name, name)).chain(AUTHORITIES);
    let known_hosts = home().map(|home| home.join(".ssh"));
    let known_hosts = ["known_hosts", "known_hosts2"].map(|name| Some(known_hosts.as_ref()?.join(name)));
    Surroundings {
        user: user_name(own_id()),
        variables: names
            .filter_map(|(name, as_what)| Some((as_what, variable(name)?)))
            .map(absolute)
            .collect(),
        known_hosts: known_hosts.into_iter().flatten().filter(|path| path.is_file()).collect(),
    }
}

/// Git is started in another directory than this program was: files that are named from there are named from the root.
fn absolute((name, value): (&'static str, OsString)) -> (&'static str, OsString) {
    let is_file = matches!(name, "GIT_SSL_CAINFO" | "GIT_SSL_CAPATH");
    let path = is_file.then(|| std::path::absolute(&value).ok()).flatten();
    (name, path.map_or(value, PathBuf::into_os_string))
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

/// A variable that may be no text; none also for what is no name of a variable.
pub(super) fn bytes(name: &str) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt as _;
    if name.is_empty() || name.contains(['=', '\0']) {
        return None;
    }
    Some(std::env::var_os(name)?.into_vec())
}
