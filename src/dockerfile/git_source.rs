//! Git repositories as sources: what is one, and what is said of it.
//!
//! A repository is named as git names it, with what is wanted of it behind that: `https://host/repo.git#ref:directory`, or as a
//! query, `https://host/repo.git?branch=main&subdir=directory`.

mod remote;

use std::collections::BTreeMap;
use std::fmt;

pub use remote::{GitRemote, GitScheme, without_logins};

use super::boolean::go_boolean;
use super::percent::percent_decoded;

/// A repository and what is wanted of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GitSource {
    pub remote: GitRemote,
    /// A branch, a tag, the full name of a ref, or a commit by its whole id; the repository's own choice if none.
    pub reference: Option<String>,
    /// The commit that has to come, by its id or how that begins.
    pub checksum: Option<String>,
    /// The directory that is wanted, as written; all if none.
    pub subdir: Option<String>,
    pub keep_git_dir: Option<bool>,
    pub submodules: Option<bool>,
    pub modified: Option<GitTimes>,
    /// Ask for the commit by its id, not by the name that leads to it.
    pub fetch_by_commit: bool,
}

/// When files are said to have been changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GitTimes {
    /// When they were fetched.
    #[default]
    Checkout,
    /// When the commit was made.
    Commit,
}

/// What is wrong with something that is meant as a repository.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GitSourceError {
    #[error("the address of the repository names no host")]
    Host,
    #[error("query {key:?} has no value")]
    NoValue { key: String },
    #[error("query {key:?} has multiple values")]
    ManyValues { key: String },
    #[error("unexpected query {key:?}{}", near(key))]
    Key { key: String },
    #[error("{what} conflicts: {one:?} vs {other:?}")]
    Conflict { what: &'static str, one: String, other: String },
    #[error("branch conflicts with tag")]
    BranchAndTag,
    #[error("invalid {key} value: {value:?}")]
    Value { key: &'static str, value: String },
    #[error("invalid checksum {0} for Git URL, expected hex commit hash")]
    Checksum(String),
    #[error("invalid ref {0:?}: git allows no such name")]
    Reference(String),
    #[error("invalid subdir {0:?}: it leads out of the repository")]
    Subdir(String),
    #[error("expected checksum to match {checksum}, got {commit}")]
    OtherCommit { checksum: String, commit: String },
}

/// All that a query may say.
const KEYS: [&str; 10] = [
    "ref",
    "branch",
    "tag",
    "subdir",
    "checksum",
    "commit",
    "keep-git-dir",
    "submodules",
    "mtime",
    "fetch-by-commit",
];
/// Those that say something without a value.
const SWITCHES: [&str; 3] = ["keep-git-dir", "submodules", "fetch-by-commit"];

fn near(key: &str) -> String {
    super::nearest(key, KEYS).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default()
}

impl GitSource {
    /// None for what is no repository.
    pub fn parse(text: &str) -> Option<Result<Self, GitSourceError>> {
        let parts = Parts::split(text);
        if is_local(text) {
            return None;
        }
        let remote = GitRemote::parse(parts.address)?;
        if matches!(remote.scheme(), GitScheme::Http | GitScheme::Https) && !remote.ends_with_git() {
            return None;
        }
        Some(Self::new(remote, &parts))
    }

    /// As a context, `github.com/owner/repo` is a repository, too.
    pub fn parse_context(text: &str) -> Option<Result<Self, GitSourceError>> {
        if !text.starts_with("github.com/") {
            return Self::parse(text);
        }
        let parts = Parts::split(text);
        let remote = GitRemote::parse(&format!("https://{}", parts.address))?;
        Some(Self::new(remote, &parts))
    }

    fn new(remote: GitRemote, parts: &Parts<'_>) -> Result<Self, GitSourceError> {
        if !remote.has_host() {
            return Err(GitSourceError::Host);
        }
        let fragment = parts.fragment.and_then(percent_decoded).unwrap_or_default();
        let (reference, subdir) = fragment.split_once(':').unwrap_or((&*fragment, ""));
        let mut source = Self {
            remote,
            reference: given(reference),
            checksum: None,
            subdir: given(subdir),
            keep_git_dir: None,
            submodules: None,
            modified: None,
            fetch_by_commit: false,
        };
        source.take_query(&query(parts.query.unwrap_or_default())?)?;
        source.check()?;
        Ok(source)
    }

    fn take_query(&mut self, query: &BTreeMap<String, String>) -> Result<(), GitSourceError> {
        let (mut tag, mut branch) = (None, None);
        for (key, value) in query {
            match key.as_str() {
                "ref" => agree("ref", &mut self.reference, value.clone())?,
                "subdir" => agree("subdir", &mut self.subdir, value.clone())?,
                "checksum" | "commit" => agree("checksum", &mut self.checksum, value.clone())?,
                "tag" => tag = Some(full_name("refs/tags/", value)),
                "branch" => branch = Some(full_name("refs/heads/", value)),
                "keep-git-dir" => self.keep_git_dir = Some(boolean("keep-git-dir", value)?),
                "submodules" => self.submodules = Some(boolean("submodules", value)?),
                "fetch-by-commit" => self.fetch_by_commit = boolean("fetch-by-commit", value)?,
                "mtime" => {
                    self.modified = Some(match value.as_str() {
                        "checkout" => GitTimes::Checkout,
                        "commit" => GitTimes::Commit,
                        _ => return Err(GitSourceError::Value { key: "mtime", value: value.clone() }),
                    });
                }
                _ => return Err(GitSourceError::Key { key: key.clone() }),
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err(GitSourceError::BranchAndTag);
        }
        match tag.or(branch) {
            Some(name) => agree("ref", &mut self.reference, name),
            None => Ok(()),
        }
    }

    fn check(&mut self) -> Result<(), GitSourceError> {
        if let Some(checksum) = &mut self.checksum {
            if !is_checksum(checksum) {
                return Err(GitSourceError::Checksum(checksum.clone()));
            }
            checksum.make_ascii_lowercase();
            self.reference.get_or_insert_with(|| checksum.clone());
        }
        if let Some(name) = self.reference.as_ref().filter(|name| !is_reference_name(name)) {
            return Err(GitSourceError::Reference(name.clone()));
        }
        if let Some(subdir) = &self.subdir {
            let names = subdir.split('/').filter(|name| !matches!(*name, "" | "."));
            if subdir.contains('\0') || names.clone().any(|name| name == "..") {
                return Err(GitSourceError::Subdir(subdir.clone()));
            }
            if names.count() == 0 {
                self.subdir = None;
            }
        }
        self.demand(None)
    }

    /// Notes which commit has to come, where something else says that, too.
    pub fn demand(&mut self, checksum: Option<&str>) -> Result<(), GitSourceError> {
        if let Some(checksum) = checksum {
            if !is_checksum(checksum) {
                return Err(GitSourceError::Checksum(checksum.to_owned()));
            }
            agree("checksum", &mut self.checksum, checksum.to_ascii_lowercase())?;
        }
        match (self.commit(), &self.checksum) {
            (Some(commit), Some(checksum)) if !commit.starts_with(checksum.as_str()) => {
                let (checksum, commit) = (checksum.clone(), commit.to_owned());
                Err(GitSourceError::OtherCommit { checksum, commit })
            }
            _ => Ok(()),
        }
    }

    /// The commit, if it is named by its whole id.
    pub fn commit(&self) -> Option<&str> {
        self.reference.as_deref().filter(|name| is_commit(name))
    }
}

/// Whether a text is the whole id of an object: of SHA-1 or of SHA-256.
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether a text may be how the id of an object begins.
pub fn is_checksum(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether git allows such a name for a ref; nor is it taken for an option anywhere.
pub fn is_reference_name(name: &str) -> bool {
    let is_odd = |letter: char| letter.is_control() || " ~^:?*[\\".contains(letter);
    let is_bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    !name.starts_with('-')
        && name != "@"
        && !name.ends_with('.')
        && !name.contains(is_odd)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.split('/').any(is_bad_part)
}

fn is_local(text: &str) -> bool {
    text.starts_with("./") || text.starts_with("../")
}

fn given(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn full_name(kind: &str, name: &str) -> String {
    if name.starts_with(kind) { name.to_owned() } else { format!("{kind}{name}") }
}

fn agree(what: &'static str, known: &mut Option<String>, value: String) -> Result<(), GitSourceError> {
    match known {
        Some(one) if *one != value => Err(GitSourceError::Conflict { what, one: one.clone(), other: value }),
        Some(_) => Ok(()),
        None => {
            *known = Some(value);
            Ok(())
        }
    }
}

/// A key alone says yes.
fn boolean(key: &'static str, value: &str) -> Result<bool, GitSourceError> {
    let said = if value.is_empty() { Some(true) } else { go_boolean(value) };
    said.ok_or_else(|| GitSourceError::Value { key, value: value.to_owned() })
}

/// A text around the marks of an address.
struct Parts<'a> {
    address: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Self {
        let (rest, fragment) = apart(text, '#');
        let (address, query) = apart(rest, '?');
        Self { address, query, fragment }
    }
}

fn apart(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark).map_or((text, None), |(before, after)| (before, Some(after)))
}

/// Each key with its value, which only switches may lack.
fn query(text: &str) -> Result<BTreeMap<String, String>, GitSourceError> {
    let mut found = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text: &str| percent_decoded(&text.replace('+', " ")).unwrap_or_default();
        let (key, value) = (decoded(key), decoded(value));
        if value.is_empty() && !SWITCHES.contains(&&*key) {
            return Err(if KEYS.contains(&&*key) {
                GitSourceError::NoValue { key }
            } else {
                GitSourceError::Key { key }
            });
        }
        if found.insert(key.clone(), value).is_some() {
            return Err(GitSourceError::ManyValues { key });
        }
    }
    Ok(found)
}

impl fmt::Display for GitSource {
    /// Without what says who asks.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.remote)?;
        if self.reference.is_some() || self.subdir.is_some() {
            write!(out, "#{}", self.reference.as_deref().unwrap_or_default())?;
        }
        if let Some(subdir) = &self.subdir {
            write!(out, ":{subdir}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
