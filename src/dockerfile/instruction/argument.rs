//! What is left of a line once its keyword is taken off.

use super::{Keyword, Parsed};
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::flag::{self, Flag, FlagSpec, Flags};
use crate::dockerfile::heredoc::Heredoc;
use crate::dockerfile::source::{Span, Word};
use crate::dockerfile::word::{self, Text};

/// Flags, arguments and heredocs of one instruction, and the errors found in them.
#[derive(Debug)]
pub(in crate::dockerfile) struct Arguments<'a> {
    keyword: Keyword,
    span: Span,
    flags: Vec<Flag>,
    rest: Text<'a>,
    heredocs: Vec<Heredoc>,
    escape: char,
    comments: &'a [String],
    errors: Vec<Diagnostic>,
}

/// Words of an array, or words between blanks.
pub(super) struct Words {
    pub(super) words: Vec<Word>,
    pub(super) json: bool,
}

impl<'a> Arguments<'a> {
    /// `rest` is what follows the keyword.
    pub(in crate::dockerfile) fn new(
        keyword: Keyword,
        span: Span,
        rest: Text<'a>,
        heredocs: Vec<Heredoc>,
        escape: char,
        comments: &'a [String],
    ) -> Self {
        let (flags, rest) = flag::scan(rest, escape);
        Self { keyword, span, flags, rest, heredocs, escape, comments, errors: Vec::new() }
    }

    pub(super) fn keyword(&self) -> Keyword {
        self.keyword
    }

    /// The whole instruction.
    pub(super) fn span(&self) -> Span {
        self.span
    }

    pub(super) fn escape(&self) -> char {
        self.escape
    }

    pub(super) fn comments(&self) -> &'a [String] {
        self.comments
    }

    /// Everything not taken yet.
    pub(super) fn rest(&self) -> Text<'a> {
        self.rest
    }

    pub(super) fn flags(&mut self, known: &[FlagSpec]) -> Flags {
        Flags::check(std::mem::take(&mut self.flags), known, &mut self.errors)
    }

    pub(super) fn no_flags(&mut self) {
        self.flags(&[]);
    }

    pub(super) fn take_heredocs(&mut self) -> Vec<Heredoc> {
        std::mem::take(&mut self.heredocs)
    }

    /// Takes the next word.
    pub(super) fn take_word(&mut self) -> Word {
        let word = self.rest.first_word();
        self.rest = self.rest.split_first_word().map_or(self.rest, |(_, rest)| rest);
        word
    }

    /// The rest as an array, if it is one.
    pub(super) fn json(&self) -> Result<Option<Vec<Word>>, Diagnostic> {
        word::json(self.rest)
    }

    pub(super) fn json_or_words(&self) -> Result<Words, Diagnostic> {
        Ok(match self.json()? {
            Some(words) => Words { words, json: true },
            None => Words { words: self.rest.words(), json: false },
        })
    }

    /// The rest as one string.
    pub(super) fn single(&mut self) -> Result<Word, Diagnostic> {
        let message = format!("{} requires exactly one argument", self.keyword.name());
        self.require(Diagnostic::new(message, self.span))?;
        Ok(self.rest.word())
    }

    pub(super) fn require_one(&mut self) -> Result<(), Diagnostic> {
        self.require(self.none_given())
    }

    fn require(&mut self, missing: Diagnostic) -> Result<(), Diagnostic> {
        if !self.rest.as_str().is_empty() {
            return Ok(());
        }
        // What was taken for a wrong flag is probably the argument that is missing.
        Err(self.errors.pop().unwrap_or(missing))
    }

    pub(super) fn none_given(&self) -> Diagnostic {
        Diagnostic::new(format!("{} requires at least one argument", self.keyword.name()), self.span)
    }

    /// Notes an error; parsing goes on.
    pub(super) fn refuse(&mut self, error: Diagnostic) {
        self.errors.push(error);
    }

    /// The rest as an instruction of its own.
    pub(super) fn nested(&mut self, heredocs: Vec<Heredoc>) -> Result<Parsed, Diagnostic> {
        let Some((word, rest)) = self.rest.split_first_word() else { return Err(self.none_given()) };
        let Some(keyword) = Keyword::parse(word.as_str()) else { return Err(unknown(&word.word())) };
        let span = if heredocs.is_empty() { self.rest.span() } else { self.rest.span().to(self.span) };
        let arguments = Arguments::new(keyword, span, rest, heredocs, self.escape, self.comments);
        super::parse(keyword, arguments).map_err(|mut errors| {
            let last = errors.pop();
            self.errors.append(&mut errors);
            last.unwrap_or_else(|| self.none_given())
        })
    }

    pub(super) fn into_errors(self) -> Vec<Diagnostic> {
        self.errors
    }
}

pub(in crate::dockerfile) fn unknown(word: &Word) -> Diagnostic {
    let near = Keyword::nearest(&word.text).map(|near| format!(" (did you mean {}?)", near.name()));
    let message = format!("unknown instruction: {}{}", word.text, near.unwrap_or_default());
    Diagnostic::new(message, word.span)
}

/// The text of the first comment of the form `name text`.
pub(super) fn description(comments: &[String], name: &str) -> Option<String> {
    let text = |comment: &String| Some(comment.strip_prefix(name)?.strip_prefix(' ')?.trim().to_owned());
    comments.iter().find_map(text)
}
