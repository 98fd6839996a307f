//! Settings of a build that are given in the way of build arguments.

use super::Request;
use crate::dockerfile::go_boolean;

/// What the machine of every step is called.
const HOSTNAME_ARG: &str = "BUILDKIT_SANDBOX_HOSTNAME";
/// What is written before the ids of cache mounts, so that builds that use the same ids may have caches of their own.
const CACHE_NAMESPACE_ARG: &str = "BUILDKIT_CACHE_MOUNT_NS";
/// The older way to say `--cache-to type=inline`.
const INLINE_CACHE_ARG: &str = "BUILDKIT_INLINE_CACHE";
const KEEP_GIT_DIR_ARG: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";
/// What Linux takes.
const HOSTNAME_LIMIT: usize = 64;

#[derive(Debug, thiserror::Error)]
#[error(
    "{HOSTNAME_ARG}={name}: a host is called by at most {HOSTNAME_LIMIT} letters, digits, dots, hyphens and underscores"
)]
pub struct HostnameError {
    name: String,
}

impl Request {
    pub fn hostname(&self) -> Option<&str> {
        self.given(HOSTNAME_ARG)
    }

    /// Refuses a name that no machine can have, or that would be more than a name in `/etc/hosts`.
    pub fn check_hostname(&self) -> Result<(), HostnameError> {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_');
        match self.hostname() {
            Some(name) if name.len() > HOSTNAME_LIMIT || !name.chars().all(fits) => {
                Err(HostnameError { name: name.to_owned() })
            }
            _ => Ok(()),
        }
    }

    pub fn wants_inline_cache(&self) -> bool {
        self.says_yes(INLINE_CACHE_ARG)
    }

    /// Whether a repository that is the build context keeps its `.git`.
    pub fn keeps_git_dir(&self) -> bool {
        self.says_yes(KEEP_GIT_DIR_ARG)
    }

    pub(super) fn cache_namespace(&self) -> &str {
        self.given(CACHE_NAMESPACE_ARG).unwrap_or_default()
    }

    fn says_yes(&self, name: &str) -> bool {
        self.given(name).and_then(go_boolean) == Some(true)
    }

    fn given(&self, name: &str) -> Option<&str> {
        self.build_args.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}
