//! Operations: plain data.

use serde::Serialize;

use crate::dockerfile::{GitRemote, GitSource, GitTimes};
use crate::image::{DiffId, Digest, Platform};

/// One thing to do. What it modifies and reads is in the vertex's inputs; operations refer to these by [`Slot`].
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    Image(ImageOp),
    Context(ContextOp),
    Http(HttpOp),
    Git(GitOp),
    Run(Box<RunOp>),
    Copy(CopyOp),
    MakeDirectory(MakeDirectoryOp),
    MakeFile(MakeFileOp),
    Merge(MergeOp),
}

/// The number of an input of a vertex. Inputs are distinct: what is used twice is one.
pub type Slot = usize;

/// The layers of an image. No inputs.
#[derive(Clone, PartialEq, Debug)]
pub struct ImageOp {
    pub name: String,
    /// Of the manifest or index that the name leads to, where that is known.
    pub digest: Option<Digest>,
    pub platform: Platform,
    pub diff_ids: Vec<DiffId>,
}

/// Files that lie outside the graph. No inputs, and known by its content alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ContextOp {
    pub name: String,
}

/// A file from an address, alone on an empty root. No inputs, and known by its content alone unless a checksum is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpOp {
    /// As written.
    pub url: String,
    /// What the bytes have to be: `sha256:`, `sha384:` or `sha512:` and hexadecimal digits.
    pub checksum: Option<String>,
    /// What the file is called.
    pub name: String,
}

/// The files of a repository, on nothing. No inputs, and known by its commit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GitOp {
    pub remote: GitRemote,
    /// As in [`GitSource`].
    pub reference: Option<String>,
    /// Digits that the commit's id has to begin with.
    pub checksum: Option<String>,
    /// The directory whose files are wanted, as written; all if none.
    pub subdir: Option<String>,
    pub keep_git_dir: bool,
    pub submodules: bool,
    pub times: GitTimes,
    pub fetch_by_commit: bool,
}

impl From<GitSource> for GitOp {
    fn from(source: GitSource) -> Self {
        Self {
            remote: source.remote,
            reference: source.reference,
            checksum: source.checksum,
            subdir: source.subdir,
            keep_git_dir: source.keep_git_dir.unwrap_or(false),
            submodules: source.submodules.unwrap_or(true),
            times: source.modified.unwrap_or_default(),
            fetch_by_commit: source.fetch_by_commit,
        }
    }
}

/// A command in a sandbox.
#[derive(Clone, PartialEq, Debug)]
pub struct RunOp {
    /// The root file system; none is an empty one.
    pub root: Option<Slot>,
    /// Sorted by target.
    pub mounts: Vec<Mount>,
    pub secret_variables: Vec<SecretVariable>,
    pub devices: Vec<Device>,
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
    /// What the command's machine is called; the usual name if none is given.
    pub hostname: Option<String>,
    pub platform: Platform,
    /// Limits of its processes. Others, such as those of memory, do not decide about the key.
    pub ulimits: Vec<Ulimit>,
}

/// Something that a command sees at a place of its root file system, and that leaves nothing there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    /// Absolute.
    pub target: String,
    pub kind: MountKind,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MountKind {
    Bind(BindMount),
    Cache(CacheMount),
    Tmpfs(TmpfsMount),
    Secret(SecretMount),
    Ssh(SshMount),
}

/// Files of an input. What is written to them is gone with the command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindMount {
    /// None is an empty directory.
    pub input: Option<Slot>,
    /// Absolute.
    pub source: String,
    pub readonly: bool,
}

/// A directory that stays from one command to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheMount {
    /// With the namespace before it, which is empty unless one is given: `/name`.
    pub id: String,
    pub sharing: Sharing,
    /// What it begins with.
    pub input: Option<Slot>,
    /// Absolute.
    pub source: String,
    pub readonly: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// By any number of commands at once.
    Shared,
    /// Each command has one of its own.
    Private,
    /// By one command after the other.
    Locked,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TmpfsMount {
    /// In bytes.
    pub size: Option<u64>,
    pub readonly: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretMount {
    pub id: String,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub required: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SshMount {
    pub id: String,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub required: bool,
}

/// A variable that holds a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretVariable {
    pub id: String,
    pub name: String,
    pub required: bool,
}

/// A device of the host, as its vendor describes it there: `vendor/class=device`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    pub name: String,
    pub required: bool,
}

/// A limit of single processes; -1 is none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ulimit {
    pub name: String,
    #[serde(skip_serializing_if = "is_default")]
    pub soft: i64,
    #[serde(skip_serializing_if = "is_default")]
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

/// Files copied in.
#[derive(Clone, PartialEq, Debug)]
pub struct CopyOp {
    /// What is modified; without it the copy starts from nothing.
    pub base: Option<Slot>,
    pub sources: Vec<CopySource>,
    /// Absolute; a trailing slash means a directory.
    pub destination: String,
    /// As written: `user`, `user:group`, names or numbers.
    pub owner: Option<String>,
    pub mode: Option<CopyMode>,
    /// Patterns of what is left out.
    pub excludes: Vec<String>,
    /// Whether archives are unpacked instead of copied.
    pub unpack: bool,
    /// Whether a source without wildcards that leads to nothing is left out instead of being an error.
    pub if_exists: bool,
}

impl CopyOp {
    /// Whether something else than the files that are read may lie at the destination afterwards.
    pub fn may_unpack(&self) -> bool {
        self.unpack || self.sources.iter().any(|source| matches!(source.path, SourcePath::Archive(_)))
    }
}

/// One source of a copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopySource {
    /// None has no files at all.
    pub input: Option<Slot>,
    pub path: SourcePath,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SourcePath {
    /// A path, perhaps with wildcards, as written.
    Pattern(String),
    /// The same with `--parents`: what leads there from the pivot `/./` on is kept.
    WithParents(String),
    /// A single file by its name, such as the Dockerfile itself contains.
    File(String),
    /// The same; if it is an archive, it is unpacked.
    Archive(String),
    /// All that there is, such as the files of a repository.
    Everything,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CopyMode {
    Octal(u32),
    /// Changes such as `u=rwX,go=rX`.
    Symbolic(String),
}

/// A directory, with its parents.
#[derive(Clone, PartialEq, Debug)]
pub struct MakeDirectoryOp {
    /// What is modified; none is nothing.
    pub base: Option<Slot>,
    pub path: String,
    pub mode: u32,
    /// As in `USER`; empty is root.
    pub owner: String,
    /// When it is to have been made, in seconds since 1970; now if none.
    pub made: Option<i64>,
    /// Whether missing parents are made, too.
    pub parents: bool,
}

/// A file with given content, alone on an empty root. No inputs.
#[derive(Clone, PartialEq, Debug)]
pub struct MakeFileOp {
    pub path: String,
    pub mode: u32,
    pub content: Vec<u8>,
}

/// The layers of all inputs on top of each other, in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MergeOp;

/// Go leaves out what is zero.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Op {
    /// The input that the operation modifies: its result is one layer more.
    pub fn base(&self) -> Option<Slot> {
        match self {
            Self::Run(op) => op.root,
            Self::Copy(op) => op.base,
            Self::MakeDirectory(op) => op.base,
            Self::Image(_)
            | Self::Context(_)
            | Self::Http(_)
            | Self::Git(_)
            | Self::MakeFile(_)
            | Self::Merge(_) => None,
        }
    }

    /// Whether the user may want it done anew though nothing has changed.
    pub fn may_be_forced(&self) -> bool {
        match self {
            Self::Run(_) | Self::Copy(_) => true,
            Self::Image(_)
            | Self::Context(_)
            | Self::Http(_)
            | Self::Git(_)
            | Self::MakeDirectory(_)
            | Self::MakeFile(_)
            | Self::Merge(_) => false,
        }
    }
}
