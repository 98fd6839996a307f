//! The build context as a directory of this machine.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::ignore::{Ignore, IgnoreError};
use super::tree::{Owner, Tree};
use crate::sys::IoError;
use crate::sys::rooted::Root;

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

impl LocalContext {
    pub fn open(path: &Path, ignore: IgnoreFrom<'_>) -> Result<Self, ContextError> {
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
        let ignore = match ignore {
            IgnoreFrom::Files { dockerfile } => Ignore::read(dockerfile, &root)?,
            IgnoreFrom::Given(ignore) => ignore,
        };
        Ok(Self { tree: Tree::new(&root, ignore, Owner::Zeroed)? })
    }

    /// The context as a build sees it.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    pub fn into_tree(self) -> Tree {
        self.tree
    }
}
