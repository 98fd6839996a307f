//! Files of git repositories: what a name leads to is asked in every build, and what it leads to is fetched once.
//!
//! All of it is done by the host's `git`, which learns nothing of the user's settings and nothing of the repository's that would
//! run anything ([`program`]). Commits are fetched into bare repositories that the store keeps ([`repository`]); from there files are
//! written ([`checkout`]), those of submodules, too ([`submodules`]), without git's own machinery for these.

mod access;
mod checkout;
mod error;
mod program;
mod repository;
mod running;
mod submodules;
mod tidy;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::GitError;

use self::program::Git;
use self::submodules::Submodule;
use super::Executor;
use super::Output;
use super::error::ExecError;
use super::known::{Key, LookUps};
use crate::dockerfile::{GitRemote, GitTimes, is_commit, is_reference_name};
use crate::graph::{GitOp, Op, VertexId};
use crate::image::Digest;
use crate::snapshot::Draft;
use crate::solve::{Found, StepKey};
use crate::store::Workspace;
use crate::sys::{At, blocking};

/// No sound repository has submodules in submodules as deep as that.
const DEEPEST: usize = 32;

/// What a name leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Resolved {
    /// A commit, or the tag that leads to one.
    object: String,
    /// The commit, as far as the server says.
    commit: String,
    /// The full name, if a name has led there.
    name: Option<String>,
}

impl LookUps {
    /// What is known without asking the server: all, if the commit is named by its id; nothing, if a name may lead elsewhere by now.
    pub(super) fn look_up_checkout(&self, op: &GitOp) -> Result<Found<Key, Output>, ExecError> {
        if let Some(digest) = Op::Git(op.clone()).digests().pop() {
            let key = self.source_key(digest, op.origin());
            let output = self.find_source(&key)?;
            return Ok(Found { key, known: true, output });
        }
        // Something to wait for each other by: two builds need not fetch it at the same time.
        let step = Some(StepKey(Digest::of(Op::Git(op.clone()).definition().as_bytes())));
        Ok(Found { key: Key { step, ..Key::default() }, known: false, output: None })
    }
}

impl Executor {
    /// Finds out which commit is meant, and fetches its files unless they are here.
    pub(super) async fn check_out(
        self: &Arc<Self>,
        vertex: VertexId,
        op: &GitOp,
    ) -> Result<(Key, Output), ExecError> {
        let store = Arc::clone(&self.store);
        let mut workspace = blocking(move || store.workspace()).await?;
        let git = Git::new(self, vertex, &workspace)?;
        let resolved = match op.commit() {
            Some(id) => Resolved { object: id.to_owned(), commit: id.to_owned(), name: None },
            None => git.resolve(op, &self.access(&op.remote, &op.remote).await?).await?,
        };
        resolved.check(op.checksum.as_deref())?;
        let digest = resolved.digest(op);
        let (executor, key) = (Arc::clone(self), self.source_key(digest, op.origin()));
        let found = {
            let key = key.clone();
            blocking(move || executor.find_source(&key)).await?
        };
        if let Some(output) = found {
            return Ok((key, output));
        }
        let written = match self.write_files(&git, op, &resolved, &workspace).await {
            // A disk that has lost its memory, for example. What was kept is gone by now.
            Err(error) if is_of_damage(&error) => {
                git.tell("what is kept of the repository is damaged: fetching it again".to_owned()).await;
                let store = Arc::clone(&self.store);
                workspace = blocking(move || store.workspace()).await?;
                let git = Git::new(self, vertex, &workspace)?;
                self.write_files(&git, op, &resolved, &workspace).await
            }
            answer => answer,
        };
        let upper = written.map_err(|error| self.with_state_of_disk(error))?;
        let executor = Arc::clone(self);
        blocking(move || {
            let output = executor.remember_source(vertex, &key, workspace, &upper)?;
            Ok((key, output))
        })
        .await
    }

    /// What git complained about may be the disk.
    fn with_state_of_disk(&self, mut error: ExecError) -> ExecError {
        if let ExecError::Git(git) = &mut error
            && let GitError::Failed { said, disk, .. } = &mut **git
        {
            *disk = self.want_of_space(said);
        }
        error
    }

    /// Writes the files of a commit, with those of its submodules. Yields where they are.
    async fn write_files(
        &self,
        git: &Git,
        op: &GitOp,
        resolved: &Resolved,
        workspace: &Workspace,
    ) -> Result<PathBuf, ExecError> {
        let draft = Draft::create(workspace.path())?;
        let tree = match &op.subdir {
            None => draft.upper(),
            Some(_) => workspace.directory("repository")?,
        };
        let mut made = None;
        let mut waiting = vec![Submodule {
            remote: op.remote.clone(),
            object: resolved.object.clone(),
            name: resolved.name.clone(),
            place: tree.clone(),
            depth: 0,
        }];
        while let Some(next) = waiting.pop() {
            let access = self.access(&next.remote, &op.remote).await?;
            let repository = self.open_repository(git, &next.remote, &next.object).await?;
            let brought = git.bring(&repository, &next, op, &access, workspace).await;
            if brought.as_ref().is_err_and(is_of_damage) {
                upkeep::empty(repository.path())?;
            }
            let brought = brought?;
            if made.is_none() {
                resolved.check_commit(&brought.commit, &next.remote)?;
                made = Some(git.made(&repository, &brought.commit).await?);
            }
            waiting.extend(brought.submodules);
        }
        let times = match op.times {
            GitTimes::Checkout => None,
            GitTimes::Commit => made,
        };
        let (upper, subdir) = (draft.upper(), op.subdir.clone());
        blocking(move || {
            if let Some(subdir) = subdir {
                let wanted = directory_in(&tree, &subdir)?;
                std::fs::rename(&wanted, &upper).at("rename to", &upper)?;
            }
            tidy::tidy(&upper, times)?;
            Ok(upper)
        })
        .await
    }
}

impl Resolved {
    /// What the files are known by.
    fn digest(&self, op: &GitOp) -> Digest {
        let id = if op.keep_git_dir { &self.object } else { &self.commit };
        op.digest_of(id, Some(self.name.as_deref().unwrap_or(&self.object)))
    }

    fn check(&self, checksum: Option<&str>) -> Result<(), GitError> {
        let Some(checksum) = checksum else { return Ok(()) };
        let ids = [&self.object, &self.commit];
        if ids.iter().any(|id| id.starts_with(checksum)) {
            return Ok(());
        }
        let mut found: Vec<String> = ids.into_iter().cloned().collect();
        found.dedup();
        Err(GitError::OtherCommit { checksum: checksum.to_owned(), found: found.join(" or ") })
    }

    /// What a tag leads to is only said by the server until the tag is here: without this it could give any files for those of a
    /// commit, and they would be kept as such for everybody.
    fn check_commit(&self, found: &str, remote: &GitRemote) -> Result<(), GitError> {
        // Where the server has said nothing, the files are known by the object itself.
        if self.commit == self.object || self.commit == found {
            return Ok(());
        }
        let (remote, object) = (remote.to_string(), self.object.clone());
        Err(GitError::OtherTag { remote, object, said: self.commit.clone(), found: found.to_owned() })
    }

    /// Reads what `git ls-remote` says of a name. As everywhere in git, a branch goes before a tag of the same name.
    fn of_listing(listing: &str, name: &str) -> Option<Self> {
        let refs = || listing.lines().filter_map(|line| line.split_once('\t'));
        let find = |wanted: &str| refs().find(|(_, found)| *found == wanted).map(|(id, _)| id.to_owned());
        let below = |kind: &str| format!("{kind}{}", name.strip_prefix(kind).unwrap_or(name));
        let (whole, branch, tag) = (below("refs/"), below("refs/heads/"), below("refs/tags/"));
        let tagged = |name: String| {
            let object = find(&name)?;
            let commit = find(&format!("{name}^{{}}")).unwrap_or_else(|| object.clone());
            Some(Self { object, commit, name: Some(name) })
        };
        let plain = |name: String| {
            let object = find(&name)?;
            Some(Self { commit: object.clone(), object, name: Some(name) })
        };
        if whole == tag {
            return tagged(tag);
        }
        plain(whole).or_else(|| plain(branch)).or_else(|| tagged(tag))
    }

    /// Reads what it says of the repository's own choice.
    fn of_head(listing: &str) -> Option<Self> {
        let lines =
            || listing.lines().filter_map(|line| line.split_once('\t')).filter(|(_, found)| *found == "HEAD");
        // A server may say anything; what is no name is none.
        let name = lines().find_map(|(what, _)| what.strip_prefix("ref: "));
        let name = name.filter(|name| name.starts_with("refs/") && is_reference_name(name));
        let object = lines().map(|(what, _)| what).find(|what| !what.starts_with("ref: "))?;
        Some(Self { object: object.to_owned(), commit: object.to_owned(), name: name.map(str::to_owned) })
    }
}

impl Git {
    async fn resolve(&self, op: &GitOp, access: &access::Access) -> Result<Resolved, ExecError> {
        let remote = &op.remote;
        let mut call = self.call(format!("ask {remote} for its refs")).access(access).argument("ls-remote");
        let resolved = match op.reference.as_deref().filter(|name| *name != "HEAD") {
            None => {
                call = call.arguments(["--symref", "--", &remote.address(), "HEAD"]);
                let listing = call.text().await?;
                Resolved::of_head(&listing).ok_or_else(|| GitError::NoHead { remote: remote.to_string() })
            }
            Some(name) => {
                call = call.arguments(["--", &remote.address(), name, &format!("{name}^{{}}")]);
                let listing = call.text().await?;
                Resolved::of_listing(&listing, name).ok_or_else(|| GitError::NoReference {
                    remote: remote.to_string(),
                    name: name.to_owned(),
                })
            }
        }?;
        // Whatever a server says, it is not taken for anything else later.
        let ids = [&resolved.object, &resolved.commit];
        if !ids.into_iter().all(|id| is_commit(id)) {
            return Err(GitError::NoId { remote: remote.to_string() }.into());
        }
        Ok(resolved)
    }
}

/// Whether what is kept of a repository is not whole.
fn is_of_damage(error: &ExecError) -> bool {
    matches!(error, ExecError::Git(git) if git.is_of_damage())
}

/// A directory in files of a repository: links lead nowhere.
fn directory_in(tree: &Path, subdir: &str) -> Result<PathBuf, ExecError> {
    let mut place = tree.to_owned();
    for name in subdir.split('/').filter(|name| !matches!(*name, "" | ".")) {
        place.push(name);
        let problem = match std::fs::symlink_metadata(&place) {
            Ok(found) if found.is_dir() => continue,
            Ok(found) if found.is_symlink() => "is a link",
            Ok(_) => "is no directory",
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "is not in the repository",
            Err(error) => return Err(error).at("stat", &place)?,
        };
        let path = place.strip_prefix(tree).unwrap_or(&place).display().to_string();
        return Err(GitError::Subdir { subdir: subdir.to_owned(), path, problem }.into());
    }
    Ok(place)
}

impl From<GitError> for ExecError {
    fn from(error: GitError) -> Self {
        Self::Git(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const C: &str = "cccccccccccccccccccccccccccccccccccccccc";

    fn found(listing: &str, name: &str) -> Option<(String, String, Option<String>)> {
        Resolved::of_listing(listing, name).map(|found| (found.object, found.commit, found.name))
    }

    fn some(object: &str, commit: &str, name: &str) -> Option<(String, String, Option<String>)> {
        Some((object.to_owned(), commit.to_owned(), Some(name.to_owned())))
    }

    #[test]
    fn branches_go_before_tags() {
        let both = format!("{A}\trefs/heads/v1\n{B}\trefs/tags/v1\n{C}\trefs/tags/v1^{{}}\n");
        assert_eq!(found(&both, "v1"), some(A, A, "refs/heads/v1"));
        assert_eq!(found(&both, "heads/v1"), some(A, A, "refs/heads/v1"));
        assert_eq!(found(&both, "refs/heads/v1"), some(A, A, "refs/heads/v1"));
        assert_eq!(found(&both, "refs/tags/v1"), some(B, C, "refs/tags/v1"));
        let tag = format!("{B}\trefs/tags/v1\n{C}\trefs/tags/v1^{{}}\n");
        assert_eq!(found(&tag, "v1"), some(B, C, "refs/tags/v1"));
        assert_eq!(found(&format!("{B}\trefs/tags/v1\n"), "v1"), some(B, B, "refs/tags/v1"));
        assert_eq!(found(&format!("{B}\trefs/pull/7/head\n"), "pull/7/head"), some(B, B, "refs/pull/7/head"));
        // A name is a whole one, not the end of another.
        assert_eq!(found(&format!("{B}\trefs/heads/x/v1\n"), "v1"), None);
        assert_eq!(found("", "v1"), None);
    }

    #[test]
    fn a_repository_says_itself_what_it_is_about() {
        let head = format!("ref: refs/heads/trunk\tHEAD\n{A}\tHEAD\n{B}\trefs/remotes/x/HEAD\n");
        let found = Resolved::of_head(&head).unwrap();
        assert_eq!((found.object.as_str(), found.name.as_deref()), (A, Some("refs/heads/trunk")));
        assert_eq!(Resolved::of_head(&format!("{A}\tHEAD\n")).unwrap().name, None);
        assert_eq!(Resolved::of_head(""), None);
        for odd in ["-d", "HEAD", "main", "refs/heads/a:b", "refs/../x", "refs/heads/a b"] {
            assert_eq!(
                Resolved::of_head(&format!("ref: {odd}\tHEAD\n{A}\tHEAD\n")).unwrap().name,
                None,
                "{odd}"
            );
        }
    }

    #[test]
    fn checksums_are_of_the_commit_or_the_tag() {
        let tag = Resolved { object: B.to_owned(), commit: C.to_owned(), name: None };
        assert!([None, Some(B), Some(C), Some("cc")].into_iter().all(|sum| tag.check(sum).is_ok()));
        let error = tag.check(Some(A)).unwrap_err().to_string();
        assert_eq!(error, format!("expected checksum to match {A}, got {B} or {C}"));
    }
}
