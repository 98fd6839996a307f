//! Logical lines: physical lines joined where they are continued, without comments.

use super::diagnostic::Diagnostic;
use super::source::Span;

/// An instruction's line, continuations joined. Never blank.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) text: String,
    /// Where each joined piece begins: in `text`, and in the source.
    pieces: Vec<(usize, usize)>,
    pub(super) span: Span,
    /// The comment lines right before it, without `#`.
    pub(super) comments: Vec<String>,
    /// Blank lines that a continuation ran over.
    pub(super) blanks: Vec<Span>,
}

/// Longer physical lines are refused, as they always were.
const MAX_LINE: usize = 65535;

/// Cuts a text into logical lines.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    escape: char,
    pub(super) errors: Vec<Diagnostic>,
}

/// A line of the file, without its CR and LF.
#[derive(Clone, Copy, Debug)]
pub(super) struct Physical {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, at: usize, escape: char) -> Self {
        Self { text, at, escape, errors: Vec::new() }
    }

    /// The next instruction's line.
    pub(super) fn logical(&mut self) -> Option<Line> {
        let mut comments = Vec::new();
        while let Some(first) = self.physical() {
            let text = self.text[first.start..first.end].trim_start();
            if let Some(comment) = text.strip_prefix('#') {
                match comment.trim() {
                    // An empty comment, as a blank line, parts comments that describe something from others.
                    "" => comments.clear(),
                    comment => comments.push(comment.to_owned()),
                }
                continue;
            }
            if text.is_empty() {
                comments.clear();
                continue;
            }
            let start = first.end - text.len();
            let line = self.joined(Physical { start, end: first.end }, std::mem::take(&mut comments));
            if !line.text.trim().is_empty() {
                return Some(line);
            }
        }
        None
    }

    fn joined(&mut self, first: Physical, comments: Vec<String>) -> Line {
        let mut line = Line { comments, span: Span::new(first.start, first.end), ..Line::default() };
        // Blank lines count only once something follows that they interrupt.
        let mut blanks = Vec::new();
        let mut continued = self.append(&mut line, first);
        while continued {
            let Some(next) = self.physical() else { break };
            let text = self.text[next.start..next.end].trim_start();
            if text.starts_with('#') {
                continue;
            }
            if text.is_empty() {
                blanks.push(Span::new(next.start, next.end));
                continue;
            }
            line.blanks.append(&mut blanks);
            continued = self.append(&mut line, next);
        }
        line.blanks.append(&mut blanks);
        line
    }

    /// Adds a physical line; whether it is continued.
    fn append(&self, line: &mut Line, piece: Physical) -> bool {
        let text = &self.text[piece.start..piece.end];
        let (text, continued) = match continuation(text, self.escape) {
            Some(kept) => (kept, true),
            None => (text, false),
        };
        line.pieces.push((line.text.len(), piece.start));
        line.text.push_str(text);
        line.span = line.span.to(Span::new(piece.start, piece.end));
        continued
    }

    /// The next physical line; one that is too long is refused and skipped.
    pub(super) fn physical(&mut self) -> Option<Physical> {
        let start = self.at;
        if start >= self.text.len() {
            return None;
        }
        let (end, next) = match memchr::memchr(b'\n', &self.text.as_bytes()[start..]) {
            Some(length) => (start + length, start + length + 1),
            None => (self.text.len(), self.text.len()),
        };
        self.at = next;
        let end = start + self.text[start..end].trim_end_matches('\r').len();
        if end - start > MAX_LINE {
            let message = format!("dockerfile line greater than max allowed size of {MAX_LINE}");
            self.errors.push(Diagnostic::new(message, Span::new(start, start + 1)));
        }
        Some(Physical { start, end })
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }
}

impl Line {
    /// Where a part of the text stands in the source.
    pub(super) fn span_of(&self, start: usize, end: usize) -> Span {
        let from = self.place_of(start);
        if end > start {
            let last = self.place_of(end - 1);
            return Span::new(from, last + 1);
        }
        Span::new(from, from)
    }

    /// Where in the source the byte at `offset` of the text stands.
    fn place_of(&self, offset: usize) -> usize {
        let index = self.pieces.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        self.pieces.get(index).map_or(0, |(start, place)| place + (offset - start))
    }
}

/// The text before an escape character that ends the line, blanks after it allowed. Two of them are none, and so are three:
/// other builders read it so, and files may rely on it.
fn continuation(text: &str, escape: char) -> Option<&str> {
    let kept = text.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    if kept.ends_with(escape) { None } else { Some(kept) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let mut reader = Reader::new(text, 0, '\\');
        std::iter::from_fn(|| reader.logical()).map(|line| line.text).collect()
    }

    #[test]
    fn continued_lines_are_joined_without_anything_in_between() {
        assert_eq!(lines("  RUN a \\\n   b\\ \t\n# no\nc\n\n\nRUN d"), ["RUN a    bc", "RUN d"]);
        assert_eq!(lines("RUN a \\\n\n  # no\nb\n"), ["RUN a b"]);
        assert_eq!(lines("RUN a \\\\\nRUN b \\\\\\\nRUN c \\"), ["RUN a \\\\", "RUN b \\\\\\", "RUN c "]);
        assert_eq!(lines("\\\n\\\n"), [""; 0]);
    }

    #[test]
    fn places_survive_joining() {
        let text = "RUN a \\\n  bc\n";
        let line = Reader::new(text, 0, '\\').logical().unwrap();
        let at = line.text.find("bc").unwrap();
        let span = line.span_of(at, at + 2);
        assert_eq!(&text[span.start as usize..span.end as usize], "bc");
    }

    #[test]
    fn comments_right_before_an_instruction_belong_to_it() {
        let mut reader = Reader::new("# a\n#\n# b\n#c\nRUN x\nRUN y", 0, '\\');
        assert_eq!(reader.logical().unwrap().comments, ["b", "c"]);
        assert_eq!(reader.logical().unwrap().comments, [""; 0]);
    }
}
