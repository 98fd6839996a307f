//! The files of an archive or a directory, in the store but without names.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use serde::de::DeserializeOwned;

use super::Described;
use super::error::ImportError;
use crate::image::{Digest, MAX_DOCUMENT};
use crate::layer::tar_reader::{Kind, TarReader};
use crate::store::{NamelessBlob, Store};
use crate::sys::IoError;
use crate::sys::rooted::Root;

/// More than any archive of images has: docker's old form takes four for each layer.
const MOST_FILES: usize = 100_000;
/// A link to a link to a link is odd enough.
const MOST_LINKS: usize = 8;

/// What there is to load.
pub(super) struct Files<'a> {
    store: &'a Store,
    paths: HashMap<String, Target>,
    contents: HashMap<Digest, NamelessBlob<'a>>,
    /// Where files that nobody has asked for yet lie, if they do not come from an archive.
    directory: Option<Root>,
}

/// What lies at a path.
enum Target {
    Content(Digest),
    Link(String),
}

impl<'a> Files<'a> {
    pub(super) fn of_archive(store: &'a Store, tar: impl Read) -> Result<Self, ImportError> {
        let mut files = Self { store, paths: HashMap::new(), contents: HashMap::new(), directory: None };
        let mut tar = TarReader::new(tar);
        while let Some(entry) = tar.next().map_err(ImportError::Read)? {
            let clean = inside(Path::new(""), &entry.path)?;
            // Names that are no text are nobody's.
            let Some(path) = clean.to_str().map(str::to_owned) else { continue };
            let target = match entry.kind {
                Kind::File { sparse: Some(_), .. } => return Err(ImportError::Sparse { path }),
                Kind::File { .. } => Target::Content(files.take(&mut tar)?),
                Kind::Symlink(to) => link(&inside(clean.parent().unwrap_or(Path::new("")), &to)?),
                Kind::HardLink(to) => link(&inside(Path::new(""), &to)?),
                Kind::Directory
                | Kind::Fifo
                | Kind::CharacterDevice { .. }
                | Kind::BlockDevice { .. }
                | Kind::Unknown => continue,
            };
            files.paths.insert(path, target);
            if files.paths.len() > MOST_FILES {
                return Err(ImportError::TooMany(MOST_FILES));
            }
        }
        Ok(files)
    }

    pub(super) fn of_directory(store: &'a Store, path: &Path) -> Result<Self, ImportError> {
        let directory = Some(Root::open(path)?);
        Ok(Self { store, paths: HashMap::new(), contents: HashMap::new(), directory })
    }

    /// The digest of what lies at a path, if anything does.
    pub(super) fn at(&mut self, path: &str) -> Result<Option<Digest>, ImportError> {
        let mut place = path;
        for _ in 0..=MOST_LINKS {
            match self.paths.get(place) {
                Some(Target::Content(digest)) => return Ok(Some(*digest)),
                Some(Target::Link(to)) => place = to,
                None if self.directory.is_some() => return self.in_directory(path),
                None => return Ok(None),
            }
        }
        Err(ImportError::Loop { path: path.to_owned() })
    }

    /// What lies at a path that has to be there.
    pub(super) fn required(&mut self, path: &str) -> Result<Digest, ImportError> {
        self.at(path)?.ok_or_else(|| ImportError::Missing { path: path.to_owned() })
    }

    /// Reads a JSON document; `name` is what messages call it.
    pub(super) fn json<T: DeserializeOwned>(&self, digest: &Digest, name: &str) -> Result<T, ImportError> {
        let bytes = self.document(digest, name)?;
        serde_json::from_slice(&bytes).map_err(|source| ImportError::Json { path: name.to_owned(), source })
    }

    pub(super) fn document(&self, digest: &Digest, name: &str) -> Result<Vec<u8>, ImportError> {
        let path = || name.to_owned();
        let content = self.contents.get(digest).ok_or_else(|| ImportError::Missing { path: path() })?;
        if content.size() > MAX_DOCUMENT {
            return Err(ImportError::TooLarge { path: path(), limit: MAX_DOCUMENT });
        }
        let mut bytes = Vec::new();
        content.open()?.read_to_end(&mut bytes).map_err(ImportError::Read)?;
        Ok(bytes)
    }

    pub(super) fn size(&self, digest: &Digest) -> Option<u64> {
        self.contents.get(digest).map(NamelessBlob::size)
    }

    /// Opens what came, or what the store has already.
    pub(super) fn open(&self, digest: &Digest) -> Result<File, ImportError> {
        match self.contents.get(digest) {
            Some(content) => Ok(content.open()?),
            None => Ok(self.store.blobs().open(digest)?),
        }
    }

    /// Whether the store has a blob already.
    pub(super) fn is_stored(&self, digest: &Digest) -> Result<bool, ImportError> {
        Ok(self.store.blobs().size(digest)?.is_some())
    }

    /// Gives names to what images are made of; the rest goes.
    pub(super) fn keep(mut self, images: &[Described]) -> Result<(), ImportError> {
        for image in images {
            let manifest = image.manifest.iter().map(|manifest| manifest.digest);
            let layers = image.layers.iter().map(|layer| layer.digest);
            for digest in manifest.chain(layers).chain([image.config]) {
                if let Some(content) = self.contents.remove(&digest) {
                    content.keep()?;
                }
            }
        }
        Ok(())
    }

    /// Why there are no images.
    pub(super) fn nothing(&self) -> ImportError {
        if self.paths.contains_key("repositories") { ImportError::Legacy } else { ImportError::NoImages }
    }

    fn in_directory(&mut self, path: &str) -> Result<Option<Digest>, ImportError> {
        let Some(directory) = &self.directory else { return Ok(None) };
        let mut file = match directory.open_file(Path::new(path)) {
            Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(None),
            answer => answer?,
        };
        let digest = self.take(&mut file)?;
        self.paths.insert(path.to_owned(), Target::Content(digest));
        Ok(Some(digest))
    }

    /// Brings a file into the store.
    pub(super) fn take(&mut self, from: &mut impl Read) -> Result<Digest, ImportError> {
        let mut writer = self.store.blobs().writer()?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => writer.write_all(&buffer[..length]).map_err(|source| {
                    let path = PathBuf::from("the store");
                    ImportError::Store(IoError { operation: "write into", path, source }.into())
                })?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // Frees the space now; the session would only at its end.
                    drop(writer.finish());
                    return Err(ImportError::Read(error));
                }
            }
        }
        let content = writer.finish();
        let digest = content.digest();
        self.contents.entry(digest).or_insert(content);
        Ok(digest)
    }
}

fn link(to: &Path) -> Target {
    Target::Link(to.to_string_lossy().into_owned())
}

/// A path of an archive, seen from a directory of it; one that leads out is refused.
fn inside(from: &Path, path: &Path) -> Result<PathBuf, ImportError> {
    let mut place = if path.is_absolute() { PathBuf::new() } else { from.to_owned() };
    for component in path.components() {
        match component {
            Component::Normal(name) => place.push(name),
            Component::ParentDir => {
                if !place.pop() {
                    return Err(ImportError::Escape(path.to_owned()));
                }
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(place)
}
