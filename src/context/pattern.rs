//! Patterns of ignore files and of `--exclude`, for whole paths below a directory.
//!
//! The dialect is that of moby's patternmatcher: `**` crosses directories, patterns are anchored at both ends, and three
//! common forms are compared without running the matcher. Their answers are part of the dialect: `**foo` asks for a
//! suffix, whereas `**foo*` asks for a component that begins with `foo`.

use memchr::memmem;

use super::glob::{self, Deep, Malformed, Step};

/// A compiled pattern. It matches paths without a leading slash.
#[derive(Debug, Clone)]
pub struct PathPattern {
    form: Form,
}

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "patterns are few")]
enum Form {
    Exact(Vec<u8>),
    /// `foo/**`: everything that begins with `foo/`.
    Prefix(Vec<u8>),
    /// `**/foo` (kept as `/foo`) and `**foo`: what ends so, or what is `foo` as a whole.
    Suffix(Vec<u8>),
    /// `**/*.o`: what ends so.
    Tail(Vec<u8>),
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
            [Step::Directories, Step::Text(_)] if !special => Form::Suffix(text[2..].to_vec()),
            // Whatever stands before that is directories and the beginning of a name.
            [Step::Directories, Step::Star, Step::Text(end)] => Form::Tail(end.clone()),
            _ => compile(steps),
        };
        Ok(Self { form })
    }

    /// Whether the path itself matches, its parents left aside.
    pub fn matches(&self, path: &[u8]) -> bool {
        match &self.form {
            Form::Exact(whole) => path == whole,
            Form::Prefix(start) => path.starts_with(start),
            Form::Suffix(end) => path.ends_with(end) || end.strip_prefix(b"/") == Some(path),
            Form::Tail(end) => path.ends_with(end),
            Form::Steps { steps, head, tail, inner } => {
                path.starts_with(head)
                    && path.ends_with(tail)
                    && inner.find(path).is_some()
                    && glob::run(steps, path)
            }
        }
    }

    /// A test that lets every match pass and turns away most of the rest.
    pub(super) fn gate(&self) -> Gate {
        let (head, tail) = match &self.form {
            Form::Exact(whole) => (&**whole, &**whole),
            Form::Prefix(start) => (&**start, &b""[..]),
            Form::Suffix(end) => (&b""[..], end.strip_prefix(b"/").unwrap_or(end)),
            Form::Tail(end) => (&b""[..], &**end),
            Form::Steps { head, tail, .. } => (&**head, &**tail),
        };
        Gate {
            head: Ends::of(head).head,
            head_mask: Ends::of(&vec![0xff; head.len()]).head,
            tail: Ends::of(tail).tail,
            tail_mask: Ends::of(&vec![0xff; tail.len()]).tail,
        }
    }

    /// Whether something below this directory could match. May say yes where nothing does, never the reverse.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        let start = match &self.form {
            Form::Exact(whole) => return begins_below(whole, directory),
            Form::Prefix(start) => start,
            Form::Suffix(_) | Form::Tail(_) => return true,
            Form::Steps { head, .. } => head,
        };
        begins_below(start, directory) || directory.starts_with(start) || {
            start.strip_suffix(b"/") == Some(directory)
        }
    }
}

/// What paths have to begin and end with, at most eight bytes each. Small, so that the gates of many patterns are looked
/// at without a miss in the processor's cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate {
    head: u64,
    head_mask: u64,
    tail: u64,
    tail_mask: u64,
}

/// The first and last eight bytes of a path, zeros where it is shorter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    head: u64,
    tail: u64,
}

impl Gate {
    pub(super) fn admits(&self, ends: Ends) -> bool {
        ((ends.head ^ self.head) & self.head_mask) | ((ends.tail ^ self.tail) & self.tail_mask) == 0
    }
}

impl Ends {
    pub(super) fn of(path: &[u8]) -> Self {
        let head = path.iter().take(8).rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
        let tail =
            path[path.len().saturating_sub(8)..].iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        Self { head, tail }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_by_its_end_is_what_the_matcher_finds() {
        let paths = [
            "x.o", ".o", "a/x.o", "a/b/.o", "a.o/b", "x.oo", "o", "a/b", "xa/b", "c/xa/b", "a\n/x.o", "/x",
            "a/x", "",
        ];
        for text in ["**/*.o", "**/*a/b", "**/*/x", "**/*[.]o", "**/*\\.o", "**/**.o"] {
            let steps = glob::parse(text.as_bytes(), Deep::Crossing).unwrap();
            let pattern = PathPattern::parse(text.as_bytes()).unwrap();
            for path in paths {
                let expected = glob::run(&steps, path.as_bytes());
                assert_eq!(pattern.matches(path.as_bytes()), expected, "{text} {path:?}");
                let ends = Ends::of(path.as_bytes());
                assert!(!expected || pattern.gate().admits(ends), "{text} {path:?}");
            }
        }
        assert!(matches!(PathPattern::parse(b"**/*.o").unwrap().form, Form::Tail(_)));
    }
}
