//! Devices of the host for commands, as vendors describe them there (CDI: the Container Device Interface).
//!
//! A description is a JSON file `{kind, devices: [{name, containerEdits}], containerEdits}`; a device is called
//! `kind=name`. What an edit asks for that is not done is refused by name: a device that half works is worse than none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::mounts::Prepared;
use crate::graph::joined;
use crate::sandbox::{HostMount, HostOption, Mount, MountPointKind, Mounted};
use crate::sys::rooted::{Irregular, Root};
use crate::sys::{At, IoError};

/// A longer description is none.
const LARGEST: u64 = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("{}: {reason}", .path.display())]
    Description { path: PathBuf, reason: String },
    #[error("{} is YAML, of which descriptions of devices are not read", .path.display())]
    Yaml { path: PathBuf },
    #[error("device {name} is described twice: in {} and in {}", .one.display(), .other.display())]
    Twice { name: String, one: PathBuf, other: PathBuf },
    #[error("device {name} asks for {what}, which is not supported")]
    Unsupported { name: String, what: String },
    #[error("device {name} asks for {}: {error}", .path.display())]
    Missing { name: String, path: PathBuf, error: std::io::Error },
    #[error("device {name} says that {} is a device, which it is not", .path.display())]
    NoDevice { name: String, path: PathBuf },
    #[error("device name {name:?} is not of the form vendor/class=device")]
    Name { name: String },
    #[error(transparent)]
    Io(#[from] IoError),
}

impl DeviceError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Yaml { .. } => {
                Some("have it written as JSON, such as by `nvidia-ctk cdi generate --format=json`".to_owned())
            }
            Self::Name { .. } => Some("vendor/class=* means all, vendor/class the first of them".to_owned()),
            Self::Description { .. }
            | Self::Twice { .. }
            | Self::Unsupported { .. }
            | Self::Missing { .. }
            | Self::NoDevice { .. }
            | Self::Io(_) => None,
        }
    }
}

#[derive(Deserialize)]
struct Description {
    #[serde(rename = "cdiVersion")]
    version: String,
    kind: String,
    devices: Vec<Described>,
    #[serde(rename = "containerEdits", default)]
    edits: Edits,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    #[serde(rename = "containerEdits", default)]
    edits: Edits,
}

/// What is to be different in a container with the device.
#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "camelCase")]
struct Edits {
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    device_nodes: Vec<Node>,
    #[serde(default)]
    mounts: Vec<Files>,
    /// What is not done.
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: String,
    host_path: Option<PathBuf>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Files {
    host_path: PathBuf,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// What one device, or its description as a whole, asks for.
pub(super) struct Edit {
    name: String,
    edits: Edits,
}

/// What the devices that a name means ask for; nothing if there are none.
pub(super) fn find(directories: &[PathBuf], name: &str) -> Result<Vec<Edit>, DeviceError> {
    let wrong = || DeviceError::Name { name: name.to_owned() };
    let (kind, wanted) = match name.split_once('=') {
        Some((kind, wanted)) => (kind, Some(wanted)),
        None => (name, None),
    };
    if !kind.split_once('/').is_some_and(|(vendor, class)| !vendor.is_empty() && !class.is_empty()) {
        return Err(wrong());
    }
    let known = known(directories, kind)?;
    let chosen: Vec<_> = match wanted {
        Some("") => return Err(wrong()),
        Some("*") => known.iter().collect(),
        Some(wanted) => known.get_key_value(wanted).into_iter().collect(),
        None => known.iter().take(1).collect(),
    };
    let mut edits: Vec<Edit> = Vec::new();
    let mut described: Vec<&Path> = Vec::new();
    for (name, Found { path, of_all, own }) in chosen {
        let name = format!("{kind}={name}");
        if !described.contains(&&**path) {
            described.push(path);
            edits.push(Edit { name: name.clone(), edits: of_all.clone() });
        }
        edits.push(Edit { name, edits: own.clone() });
    }
    Ok(edits)
}

struct Found {
    path: PathBuf,
    of_all: Edits,
    own: Edits,
}

/// The devices of a kind. Later directories count more; in one a device may be described once.
fn known(directories: &[PathBuf], kind: &str) -> Result<BTreeMap<String, Found>, DeviceError> {
    let mut known: BTreeMap<String, Found> = BTreeMap::new();
    for directory in directories {
        for path in descriptions(directory)? {
            let Some(description) = read(&path, kind)? else { continue };
            for device in description.devices {
                let found =
                    Found { path: path.clone(), of_all: description.edits.clone(), own: device.edits };
                let before = known.insert(device.name.clone(), found);
                if let Some(before) = before.filter(|before| before.path.parent() == path.parent()) {
                    let name = format!("{kind}={}", device.name);
                    return Err(DeviceError::Twice { name, one: before.path, other: path });
                }
            }
        }
    }
    Ok(known)
}

fn descriptions(directory: &Path) -> Result<Vec<PathBuf>, IoError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        answer => answer.at("read directory", directory)?,
    };
    let is_one = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|known| extension == *known))
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_one).collect();
    paths.sort_unstable();
    Ok(paths)
}

/// A description, if it is of that kind.
fn read(path: &Path, kind: &str) -> Result<Option<Description>, DeviceError> {
    use std::io::Read as _;
    let directory = Root::open(path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().unwrap_or_default();
    let refuse = |reason: &str| DeviceError::Description { path: path.to_owned(), reason: reason.to_owned() };
    let file = match directory.open_file(Path::new(name)) {
        Err(error) if Irregular::of(&error).is_some() => return Err(refuse("is no regular file")),
        answer => answer?,
    };
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).at("read", path)?;
    if path.extension().is_some_and(|extension| extension != "json") {
        // Those of other vendors do not matter.
        let is_it = text.lines().any(|line| {
            line.strip_prefix("kind:").is_some_and(|it| it.trim().trim_matches(['"', '\'']) == kind)
        });
        return if is_it { Err(DeviceError::Yaml { path: path.to_owned() }) } else { Ok(None) };
    }
    let description: Description = serde_json::from_str(&text)
        .map_err(|error| refuse(&format!("is no description of devices: {error}")))?;
    if description.kind != kind {
        return Ok(None);
    }
    if !is_known(&description.version) {
        return Err(refuse(&format!("is of a version that is not known: {}", description.version)));
    }
    if let Some(device) = description.devices.iter().find(|device| device.edits.is_empty()) {
        return Err(refuse(&format!("says nothing of the device {}", device.name)));
    }
    let edits = description.devices.iter().map(|device| &device.edits).chain([&description.edits]);
    let is_wrong = |variable: &&String| variable.find('=').is_none_or(|at| at == 0);
    let wrong = edits.flat_map(|edits| &edits.env).find(is_wrong);
    if let Some(wrong) = wrong {
        return Err(refuse(&format!("has a variable that is not NAME=VALUE: {wrong:?}")));
    }
    Ok(Some(description))
}

/// Versions up to 1.1, which have no other edits than those below.
fn is_known(version: &str) -> bool {
    let numbers: Option<Vec<u32>> = version.split('.').map(|number| number.parse().ok()).collect();
    matches!(numbers.as_deref(), Some([0, 3..=8, _] | [1, 0..=1, _]))
}

impl Edits {
    fn is_empty(&self) -> bool {
        let Self { env, device_nodes, mounts, others } = self;
        env.is_empty() && device_nodes.is_empty() && mounts.is_empty() && others.is_empty()
    }
}

impl Edit {
    pub(super) fn apply(self, to: &mut Prepared) -> Result<(), DeviceError> {
        let Self { name, edits: Edits { env, device_nodes, mounts, others } } = self;
        let unsupported = |what: &str| DeviceError::Unsupported { name: name.clone(), what: what.to_owned() };
        let is_empty = |value: &Value| value.is_null() || *value == Value::Array(Vec::new());
        if let Some((what, _)) = others.iter().find(|(_, value)| !is_empty(value)) {
            return Err(unsupported(what));
        }
        to.variables.extend(env);
        for Node { path, host_path } in device_nodes {
            let of_host = host_path.unwrap_or_else(|| path.clone().into());
            let options = vec![HostOption::NoSetuid, HostOption::NoExecution];
            let node = shown(&name, path, &of_host, options)?;
            if !is_device(&of_host) {
                return Err(DeviceError::NoDevice { name, path: of_host });
            }
            to.mounts.mounts.push(node);
        }
        for Files { host_path, container_path, options, kind } in mounts {
            if let Some(kind) = kind.filter(|kind| !kind.is_empty() && kind != "bind") {
                return Err(unsupported(&format!("a mount of type {kind}")));
            }
            let options = options.iter().filter_map(|option| match option.as_str() {
                "ro" => Some(Ok(HostOption::ReadOnly)),
                "nodev" => Some(Ok(HostOption::NoDevices)),
                "noexec" => Some(Ok(HostOption::NoExecution)),
                "nosuid" => Some(Ok(HostOption::NoSetuid)),
                // What every mount of a sandbox is.
                "bind" | "rbind" | "private" | "rprivate" | "rw" | "dev" | "exec" | "suid" => None,
                other => Some(Err(unsupported(&format!("the mount option {other}")))),
            });
            let options = options.collect::<Result<_, _>>()?;
            to.mounts.mounts.push(shown(&name, container_path, &host_path, options)?);
        }
        Ok(())
    }
}

fn is_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = std::fs::metadata(path).map(|metadata| metadata.file_type());
    kind.is_ok_and(|kind| kind.is_char_device() || kind.is_block_device())
}

fn shown(name: &str, at: String, path: &Path, options: Vec<HostOption>) -> Result<Mount, DeviceError> {
    let metadata = std::fs::metadata(path).map_err(|error| DeviceError::Missing {
        name: name.to_owned(),
        path: path.to_owned(),
        error,
    })?;
    let kind = if metadata.is_dir() { MountPointKind::Directory } else { MountPointKind::File };
    let at = joined("/", &at);
    Ok(Mount { at, what: Mounted::Host(HostMount { path: path.to_owned(), kind, options }) })
}
