//! The build context as a directory of this machine.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::ignore::{Ignore, IgnoreError};
use super::tree::{Owner, Tree};
use crate::sys::IoError;
use crate::sys::link_owners::ChainLinkOwners;
use crate::sys::rooted::Root;

/// What a context without files is called, as if it lay there.
pub const NO_FILES: &str = "no files";

/// A directory that is read where it lies.
#[derive(Debug)]
pub struct LocalContext {
    tree: Tree,
}

/// Where the rules of what to ignore come from.
#[derive(Debug)]
pub enum IgnoreFrom<'a> {
    /// `<Dockerfile>.dockerignore`, if there is a Dockerfile on disk and such a file beside it; else the context's
    /// `.dockerignore`; else nothing is ignored.
    Files { dockerfile: Option<&'a Path> },
    /// The same where the Dockerfile is a file of the context itself.
    Inside { dockerfile: &'a Path },
    /// Rules that are at hand.
    Given(Ignore),
}

#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    #[error("build context {} does not exist", .path.display())]
    Missing { path: PathBuf },
    #[error("build context {} is not a directory", .path.display())]
    NotADirectory { path: PathBuf },
    #[error("build context {} may not be read by this user", .path.display())]
    Unreadable { path: PathBuf },
    #[error(transparent)]
    Ignore(#[from] IgnoreError),
    #[error(transparent)]
    Io(#[from] IoError),
}

impl IgnoreFrom<'_> {
    fn read(self, context: &Root) -> Result<Ignore, IgnoreError> {
        match self {
            Self::Files { dockerfile } => Ignore::read(dockerfile, context),
            Self::Inside { dockerfile } => Ignore::read_inside(dockerfile, context),
            Self::Given(ignore) => Ok(ignore),
        }
    }
}

impl LocalContext {
    pub fn open(path: &Path, ignore: IgnoreFrom<'_>) -> Result<Self, ContextError> {
        let root = Self::root(path)?;
        let ignore = ignore.read(&root)?;
        Ok(Self { tree: Tree::new(&root, ignore, Owner::Zeroed)? })
    }

    /// A directory that an archive was unpacked into: its files have the owners that they have there, and messages name the
    /// archive.
    pub fn open_unpacked(path: &Path, archive: &str, ignore: IgnoreFrom<'_>) -> Result<Self, ContextError> {
        let root = Self::root(path)?.called(archive);
        let ignore = ignore.read(&root)?;
        let owners = ChainLinkOwners::of_layers(&[path.to_owned()])?;
        Ok(Self { tree: Tree::new(&root, ignore, Owner::Kept)?.with_link_owners(owners) })
    }

    /// A context without files; messages say that there are none.
    pub fn open_nothing(empty: &Path) -> Result<Self, ContextError> {
        let root = Self::root(empty)?.called(NO_FILES);
        Ok(Self { tree: Tree::new(&root, Ignore::nothing(), Owner::Zeroed)? })
    }

    fn root(path: &Path) -> Result<Root, ContextError> {
        let explain = |error: IoError| {
            let path = path.to_owned();
            match error.errno() {
                Some(Errno::NOENT) => ContextError::Missing { path },
                Some(Errno::NOTDIR) => ContextError::NotADirectory { path },
                Some(Errno::ACCESS | Errno::PERM) => ContextError::Unreadable { path },
                _ => ContextError::Io(error),
            }
        };
        let root = Root::open(path).map_err(explain)?;
        // A directory can be opened by its path though not be read.
        root.entries(Path::new(".")).map_err(explain)?;
        Ok(root)
    }

    /// The context as a build sees it.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    pub fn into_tree(self) -> Tree {
        self.tree
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(path: &Path) -> Result<LocalContext, ContextError> {
        LocalContext::open(path, IgnoreFrom::Files { dockerfile: None })
    }

    #[test]
    fn a_context_is_read_through_its_ignore_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("kept"), "").unwrap();
        fs::write(dir.path().join("hidden"), "").unwrap();
        fs::write(dir.path().join(".dockerignore"), "hidden\n").unwrap();
        let context = open(dir.path()).unwrap();
        assert!(context.tree().find(Path::new("kept")).unwrap().is_some());
        assert!(context.tree().find(Path::new("hidden")).unwrap().is_none());
        assert!(context.tree().find_hidden(Path::new("hidden")).unwrap().is_some());
        let context = LocalContext::open(dir.path(), IgnoreFrom::Given(Ignore::nothing())).unwrap();
        assert!(context.tree().find(Path::new("hidden")).unwrap().is_some());
    }

    #[test]
    fn what_cannot_be_a_context_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (file, missing) = (dir.path().join("file"), dir.path().join("missing"));
        fs::write(&file, "").unwrap();
        assert!(matches!(open(&missing), Err(ContextError::Missing { .. })));
        assert!(matches!(open(&file), Err(ContextError::NotADirectory { .. })));
        let locked = dir.path().join("locked");
        fs::create_dir(&locked).unwrap();
        rustix::fs::chmod(&locked, rustix::fs::Mode::empty()).unwrap();
        let opened = open(&locked);
        // Nothing is locked for the superuser.
        if !rustix::process::geteuid().is_root() {
            assert!(matches!(opened, Err(ContextError::Unreadable { .. })));
        }
    }

    #[test]
    fn a_malformed_ignore_file_is_reported_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".dockerignore"), "ok\n[\n").unwrap();
        let error = open(dir.path()).unwrap_err();
        let ContextError::Ignore(IgnoreError::Malformed { line: 2, origin: Some(_), .. }) = error else {
            panic!("{error}");
        };
    }
}
