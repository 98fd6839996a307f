//! Patterns of ignore files and of `--exclude`, for whole paths below a directory.
//!
//! The dialect is that of moby's patternmatcher: `**` crosses directories, patterns are anchored at both ends, and three
//! common forms are compared without running the matcher. Their answers are part of the dialect: `**foo` asks for a
//! suffix, whereas `**foo*` asks for a component that begins with `foo`.

use memchr::memmem;

use super::glob::{self, Accept, Deep, Malformed, Step};

/// A compiled pattern. It matches paths without a leading slash.
#[derive(Debug, Clone)]
pub struct PathPattern {
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Exact(Vec<u8>),
    /// `foo/**`: everything that begins with `foo/`.
    Prefix(Vec<u8>),
    /// `**/foo` (kept as `/foo`) and `**foo`: what ends so, or what is `foo` as a whole.
    Suffix(memmem::Finder<'static>),
    Steps {
        steps: Vec<Step>,
        /// The text every match begins with.
        head: Vec<u8>,
        /// The text every match ends with.
        tail: Vec<u8>,
        /// The longest text every match contains.
        inner: memmem::Finder<'static>,
    },
}

impl PathPattern {
    /// Compiles a pattern that has been cleaned and freed of its `!`.
    pub fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let steps = glob::parse(text, Deep::Crossing)?;
        let special = text.iter().any(|byte| matches!(byte, b'?' | b'[' | b']' | b'\\'));
        let form = match steps.as_slice() {
            [] if !special => Form::Exact(Vec::new()),
            [Step::Text(whole)] if !special => Form::Exact(whole.clone()),
            [Step::Anything] => Form::Prefix(Vec::new()),
            [Step::Text(start), Step::Anything] if !special => Form::Prefix(start.clone()),
            // The slash that belongs to `**/` is part of the suffix.
            [Step::Directories, Step::Text(_)] if !special => {
                Form::Suffix(memmem::Finder::new(&text[2..]).into_owned())
            }
            _ => compile(steps),
        };
        Ok(Self { form })
    }

    /// Whether the path itself matches, its parents left aside.
    pub fn matches(&self, path: &[u8]) -> bool {
        match &self.form {
            Form::Exact(whole) => path == whole,
            Form::Prefix(start) => path.starts_with(start),
            Form::Suffix(end) => {
                let end = end.needle();
                path.ends_with(end) || end.strip_prefix(b"/") == Some(path)
            }
            Form::Steps { steps, head, tail, inner } => {
                path.starts_with(head)
                    && path.ends_with(tail)
                    && inner.find(path).is_some()
                    && glob::run(steps, path, Accept::Whole)
            }
        }
    }

    /// Whether the path itself or one of its parent directories matches.
    pub fn matches_or_parent(&self, path: &[u8]) -> bool {
        match &self.form {
            Form::Exact(whole) => path
                .strip_prefix(whole.as_slice())
                .is_some_and(|rest| rest.is_empty() || (rest[0] == b'/' && !whole.is_empty())),
            // What a parent begins with, the path begins with too.
            Form::Prefix(start) => path.starts_with(start),
            Form::Suffix(end) => suffix_of_some_parent(end, path),
            Form::Steps { steps, head, inner, .. } => {
                path.starts_with(head)
                    && inner.find(path).is_some()
                    && glob::run(steps, path, Accept::WholeOrParent)
            }
        }
    }

    /// Whether something below this directory could match. May say yes where nothing does, never the reverse.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        let start = match &self.form {
            Form::Exact(whole) => return begins_below(whole, directory),
            Form::Prefix(start) => start,
            Form::Suffix(_) => return true,
            Form::Steps { head, .. } => head,
        };
        begins_below(start, directory) || directory.starts_with(start) || {
            start.strip_suffix(b"/") == Some(directory)
        }
    }
}

fn compile(steps: Vec<Step>) -> Form {
    let text = |step: Option<&Step>| match step {
        Some(Step::Text(text)) => text.clone(),
        _ => Vec::new(),
    };
    let head = text(steps.first());
    let tail = text(steps.last());
    let longest = steps.iter().map(|step| text(Some(step))).max_by_key(Vec::len).unwrap_or_default();
    Form::Steps { steps, head, tail, inner: memmem::Finder::new(&longest).into_owned() }
}

/// Whether the text leads into the directory.
fn begins_below(text: &[u8], directory: &[u8]) -> bool {
    directory.is_empty() || text.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

fn suffix_of_some_parent(end: &memmem::Finder<'_>, path: &[u8]) -> bool {
    let whole = |rest: &[u8]| rest.is_empty() || rest[0] == b'/';
    let needle = end.needle();
    let first = needle.strip_prefix(b"/").and_then(|name| path.strip_prefix(name));
    first.is_some_and(whole) || {
        // Occurrences may overlap, so the search goes on one byte after each.
        let mut at = 0;
        loop {
            match end.find(&path[at..]) {
                None => return false,
                Some(found) if whole(&path[at + found + needle.len()..]) => return true,
                Some(found) => at += found + 1,
            }
        }
    }
}
