//! Variables: `$name`, `${name}` and its modifiers, quotes and escapes.
//!
//! A word keeps its variables until their values are known; then [`expand`] substitutes them, drops quotes and escapes,
//! and reports the variables that have no value. Values themselves are not expanded again.

mod modifier;
mod pattern;
mod scan;

use scan::{Expander, Mode, Quotes, Unset};

/// Gives the value of a variable, if it is set.
pub type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expanded {
    pub text: String,
    /// Variables met that are not set, each once, in order. Those whose modifier provides for it (`-`, `+`, `?`) are not
    /// among them.
    pub unset: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExpandedWords {
    pub words: Vec<String>,
    pub unset: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ExpandError {
    pub message: String,
    /// The byte of the word where it was noticed.
    pub offset: usize,
}

/// Expands a word. `escape` is the file's escape character.
pub fn expand(word: &str, escape: char, lookup: &Lookup<'_>) -> Result<Expanded, ExpandError> {
    let mode = Mode { escape, quotes: Quotes::Drop, unset: Unset::Empty };
    let mut expander = Expander::new(word, mode, lookup);
    let text = expander.all()?;
    Ok(Expanded { text, unset: expander.unset })
}

/// Expands a word and splits the result at blanks, those of quoted text and of escaped letters excepted.
pub fn expand_words(word: &str, escape: char, lookup: &Lookup<'_>) -> Result<ExpandedWords, ExpandError> {
    let mode = Mode { escape, quotes: Quotes::Drop, unset: Unset::Empty };
    let mut expander = Expander::new(word, mode, lookup);
    let words = expander.all_words()?;
    Ok(ExpandedWords { words, unset: expander.unset })
}

/// Expands the body of a heredoc of COPY or ADD: quotes are ordinary text, and the escape is always a backslash.
pub fn expand_heredoc(body: &str, lookup: &Lookup<'_>) -> Result<Expanded, ExpandError> {
    let mode = Mode { escape: '\\', quotes: Quotes::Ordinary, unset: Unset::Empty };
    let mut expander = Expander::new(body, mode, lookup);
    let text = expander.all()?;
    Ok(Expanded { text, unset: expander.unset })
}

/// The text as people are shown it: known variables substituted, everything else as written. What cannot be expanded is
/// shown as it is.
pub fn display(text: &str, escape: char, lookup: &Lookup<'_>) -> String {
    let mode = Mode { escape, quotes: Quotes::Keep, unset: Unset::AsWritten };
    Expander::new(text, mode, lookup).all().unwrap_or_else(|_| text.to_owned())
}

/// The names of the variables that a word uses, each once, in order. Empty if it cannot be expanded.
pub fn variables(word: &str, escape: char) -> Vec<String> {
    let names = std::cell::RefCell::new(Vec::new());
    let note = |name: &str| {
        let mut names = names.borrow_mut();
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        None
    };
    // Whether it can be expanded is not the question.
    let _ = expand(word, escape, &note);
    names.into_inner()
}

/// The expanded text of a word that uses no variable; None if it does, or cannot be expanded.
pub fn constant(word: &str, escape: char) -> Option<String> {
    let used = std::cell::Cell::new(false);
    let note = |_: &str| {
        used.set(true);
        None
    };
    let expanded = expand(word, escape, &note).ok()?;
    if used.get() { None } else { Some(expanded.text) }
}

#[cfg(test)]
mod tests;
