//! What is wrong with a file, said with places.

use std::fmt;

use super::Dockerfile;
use super::lint::{Config, Lint};
use super::source::{Source, Span};

/// One error of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    pub message: String,
    /// The narrowest place that is wrong.
    pub span: Span,
    /// The text that the span is of, when it is not the file's: a trigger that an image has brought along.
    pub within: Option<Box<Source>>,
    /// Other places, always of the file, that explain it.
    pub notes: Vec<Note>,
    /// What to do about it, each a sentence of its own.
    pub hints: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    pub message: String,
    pub span: Span,
}

/// Every independent error of a file, in the order of the file; never empty.
#[derive(Clone, Debug)]
pub struct ParseErrors {
    pub source: Source,
    pub errors: Vec<Diagnostic>,
    pub aside: Box<Aside>,
    /// The file without what is wrong, for looking further: none if anything else might hang on the wrong parts, whose
    /// lack would then look like an error of its own.
    pub rest: Option<Box<Dockerfile>>,
}

/// What a file that cannot be read still says of its style.
#[derive(Clone, Debug, Default)]
pub struct Aside {
    /// What was noticed in the parts that could be read.
    pub lints: Vec<Lint>,
    /// Which of it the file wants to be told.
    pub config: Config,
}

impl Diagnostic {
    pub fn new(message: impl Into<String>, span: Span) -> Self {
        Self { message: message.into(), span, within: None, notes: Vec::new(), hints: Vec::new() }
    }

    /// Says that the span is of another text than the file's.
    #[must_use]
    pub fn within(mut self, source: Source) -> Self {
        self.within = Some(Box::new(source));
        self
    }

    #[must_use]
    pub fn note(mut self, message: impl Into<String>, span: Span) -> Self {
        self.notes.push(Note { message: message.into(), span });
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

impl ParseErrors {
    /// One error that ends everything.
    pub(super) fn only(source: Source, error: Diagnostic) -> Self {
        Self { source, errors: vec![error], aside: Box::default(), rest: None }
    }
}

/// One line for each error, in the words that users know from other builders.
impl fmt::Display for ParseErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            let line = self.source.line_of(error.span.start);
            write!(out, "dockerfile parse error on line {line}: {}", error.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ParseErrors {}
