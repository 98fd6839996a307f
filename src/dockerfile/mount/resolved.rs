//! What a mount is once every value is known.

/// A mount with every value expanded and every default that needs nothing else filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResolvedMount {
    Bind(BindMount),
    Cache(CacheMount),
    Secret(SecretMount),
    Ssh(SshMount),
    Tmpfs(TmpfsMount),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BindMount {
    /// Relative to the working directory; the working directory itself if none, as for every mount.
    pub target: Option<String>,
    /// A stage, named context or image; the build context if none.
    pub from: Option<String>,
    /// The path shown; `/` by default.
    pub source: Option<String>,
    pub readonly: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CacheMount {
    pub target: Option<String>,
    /// The cleaned target by default.
    pub id: String,
    pub sharing: Sharing,
    /// What an empty cache begins with.
    pub from: Option<String>,
    pub source: Option<String>,
    pub readonly: bool,
    pub owner: Owner,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TmpfsMount {
    pub target: Option<String>,
    /// In bytes.
    pub size: Option<u64>,
    pub readonly: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretMount {
    pub id: String,
    /// None if the secret is only a variable.
    pub target: Option<String>,
    /// The variable that holds it.
    pub env: Option<String>,
    pub required: bool,
    pub owner: Owner,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SshMount {
    pub id: String,
    /// `/run/buildkit/ssh_agent.N` by default, N counting the step's ssh mounts.
    pub target: Option<String>,
    pub required: bool,
    pub owner: Owner,
}

/// What was said about mode and owner; the defaults differ by kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Owner {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Sharing {
    #[default]
    Shared,
    Private,
    Locked,
}
