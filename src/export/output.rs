//! Where a build's result goes besides the store and registries.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use super::layout::Description;
use crate::image::{Packing, Reference};

/// One place, and what is put there.
#[derive(Debug, Clone)]
pub enum Output {
    /// The image.
    Image(ImageFile),
    /// The files of its root file system, as files.
    Directory(PathBuf),
    /// The same as one tar.
    Tar(Place),
}

/// An image in a file or a directory.
#[derive(Debug, Clone)]
pub struct ImageFile {
    pub description: Description,
    pub packing: Packing,
    pub names: Vec<Reference>,
    pub to: Place,
}

#[derive(Debug, Clone)]
pub enum Place {
    /// A stream that is open already, such as the standard output.
    Stream(Arc<File>),
    /// A file, or a pipe or device that is there.
    File(PathBuf),
    /// A directory that is to be made, or for images one that has a layout already.
    Directory(PathBuf),
}

impl Place {
    /// What messages call it.
    pub fn shown(&self) -> PathBuf {
        match self {
            Self::Stream(_) => "standard output".into(),
            Self::File(path) | Self::Directory(path) => {
                std::path::absolute(path).unwrap_or_else(|_| path.clone())
            }
        }
    }
}

impl Output {
    /// Whether it goes into a stream that is open already.
    pub fn is_stream(&self) -> bool {
        match self {
            Self::Image(ImageFile { to, .. }) | Self::Tar(to) => matches!(to, Place::Stream(_)),
            Self::Directory(_) => false,
        }
    }

    /// How layers are compressed for it, if that matters.
    pub fn packing(&self) -> Option<Packing> {
        match self {
            Self::Image(image) => Some(image.packing),
            Self::Directory(_) | Self::Tar(_) => None,
        }
    }

    /// What is done, as progress tells it.
    pub fn headline(&self) -> String {
        match self {
            Self::Image(image) if image.description.for_docker => {
                "exporting to docker image format".to_owned()
            }
            Self::Image(_) => "exporting to oci image format".to_owned(),
            Self::Directory(path) => format!("exporting to directory {}", path.display()),
            Self::Tar(_) => "exporting to tarball".to_owned(),
        }
    }
}
