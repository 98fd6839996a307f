//! Heredocs: bodies that follow an ADD, COPY or RUN line.

use std::borrow::Cow;

use super::source::Span;

/// `<<EOF` and what follows until a line `EOF`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heredoc {
    /// The delimiter without quotes: the file's name for COPY and ADD.
    pub name: String,
    /// The lines between, each with its end; tabs not yet stripped. See [`Heredoc::content`].
    pub body: String,
    /// The delimiter was not quoted: variables in the body are expanded (by the builder for COPY and ADD, by the shell
    /// for RUN).
    pub expand: bool,
    /// Written `<<-`: leading tabs of each line are dropped.
    pub strip_tabs: bool,
    /// The number before `<<`, as in `3<<EOF`.
    pub descriptor: Option<String>,
    /// Where `<<EOF` stands.
    pub span: Span,
    pub body_span: Span,
}

impl Heredoc {
    /// The body, without leading tabs if it was opened by `<<-`.
    pub fn content(&self) -> Cow<'_, str> {
        if !self.strip_tabs {
            return Cow::Borrowed(&self.body);
        }
        let lines = self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t'));
        Cow::Owned(lines.collect())
    }

    /// The first line of the body, followed by `...` if there are more.
    pub fn summary(&self) -> String {
        let mut lines = self.body.trim().lines();
        let first = lines.next().unwrap_or_default().to_owned();
        if lines.next().is_some() { first + "..." } else { first }
    }
}

/// What a word that opens a heredoc says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opener {
    pub(super) name: String,
    pub(super) expand: bool,
    pub(super) strip_tabs: bool,
    pub(super) descriptor: Option<String>,
}

/// Reads `[digits]<<[-]name`. The text must be this one word; in `<< name` the blanks belong to it.
pub(super) fn opener(word: &str) -> Option<Opener> {
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    let (descriptor, rest) = word.split_at(digits);
    let rest = rest.strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.contains('<') {
        return None;
    }
    let name = unquoted(rest.trim_start())?;
    let descriptor = (digits > 0).then(|| descriptor.to_owned());
    Some(Opener { expand: name.len() == rest.trim_start().len(), name, strip_tabs, descriptor })
}

/// How far a word that opens a heredoc reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Grammar {
    /// To the next blank: COPY and ADD.
    Words,
    /// To the next blank or operator: in RUN, `cat <<A; cat <<B` has A and B.
    Shell,
}

/// The words of a line that open heredocs, with the offsets where they begin and end. A line whose quotes do not match
/// has none. The escape is the shell's, whatever the file's is.
pub(super) fn openers(line: &str, grammar: Grammar) -> Vec<(usize, usize, Opener)> {
    // Few lines have any: look before cutting words.
    if memchr::memmem::find(line.as_bytes(), b"<<").is_none() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut letters = line.char_indices();
    let mut close = |start: usize, end: usize| {
        let word = &line[start..end];
        let end = match grammar {
            Grammar::Words => end,
            Grammar::Shell => start + before_operator(word),
        };
        found.extend(opener(&line[start..end]).map(|opener| (start, end, opener)));
    };
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' && quote != Some('\'') {
            start.get_or_insert(at);
            letters.next();
            continue;
        }
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if letter.is_whitespace() => {
                if let Some(start) = start.take() {
                    close(start, at);
                }
            }
            None => {
                start.get_or_insert(at);
                quote = Some(letter).filter(|letter| matches!(letter, '\'' | '"'));
            }
        }
    }
    if let Some(start) = start {
        close(start, line.len());
    }
    if quote.is_some() { Vec::new() } else { found }
}

/// The length of a word up to the first operator of the shell. `<` is none here: `<<<` and the like open no heredoc.
fn before_operator(word: &str) -> usize {
    let mut quote = None;
    let mut letters = word.char_indices();
    while let Some((at, letter)) = letters.next() {
        match quote {
            Some(open) if letter == open => quote = None,
            Some('\'') => {}
            Some(_) | None if letter == '\\' => {
                letters.next();
            }
            Some(_) => {}
            None if matches!(letter, ';' | '&' | '|' | '(' | ')' | '>') => return at,
            None => quote = Some(letter).filter(|letter| matches!(letter, '\'' | '"')),
        }
    }
    word.len()
}

/// The word without quotes and escapes. None if there is more than one word, nothing, or an open quote.
fn unquoted(word: &str) -> Option<String> {
    let mut name = String::with_capacity(word.len());
    let mut quote = None;
    let mut letters = word.chars();
    while let Some(letter) = letters.next() {
        match quote {
            Some(open) if letter == open => quote = None,
            Some('"') if letter == '\\' => match letters.next()? {
                special @ ('"' | '$' | '\\') => name.push(special),
                other => name.extend(['\\', other]),
            },
            Some(_) => name.push(letter),
            None if letter == '\\' => name.push(letters.next()?),
            None if letter == '\'' || letter == '"' => quote = Some(letter),
            None if letter.is_whitespace() => return None,
            None => name.push(letter),
        }
    }
    if quote.is_some() || name.is_empty() { None } else { Some(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_open_heredocs_are_told_from_others() {
        let names = |line| {
            openers(line, Grammar::Shell)
                .into_iter()
                .map(|(_, _, opener)| {
                    let Opener { name, expand, strip_tabs, descriptor } = opener;
                    format!(
                        "{}{name}{}{}",
                        descriptor.unwrap_or_default(),
                        ["!", ""][usize::from(expand)],
                        ["", "-"][usize::from(strip_tabs)]
                    )
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(names("cat <<EOF <<-'B C' 3<<\"D\" > x"), ["EOF", "B C!-", "3D!"]);
        assert_eq!(names("cat <<E\\OF <<$X"), ["EOF!", "$X"]);
        assert_eq!(names("cat <<A; cat <<B>x <<'C;'|y <<D)"), ["A", "B", "C;!", "D"]);
        for line in
            ["cat \"<<X\"", "cat '<<X'", "cat <<<X", "cat << X", "cat <<", "echo it's <<X", "x<<Y", "\\<<X"]
        {
            assert!(names(line).is_empty(), "{line}");
        }
    }
}
