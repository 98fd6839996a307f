//! OCI layouts in directories that are somebody else's: read in place, every byte checked.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::image::{Descriptor, Digest, Index, MAX_DOCUMENT};
use crate::sys::rooted::{Irregular, Root};
use crate::sys::{At, IoError};

/// A directory with an `index.json`, and blobs by digest.
#[derive(Debug)]
pub struct LayoutDirectory {
    root: Root,
}

#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error("{} is no OCI layout: {problem}", .path.display())]
    NoLayout { path: PathBuf, problem: &'static str },
    #[error("{} is no index of an OCI layout: {source}", .path.display())]
    Index { path: PathBuf, source: serde_json::Error },
    #[error("{} is larger than the {limit} bytes that are read", .path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{} has {found} bytes, not {expected}", .path.display())]
    Size { path: PathBuf, expected: u64, found: u64 },
    #[error("{} does not match its digest: it is {found}", .path.display())]
    Digest { path: PathBuf, found: Digest },
}

impl LayoutDirectory {
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        let problem = |error: &IoError| match error.errno()? {
            Errno::NOTDIR => Some("it is no directory"),
            Errno::NOENT => Some("it does not exist"),
            _ => None,
        };
        Ok(Self { root: Root::open(path).map_err(|error| no_layout(path, problem(&error), error))? })
    }

    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Where a blob lies in a layout.
    pub fn place(digest: &Digest) -> PathBuf {
        Path::new("blobs/sha256").join(digest.hex())
    }

    pub fn index(&self) -> Result<Index, LayoutError> {
        let problem = |error: &IoError| match error.errno() {
            Some(Errno::NOENT | Errno::NOTDIR) => Some("it has no index.json"),
            Some(_) | None => Irregular::of(error).map(|_| "its index.json is no regular file"),
        };
        let bytes = self.read(Path::new("index.json"), MAX_DOCUMENT).map_err(|error| match error {
            LayoutError::Io(error) => no_layout(self.path(), problem(&error), error),
            error => error,
        })?;
        let refuse = |source| LayoutError::Index { path: self.shown(Path::new("index.json")), source };
        serde_json::from_slice(&bytes).map_err(refuse)
    }

    /// Whether there is a blob of this digest and size; what it really is shows when it is read.
    pub fn has(&self, blob: &Descriptor) -> bool {
        let stat = self.root.try_stat(&Self::place(&blob.digest));
        matches!(stat, Ok(Some(stat)) if u64::try_from(stat.st_size) == Ok(blob.size))
    }

    /// Whether there is anything at all in the place of a blob.
    pub fn has_something_as(&self, blob: &Descriptor) -> bool {
        !matches!(self.root.try_lstat(&Self::place(&blob.digest)), Ok(None))
    }

    /// Opens a blob, whose digest the reader has to check.
    pub fn open_blob(&self, blob: &Descriptor) -> Result<File, LayoutError> {
        let place = Self::place(&blob.digest);
        let file = self.root.open_file(&place)?;
        let found = file.metadata().at("stat", self.shown(&place))?.len();
        if found != blob.size {
            return Err(LayoutError::Size { path: self.shown(&place), expected: blob.size, found });
        }
        Ok(file)
    }

    /// A small blob, whole and checked.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, LayoutError> {
        let place = Self::place(digest);
        let bytes = self.read(&place, limit)?;
        match Digest::of(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(LayoutError::Digest { path: self.shown(&place), found }),
        }
    }

    fn read(&self, place: &Path, limit: u64) -> Result<Vec<u8>, LayoutError> {
        let mut bytes = Vec::new();
        let file = self.root.open_file(place)?;
        file.take(limit + 1).read_to_end(&mut bytes).at("read", self.shown(place))?;
        if bytes.len() as u64 > limit {
            return Err(LayoutError::TooLarge { path: self.shown(place), limit });
        }
        Ok(bytes)
    }

    fn shown(&self, place: &Path) -> PathBuf {
        self.root.path().join(place)
    }
}

fn no_layout(path: &Path, problem: Option<&'static str>, error: IoError) -> LayoutError {
    match problem {
        Some(problem) => LayoutError::NoLayout { path: path.to_owned(), problem },
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::media_type;

    #[test]
    fn blobs_are_checked() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
        let layout = LayoutDirectory::open(directory.path()).unwrap();
        let blob =
            |bytes: &[u8]| Descriptor::new(media_type::OCI_LAYER, Digest::of(bytes), bytes.len() as u64);
        let write = |blob: &Descriptor, bytes: &[u8]| {
            std::fs::write(directory.path().join(LayoutDirectory::place(&blob.digest)), bytes).unwrap();
        };
        let (good, changed, short) = (blob(b"good"), blob(b"other"), blob(b"longer"));
        write(&good, b"good");
        write(&changed, b"wrong");
        write(&short, b"long");
        assert_eq!(layout.read_blob(&good.digest, 4).unwrap(), b"good");
        assert!(layout.has(&good) && layout.has(&changed) && !layout.has(&short));
        assert!(matches!(layout.read_blob(&good.digest, 3), Err(LayoutError::TooLarge { .. })));
        assert!(matches!(layout.read_blob(&changed.digest, 9), Err(LayoutError::Digest { .. })));
        assert!(matches!(layout.open_blob(&short), Err(LayoutError::Size { found: 4, .. })));
        assert!(matches!(layout.index(), Err(LayoutError::NoLayout { .. })));
        std::fs::write(directory.path().join("index.json"), "[]").unwrap();
        assert!(matches!(layout.index(), Err(LayoutError::Index { .. })));
    }

    #[test]
    fn links_do_not_lead_out() {
        let directory = tempfile::tempdir().unwrap();
        let blob = Descriptor::new(media_type::OCI_LAYER, Digest::of(b"out"), 3);
        std::fs::write(directory.path().join("outside"), "out").unwrap();
        let inside = directory.path().join("layout");
        std::fs::create_dir_all(inside.join("blobs/sha256")).unwrap();
        let link = inside.join(LayoutDirectory::place(&blob.digest));
        std::os::unix::fs::symlink("../../../outside", link).unwrap();
        let layout = LayoutDirectory::open(&inside).unwrap();
        assert!(!layout.has(&blob) && layout.open_blob(&blob).is_err());
    }
}
