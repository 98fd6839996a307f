//! What a source of COPY or ADD selects in a tree.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::glob::{Glob, Malformed, has_wildcard};
use super::ignore::{Ignore, IgnoreError};
use super::lexical::{as_path, inside, join, last};
use super::suggest;
use super::tree::{Entry, Tree};
use super::walk::Walk;
use crate::sys::IoError;

/// A source, parsed; what it selects is found out by [`Selector::select`].
#[derive(Debug, Clone)]
pub struct Selector {
    /// As written.
    source: String,
    /// Cleaned, with the wildcards: where selecting begins, inside the root.
    pub(super) path: Vec<u8>,
    /// The leading components of `path` that have no wildcard.
    pub(super) prefix: Vec<u8>,
    /// The components after that.
    globs: Vec<Glob>,
    /// With `--parents`: what below the path is wanted, relative to it.
    pub(super) include: Option<Ignore>,
    pub(super) exclude: Option<Ignore>,
    /// Whether it may select nothing although it has no wildcard.
    optional: bool,
}

/// Whether the path of a source is kept below the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parents {
    Drop,
    /// `--parents`: from the root on, or from after the first `/./`.
    Keep,
}

/// One thing that is selected.
#[derive(Debug)]
pub struct Source<'a> {
    /// As the selector names it, links not followed: its last component is the name at the destination. Empty for the
    /// root.
    pub path: PathBuf,
    /// What it is, links followed.
    pub entry: Entry,
    /// Whether the path is a symlink, which was followed.
    pub linked: bool,
    tree: &'a Tree,
    selector: &'a Selector,
}

#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    #[error("\"/{}\": not found{}", .path.display(), because(.hidden_by.as_ref()))]
    NotFound {
        path: PathBuf,
        /// The rule without which it would have been found.
        hidden_by: Option<HiddenBy>,
        /// Existing paths that look like it, the likeliest first.
        nearest: Vec<PathBuf>,
    },
    /// A symlink that leads nowhere: one that a wildcard has matched, or the first on the way.
    #[error("\"/{}\" links to {}: not found", .link.display(), .target.display())]
    Dangling { link: PathBuf, target: PathBuf },
    #[error("malformed pattern in source {source_text:?}: {flaw}")]
    Malformed { source_text: String, flaw: Malformed },
    #[error(transparent)]
    Exclude(#[from] IgnoreError),
    /// `path` is one of the links.
    #[error("{} leads through links without end", .path.display())]
    Endless { path: PathBuf },
    #[error(transparent)]
    Io(IoError),
}

impl From<IoError> for SelectError {
    fn from(error: IoError) -> Self {
        match error.errno() {
            Some(Errno::LOOP) => Self::Endless { path: error.path },
            Some(_) | None => Self::Io(error),
        }
    }
}

/// The rule of an ignore file that hides something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ignored by {text:?} in {}:{line}", .origin.as_deref().unwrap_or(Path::new(".dockerignore")).display())]
pub struct HiddenBy {
    pub origin: Option<PathBuf>,
    pub line: usize,
    pub text: String,
}

impl Selector {
    /// A source as it stands in the Dockerfile after expansion, with the patterns of its `--exclude` flags.
    pub fn parse(source: &str, exclude: Option<&Ignore>, parents: Parents) -> Result<Self, SelectError> {
        let (base, wanted) = match (parents, source.split_once("/./")) {
            (Parents::Drop, _) => (source, None),
            (Parents::Keep, Some((base, wanted))) => (base, Some(wanted)),
            (Parents::Keep, None) => ("", Some(source)),
        };
        let malformed = |flaw| SelectError::Malformed { source_text: source.to_owned(), flaw };
        let path = inside(base.as_bytes());
        let components: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
        let literal = components.iter().take_while(|component| !has_wildcard(component)).count();
        let prefix = components[..literal].join(&b'/');
        let globs = components[literal..].iter().map(|component| Glob::parse(component));
        let globs = globs.collect::<Result<_, _>>().map_err(malformed)?;
        // An empty pattern, as of `a/./`, wants everything.
        let wanted = wanted.map(|wanted| inside(wanted.as_bytes())).filter(|wanted| !wanted.is_empty());
        let include = wanted.map(|wanted| Ignore::only(&wanted)).transpose()?;
        let exclude = exclude.filter(|exclude| !exclude.is_empty()).cloned();
        Ok(Self { source: source.to_owned(), path, prefix, globs, include, exclude, optional: false })
    }

    /// A path without wildcards, flags or their meaning: what a mount shows, or a file that is looked up.
    pub fn literal(path: &Path) -> Self {
        let source = path.to_string_lossy().into_owned();
        let path = inside(path.as_os_str().as_encoded_bytes());
        let prefix = path.clone();
        Self { source, path, prefix, globs: Vec::new(), include: None, exclude: None, optional: false }
    }

    /// The same, selecting nothing where a path without wildcards leads to nothing.
    pub fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// As written in the Dockerfile.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it may select nothing without that being an error.
    pub fn has_wildcard(&self) -> bool {
        let wanted = self.include.as_ref().and_then(|include| include.rules().first());
        !self.globs.is_empty() || wanted.is_some_and(|rule| has_wildcard(rule.text.as_bytes()))
    }

    /// Whether less than all that its path leads to is taken.
    pub fn has_filters(&self) -> bool {
        self.include.is_some() || self.exclude.is_some()
    }

    /// Finds what the source selects, sorted by path.
    pub fn select<'a>(&'a self, tree: &'a Tree) -> Result<Vec<Source<'a>>, SelectError> {
        let found = match self.globs.as_slice() {
            [] => match tree.follow(as_path(&self.prefix))? {
                Some(found) => vec![(self.path.clone(), found.entry, found.linked)],
                None if self.optional => Vec::new(),
                None => return Err(self.not_found(tree, &self.path)?),
            },
            globs => self.expand(tree, globs)?,
        };
        let mut sources = Vec::new();
        for (path, entry, linked) in found {
            let entry = tree.detach(entry);
            let source = Source { path: as_path(&path).to_owned(), entry, linked, tree, selector: self };
            // What is wanted lies below a directory.
            if self.include.is_none() || source.is_directory() {
                sources.push(source);
            }
        }
        if self.finds_what_it_has_to(tree, &sources)? {
            return Ok(sources);
        }
        if self.optional {
            return Ok(Vec::new());
        }
        let wanted = self.include.as_ref().and_then(|include| include.rules().first());
        let wanted = wanted.map(|rule| rule.text.as_bytes()).unwrap_or_default();
        Err(self.not_found(tree, &join(&self.path, wanted))?)
    }

    /// Wildcards see the tree as it is: only the literal beginning and what is matched in the end may be links.
    fn expand(&self, tree: &Tree, globs: &[Glob]) -> Result<Vec<(Vec<u8>, Entry, bool)>, SelectError> {
        let start = tree.follow(as_path(&self.prefix))?.map(|found| found.entry);
        let start = start.filter(|entry| entry.metadata.kind == FileType::Directory);
        let mut level: Vec<_> = start.map(|entry| (self.prefix.clone(), entry)).into_iter().collect();
        for (index, glob) in globs.iter().enumerate() {
            let mut next = Vec::new();
            for (path, directory) in level {
                for entry in tree.list(&directory, |name| glob.matches(name))? {
                    let path = join(&path, last(&entry.place.inside));
                    let descend = entry.metadata.kind == FileType::Directory && !tree.prunes(&entry);
                    if index + 1 == globs.len() || descend {
                        next.push((path, tree.detach(entry)));
                    }
                }
            }
            level = next;
        }
        let mut found = Vec::new();
        for (path, entry) in level {
            if entry.metadata.kind != FileType::Symlink {
                if tree.is_there(&entry)? {
                    found.push((path, entry, false));
                }
            } else if tree.is_there(&entry)? {
                match tree.find(&entry.path)? {
                    Some(entry) => found.push((path, entry, true)),
                    None => {
                        let target = entry.target.unwrap_or_default();
                        return Err(SelectError::Dangling { link: as_path(&path).to_owned(), target });
                    }
                }
            }
        }
        Ok(found)
    }

    /// With `--parents`, a path without wildcards has to lead to something.
    fn finds_what_it_has_to(&self, tree: &Tree, sources: &[Source<'_>]) -> Result<bool, SelectError> {
        let Some(include) = self.include.as_ref().filter(|_| !self.has_wildcard()) else { return Ok(true) };
        for source in sources {
            if Walk::new(tree, &source.entry, Some(include), None)?.next().transpose()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn not_found(&self, tree: &Tree, path: &[u8]) -> Result<SelectError, IoError> {
        let path = as_path(path).to_owned();
        let rule = match tree.find_hidden(&path)? {
            // The rule is about the place it leads to, or about a link on the way.
            Some(entry) => tree.ignore().hidden_by(&entry.path).or_else(|| tree.ignore().hidden_by(&path)),
            None => None,
        };
        let hidden_by = rule.map(|rule| HiddenBy {
            origin: tree.ignore().origin().map(Path::to_owned),
            line: rule.line,
            text: rule.text.clone(),
        });
        if hidden_by.is_none()
            && let Some((link, target)) = suggest::dangling(tree, &path)?
        {
            return Ok(SelectError::Dangling { link, target });
        }
        let nearest = if hidden_by.is_some() { Vec::new() } else { suggest::nearest(tree, &path)? };
        Ok(SelectError::NotFound { path, hidden_by, nearest })
    }
}

impl<'a> Source<'a> {
    /// Whether its contents are copied rather than itself.
    pub fn is_directory(&self) -> bool {
        self.entry.metadata.kind == FileType::Directory
    }

    /// What of a directory is copied, paths relative to it, parents before their entries. Links below it stay links.
    /// For what is no directory, nothing: the entry itself is copied.
    pub fn entries(&self) -> Result<Option<Walk<'a>>, IoError> {
        if !self.is_directory() {
            return Ok(None);
        }
        let (include, exclude) = (self.selector.include.as_ref(), self.selector.exclude.as_ref());
        Walk::new(self.tree, &self.entry, include, exclude).map(Some)
    }

    /// What of a directory counts. A link's target counts as a whole: flags are about what lies below the path as written.
    pub(super) fn hashed_entries(&self) -> Result<Option<Walk<'a>>, IoError> {
        if self.are_all_entries_hashed() && self.is_directory() {
            return self.tree.walk(&self.entry).map(Some);
        }
        self.entries()
    }

    /// Whether what counts of it is just what is copied.
    pub fn is_copied_as_hashed(&self) -> bool {
        !self.linked || (self.selector.include.is_none() && self.selector.exclude.is_none())
    }

    fn are_all_entries_hashed(&self) -> bool {
        self.linked || self.selector.is_plain()
    }
}

fn because(hidden_by: Option<&HiddenBy>) -> String {
    hidden_by.map(|rule| format!(", {rule}")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
