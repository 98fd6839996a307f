//! What a build is made of besides the Dockerfile: the context and those that have names, as the command line gives them.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use crate::dockerfile::GitSource;
use crate::image::{Digest, Reference};
use crate::plan;

/// Where the files of a context are.
#[derive(Debug, Clone)]
pub enum ContextSource {
    /// In a directory of this machine.
    Directory(PathBuf),
    /// Nowhere: there are none.
    Nothing,
    /// In an archive that comes as a stream.
    Stream(Stream),
    /// In an archive at an address. What is no archive there is a Dockerfile, or a file of a named context.
    Url(String),
    /// In a git repository.
    Git(Box<GitSource>),
}

/// What a named context stands for.
#[derive(Debug, Clone)]
pub enum NamedSource {
    Files(ContextSource),
    /// An image of the store or a registry.
    Image(Reference),
    /// An image in an OCI layout.
    Layout(LayoutImage),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutImage {
    pub directory: PathBuf,
    /// `latest`, or the only one that there is, if there is neither a tag nor a digest.
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// Where the Dockerfile is.
#[derive(Debug, Clone)]
pub enum DockerfileSource {
    /// In the context, under its usual name.
    Usual,
    /// At a path: of this machine where the context is a directory or the path is absolute, else in the context.
    Path(PathBuf),
    /// At hand, because where it came from cannot be read again; `shown` is that, for messages.
    Text { text: Arc<[u8]>, shown: String },
    /// At an address.
    Url(String),
}

/// Something that can be read once, of which the beginning has been read.
#[derive(Clone)]
pub struct Stream {
    pub beginning: Arc<[u8]>,
    pub rest: Arc<File>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Stream")
    }
}

impl ContextSource {
    /// Whether it can be read as it is, without a store.
    pub(super) fn is_at_hand(&self) -> bool {
        match self {
            Self::Directory(_) | Self::Nothing => true,
            Self::Stream(_) | Self::Url(_) | Self::Git(_) => false,
        }
    }
}

impl fmt::Display for ContextSource {
    /// As messages name it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(out),
            Self::Nothing => out.write_str("nothing"),
            Self::Stream(_) => out.write_str("standard input"),
            Self::Url(url) => out.write_str(&plan::without_password(url)),
            Self::Git(source) => source.fmt(out),
        }
    }
}

impl NamedSource {
    pub fn kind(&self) -> plan::NamedContext {
        match self {
            Self::Files(ContextSource::Nothing) => plan::NamedContext::Nothing,
            Self::Files(_) => plan::NamedContext::Files,
            Self::Image(_) | Self::Layout(_) => plan::NamedContext::Image,
        }
    }
}

impl DockerfileSource {
    pub(super) fn is_at_hand(&self) -> bool {
        match self {
            Self::Usual | Self::Path(_) | Self::Text { .. } => true,
            Self::Url(_) => false,
        }
    }
}

impl fmt::Display for LayoutImage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "oci-layout://{}", self.directory.display())?;
        self.tag.iter().try_for_each(|tag| write!(out, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(out, "@{digest}"))
    }
}
