//! What follows a `$`.

use super::ExpandError;
use super::pattern::Pattern;
use super::scan::{Escapes, Expander, MAX_DEPTH, Unset};

/// When a modifier takes a variable for unset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Unset,
    UnsetOrEmpty,
}

impl Expander<'_> {
    /// Reads from the `$` to the end of the substitution.
    pub(super) fn dollar(&mut self) -> Result<String, ExpandError> {
        if self.depth == MAX_DEPTH {
            return self.fail("substitutions are nested too deeply");
        }
        self.depth += 1;
        let value = self.substitution();
        self.depth -= 1;
        let value = value?;
        self.produce(&value)?;
        Ok(value)
    }

    fn substitution(&mut self) -> Result<String, ExpandError> {
        let start = self.at;
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() { "$".to_owned() } else { self.value(&name, start) });
        }
        self.next();
        match self.peek() {
            None => return self.fail("syntax error: missing '}'"),
            Some('{' | '}' | ':') => return self.fail("syntax error: bad substitution"),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            None => self.fail("syntax error: missing '}'"),
            Some('}') => Ok(self.value(&name, start)),
            Some(':') => match self.next() {
                Some(kind @ ('-' | '+' | '?')) => self.alternative(&name, kind, Missing::UnsetOrEmpty, start),
                Some(kind) => self.fail(format!("unsupported modifier (:{kind}) in substitution")),
                None => self.fail("syntax error: missing '}'"),
            },
            Some(kind @ ('-' | '+' | '?')) => self.alternative(&name, kind, Missing::Unset, start),
            Some('#') => self.trimmed(&name, End::Front, start),
            Some('%') => self.trimmed(&name, End::Back, start),
            Some('/') => self.replaced(&name, start),
            Some(kind) => self.fail(format!("unsupported modifier ({kind}) in substitution")),
        }
    }

    /// Letters, digits and underscores; or digits; or one special sign; or nothing.
    fn name(&mut self) -> String {
        let rest = &self.text[self.at..];
        let length = match rest.chars().next() {
            Some('0'..='9') => rest.bytes().take_while(u8::is_ascii_digit).count(),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            Some(_) | None => {
                rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len())
            }
        };
        self.at += length;
        rest[..length].to_owned()
    }

    /// The value of a variable; of an unset one nothing, or the text from `start`.
    fn value(&mut self, name: &str, start: usize) -> String {
        match (self.lookup)(name) {
            Some(value) => value,
            None => {
                self.note_unset(name);
                self.without_value(start)
            }
        }
    }

    fn without_value(&self, start: usize) -> String {
        match self.mode.unset {
            Unset::Empty => String::new(),
            Unset::AsWritten => self.text[start..self.at].to_owned(),
        }
    }

    fn note_unset(&mut self, name: &str) {
        if !self.unused && !self.unset.iter().any(|known| known == name) {
            self.unset.push(name.to_owned());
        }
    }

    /// `-`, `+` and `?`. The word counts only where it is used: `${a:-${b:?}}` does not fail when a has a value.
    fn alternative(
        &mut self,
        name: &str,
        kind: char,
        missing: Missing,
        start: usize,
    ) -> Result<String, ExpandError> {
        let value = (self.lookup)(name);
        let is_set = value.is_some();
        let present = value.filter(|value| missing == Missing::Unset || !value.is_empty());
        let word_is_used = (kind == '+') == present.is_some();
        let outer = self.unused;
        self.unused |= !word_is_used;
        let word = self.until('}', self.escapes());
        self.unused = outer;
        let word = word?;
        if !is_set && self.mode.unset == Unset::AsWritten {
            return Ok(self.without_value(start));
        }
        match (kind, present) {
            ('+', Some(_)) | ('-', None) => Ok(word),
            ('+', None) => Ok(String::new()),
            ('?', None) if self.unused => Ok(String::new()),
            ('?', None) => {
                let state = if is_set { "empty" } else { "unset" };
                let reason = if word.is_empty() { format!("is not allowed to be {state}") } else { word };
                Err(ExpandError { message: format!("{name}: {reason}"), offset: start })
            }
            (_, Some(value)) => Ok(value),
            (_, None) => Ok(word),
        }
    }

    /// `#`, `##`, `%` and `%%`.
    fn trimmed(&mut self, name: &str, end: End, start: usize) -> Result<String, ExpandError> {
        let sign = if end == End::Front { '#' } else { '%' };
        let longest = self.peek() == Some(sign);
        if longest {
            self.next();
        }
        let pattern = self.pattern('}')?;
        let Some(value) = (self.lookup)(name) else {
            self.note_unset(name);
            return Ok(self.without_value(start));
        };
        Ok(match end {
            End::Front => pattern.trim_start(&value, longest),
            End::Back => pattern.trim_end(&value, longest),
        })
    }

    /// `/` and `//`.
    fn replaced(&mut self, name: &str, start: usize) -> Result<String, ExpandError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.pattern('/')?;
        let replacement = self.until('}', Escapes::Keep)?;
        let Some(value) = (self.lookup)(name) else {
            self.note_unset(name);
            return Ok(self.without_value(start));
        };
        match pattern.replace(&value, &replacement, all) {
            Some(text) => Ok(text),
            None => self.fail("the expanded text is larger than 64 MiB"),
        }
    }

    fn pattern(&mut self, stop: char) -> Result<Pattern, ExpandError> {
        let text = self.until(stop, Escapes::Keep)?;
        Pattern::parse(&text)
            .or_else(|reason| self.fail(format!("invalid pattern ({text}) in substitution: {reason}")))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Front,
    Back,
}
