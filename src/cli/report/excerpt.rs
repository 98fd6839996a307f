//! What is shown of a Dockerfile, and never more of it than anybody reads: who takes a picture for a Dockerfile wants to be
//! told that, and not to see the picture.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::dockerfile::{Diagnostic, Source, Span};

/// As many characters are shown of a line, or of a word of a message.
const LONGEST: usize = 200;

/// A message in which words are cut that are too long, in the middle: their ends tell the most.
pub(super) fn shortened(message: &str) -> Cow<'_, str> {
    if message.split_whitespace().all(|word| word.len() <= LONGEST) {
        return Cow::Borrowed(message);
    }
    let cut = |word: &str| -> String {
        let length = word.chars().count();
        if length <= LONGEST {
            return word.to_owned();
        }
        let beginning = word.chars().take(LONGEST * 3 / 4);
        beginning.chain(['…']).chain(word.chars().skip(length - LONGEST / 4)).collect()
    };
    let words = message.split_inclusive(char::is_whitespace).map(|word| {
        let letters = word.trim_end();
        cut(letters) + &word[letters.len()..]
    });
    words.collect::<String>().into()
}

/// What is shown of a line around one of its characters.
struct Window {
    text: String,
    /// Where that character is in it.
    column: usize,
    /// How many characters of the line it has from there on.
    room: usize,
}

impl Window {
    fn at(line: &str, column: usize) -> Self {
        let length = line.chars().count();
        if length <= LONGEST {
            return Self { text: line.to_owned(), column, room: usize::MAX };
        }
        // With as much before it as says what it belongs to.
        let from = if column < LONGEST / 2 { 0 } else { (column - LONGEST / 4).min(length) };
        let shown: String = line.chars().skip(from).take(LONGEST).collect();
        let before = if from > 0 { "…" } else { "" };
        let after = if from + LONGEST < length { "…" } else { "" };
        let column = column - from;
        Self {
            text: format!("{before}{shown}{after}"),
            column: column + usize::from(from > 0),
            room: shown.chars().count().saturating_sub(column),
        }
    }
}

/// The lines of a Dockerfile around an instruction, with its own lines marked.
pub(in crate::cli) fn frame(source: &Source, span: Span) -> String {
    let rule = "--------------------";
    let mut text = format!("{}:{}\n{rule}\n", source.name, source.line_of(span.start));
    for (number, line, marked) in source.excerpt(span, 2) {
        let mark = if marked { ">>>" } else { "   " };
        let _ = writeln!(text, "{}", format!("{number:4} | {mark} {}", Window::at(line, 0).text).trim_end());
    }
    text.push_str(rule);
    text
}

/// As [`frame`], for words within lines: they are underlined.
pub(super) fn underlined(source: &Source, diagnostic: &Diagnostic) -> String {
    let (file, source) = (source, diagnostic.within.as_deref().unwrap_or(source));
    let span = diagnostic.span;
    let (line, column) = (source.line_of(span.start), source.column_of(span.start));
    let mut text = format!("{}:{line}:{column}: {}\n", source.name, shortened(&diagnostic.message));
    let (_, last) = source.lines_of(span);
    let Some(content) = source.line(line) else { return text };
    let window = Window::at(content, column - 1);
    let _ = writeln!(text, "{line:4} | {}", window.text);
    let width = if last > line {
        content.chars().count().saturating_sub(column - 1)
    } else {
        source.slice(span).trim_end().chars().count()
    };
    let width = width.min(window.room).max(1);
    let _ = writeln!(text, "     | {}{}", " ".repeat(window.column), "^".repeat(width));
    for note in &diagnostic.notes {
        let line = file.line_of(note.span.start);
        let _ = writeln!(text, "     = {} ({}:{line})", shortened(&note.message), file.name);
    }
    for hint in &diagnostic.hints {
        let _ = writeln!(text, "     = {}", shortened(hint));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_cut_in_the_middle() {
        assert_eq!(shortened("a word"), "a word");
        let word = format!("{}{}", "a".repeat(70_000), "ä".repeat(50));
        let expected = format!("it is {}…{}\tand more", "a".repeat(150), "ä".repeat(50));
        assert_eq!(shortened(&format!("it is {word}\tand more")), expected);
    }

    #[test]
    fn a_long_line_is_shown_around_what_is_wrong_in_it() {
        let line = format!("{}{}{}", "a".repeat(1000), "XY", "b".repeat(1000));
        let window = Window::at(&line, 1000);
        assert_eq!(window.text.chars().count(), LONGEST + 2);
        assert_eq!(window.text.chars().nth(window.column), Some('X'));
        assert!(window.text.starts_with('…') && window.text.ends_with('…'));
        let window = Window::at(&line, 5);
        assert_eq!((window.column, window.room), (5, LONGEST - 5));
        assert_eq!(window.text, format!("{}…", "a".repeat(LONGEST)));
        let window = Window::at(&line, 2001);
        assert_eq!((window.text.chars().nth(window.column), window.room), (Some('b'), 1));
        let diagnostic = Diagnostic::new("wrong", Span::new(0, 2002));
        let shown = underlined(&Source::new("Dockerfile", &line), &diagnostic);
        assert!(shown.lines().all(|line| line.chars().count() < LONGEST + 10), "{shown}");
    }
}
