//! Keeps what is kept of repositories in order: free of what killed programs have left, and small.
//!
//! Whoever does either has the repository for itself.

use std::fs;
use std::path::Path;

use super::super::error::ExecError;
use super::program::Git;
use super::repository::Repository;
use crate::sys::{At, IoError};

/// How many packs a repository may have: each fetch adds one, and git looks through all of them for every object.
const MOST_PACKS: usize = 30;

/// Removes what killed programs have left: locks, which nobody would ever give back, and files that are not whole.
pub(super) fn remove_leftovers(path: &Path) -> Result<(), IoError> {
    remove_in(path, |name| name.ends_with(".lock") || name == "packed-refs.new")?;
    remove_in(&path.join("objects"), is_unfinished)?;
    // What a fetch keeps from being put together with others until it has given it a name.
    let is_mark = |name: &str| name.ends_with(".lock") || name.ends_with(".keep");
    remove_in(&path.join("objects/pack"), |name| is_mark(name) || is_unfinished(name))?;
    remove_locks_below(&path.join("refs"))
}

/// Throws away all that was fetched. Whoever is killed at that leaves a repository that has less.
pub(super) fn empty(path: &Path) -> Result<(), IoError> {
    remove_in(path, |name| matches!(name, "shallow" | "packed-refs"))?;
    for inner in ["refs", "objects/pack", "objects/info"] {
        remove_in(&path.join(inner), |_| true)?;
    }
    remove_in(&path.join("objects"), |name| !matches!(name, "pack" | "info"))
}

/// As git names files and directories until they are whole.
fn is_unfinished(name: &str) -> bool {
    ["tmp_", "incoming-", ".tmp-"].iter().any(|begin| name.starts_with(begin))
}

fn remove_in(directory: &Path, is_left: impl Fn(&str) -> bool) -> Result<(), IoError> {
    for entry in fs::read_dir(directory).at("read directory", directory)?.flatten() {
        if entry.file_name().to_str().is_some_and(&is_left) {
            let path = entry.path();
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.at("remove", &path)?;
        }
    }
    Ok(())
}

/// Names of refs lead as deep as whoever has given them likes, within the length of a path.
fn remove_locks_below(top: &Path) -> Result<(), IoError> {
    let mut waiting = vec![top.to_owned()];
    while let Some(directory) = waiting.pop() {
        remove_in(&directory, |name| name.ends_with(".lock"))?;
        let entries = fs::read_dir(&directory).at("read directory", &directory)?.flatten();
        let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        waiting.extend(directories.map(|entry| entry.path()));
    }
    Ok(())
}

impl Git {
    /// Puts packs together when there are many, the small ones first, and names with them. Whoever is killed at that leaves the old ones,
    /// the new one, or both.
    pub(super) async fn keep_small(&self, repository: &Repository) -> Result<(), ExecError> {
        if count_packs(repository.path()) <= MOST_PACKS {
            return Ok(());
        }
        for arguments in [&["repack", "-q", "-d", "--geometric=2"], ["pack-refs", "--all"].as_slice()] {
            let call = self.quiet(repository, "put packs together").holding(&repository.held);
            // What is here is here: that it could be smaller is no reason to fail.
            let _ = call.arguments(arguments).attempt().await?;
        }
        Ok(())
    }
}

fn count_packs(repository: &Path) -> usize {
    let Ok(entries) = fs::read_dir(repository.join("objects/pack")) else { return 0 };
    entries.flatten().filter(|entry| entry.path().extension().is_some_and(|kind| kind == "pack")).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_goes_and_what_is_whole_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        for directory in
            ["objects/pack", "objects/tmp_objdir-incoming-x/ab", "refs/heads", "refs/all/heads/a/b"]
        {
            fs::create_dir_all(at(directory)).unwrap();
        }
        let left = [
            "shallow.lock",
            "packed-refs.new",
            "objects/pack/tmp_pack_x",
            "objects/pack/pack-x.keep",
            "objects/pack/.tmp-1-pack-x.pack",
            "refs/heads/x.lock",
            "refs/all/heads/a/b/c.lock",
        ];
        let whole = ["packed-refs", "objects/pack/pack-x.pack", "refs/all/heads/a/b/c", "config"];
        for name in left.iter().chain(&whole) {
            fs::write(at(name), "").unwrap();
        }
        remove_leftovers(scratch.path()).unwrap();
        assert!(left.iter().all(|name| !at(name).exists()));
        assert!(!at("objects/tmp_objdir-incoming-x").exists());
        assert!(whole.iter().all(|name| at(name).exists()));
    }
}
