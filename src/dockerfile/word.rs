//! A part of a logical line, and the ways of cutting it into words.

use super::diagnostic::Diagnostic;
use super::line::Line;
use super::source::{Span, Word};

/// A part of a line that still knows where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    line: &'a Line,
    start: usize,
    end: usize,
}

impl<'a> Text<'a> {
    /// The whole line, without outer blanks.
    pub(super) fn of(line: &'a Line) -> Self {
        Self { line, start: 0, end: line.text.len() }.trim()
    }

    pub(super) fn as_str(&self) -> &'a str {
        &self.line.text[self.start..self.end]
    }

    pub(super) fn span(&self) -> Span {
        self.line.span_of(self.start, self.end)
    }

    pub(super) fn word(&self) -> Word {
        Word::new(self.as_str(), self.span())
    }

    /// The part between two offsets of this text.
    pub(super) fn part(&self, start: usize, end: usize) -> Self {
        Self { line: self.line, start: self.start + start, end: self.start + end }
    }

    pub(super) fn trim(&self) -> Self {
        let text = self.as_str();
        let start = text.len() - text.trim_start().len();
        self.part(start, start + text.trim().len())
    }

    /// The first word, and what follows it and the blanks after it.
    pub(super) fn split_first_word(&self) -> Option<(Self, Self)> {
        let text = self.as_str();
        let end = text.find(is_blank).unwrap_or(text.len());
        if end == 0 {
            return None;
        }
        let rest = text.len() - text[end..].trim_start_matches(is_blank).len();
        Some((self.part(0, end), self.part(rest, text.len())))
    }

    pub(super) fn first_word(&self) -> Word {
        self.split_first_word().map_or_else(|| self.word(), |(first, _)| first.word())
    }

    /// Words between blanks; quotes mean nothing.
    pub(super) fn words(&self) -> Vec<Word> {
        let mut words = Vec::new();
        let mut rest = *self;
        while let Some((word, after)) = rest.split_first_word() {
            words.push(word.word());
            rest = after;
        }
        words
    }
}

/// The blanks between keyword, flags and words.
fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\x0b' | '\x0c' | '\r')
}

/// Words between blanks that are neither quoted nor escaped. Quotes and escapes stay, for expansion.
pub(super) fn quoted(text: Text<'_>, escape: char) -> Vec<Word> {
    let all = text.as_str();
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut letters = all.char_indices();
    while let Some((at, letter)) = letters.next() {
        if start.is_none() && letter.is_whitespace() {
            continue;
        }
        let begin = *start.get_or_insert(at);
        let rest = at + letter.len_utf8();
        if letter == escape && quote != Some('\'') {
            // An escape at the very end protects nothing and is dropped.
            if letters.next().is_none() {
                words.extend((begin < at).then(|| text.part(begin, at).word()));
                return words;
            }
            continue;
        }
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            None if letter.is_whitespace() => {
                words.push(text.part(begin, rest - letter.len_utf8()).word());
                start = None;
            }
            None => {}
        }
    }
    words.extend(start.map(|begin| text.part(begin, all.len()).word()));
    words
}

/// The strings of a JSON array, if the text is one and nothing else.
pub(super) fn json(text: Text<'_>) -> Result<Option<Vec<Word>>, Diagnostic> {
    let all = text.as_str();
    if !all.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(all) else { return Ok(None) };
    let mut places = literals(all).into_iter();
    let mut words = Vec::with_capacity(values.len());
    for value in values {
        let serde_json::Value::String(string) = value else {
            let message = "when using JSON array syntax, arrays must be comprised of strings only";
            return Err(Diagnostic::new(message, text.span()).hint("put every element in double quotes"));
        };
        let (start, end) = places.next().unwrap_or((0, all.len()));
        words.push(Word::new(string, text.part(start, end).span()));
    }
    Ok(Some(words))
}

/// Whether `text` is a JSON array, of whatever.
pub(super) fn is_json_array(text: &str) -> bool {
    text.starts_with('[') && serde_json::from_str::<Vec<serde::de::IgnoredAny>>(text).is_ok()
}

/// Where the string literals of valid JSON stand, quotes included.
fn literals(json: &str) -> Vec<(usize, usize)> {
    let mut places = Vec::new();
    let mut open = None;
    let mut bytes = json.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match (byte, open) {
            (b'"', None) => open = Some(at),
            (b'"', Some(start)) => {
                places.push((start, at + 1));
                open = None;
            }
            (b'\\', Some(_)) => {
                bytes.next();
            }
            _ => {}
        }
    }
    places
}

impl Word {
    /// The part between two offsets of the text. Its span is exact unless quotes or continuations were taken out.
    pub(super) fn part(&self, start: usize, end: usize) -> Self {
        let text = &self.text[start..end];
        let written = (self.span.end - self.span.start) as usize;
        if written != self.text.len() {
            return Self::new(text, self.span);
        }
        let from = self.span.start as usize;
        Self::new(text, Span::new(from + start, from + end))
    }
}
