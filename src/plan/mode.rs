//! `--chmod`: octal numbers, and modes such as `u=rwX,go=rX`.

use crate::dockerfile::{Diagnostic, Word};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    Octal(u32),
    /// Valid; relative to what is copied.
    Symbolic(String),
}

impl Mode {
    /// Reads an expanded `--chmod`; `word` is where it stands.
    pub(super) fn parse(text: &str, word: &Word) -> Result<Self, Diagnostic> {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            return match u32::from_str_radix(text, 8) {
                Ok(mode) if digits && mode <= 0o7777 => Ok(Self::Octal(mode)),
                Ok(_) | Err(_) => Err(wrong(text, word)),
            };
        }
        if text.split(',').all(is_clause) {
            return Ok(Self::Symbolic(text.to_owned()));
        }
        Err(wrong(text, word)
            .hint("or changes such as u=rwX,go=rX: who (u, g, o, a), how (+, -, =), what (r, w, x, X, s, t)"))
    }
}

/// `ug+rw`, `=rX`, `u+x-w`, `g=u`: whom it is about, then one or more changes.
fn is_clause(clause: &str) -> bool {
    let mut rest = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    let mut changes = 0;
    while let Some(change) = rest.strip_prefix(['+', '-', '=']) {
        let end = change.find(['+', '-', '=']).unwrap_or(change.len());
        let (what, after) = change.split_at(end);
        let copied = matches!(what, "u" | "g" | "o");
        if !copied && !what.chars().all(|letter| "rwxXst".contains(letter)) {
            return false;
        }
        rest = after;
        changes += 1;
    }
    changes > 0 && rest.is_empty()
}

fn wrong(text: &str, word: &Word) -> Diagnostic {
    let message =
        format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777");
    Diagnostic::new(message, word.span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::Span;

    #[test]
    fn modes_are_numbers_or_changes() {
        let parse = |text: &str| Mode::parse(text, &Word::new(text, Span::default()));
        assert_eq!(parse("755"), Ok(Mode::Octal(0o755)));
        assert_eq!(parse("07777"), Ok(Mode::Octal(0o7777)));
        for text in ["u=rwX,go=rX", "+x", "a-w", "u+x-w", "g=u", "=", "ugo=r,o-r", "u+s,+t"] {
            assert_eq!(parse(text), Ok(Mode::Symbolic(text.to_owned())), "{text}");
        }
        for text in ["64a", "10000", "8", "rw", "u", "u=z", "u=rw,", "x+r", "u=gr", "-1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
