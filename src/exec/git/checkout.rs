//! From a commit to files.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::error::ExecError;
use super::access::Access;
use super::program::Git;
use super::repository::{Repository, lay_out};
use super::submodules::Submodule;
use crate::dockerfile::GitRemote;
use crate::graph::GitOp;
use crate::store::Workspace;
use crate::sys::At;

/// A repository that goes with the files.
#[derive(Debug, Clone, Copy)]
struct Kept<'a> {
    remote: &'a GitRemote,
    /// The commit, or the tag that leads to it.
    object: &'a str,
    /// The full name that has led to it.
    name: Option<&'a str>,
}

/// What has come of a repository.
pub(super) struct Brought {
    pub commit: String,
    pub submodules: Vec<Submodule>,
}

/// What git has noted of the files that it has written.
pub(super) struct Index {
    pub git_dir: PathBuf,
    pub file: PathBuf,
}

impl Git {
    /// Fetches a commit unless it is here, writes its files, and looks for submodules, if they are wanted.
    pub(super) async fn bring(
        &self,
        repository: &Repository,
        wanted: &Submodule,
        op: &GitOp,
        access: &Access,
        workspace: &Workspace,
    ) -> Result<Brought, ExecError> {
        self.fetch(repository, wanted, access).await?;
        let commit = self.commit(repository, &wanted.object).await?;
        let is_kept = op.keep_git_dir && op.subdir.is_none();
        let (remote, object, name) = (&wanted.remote, wanted.object.as_str(), wanted.name.as_deref());
        let kept = is_kept.then_some(Kept { remote, object, name });
        let index = self.check_out(repository, &commit, &wanted.place, kept, workspace).await?;
        let submodules = match op.submodules {
            true => self.submodules(repository, &commit, &index, wanted).await?,
            false => Vec::new(),
        };
        Ok(Brought { commit, submodules })
    }

    /// Writes the files of a commit into a directory that is there and empty.
    async fn check_out(
        &self,
        repository: &Repository,
        commit: &str,
        into: &Path,
        kept: Option<Kept<'_>>,
        workspace: &Workspace,
    ) -> Result<Index, ExecError> {
        let index = match kept {
            Some(kept) => {
                let git_dir = self.keep(repository, commit, into, kept).await?;
                Index { file: git_dir.join("index"), git_dir }
            }
            None => {
                // Of the repository before.
                let file = workspace.path().join("index");
                let _ = fs::remove_file(&file);
                Index { git_dir: repository.path().to_owned(), file }
            }
        };
        let call = self.call(format!("write the files of {commit}")).repository(&index.git_dir);
        let call = call.variable("GIT_WORK_TREE", into).variable("GIT_INDEX_FILE", &index.file);
        call.arguments(["read-tree", "--reset", "-u", commit]).run().await?;
        Ok(index)
    }

    /// Makes a repository in a directory: of one commit, which is checked out, with the name that has led to it.
    async fn keep(
        &self,
        repository: &Repository,
        commit: &str,
        into: &Path,
        kept: Kept<'_>,
    ) -> Result<PathBuf, ExecError> {
        let git_dir = into.join(".git");
        let address = kept.remote.address().replace('\\', "\\\\").replace('"', "\\\"");
        let settings = format!(
            "\tbare = false\n\tlogallrefupdates = true\n[remote \"origin\"]\n\turl = \"{address}\"\n\
             \tfetch = +refs/heads/*:refs/remotes/origin/*\n"
        );
        fs::create_dir(&git_dir).at("create directory", &git_dir)?;
        lay_out(&git_dir, repository.format, &settings)?;
        // Of a tag, that and all those which lead from it to the commit.
        let objects = self.quiet(repository, &format!("list the objects of {}", kept.object));
        let objects = objects.arguments(["rev-list", "--objects", "--no-walk", kept.object]).run().await?;
        let call = self.quiet(repository, &format!("pack {commit}")).input(objects);
        let call = call.arguments(["pack-objects", "-q", "--delta-base-offset"]);
        call.argument(git_dir.join("objects/pack/pack")).run().await?;
        if self.has_parents(repository, commit).await? {
            let path = git_dir.join("shallow");
            fs::write(&path, format!("{commit}\n")).at("write", &path)?;
        }
        if let Some(name) = kept.name {
            let call = self.call(format!("note {name}")).repository(&git_dir);
            call.arguments(["update-ref", "--no-deref", name, kept.object]).run().await?;
        }
        let head = git_dir.join("HEAD");
        fs::write(&head, format!("{commit}\n")).at("write", &head)?;
        // Who did what when is nobody's business.
        let logs = git_dir.join("logs");
        match fs::remove_dir_all(&logs) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            answer => answer.at("remove", &logs)?,
        }
        Ok(git_dir)
    }
}
