//! The definition that identifies an operation: BuildKit's, byte for byte, because it ends up in keys that are exchanged with it.
//!
//! A definition is JSON as Go's encoder writes it: fields in a fixed order, zero values left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::op::{
    CopyMode, CopyOp, CopySource, Device, ImageOp, MakeDirectoryOp, MakeFileOp, MergeOp, Mount, MountKind,
    NetworkMode, Op, RunOp, SecretVariable, SecurityMode, Sharing, SourcePath, Ulimit, is_default,
};
use crate::image::{Digest, chain_id};

impl Op {
    /// What identifies the operation apart from its inputs, equal on every machine: one digest for each way in which it may be
    /// known, the most general last. Empty for what is known by its content alone.
    pub fn digests(&self) -> Vec<Digest> {
        match self {
            Self::Image(op) => op.digests(),
            Self::Context(_) => Vec::new(),
            Self::Http(op) => op.digests(),
            Self::Git(op) => op.digests(),
            Self::Run(_) | Self::Copy(_) | Self::MakeDirectory(_) | Self::MakeFile(_) | Self::Merge(_) => {
                vec![Digest::of(self.definition().as_bytes())]
            }
        }
    }

    /// The text that the digest is of; for sources, what stands for it.
    pub fn definition(&self) -> String {
        match self {
            Self::Image(op) => op.definition(),
            Self::Context(op) => format!("context {}", op.name),
            Self::Http(op) => op.definition(),
            Self::Git(op) => op.definition(),
            Self::Run(op) => go_json(&ExecDefinition::from(&**op)),
            Self::Copy(op) => op.definition().text(),
            Self::MakeDirectory(op) => op.definition().text(),
            Self::MakeFile(op) => op.definition().text(),
            Self::Merge(op) => op.definition(),
        }
    }

    /// The same for people.
    pub(super) fn definition_lines(&self) -> Vec<String> {
        match self {
            Self::Copy(op) => op.definition().lines(),
            Self::MakeDirectory(op) => op.definition().lines(),
            Self::MakeFile(op) => op.definition().lines(),
            Self::Image(_)
            | Self::Context(_)
            | Self::Http(_)
            | Self::Git(_)
            | Self::Run(_)
            | Self::Merge(_) => {
                vec![self.definition()]
            }
        }
    }
}

/// Sources are told apart from operations by what stands before their names.
pub(super) fn source_digest(name: &str) -> Digest {
    Digest::of(format!("buildkit.source.v0:{name}").as_bytes())
}

impl ImageOp {
    fn digests(&self) -> Vec<Digest> {
        let by_name = self.digest.map(|digest| {
            let source = ImageSource {
                digest: digest.to_string(),
                os: &self.platform.os,
                architecture: &self.platform.architecture,
                variant: self.platform.variant.as_deref(),
            };
            source_digest(&Digest::of(go_json(&source).as_bytes()).to_string())
        });
        let by_layers = chain_id(&self.diff_ids).map(|chain| source_digest(&chain.to_string()));
        by_name.into_iter().chain(by_layers).collect()
    }

    fn definition(&self) -> String {
        let chain = chain_id(&self.diff_ids).map_or_else(|| "scratch".to_owned(), |chain| chain.to_string());
        format!("image {chain}")
    }
}

#[derive(Serialize)]
struct ImageSource<'a> {
    #[serde(rename = "Digest")]
    digest: String,
    #[serde(rename = "OS")]
    os: &'a str,
    #[serde(rename = "Arch")]
    architecture: &'a str,
    #[serde(rename = "Variant", skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
}

#[derive(Serialize)]
struct ExecDefinition<'a> {
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(rename = "Exec")]
    exec: Exec<'a>,
    #[serde(rename = "OS")]
    os: &'a str,
    #[serde(rename = "Arch")]
    architecture: &'a str,
    #[serde(rename = "Variant", skip_serializing_if = "Option::is_none")]
    variant: Option<&'a str>,
}

#[derive(Serialize)]
struct Exec<'a> {
    meta: Meta<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<MountDefinition<'a>>,
    #[serde(skip_serializing_if = "is_default")]
    network: u8,
    #[serde(skip_serializing_if = "is_default")]
    security: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secretenv: Vec<SecretEnvironment<'a>>,
    #[serde(rename = "cdiDevices", skip_serializing_if = "Vec::is_empty")]
    devices: Vec<DeviceDefinition<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    args: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    env: &'a [String],
    cwd: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(rename = "extraHosts", skip_serializing_if = "Vec::is_empty")]
    extra_hosts: Vec<ExtraHost<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Ulimit]>::is_empty")]
    ulimit: &'a [Ulimit],
    remove_mount_stubs_recursive: bool,
}

/// Without its address.
#[derive(Serialize)]
struct ExtraHost<'a> {
    #[serde(rename = "Host")]
    host: &'a str,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct MountDefinition<'a> {
    #[serde(skip_serializing_if = "is_default")]
    input: i64,
    dest: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    output: i64,
    #[serde(skip_serializing_if = "is_default")]
    readonly: bool,
    #[serde(skip_serializing_if = "is_default")]
    mount_type: u8,
    #[serde(rename = "TmpfsOpt", skip_serializing_if = "Option::is_none")]
    tmpfs: Option<TmpfsOptions>,
    #[serde(rename = "cacheOpt", skip_serializing_if = "Option::is_none")]
    cache: Option<CacheOptions<'a>>,
    #[serde(rename = "secretOpt", skip_serializing_if = "Option::is_none")]
    secret: Option<SecretOptions<'a>>,
    #[serde(rename = "SSHOpt", skip_serializing_if = "Option::is_none")]
    ssh: Option<SecretOptions<'a>>,
}

#[derive(Serialize)]
struct TmpfsOptions {
    #[serde(skip_serializing_if = "is_default")]
    size: u64,
}

#[derive(Serialize)]
struct CacheOptions<'a> {
    #[serde(rename = "ID", skip_serializing_if = "str::is_empty")]
    id: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    sharing: u8,
}

#[derive(Serialize)]
struct SecretOptions<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    uid: u32,
    #[serde(skip_serializing_if = "is_default")]
    gid: u32,
    #[serde(skip_serializing_if = "is_default")]
    mode: u32,
    #[serde(skip_serializing_if = "is_default")]
    optional: bool,
}

#[derive(Serialize)]
struct SecretEnvironment<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    optional: bool,
}

#[derive(Serialize)]
struct DeviceDefinition<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    optional: bool,
}

impl<'a> From<&'a RunOp> for ExecDefinition<'a> {
    fn from(op: &'a RunOp) -> Self {
        let meta = Meta {
            args: &op.arguments,
            env: &op.environment,
            cwd: &op.directory,
            user: &op.user,
            extra_hosts: op.extra_hosts.iter().map(|host| ExtraHost { host }).collect(),
            hostname: op.hostname.as_deref(),
            ulimit: &op.ulimits,
            remove_mount_stubs_recursive: true,
        };
        let network = match op.network {
            NetworkMode::Default => 0,
            NetworkMode::Host => 1,
            NetworkMode::None => 2,
        };
        let security = match op.security {
            SecurityMode::Sandbox => 0,
            SecurityMode::Insecure => 1,
        };
        let secretenv = op.secret_variables.iter().map(SecretEnvironment::from).collect();
        let device = |device: &'a Device| DeviceDefinition { name: &device.name, optional: !device.required };
        let devices = op.devices.iter().map(device).collect();
        Self {
            kind: "buildkit.exec.v0",
            exec: Exec { meta, mounts: mounts(op), network, security, secretenv, devices },
            os: &op.platform.os,
            architecture: &op.platform.architecture,
            variant: op.platform.variant.as_deref(),
        }
    }
}

impl<'a> From<&'a SecretVariable> for SecretEnvironment<'a> {
    fn from(variable: &'a SecretVariable) -> Self {
        Self { id: &variable.id, name: &variable.name, optional: !variable.required }
    }
}

/// The root and the files first, sorted by place, then secrets, then agents. A root alone goes without saying.
fn mounts(op: &RunOp) -> Vec<MountDefinition<'_>> {
    if op.mounts.is_empty() {
        return Vec::new();
    }
    let root = MountDefinition { input: index(op.root), dest: "/", ..MountDefinition::default() };
    let rank = |mount: &&Mount| match mount.kind {
        MountKind::Bind(_) | MountKind::Cache(_) | MountKind::Tmpfs(_) => 0,
        MountKind::Secret(_) => 1,
        MountKind::Ssh(_) => 2,
    };
    let mut sorted: Vec<&Mount> = op.mounts.iter().collect();
    sorted.sort_by_key(rank);
    std::iter::once(root).chain(sorted.into_iter().map(MountDefinition::from)).collect()
}

impl<'a> From<&'a Mount> for MountDefinition<'a> {
    fn from(mount: &'a Mount) -> Self {
        // Of secrets and agents it is not said that they have no output.
        let none = Self { input: -1, dest: &mount.target, output: -1, ..Self::default() };
        match &mount.kind {
            MountKind::Bind(bind) => Self { input: index(bind.input), readonly: bind.readonly, ..none },
            MountKind::Cache(cache) => {
                let by_default = cache.sharing == Sharing::Shared
                    && (cache.id == mount.target
                        || cache.id.split_once('/').is_some_and(|(_, id)| id == mount.target));
                // What a cache holds decides about no key, and so neither does which one it is.
                let id = if by_default { &*cache.id } else { "" };
                let options = CacheOptions { id, sharing: 0 };
                let input = index(cache.input);
                Self { input, readonly: cache.readonly, mount_type: 3, cache: Some(options), ..none }
            }
            MountKind::Tmpfs(tmpfs) => {
                let options = TmpfsOptions { size: tmpfs.size.unwrap_or(0) };
                Self { readonly: tmpfs.readonly, mount_type: 4, tmpfs: Some(options), ..none }
            }
            MountKind::Secret(secret) => {
                let options = SecretOptions {
                    id: &secret.id,
                    uid: secret.uid,
                    gid: secret.gid,
                    mode: secret.mode,
                    optional: !secret.required,
                };
                Self { output: 0, mount_type: 1, secret: Some(options), ..none }
            }
            MountKind::Ssh(ssh) => {
                let options = SecretOptions {
                    id: &ssh.id,
                    uid: ssh.uid,
                    gid: ssh.gid,
                    mode: ssh.mode,
                    optional: !ssh.required,
                };
                Self { output: 0, mount_type: 2, ssh: Some(options), ..none }
            }
        }
    }
}

fn index(slot: Option<usize>) -> i64 {
    slot.map_or(-1, |slot| i64::try_from(slot).unwrap_or(i64::MAX))
}

/// Operations on files: a list of actions, each as JSON of its own.
#[derive(Serialize)]
struct FileDefinition {
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(rename = "Actions")]
    actions: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    indexes: Vec<[i64; 3]>,
}

impl FileDefinition {
    fn new(actions: &[impl Serialize], indexes: Vec<[i64; 3]>) -> Self {
        let actions = actions.iter().map(go_json).collect();
        let indexes = if is_usual(&indexes) { Vec::new() } else { indexes };
        Self { kind: "buildkit.file.v0", actions, indexes }
    }

    fn text(mut self) -> String {
        self.actions.iter_mut().for_each(|action| *action = STANDARD.encode(&action));
        go_json(&self)
    }

    /// As people can read it.
    fn lines(self) -> Vec<String> {
        let mut lines = self.actions;
        if !self.indexes.is_empty() {
            lines.push(format!("indexes {:?}", self.indexes));
        }
        lines
    }
}

/// Whether each action continues the one before it, from the first input on, and reads the second one at most. The way that
/// is counted here comes out right by chance only, and has to be the same.
fn is_usual(indexes: &[[i64; 3]]) -> bool {
    let count = i64::try_from(indexes.len()).unwrap_or(i64::MAX);
    !indexes.is_empty()
        && (0..).zip(indexes).all(|(number, [input, secondary, output])| {
            let expected = if number == 0 { 0 } else { count + number - 1 };
            *input == expected
                && matches!(secondary, -1 | 1)
                && *output == if number == count - 1 { 0 } else { -1 }
        })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the document has them")]
struct CopyAction<'a> {
    src: String,
    dest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerDefinition<'a>>,
    #[serde(skip_serializing_if = "is_default")]
    mode: i64,
    #[serde(skip_serializing_if = "is_default")]
    follow_symlink: bool,
    #[serde(skip_serializing_if = "is_default")]
    dir_copy_contents: bool,
    #[serde(skip_serializing_if = "is_default")]
    attempt_unpack_docker_compatibility: bool,
    create_dest_path: bool,
    #[serde(skip_serializing_if = "is_default")]
    allow_wildcard: bool,
    #[serde(skip_serializing_if = "is_default")]
    allow_empty_wildcard: bool,
    timestamp: i64,
    #[serde(rename = "include_patterns", skip_serializing_if = "Vec::is_empty")]
    include_patterns: Vec<String>,
    #[serde(rename = "exclude_patterns", skip_serializing_if = "<[String]>::is_empty")]
    exclude_patterns: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    mode_str: &'a str,
    #[serde(rename = "required_paths", skip_serializing_if = "Vec::is_empty")]
    required_paths: Vec<String>,
    /// An extension of ours: with it nothing may be copied where others would fail.
    #[serde(skip_serializing_if = "is_default")]
    if_exists: bool,
}

#[derive(Serialize)]
struct OwnerDefinition<'a> {
    user: AccountDefinition<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<AccountDefinition<'a>>,
}

#[derive(Serialize)]
struct AccountDefinition<'a> {
    #[serde(rename = "User")]
    account: Account<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Account<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    by_name: Option<NamedAccount<'a>>,
    #[serde(skip_serializing_if = "is_default")]
    by_id: u32,
}

#[derive(Serialize)]
struct NamedAccount<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    input: i64,
}

impl<'a> OwnerDefinition<'a> {
    fn new(text: &'a str, base: Option<usize>) -> Self {
        let account = |text: &'a str| {
            let account = match text.parse::<u32>() {
                Ok(id) => Account { by_name: None, by_id: id },
                Err(_) => {
                    let named = NamedAccount { name: text, input: index(base) };
                    Account { by_name: Some(named), by_id: 0 }
                }
            };
            AccountDefinition { account }
        };
        match text.split_once(':') {
            Some((user, group)) => Self { user: account(user), group: Some(account(group)) },
            None => Self { user: account(text), group: None },
        }
    }
}

impl CopyOp {
    fn definition(&self) -> FileDefinition {
        let inputs = self.inputs();
        let actions: Vec<CopyAction<'_>> =
            self.sources.iter().map(|source| CopyAction::new(self, source)).collect();
        let last = actions.len().saturating_sub(1);
        let indexes = self.sources.iter().enumerate().map(|(number, source)| {
            let before = if number == 0 { index(self.base) } else { index(Some(inputs + number - 1)) };
            [before, index(source.input), if number == last { 0 } else { -1 }]
        });
        FileDefinition::new(&actions, indexes.collect())
    }

    fn inputs(&self) -> usize {
        let slots = self.sources.iter().filter_map(|source| source.input).chain(self.base);
        slots.max().map_or(0, |slot| slot + 1)
    }
}

impl<'a> CopyAction<'a> {
    fn new(op: &'a CopyOp, source: &'a CopySource) -> Self {
        let (mode, mode_str) = match &op.mode {
            None => (-1, ""),
            Some(CopyMode::Octal(mode)) => (i64::from(*mode), ""),
            Some(CopyMode::Symbolic(text)) => (-1, text.as_str()),
        };
        let (document, archive) = match source.path {
            SourcePath::File(_) | SourcePath::Everything => (true, false),
            SourcePath::Archive(_) => (true, true),
            SourcePath::Pattern(_) | SourcePath::WithParents(_) => (false, op.unpack),
        };
        let place = source.path.place();
        // What is read from no input at all is named in full.
        let src = if source.input.is_some() { place.base_name().to_owned() } else { place.path.clone() };
        Self {
            src,
            dest: &op.destination,
            owner: op.owner.as_deref().map(|owner| OwnerDefinition::new(owner, op.base)),
            mode,
            follow_symlink: !document,
            dir_copy_contents: !document,
            attempt_unpack_docker_compatibility: archive,
            create_dest_path: true,
            allow_wildcard: !document,
            allow_empty_wildcard: !document,
            timestamp: -1,
            required_paths: place.required(),
            include_patterns: place.include.into_iter().collect(),
            exclude_patterns: &op.excludes,
            mode_str,
            if_exists: op.if_exists && !document,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MkdirAction<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    mode: u32,
    #[serde(skip_serializing_if = "is_default")]
    make_parents: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerDefinition<'a>>,
    timestamp: i64,
}

impl MakeDirectoryOp {
    fn definition(&self) -> FileDefinition {
        let owner = Some(self.owner.as_str()).filter(|owner| !owner.is_empty());
        let action = MkdirAction {
            path: &self.path,
            mode: self.mode,
            make_parents: self.parents,
            owner: owner.map(|owner| OwnerDefinition::new(owner, self.base)),
            timestamp: self.made.map_or(-1, |seconds| seconds.saturating_mul(1_000_000_000)),
        };
        FileDefinition::new(&[action], vec![[index(self.base), -1, 0]])
    }
}

#[derive(Serialize)]
struct MkfileAction<'a> {
    path: &'a str,
    mode: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
    timestamp: i64,
}

impl MakeFileOp {
    fn definition(&self) -> FileDefinition {
        let data = STANDARD.encode(&self.content);
        let action = MkfileAction { path: &self.path, mode: self.mode, data, timestamp: -1 };
        FileDefinition::new(&[action], vec![[-1, -1, 0]])
    }
}

#[derive(Serialize)]
struct MergeDefinition {
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(rename = "Merge")]
    merge: Merge,
}

#[derive(Serialize)]
struct Merge {
    inputs: [MergeInput; 2],
}

#[derive(Serialize)]
struct MergeInput {
    #[serde(skip_serializing_if = "is_default")]
    input: i64,
}

impl MergeOp {
    #[expect(clippy::unused_self, reason = "each operation defines itself")]
    fn definition(&self) -> String {
        let inputs = [MergeInput { input: 0 }, MergeInput { input: 1 }];
        go_json(&MergeDefinition { kind: "buildkit.merge.v0", merge: Merge { inputs } })
    }
}

/// JSON as Go writes it: what HTML and JavaScript give a meaning is escaped.
pub(super) fn go_json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("definitions have only string keys");
    text.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests;
