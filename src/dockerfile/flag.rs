//! Flags between keyword and arguments: `--name`, `--name=value`.

use super::diagnostic::Diagnostic;
use super::source::{Span, Word};
use super::suggest;
use super::word::Text;

/// A flag that an instruction knows.
#[derive(Debug)]
pub(super) struct FlagSpec {
    name: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Boolean,
    Text,
    /// May be given any number of times.
    List,
}

impl FlagSpec {
    pub(super) const fn boolean(name: &'static str) -> Self {
        Self { name, kind: Kind::Boolean }
    }

    pub(super) const fn text(name: &'static str) -> Self {
        Self { name, kind: Kind::Text }
    }

    pub(super) const fn list(name: &'static str) -> Self {
        Self { name, kind: Kind::List }
    }
}

/// A flag as written, quotes and escapes taken out.
#[derive(Debug)]
pub(super) struct Flag {
    name: String,
    value: Option<Word>,
    span: Span,
}

/// The flags of an instruction, checked.
#[derive(Debug, Default)]
pub(super) struct Flags {
    texts: Vec<(&'static str, Word)>,
    booleans: Vec<(&'static str, bool)>,
}

impl Flags {
    /// Checks `written` against what the instruction knows.
    pub(super) fn check(written: Vec<Flag>, known: &[FlagSpec], errors: &mut Vec<Diagnostic>) -> Self {
        let mut flags = Self::default();
        for flag in written {
            if let Err(error) = flags.add(flag, known) {
                errors.push(error);
            }
        }
        flags
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<Word> {
        let index = self.texts.iter().position(|(known, _)| *known == name)?;
        Some(self.texts.remove(index).1)
    }

    pub(super) fn boolean(&self, name: &'static str) -> Option<bool> {
        self.booleans.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    pub(super) fn list(&mut self, name: &'static str) -> Vec<Word> {
        let (named, rest) =
            std::mem::take(&mut self.texts).into_iter().partition(|(known, _)| *known == name);
        self.texts = rest;
        let named: Vec<(&str, Word)> = named;
        named.into_iter().map(|(_, value)| value).collect()
    }

    fn add(&mut self, flag: Flag, known: &[FlagSpec]) -> Result<(), Diagnostic> {
        let Flag { name, value, span } = flag;
        let Some(spec) = known.iter().find(|spec| spec.name == name) else {
            let near = suggest::suffix(&name, known.iter().map(|spec| spec.name));
            let error = Diagnostic::new(format!("unknown flag: --{name}{near}"), span);
            if known.is_empty() {
                return Err(error.hint("write -- before arguments that begin like a flag"));
            }
            let names: Vec<String> = known.iter().map(|spec| format!("--{}", spec.name)).collect();
            return Err(error.hint(format!("known here: {}", names.join(", "))));
        };
        let missing = || Diagnostic::new(format!("missing a value on flag: {name}"), span);
        let seen = self.booleans.iter().any(|(seen, _)| *seen == spec.name)
            || self.texts.iter().any(|(seen, _)| *seen == spec.name);
        match spec.kind {
            Kind::Boolean | Kind::Text if seen => {
                Err(Diagnostic::new(format!("duplicate flag specified: {name}"), span))
            }
            Kind::Boolean => {
                let value = match value {
                    None => true,
                    Some(value) => boolean(&name, &value)?.ok_or_else(missing)?,
                };
                self.booleans.push((spec.name, value));
                Ok(())
            }
            Kind::Text | Kind::List => {
                self.texts.push((spec.name, value.ok_or_else(missing)?));
                Ok(())
            }
        }
    }
}

fn boolean(name: &str, value: &Word) -> Result<Option<bool>, Diagnostic> {
    match value.text.to_ascii_lowercase().as_str() {
        "" => Ok(None),
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        _ => {
            let message = format!("expecting boolean value for flag {name}, not: {}", value.text);
            Err(Diagnostic::new(message, value.span))
        }
    }
}

/// Takes the leading flags off `text`. A lone `--` ends them and is dropped.
pub(super) fn scan(mut text: Text<'_>, escape: char) -> (Vec<Flag>, Text<'_>) {
    let mut flags = Vec::new();
    loop {
        text = text.trim();
        if !text.as_str().starts_with("--") {
            return (flags, text);
        }
        let (word, pieces, end) = unquoted(text.as_str(), escape);
        let rest = text.part(end, text.as_str().len());
        if word == "--" {
            return (flags, rest.trim());
        }
        flags.push(flag(text.part(0, end), &word, &pieces));
        text = rest;
    }
}

fn flag(written: Text<'_>, word: &str, places: &[usize]) -> Flag {
    let span = written.span();
    let Some((name, value)) = word[2..].split_once('=') else {
        return Flag { name: word[2..].to_owned(), value: None, span };
    };
    let start = places.get(2 + name.len() + 1).copied().unwrap_or(written.as_str().len());
    let value = Word::new(value, written.part(start, written.as_str().len()).span());
    Flag { name: name.to_owned(), value: Some(value), span }
}

/// The first word with its quotes and escapes taken out, where each of its bytes stands, and where the word ends.
fn unquoted(text: &str, escape: char) -> (String, Vec<usize>, usize) {
    let mut word = String::new();
    let mut places = Vec::new();
    let mut push = |at: usize, letter: char| {
        word.push(letter);
        places.resize(word.len(), at);
    };
    let mut quote = None;
    let mut letters = text.char_indices();
    let mut end = text.len();
    while let Some((at, letter)) = letters.next() {
        match quote {
            Some(open) if letter == open => quote = None,
            None if letter.is_whitespace() => {
                end = at;
                break;
            }
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            Some(_) | None if letter == escape => {
                if let Some((at, protected)) = letters.next() {
                    push(at, protected);
                }
            }
            Some(_) | None => push(at, letter),
        }
    }
    (word, places, end)
}
