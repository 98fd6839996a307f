//! The text of a file, and places in it.

use std::ops::Range;

/// A Dockerfile's text under the name that messages show. A byte order mark is stripped.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    text: String,
    /// Offset of each line's first byte.
    lines: Vec<u32>,
}

/// A range of bytes of a [`Source`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

/// Text as written, unexpanded and with its quotes, and where it stands. Continuations inside it are already joined, so
/// `text` can be shorter than the span.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    pub text: String,
    pub span: Span,
}

/// An instruction as it stands in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spanned<T> {
    pub node: T,
    /// All of it, heredoc bodies and their terminators included, without the last line's end.
    pub span: Span,
    /// Its logical line: continuations joined, comments in between dropped, heredoc bodies not included.
    pub text: String,
    /// The comment lines right before it, without `#` and outer blanks.
    pub comments: Vec<String>,
}

impl Source {
    pub fn new(name: &str, text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        let ends = memchr::memchr_iter(b'\n', text.as_bytes()).map(|end| offset(end + 1));
        let lines = std::iter::once(0).chain(ends).collect();
        Self { name: name.to_owned(), text, lines }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text of a span; empty if the span is not one of this source.
    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }

    /// The line, counted from 1, that holds the byte at `offset`.
    pub fn line_of(&self, offset: u32) -> usize {
        self.lines.partition_point(|&start| start <= offset).max(1)
    }

    /// The column, counted from 1 and in characters, of the byte at `offset`.
    pub fn column_of(&self, offset: u32) -> usize {
        let start = self.lines[self.line_of(offset) - 1] as usize;
        let before = self.text.char_indices().skip_while(|(at, _)| *at < start);
        before.take_while(|(at, _)| *at < offset as usize).count() + 1
    }

    /// The first and the last line that a span touches.
    pub fn lines_of(&self, span: Span) -> (usize, usize) {
        let first = self.line_of(span.start);
        (first, self.line_of(span.end.saturating_sub(1)).max(first))
    }

    pub fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// The text of a line, counted from 1, without its end.
    pub fn line(&self, number: usize) -> Option<&str> {
        let start = *self.lines.get(number.checked_sub(1)?)? as usize;
        let end = self.lines.get(number).map_or(self.text.len(), |&next| next as usize - 1);
        let line = &self.text[start..end];
        Some(line.strip_suffix('\r').unwrap_or(line))
    }

    /// The lines around a span: number, text, and whether the span touches it.
    pub fn excerpt(&self, span: Span, around: usize) -> Vec<(usize, &str, bool)> {
        let (first, last) = self.lines_of(span);
        let from = first.saturating_sub(around).max(1);
        let to = last.saturating_add(around).min(self.line_count());
        let numbered = (from..=to).filter_map(|number| Some((number, self.line(number)?)));
        let last_shown = if self.text.ends_with('\n') { self.line_count() - 1 } else { self.line_count() };
        numbered
            .filter(|(number, _)| *number <= last_shown)
            .map(|(number, text)| (number, text, (first..=last).contains(&number)))
            .collect()
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Source({:?}, {} lines)", self.name, self.lines.len())
    }
}

impl Span {
    pub fn new(start: usize, end: usize) -> Self {
        Self { start: offset(start), end: offset(end) }
    }

    /// The smallest span that covers both.
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

impl Word {
    pub fn new(text: impl Into<String>, span: Span) -> Self {
        Self { text: text.into(), span }
    }
}

/// Texts of 4 GiB and more are refused before anything is measured, so this never saturates.
fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one() {
        let source = Source::new("Dockerfile", "\u{feff}FROM a\r\nRUN äb\n");
        assert_eq!(source.line(1), Some("FROM a"));
        assert_eq!(source.line(2), Some("RUN äb"));
        assert_eq!((source.line_of(0), source.line_of(7), source.line_of(8)), (1, 1, 2));
        assert_eq!((source.column_of(8), source.column_of(14)), (1, 6));
        assert_eq!(source.line(0), None);
        assert_eq!(source.line(4), None);
    }

    #[test]
    fn an_excerpt_marks_the_lines_of_the_span() {
        let source = Source::new("Dockerfile", "a\nb\nc\nd\n");
        let marked = source.excerpt(Span::new(2, 5), 1);
        assert_eq!(marked, [(1, "a", false), (2, "b", true), (3, "c", true), (4, "d", false)]);
    }
}
