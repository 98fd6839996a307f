//! Ignore files: which paths of a tree count as absent.
//!
//! The last rule that hits decides, and a rule hits a path when it matches the path or one of its parents. A walk
//! therefore carries, for every directory, which rules have hit it: a single "is ignored" would let `!foo/bar` below an
//! ignored `foo` come out wrong for what lies below `foo/bar`.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use super::glob::Malformed;
use super::lexical::{self, clean};
use super::pattern::{Ends, Gate, PathPattern};
use crate::sys::rooted::{Irregular, Root};
use crate::sys::{At, IoError};

/// An ordered list of rules, read from an ignore file or given as `--exclude`.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
    /// Of each rule's pattern.
    gates: Vec<Gate>,
    /// Where the rules were read from, for messages.
    origin: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub struct Rule {
    /// The line it stands on, or its place in the list of `--exclude` flags; from one.
    pub line: usize,
    /// As written, without the blanks around it.
    pub text: String,
    /// Whether it began with `!`: what it matches is taken back in.
    pub negated: bool,
    pattern: PathPattern,
}

/// Which rules hit a directory; whatever lies below it inherits them.
#[derive(Debug, Clone, Default)]
pub struct Inherited {
    hits: Vec<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum IgnoreError {
    #[error("illegal exclusion pattern: \"!\"")]
    LoneNegation { origin: Option<PathBuf>, line: usize },
    #[error("malformed pattern {text:?}: {flaw}")]
    Malformed { origin: Option<PathBuf>, line: usize, text: String, flaw: Malformed },
    #[error(transparent)]
    Io(#[from] IoError),
}

/// What a context's own ignore file is called.
const USUAL: &str = ".dockerignore";
/// An ignore file larger than this is a mistake.
const MAX_FILE: u64 = 16 << 20;

/// The ignore file that is a Dockerfile's own.
fn beside(dockerfile: &Path) -> PathBuf {
    let mut beside = dockerfile.as_os_str().to_owned();
    beside.push(USUAL);
    PathBuf::from(beside)
}

impl Ignore {
    /// Hides nothing.
    pub fn nothing() -> Self {
        Self::default()
    }

    fn new(rules: Vec<Rule>, origin: Option<PathBuf>) -> Self {
        let gates = rules.iter().map(|rule| rule.pattern.gate()).collect();
        Self { rules, gates, origin }
    }

    /// The rules for a context: those of `<Dockerfile>.dockerignore` if there is one, else of the context's
    /// `.dockerignore`, else none. The first is the user's own file; the second belongs to the context and is found
    /// inside it, wherever it links to.
    pub fn read(dockerfile: Option<&Path>, context: &Root) -> Result<Self, IgnoreError> {
        if let Some(dockerfile) = dockerfile {
            let beside = beside(dockerfile);
            // Non-blocking, so that a fifo of that name cannot hang the build.
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            let opened = OpenOptions::new().read(true).custom_flags(flags).open(&beside);
            if let Some(file) = missing_as_none(opened.at("open ignore file", &beside))? {
                let kind = FileType::from_raw_mode(fstat(&file).at("stat", &beside)?.st_mode);
                // A device may be one without anything: whoever gives that wants nothing to be ignored.
                if !matches!(kind, FileType::RegularFile | FileType::CharacterDevice) {
                    Err(Irregular(kind)).at("read", &beside)?;
                }
                return Self::parse(&read_bounded(file, &beside)?, Some(beside));
            }
        }
        Ok(Self::of_file(Path::new(USUAL), context)?.unwrap_or_default())
    }

    /// The same where the Dockerfile is a file of the context: both are found inside it.
    pub fn read_inside(dockerfile: &Path, context: &Root) -> Result<Self, IgnoreError> {
        match Self::of_file(&beside(dockerfile), context)? {
            Some(own) => Ok(own),
            None => Ok(Self::of_file(Path::new(USUAL), context)?.unwrap_or_default()),
        }
    }

    /// The rules in a file of a context; none if there is no such file.
    fn of_file(name: &Path, context: &Root) -> Result<Option<Self>, IgnoreError> {
        let Some(file) = missing_as_none(context.open_file(name))? else { return Ok(None) };
        let path = context.path().join(name.strip_prefix("/").unwrap_or(name));
        Self::parse(&read_bounded(file, &path)?, Some(path)).map(Some)
    }

    /// Parses the text of an ignore file.
    pub fn parse(text: &[u8], origin: Option<PathBuf>) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut rules = Vec::new();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            // Only a `#` in the first column begins a comment.
            if line.first() == Some(&b'#') {
                continue;
            }
            let written = trim(line);
            if written.is_empty() {
                continue;
            }
            let (negated, pattern) = match written.strip_prefix(b"!") {
                Some(rest) => (true, trim(rest)),
                None => (false, written),
            };
            let cleaned = if pattern.is_empty() { Vec::new() } else { clean(pattern) };
            let relative = match cleaned.as_slice() {
                [b'/', rest @ ..] if !rest.is_empty() => rest,
                whole => whole,
            };
            rules.push(Rule::compile(index + 1, written, negated, relative, origin.as_deref())?);
        }
        Ok(Self::new(rules, origin))
    }

    /// Compiles a list of patterns, as `--exclude` gives them. Unlike in a file, a leading slash is part of the pattern
    /// (which then matches nothing) and there are no comments.
    pub fn from_patterns<S: AsRef<str>>(patterns: &[S]) -> Result<Self, IgnoreError> {
        let mut rules = Vec::new();
        for (index, written) in patterns.iter().enumerate() {
            let written = written.as_ref().trim();
            if written.is_empty() {
                continue;
            }
            let cleaned = clean(written.as_bytes());
            let (negated, pattern) = match cleaned.strip_prefix(b"!") {
                Some(rest) => (true, rest),
                None => (false, cleaned.as_slice()),
            };
            rules.push(Rule::compile(index + 1, written.as_bytes(), negated, pattern, None)?);
        }
        Ok(Self::new(rules, None))
    }

    /// One pattern that has been cleaned, whatever it begins with.
    pub(super) fn only(pattern: &[u8]) -> Result<Self, IgnoreError> {
        Ok(Self::new(vec![Rule::compile(1, pattern, false, pattern, None)?], None))
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The file the rules were read from.
    pub fn origin(&self) -> Option<&Path> {
        self.origin.as_deref()
    }

    /// Whether any rule takes something back in.
    pub fn has_negation(&self) -> bool {
        self.rules.iter().any(|rule| rule.negated)
    }

    /// Whether a path, relative to the root, is hidden. The root itself never is.
    pub fn matches(&self, path: &Path) -> bool {
        self.hidden_by(path).is_some()
    }

    /// The rule that hides the path, if one does.
    pub fn hidden_by(&self, path: &Path) -> Option<&Rule> {
        let path = lexical::inside(path.as_os_str().as_bytes());
        if path.is_empty() {
            return None;
        }
        let mut last = None;
        for end in slashes(&path).chain([path.len()]) {
            last = self.last_hit(last, &path[..end]).or(last);
        }
        let last = &self.rules[last?];
        (!last.negated).then_some(last)
    }

    /// What a directory hands down to its entries, given what it inherited itself. `path` is relative to the root.
    pub fn enter(&self, inherited: &Inherited, path: &[u8]) -> Inherited {
        let mut hits = inherited.hits.clone();
        hits.resize(self.rules.len().div_ceil(64), 0);
        let ends = Ends::of(path);
        for (index, gate) in self.gates.iter().enumerate() {
            if gate.admits(ends) && self.rules[index].pattern.matches(path) {
                hits[index / 64] |= 1 << (index % 64);
            }
        }
        Inherited { hits }
    }

    /// What the directory at a path hands down, all its parents considered.
    pub(super) fn enter_along(&self, path: &[u8]) -> Inherited {
        let ends = slashes(path).chain((!path.is_empty()).then_some(path.len()));
        ends.fold(Inherited::default(), |inherited, end| self.enter(&inherited, &path[..end]))
    }

    /// Whether an entry of a directory is hidden, given what the directory hands down.
    pub fn hides(&self, inherited: &Inherited, path: &[u8]) -> bool {
        let inherited = inherited.last();
        let last = self.last_hit(inherited, path).or(inherited);
        last.is_some_and(|index| !self.rules[index].negated)
    }

    /// The last rule that matches the path itself, of those after a given one.
    fn last_hit(&self, after: Option<usize>, path: &[u8]) -> Option<usize> {
        let first = after.map_or(0, |index| index + 1);
        let ends = Ends::of(path);
        let mut gates = self.gates.iter().enumerate().skip(first).rev();
        gates
            .find(|(index, gate)| gate.admits(ends) && self.rules[*index].pattern.matches(path))
            .map(|hit| hit.0)
    }

    /// Whether the directory that hands this down is hidden with all that could ever lie below it, so that a walk need
    /// not look inside. May be false where it would be safe, never the reverse.
    pub fn prunes(&self, handed_down: &Inherited, path: &[u8]) -> bool {
        for (index, rule) in self.rules.iter().enumerate().rev() {
            if handed_down.has(index) {
                return !rule.negated;
            }
            if rule.negated && rule.pattern.may_match_below(path) {
                return false;
            }
        }
        false
    }

    /// Whether, read as a list of what to include, it takes in the directory that hands this down or may take in
    /// something below it.
    pub(super) fn reaches(&self, handed_down: &Inherited, path: &[u8]) -> bool {
        let rules = self.rules.iter().enumerate().filter(|(_, rule)| !rule.negated);
        rules.into_iter().any(|(index, rule)| handed_down.has(index) || rule.pattern.may_match_below(path))
    }
}

impl Inherited {
    fn has(&self, index: usize) -> bool {
        self.hits.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// The last rule that has hit.
    fn last(&self) -> Option<usize> {
        let (index, word) = self.hits.iter().enumerate().rfind(|(_, word)| **word != 0)?;
        Some(index * 64 + word.ilog2() as usize)
    }
}

impl Rule {
    fn compile(
        line: usize,
        written: &[u8],
        negated: bool,
        pattern: &[u8],
        origin: Option<&Path>,
    ) -> Result<Self, IgnoreError> {
        let origin = || origin.map(Path::to_owned);
        let text = String::from_utf8_lossy(written).into_owned();
        if negated && pattern.is_empty() {
            return Err(IgnoreError::LoneNegation { origin: origin(), line });
        }
        match PathPattern::parse(pattern) {
            Ok(pattern) => Ok(Self { line, text, negated, pattern }),
            Err(flaw) => Err(IgnoreError::Malformed { origin: origin(), line, text, flaw }),
        }
    }
}

fn missing_as_none(opened: Result<File, IoError>) -> Result<Option<File>, IoError> {
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NOTDIR)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn read_bounded(file: File, path: &Path) -> Result<Vec<u8>, IoError> {
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).at("read ignore file", path)?;
    if text.len() as u64 > MAX_FILE {
        return Err(Errno::FBIG).at("read ignore file", path);
    }
    Ok(text)
}

fn slashes(path: &[u8]) -> impl Iterator<Item = usize> + '_ {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index)
}

/// Without the blanks at both ends; only ASCII ones where the line is no UTF-8.
fn trim(line: &[u8]) -> &[u8] {
    std::str::from_utf8(line).map_or_else(|_| line.trim_ascii(), |line| line.trim().as_bytes())
}

#[cfg(test)]
mod tests;
