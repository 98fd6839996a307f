//! ADD of archives: what is in them comes into the image, not themselves.
//!
//! The destination is a root of its own: whatever paths and links of an archive say, everything lands below it. Names that
//! mean deletions in layers are names like any others.

mod unpacking;

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use self::unpacking::Unpacking;
use super::copy_tree::Copier;
use super::error::ExecError;
use super::owner::Owner;
use crate::context;
use crate::layer::decompress::Decompressed;
use crate::layer::tar_reader::{Entry, TarReader};
use crate::snapshot::Merged;
use crate::sys::IoError;
use crate::sys::rooted::{Links, final_place};

/// A tar, compressed or not, whose first entry has been read.
pub(super) struct Archive {
    path: PathBuf,
    first: Entry,
    rest: TarReader<Decompressed<File>>,
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("it has no entries")]
    Empty,
    #[error("it is damaged: {0}")]
    Damaged(io::Error),
    #[error("it contains {}, which leads out of it", .0.display())]
    Escape(PathBuf),
    #[error("it contains {}, a link to {}, which is no file there", .path.display(), .target.display())]
    DeadLink { path: PathBuf, target: PathBuf },
    #[error("it contains {}, which is of no known kind", .0.display())]
    Kind(PathBuf),
    #[error("it contains {}, {problem}", .path.display())]
    Impossible { path: PathBuf, problem: &'static str },
}

impl Archive {
    /// A source as an archive, if its content is one; its name does not matter. One without entries is none.
    pub(super) fn of(entry: &context::Entry) -> Option<Self> {
        if entry.metadata.kind != FileType::RegularFile {
            return None;
        }
        // What cannot be read is told by who copies it.
        let mut rest = TarReader::new(Decompressed::new(entry.open().ok()?).ok()?);
        let first = rest.next().ok()??;
        Some(Self { path: entry.path.clone(), first, rest })
    }

    /// Unpacks into the directory at a place that has no links in it.
    pub(super) fn unpack(
        self,
        root: &Merged,
        place: &Path,
        owner: Option<Owner>,
        copier: &mut Copier,
    ) -> Result<(), ExecError> {
        let Self { path, first, mut rest } = self;
        let archive = |error| ExecError::Archive { path: format!("/{}", path.display()), error };
        let below = Below { root, base: place };
        let mut unpacking = Unpacking::new(below, owner, copier);
        let mut next = Some(first);
        while let Some(entry) = next {
            unpacking.entry(&entry, &mut rest).map_err(|failure| match failure.because_of(&entry) {
                Failure::Archive(error) => archive(error),
                Failure::Exec(error) => error,
            })?;
            next = rest.next().map_err(|error| archive(ArchiveError::Damaged(error)))?;
        }
        unpacking.finish_directories()
    }
}

/// Whether there is something to unpack in a file that has to be an archive.
pub fn check_archive(file: File) -> Result<(), ExecError> {
    let first = Decompressed::new(file).and_then(|content| TarReader::new(content).next());
    let error = match first {
        Ok(Some(_)) => return Ok(()),
        Ok(None) => ArchiveError::Empty,
        Err(error) => ArchiveError::Damaged(error),
    };
    Err(ExecError::Archive { path: "it".to_owned(), error })
}

/// Paths of an archive, which are resolved as if its destination were the root.
struct Below<'a> {
    root: &'a Merged,
    base: &'a Path,
}

impl Below<'_> {
    /// A place of the archive in the image.
    fn outside(&self, place: &Path) -> PathBuf {
        self.base.join(place.strip_prefix("/").unwrap_or(place))
    }

    /// Where something of the archive really lies in the image. Of what is no directory the last name is not followed: it
    /// is replaced.
    fn resolve(&self, path: &Path, follow: bool) -> Result<PathBuf, IoError> {
        match (follow, path.parent(), path.file_name()) {
            (false, Some(parent), Some(name)) => Ok(self.outside(&final_place(self, parent)?).join(name)),
            _ => Ok(self.outside(&final_place(self, path)?)),
        }
    }
}

impl Links for Below<'_> {
    fn link_at(&self, place: &Path) -> Result<Option<PathBuf>, IoError> {
        self.root.link_at(&self.outside(place))
    }
}

/// Who is to blame.
enum Failure {
    Archive(ArchiveError),
    Exec(ExecError),
}

impl Failure {
    /// Says what it is in an entry that no file system could have taken.
    fn because_of(self, entry: &Entry) -> Self {
        let Self::Exec(ExecError::Io(error)) = &self else { return self };
        let problem = match error.errno() {
            Some(Errno::LOOP) => "whose path leads through links without end",
            Some(Errno::NAMETOOLONG) => "which has a longer name or target than there can be",
            Some(Errno::NOTDIR) => "whose path leads through what is no directory",
            Some(Errno::FBIG) => "which is larger than a file can be",
            _ => return self,
        };
        Self::Archive(ArchiveError::Impossible { path: entry.path.clone(), problem })
    }
}

impl<E: Into<ExecError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Exec(error.into())
    }
}

/// A path as it is below the destination: relative, without `.` and `..`. One that leads out is refused.
fn clean(path: &Path) -> Result<PathBuf, Failure> {
    let escape = || Failure::Archive(ArchiveError::Escape(path.to_owned()));
    // As one of an entry, not of the system: it cannot be the end of a text.
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(escape());
    }
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir if clean.pop() => {}
            Component::ParentDir | Component::Prefix(_) => return Err(escape()),
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests;
