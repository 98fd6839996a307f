//! What has been fetched: a bare repository for each address, which the store keeps.
//!
//! One process works with it at a time. Packs get their names when they are whole, so whoever is killed leaves no commit without its
//! files; what it has left is removed by who has the repository for itself next ([`upkeep`](super::upkeep)).

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::super::error::ExecError;
use super::super::{Executor, LOOK_AGAIN_AFTER};
use super::access::Access;
use super::error::GitError;
use super::program::Git;
use super::submodules::Submodule;
use super::upkeep::remove_leftovers;
use crate::dockerfile::GitRemote;
use crate::store::{CacheKey, CacheUse, HeldCache};
use crate::sys::{At, IoError, blocking};

/// How git calls the ways to name objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Sha1,
    Sha256,
}

impl Format {
    /// That of an object's whole id.
    fn of(id: &str) -> Self {
        if id.len() == 64 { Self::Sha256 } else { Self::Sha1 }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }
}

/// A repository that nobody else works with.
#[derive(Debug)]
pub(super) struct Repository {
    pub(super) held: HeldCache,
    pub(super) format: Format,
}

impl Repository {
    pub(super) fn path(&self) -> &Path {
        self.held.data()
    }
}

impl Executor {
    /// Takes the repository in which the objects of an address are kept.
    pub(super) async fn open_repository(
        &self,
        git: &Git,
        remote: &GitRemote,
        object: &str,
    ) -> Result<Repository, ExecError> {
        let format = Format::of(object);
        let name = remote.to_string();
        let mut waited = false;
        loop {
            let (store, key) = (Arc::clone(&self.store), CacheKey::of_repository(&name, format.name()));
            let taken = blocking(move || {
                store.try_cache::<ExecError>(&key, CacheUse::Locked, |data| {
                    Ok(lay_out(data, format, "\tbare = true\n")?)
                })
            });
            if let Some(held) = taken.await? {
                remove_leftovers(held.data())?;
                return Ok(Repository { held, format });
            }
            if !waited {
                git.tell(format!("waiting for another step that fetches from {remote}")).await;
            }
            waited = true;
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}

/// Makes an empty repository: all that git looks for, and nothing of anybody's templates.
pub(super) fn lay_out(path: &Path, format: Format, settings: &str) -> Result<(), IoError> {
    let (version, extensions) = match format {
        Format::Sha1 => (0, ""),
        Format::Sha256 => (1, "[extensions]\n\tobjectformat = sha256\n"),
    };
    let config =
        format!("[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n{settings}{extensions}");
    for directory in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
        let path = path.join(directory);
        fs::create_dir_all(&path).at("create directory", &path)?;
    }
    for (name, text) in [("config", config.as_str()), ("HEAD", "ref: refs/heads/master\n")] {
        let path = path.join(name);
        fs::write(&path, text).at("write", &path)?;
    }
    Ok(())
}

/// Where names lead to all that was fetched, so that it is not asked for again.
const KEPT: &str = "refs/rbuild";
/// Where names are as the server has them, of servers that give all or nothing.
const ALL: &str = "refs/rbuild-all";

impl Git {
    /// Fetches an object unless it is there: alone if the server gives it, else with all that the repository has.
    pub(super) async fn fetch(
        &self,
        repository: &Repository,
        wanted: &Submodule,
        access: &Access,
    ) -> Result<(), ExecError> {
        let (object, remote) = (&wanted.object, &wanted.remote);
        if self.has(repository, object).await? {
            return Ok(());
        }
        let call = || {
            let call = self.call(format!("fetch {remote}")).repository(repository.path());
            let call = call.access(access).holding(&repository.held);
            call.arguments(["fetch", "--progress", "--force", "--no-tags", "--no-write-fetch-head"])
        };
        let only =
            ["--depth=1".to_owned(), "--".to_owned(), remote.address(), format!("{object}:{KEPT}/{object}")];
        match call().arguments(only).attempt().await? {
            Ok(_) => return self.keep_small(repository).await,
            Err(said) if !is_refused(&said) => {
                return Err(GitError::Failed { what: format!("fetch {remote}"), said, disk: None }.into());
            }
            Err(_) => self.tell("the server gives no single commits: fetching all".to_owned()).await,
        }
        let mut all = vec!["--prune".to_owned()];
        if repository.path().join("shallow").exists() {
            all.push("--unshallow".to_owned());
        }
        let refs = ["heads", "tags"].map(|kind| format!("+refs/{kind}/*:{ALL}/{kind}/*"));
        all.extend(["--".to_owned(), remote.address()].into_iter().chain(refs));
        call().arguments(all).run().await?;
        if self.has(repository, object).await? {
            return self.keep_small(repository).await;
        }
        Err(GitError::NoCommit { remote: remote.to_string(), object: object.clone() }.into())
    }

    async fn has(&self, repository: &Repository, object: &str) -> Result<bool, ExecError> {
        let call = self.quiet(repository, "look for a commit");
        Ok(call.arguments(["cat-file", "-e", object]).attempt().await?.is_ok())
    }

    /// The commit that an object is, or a tag leads to.
    pub(super) async fn commit(&self, repository: &Repository, object: &str) -> Result<String, ExecError> {
        let call = self.quiet(repository, &format!("find the commit of {object}"));
        let commit =
            call.arguments(["rev-parse", "--verify", &format!("{object}^{{commit}}")]).text().await?;
        Ok(commit.trim().to_owned())
    }

    /// When a commit was made, in seconds since 1970.
    pub(super) async fn made(&self, repository: &Repository, commit: &str) -> Result<i64, ExecError> {
        let lines = self.header(repository, commit).await?;
        let committer = lines.lines().find(|line| line.starts_with("committer "));
        let seconds = committer.and_then(|line| line.rsplit(' ').nth(1)).and_then(|text| text.parse().ok());
        Ok(seconds.unwrap_or(0))
    }

    /// Whether a commit has others before it.
    pub(super) async fn has_parents(&self, repository: &Repository, commit: &str) -> Result<bool, ExecError> {
        Ok(self.header(repository, commit).await?.lines().any(|line| line.starts_with("parent ")))
    }

    async fn header(&self, repository: &Repository, commit: &str) -> Result<String, ExecError> {
        let text = self
            .quiet(repository, &format!("read {commit}"))
            .arguments(["cat-file", "commit", commit])
            .text();
        let text = text.await?;
        Ok(text.split_once("\n\n").map_or(text.clone(), |(header, _)| header.to_owned()))
    }

    /// A call that reaches no server.
    pub(super) fn quiet(&self, repository: &Repository, what: &str) -> super::program::Call<'_> {
        self.call(what.to_owned()).repository(repository.path())
    }
}

/// Whether a server does not give single commits, or not without what was before them.
fn is_refused(said: &[String]) -> bool {
    let marks =
        ["unadvertised object", "not our ref", "shallow", "--depth", "dumb http", "no such remote ref"];
    said.iter().any(|line| marks.iter().any(|mark| line.contains(mark)))
}
