//! The walk through a word.

use super::{ExpandError, Lookup};

#[derive(Clone, Copy, Debug)]
pub(super) struct Mode {
    pub(super) escape: char,
    pub(super) quotes: Quotes,
    pub(super) unset: Unset,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Quotes {
    /// They group, and are dropped.
    Drop,
    /// They group, and stay, as escapes do.
    Keep,
    /// They are text like any other.
    Ordinary,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unset {
    Empty,
    AsWritten,
}

/// What becomes of escape characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Escapes {
    Drop,
    /// For patterns, which have their own.
    Keep,
}

pub(super) struct Expander<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    pub(super) mode: Mode,
    pub(super) lookup: &'a Lookup<'a>,
    pub(super) unset: Vec<String>,
    /// The text walked through is not used: only its syntax counts.
    pub(super) unused: bool,
    pub(super) depth: usize,
    /// The words that the text falls into are wanted.
    splits: bool,
    produced: usize,
}

/// Deeper nesting is refused: the walk is recursive, and its stack is not endless.
pub(super) const MAX_DEPTH: usize = 100;

/// More text than this is refused: a few lines can double a value until memory is gone.
const MAX_TEXT: usize = 64 << 20;

/// Collects text, and the words it falls into if those are wanted.
#[derive(Default)]
struct Output {
    text: String,
    splits: bool,
    words: Vec<String>,
    word: String,
}

impl<'a> Expander<'a> {
    pub(super) fn new(text: &'a str, mode: Mode, lookup: &'a Lookup<'a>) -> Self {
        Self {
            text,
            at: 0,
            mode,
            lookup,
            unset: Vec::new(),
            unused: false,
            depth: 0,
            splits: false,
            produced: 0,
        }
    }

    pub(super) fn all(&mut self) -> Result<String, ExpandError> {
        Ok(self.walk(None, self.escapes())?.text)
    }

    pub(super) fn all_words(&mut self) -> Result<Vec<String>, ExpandError> {
        self.splits = true;
        let mut output = self.walk(None, self.escapes())?;
        output.end_word();
        Ok(output.words)
    }

    /// The text up to `stop`, which is taken, too.
    pub(super) fn until(&mut self, stop: char, escapes: Escapes) -> Result<String, ExpandError> {
        Ok(self.walk(Some(stop), escapes)?.text)
    }

    pub(super) fn escapes(&self) -> Escapes {
        if self.mode.quotes == Quotes::Keep { Escapes::Keep } else { Escapes::Drop }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    pub(super) fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Result<T, ExpandError> {
        Err(ExpandError { message: message.into(), offset: self.at })
    }

    /// Counts text that variables bring in: what is written is bounded by the file.
    pub(super) fn produce(&mut self, text: &str) -> Result<(), ExpandError> {
        self.produced = self.produced.saturating_add(text.len());
        if self.produced > MAX_TEXT { self.fail("the expanded text is larger than 64 MiB") } else { Ok(()) }
    }

    fn walk(&mut self, stop: Option<char>, escapes: Escapes) -> Result<Output, ExpandError> {
        let mut output = Output { splits: self.splits, ..Output::default() };
        let escape = self.mode.escape;
        let special = move |letter: char| {
            letter == '$' || letter == escape || Some(letter) == stop || letter == '\'' || letter == '"'
        };
        while let Some(letter) = self.peek() {
            if !special(letter) {
                let rest = &self.text[self.at..];
                let plain = rest.find(special).unwrap_or(rest.len());
                output.plain(&rest[..plain]);
                self.at += plain;
            } else if Some(letter) == stop {
                self.next();
                return Ok(output);
            } else if letter == '$' {
                let value = self.dollar()?;
                output.plain(&value);
            } else if letter == escape {
                self.next();
                let Some(protected) = self.next() else {
                    // An escape that protects nothing is dropped.
                    if escapes == Escapes::Keep {
                        output.whole(letter.encode_utf8(&mut [0; 4]));
                    }
                    break;
                };
                if escapes == Escapes::Keep {
                    output.whole(letter.encode_utf8(&mut [0; 4]));
                }
                output.whole(protected.encode_utf8(&mut [0; 4]));
            } else if self.mode.quotes == Quotes::Ordinary {
                self.next();
                output.plain(letter.encode_utf8(&mut [0; 4]));
            } else if letter == '\'' {
                output.whole(self.single_quoted()?);
            } else {
                let text = self.double_quoted(escapes)?;
                output.whole(&text);
            }
        }
        match stop {
            None => Ok(output),
            Some('}') => self.fail("syntax error: missing '}'"),
            Some(stop) => self.fail(format!("syntax error: missing '{stop}' in ${{}}")),
        }
    }

    fn single_quoted(&mut self) -> Result<&'a str, ExpandError> {
        let start = self.at;
        let Some(length) = self.text[start + 1..].find('\'') else {
            return self.fail("unexpected end of statement while looking for matching single-quote");
        };
        self.at = start + length + 2;
        Ok(match self.mode.quotes {
            Quotes::Keep => &self.text[start..self.at],
            Quotes::Drop | Quotes::Ordinary => &self.text[start + 1..self.at - 1],
        })
    }

    fn double_quoted(&mut self, escapes: Escapes) -> Result<String, ExpandError> {
        let start = self.at;
        let mut text = String::new();
        self.next();
        while let Some(letter) = self.peek() {
            if letter == '$' {
                text.push_str(&self.dollar()?);
                continue;
            }
            self.next();
            if letter == '"' {
                return Ok(match self.mode.quotes {
                    Quotes::Keep => format!("\"{text}\""),
                    Quotes::Drop | Quotes::Ordinary => text,
                });
            }
            let protected = self.peek().filter(|next| matches!(next, '"' | '$') || *next == self.mode.escape);
            match protected.filter(|_| letter == self.mode.escape) {
                Some(protected) => {
                    if escapes == Escapes::Keep {
                        text.push(letter);
                    }
                    text.push(protected);
                    self.next();
                }
                None => text.push(letter),
            }
        }
        self.at = start;
        self.fail("unexpected end of statement while looking for matching double-quote")
    }
}

impl Output {
    /// Text whose blanks part words.
    fn plain(&mut self, text: &str) {
        self.text.push_str(text);
        if !self.splits {
            return;
        }
        for letter in text.chars() {
            if letter.is_whitespace() { self.end_word() } else { self.word.push(letter) }
        }
    }

    /// Text whose blanks are protected.
    fn whole(&mut self, text: &str) {
        self.text.push_str(text);
        if self.splits {
            self.word.push_str(text);
        }
    }

    fn end_word(&mut self) {
        if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }
}
