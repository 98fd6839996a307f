//! `--filter` of lists of images.

use std::str::FromStr;

use crate::context::Glob;
use crate::image::Reference;

/// What an image in a list has to be. Several patterns of names are alternatives; everything else has to hold.
#[derive(Debug, Clone)]
pub enum Filter {
    /// A name, or a pattern of one.
    Reference(Pattern),
    /// Whether it has no name.
    Dangling(bool),
    /// Made before that image.
    Before(String),
    /// Made after that image.
    Since(String),
    /// A label, with its value if one is given.
    Label(String, Option<String>),
}

/// A pattern of names: with a tag or without, `*` standing for anything but a slash.
#[derive(Debug, Clone)]
pub struct Pattern {
    glob: Glob,
    /// What it names if it is a name.
    name: Option<Reference>,
    has_tag: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    #[error("a filter is KEY=VALUE, and {0:?} is not")]
    Form(String),
    #[error("there is no filter {0:?}: there are reference, dangling, before, since and label")]
    Key(String),
    #[error("dangling is true or false, not {0:?}")]
    Dangling(String),
    #[error("{pattern:?} is no pattern: {reason}")]
    Pattern { pattern: String, reason: String },
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let (key, value) = text.split_once('=').ok_or_else(|| FilterError::Form(text.to_owned()))?;
        match key {
            "reference" => Ok(Self::Reference(value.parse()?)),
            "dangling" => match value {
                "true" | "1" => Ok(Self::Dangling(true)),
                "false" | "0" => Ok(Self::Dangling(false)),
                _ => Err(FilterError::Dangling(value.to_owned())),
            },
            "before" => Ok(Self::Before(value.to_owned())),
            "since" => Ok(Self::Since(value.to_owned())),
            "label" => Ok(match value.split_once('=') {
                Some((name, value)) => Self::Label(name.to_owned(), Some(value.to_owned())),
                None => Self::Label(value.to_owned(), None),
            }),
            _ => Err(FilterError::Key(key.to_owned())),
        }
    }
}

impl FromStr for Pattern {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let glob = Glob::parse(text.as_bytes())
            .map_err(|error| FilterError::Pattern { pattern: text.to_owned(), reason: error.to_string() })?;
        let has_tag = text.contains('@') || text.rsplit('/').next().is_some_and(|last| last.contains(':'));
        Ok(Self { glob, name: text.parse().ok(), has_tag })
    }
}

impl Pattern {
    pub fn matches(&self, name: &Reference) -> bool {
        let familiar = name.familiar();
        let repository = repository(name);
        self.glob.matches(familiar.as_bytes())
            || self.glob.matches(repository.as_bytes())
            || self.name.as_ref().is_some_and(|wanted| {
                wanted.name() == name.name() && (!self.has_tag || wanted.version() == name.version())
            })
    }
}

/// A name as people type it, without tag and digest.
pub(super) fn repository(name: &Reference) -> String {
    Reference { tag: None, digest: None, ..name.clone() }.familiar()
}
