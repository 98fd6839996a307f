//! Operations, and the definition that identifies each.
//!
//! Definitions have the field names and the order that BuildKit's do, because they end up in keys.

use serde::Serialize;

use crate::image::{DiffId, Digest, Platform, chain_id};

/// One thing to do. What it modifies and reads is in the vertex's inputs.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    Image(ImageOp),
    Run(Box<RunOp>),
    Copy(CopyOp),
    MakeDirectory(MakeDirectoryOp),
    MakeFile(MakeFileOp),
}

/// The layers of an image. No inputs.
#[derive(Clone, PartialEq, Debug)]
pub struct ImageOp {
    pub name: String,
    pub diff_ids: Vec<DiffId>,
}

/// A command in a sandbox. Input: the root file system, absent for an empty one.
#[derive(Clone, PartialEq, Debug)]
pub struct RunOp {
    pub arguments: Vec<String>,
    /// In order of declaration; decides about the key.
    pub environment: Vec<String>,
    /// Variables that the command sees but that do not decide about the key, such as proxies.
    pub transient_environment: Vec<String>,
    pub directory: String,
    pub user: String,
    pub network: NetworkMode,
    pub security: SecurityMode,
    /// Names that `/etc/hosts` knows beside the usual ones. Their addresses decide about no key.
    pub extra_hosts: Vec<String>,
    pub platform: Platform,
    /// Limits of its processes. Others, such as those of memory, do not decide about the key.
    pub ulimits: Vec<Ulimit>,
}

/// A limit of single processes; -1 is none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ulimit {
    pub name: String,
    #[serde(skip_serializing_if = "is_nothing")]
    pub soft: i64,
    #[serde(skip_serializing_if = "is_nothing")]
    pub hard: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NetworkMode {
    /// A private network with a way out.
    Default,
    Host,
    None,
}

/// What a command is kept from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecurityMode {
    /// What no build needs.
    Sandbox,
    /// Nothing but what its namespaces keep it from.
    Insecure,
}

/// Files copied in. Inputs: what is modified, absent for an empty root; then the source, if it is a vertex.
#[derive(Clone, PartialEq, Debug)]
pub struct CopyOp {
    /// Whether the first input is what is modified: without it the copy starts from nothing.
    pub has_base: bool,
    pub from: CopySource,
    pub sources: Vec<String>,
    /// Absolute; a trailing slash means a directory.
    pub destination: String,
    pub owner: Option<String>,
    pub mode: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopySource {
    /// The build context.
    Context,
    /// The last input.
    Input,
    /// A stage that has no files at all.
    Nothing,
}

/// A directory, with its parents. Input as for [`RunOp`].
#[derive(Clone, PartialEq, Debug)]
pub struct MakeDirectoryOp {
    pub path: String,
    /// As in `USER`; empty is root.
    pub owner: String,
    /// When it is to have been made, in seconds since 1970; now if none.
    pub made: Option<i64>,
}

/// A file with given content, alone on an empty root. No inputs.
#[derive(Clone, PartialEq, Debug)]
pub struct MakeFileOp {
    pub path: String,
    pub content: Vec<u8>,
}

impl Op {
    /// What identifies the operation apart from its inputs: equal on every machine.
    pub fn digest(&self) -> Digest {
        Digest::of(self.definition().as_bytes())
    }

    /// The text that the digest is of.
    pub fn definition(&self) -> String {
        match self {
            Self::Image(op) => {
                let chain =
                    chain_id(&op.diff_ids).map_or_else(|| "scratch".to_owned(), |chain| chain.to_string());
                format!("image {chain}")
            }
            Self::Run(op) => go_json(&ExecDefinition::from(&**op)),
            Self::Copy(op) => {
                let actions: Vec<CopyAction<'_>> =
                    op.sources.iter().map(|source| CopyAction::new(op, source)).collect();
                go_json(&FileDefinition { kind: "copy", base: op.has_base, actions })
            }
            Self::MakeDirectory(op) => {
                let action = MkdirAction {
                    path: &op.path,
                    mode: 0o755,
                    make_parents: true,
                    owner: &op.owner,
                    timestamp: op.made.map_or(-1, |seconds| seconds.saturating_mul(1_000_000_000)),
                };
                go_json(&FileDefinition { kind: "mkdir", base: true, actions: vec![action] })
            }
            Self::MakeFile(op) => {
                let data = Digest::of(&op.content).to_string();
                let action = MkfileAction { path: &op.path, mode: 0o644, data, timestamp: -1 };
                go_json(&FileDefinition { kind: "mkfile", base: false, actions: vec![action] })
            }
        }
    }
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
    #[serde(skip_serializing_if = "is_zero")]
    network: u8,
    #[serde(skip_serializing_if = "is_zero")]
    security: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    args: &'a [String],
    env: &'a [String],
    cwd: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(rename = "extraHosts", skip_serializing_if = "Vec::is_empty")]
    extra_hosts: Vec<ExtraHost<'a>>,
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

impl<'a> From<&'a RunOp> for ExecDefinition<'a> {
    fn from(op: &'a RunOp) -> Self {
        let meta = Meta {
            args: &op.arguments,
            env: &op.environment,
            cwd: &op.directory,
            user: &op.user,
            extra_hosts: op.extra_hosts.iter().map(|host| ExtraHost { host }).collect(),
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
        Self {
            kind: "buildkit.exec.v0",
            exec: Exec { meta, network, security },
            os: &op.platform.os,
            architecture: &op.platform.architecture,
            variant: op.platform.variant.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct FileDefinition<'a, A> {
    kind: &'a str,
    base: bool,
    actions: Vec<A>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CopyAction<'a> {
    src: &'a str,
    dest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    mode: i64,
    from: &'static str,
    timestamp: i64,
}

impl<'a> CopyAction<'a> {
    fn new(op: &'a CopyOp, source: &'a str) -> Self {
        let from = match op.from {
            CopySource::Context => "context",
            CopySource::Input => "input",
            CopySource::Nothing => "nothing",
        };
        Self {
            src: source,
            dest: &op.destination,
            owner: op.owner.as_deref(),
            mode: op.mode.map_or(-1, i64::from),
            from,
            timestamp: -1,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MkdirAction<'a> {
    path: &'a str,
    mode: u32,
    make_parents: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    owner: &'a str,
    timestamp: i64,
}

#[derive(Serialize)]
struct MkfileAction<'a> {
    path: &'a str,
    mode: u32,
    data: String,
    timestamp: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_nothing(value: &i64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(value: &u8) -> bool {
    *value == 0
}

/// JSON as Go writes it: what HTML gives a meaning is escaped.
fn go_json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("definitions have only string keys");
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> RunOp {
        let path = format!("PATH={}", crate::image::DEFAULT_PATH);
        RunOp {
            arguments: ["/bin/sh", "-c", "ls /app > /ls && echo done"].map(str::to_owned).into(),
            environment: vec![path],
            transient_environment: vec!["HTTP_PROXY=http://x".to_owned()],
            directory: "/".to_owned(),
            user: String::new(),
            network: NetworkMode::Default,
            security: SecurityMode::Sandbox,
            extra_hosts: Vec::new(),
            platform: Platform::new("linux", "amd64", None),
            ulimits: Vec::new(),
        }
    }

    #[test]
    fn a_run_is_defined_as_buildkit_defines_it() {
        let mut op = run();
        let record = Digest::of(format!("{}@0", Op::Run(Box::new(op.clone())).digest()).as_bytes());
        let expected = "sha256:3fd8071eab03ff699e3923fe1ae532ad0683081b6a3802bc84a55033760ebcab";
        assert_eq!(record.to_string(), expected);
        op.ulimits = vec![Ulimit { name: "core".to_owned(), soft: 0, hard: -1 }];
        let definition = Op::Run(Box::new(op)).definition();
        let meta = r#""ulimit":[{"Name":"core","Hard":-1}],"removeMountStubsRecursive":true"#;
        assert!(definition.contains(meta), "{definition}");
        let op = RunOp { extra_hosts: vec!["db".to_owned()], ..run() };
        let definition = Op::Run(Box::new(op)).definition();
        let meta = r#""extraHosts":[{"Host":"db"}],"removeMountStubsRecursive":true"#;
        assert!(definition.contains(meta), "{definition}");
    }

    #[test]
    fn what_a_run_is_allowed_is_part_of_it() {
        let op = Op::Run(Box::new(RunOp {
            network: NetworkMode::Host,
            security: SecurityMode::Insecure,
            ..run()
        }));
        let definition = op.definition();
        assert!(
            definition.contains(r#""removeMountStubsRecursive":true},"network":1,"security":1},"OS":"#),
            "{definition}"
        );
    }
}
