//! Parser directives: `# key=value` at the very top.

use super::diagnostic::Diagnostic;
use super::source::{Source, Span, Word};
use super::suggest;

/// What the top of a file says about how to read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directives {
    /// The frontend that the file asks for.
    pub syntax: Option<Word>,
    /// Backslash unless it says backtick.
    pub escape: char,
    /// How to lint, see [`super::lint::Config`].
    pub check: Option<Word>,
}

/// Whether a frontend that a file or the build argument `BUILDKIT_SYNTAX` names is the language read here.
pub fn is_builtin_frontend(syntax: &str) -> bool {
    let image = syntax.split_whitespace().next().unwrap_or_default();
    let name = image.strip_prefix("docker.io/").unwrap_or(image);
    let end = name.find([':', '@']).unwrap_or(name.len());
    image == "dockerfile.v0" || matches!(&name[..end], "docker/dockerfile" | "docker/dockerfile-upstream")
}

/// Directives, and where the text after them begins. An error leaves its directive out.
pub(super) fn read(source: &Source, errors: &mut Vec<Diagnostic>) -> (Directives, usize) {
    let mut directives = Directives { syntax: None, escape: '\\', check: None };
    let mut escape_seen = None;
    let mut at = 0;
    for line in source.text().split_inclusive('\n') {
        let Some((key, value)) = directive(line.trim_end(), at, "#") else { break };
        let seen = match key.as_str() {
            "syntax" => directives.syntax.replace(value.clone()).map(|first| first.span),
            "check" => directives.check.replace(value.clone()).map(|first| first.span),
            "escape" => escape_seen.replace(value.span),
            _ => break,
        };
        if let Some(first) = seen {
            let message = format!("only one {key} parser directive can be used");
            errors.push(Diagnostic::new(message, value.span).note("the first one is here", first));
        } else if key == "escape" {
            match value.text.as_str() {
                "\\" => {}
                "`" => directives.escape = '`',
                other => {
                    let message = format!("invalid escape token '{other}' does not match ` or \\");
                    errors.push(Diagnostic::new(message, value.span));
                }
            }
        }
        at += line.len();
    }
    if directives.syntax.is_none() {
        directives.syntax = other_syntax(source.text());
    }
    (directives, at)
}

/// Refuses what another frontend would have to read.
pub(super) fn check_syntax(directives: &Directives) -> Result<(), Diagnostic> {
    let Some(syntax) = &directives.syntax else { return Ok(()) };
    if is_builtin_frontend(&syntax.text) {
        return Ok(());
    }
    let image = syntax.text.split_whitespace().next().unwrap_or_default();
    let near = suggest::suffix(image.split([':', '@']).next().unwrap_or_default(), ["docker/dockerfile"]);
    Err(Diagnostic::new(format!("frontend {image:?} is not supported{near}"), syntax.span)
        .hint("only the Dockerfile language is read: remove the line, or name docker/dockerfile"))
}

/// `#key=value`, the key in lower case. `at` is where the line begins in the source.
fn directive(line: &str, at: usize, marker: &str) -> Option<(String, Word)> {
    let (key, value) = line.trim_start().strip_prefix(marker)?.split_once('=')?;
    let key = key.trim();
    let mut letters = key.bytes();
    let begins = letters.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let value = value.trim();
    if !begins || !letters.all(|byte| byte.is_ascii_alphanumeric()) || value.is_empty() {
        return None;
    }
    let end = at + line.len();
    Some((key.to_ascii_lowercase(), Word::new(value, Span::new(end - value.len(), end))))
}

/// The `syntax` that stands elsewhere than in the directives: below a `#!` line, in `//` comments, or in a JSON document.
/// Only files for other frontends have it there, but they must be refused for the right reason.
fn other_syntax(text: &str) -> Option<Word> {
    let first = text.split_inclusive('\n').next().unwrap_or_default();
    let skipped = if first.starts_with("#!") { first.len() } else { 0 };
    for (marker, known) in [("#", &["syntax", "escape", "check"][..]), ("//", &["syntax"])] {
        let mut at = skipped;
        for line in text[skipped..].split_inclusive('\n') {
            match directive(line.trim_end(), at, marker) {
                Some((key, value)) if key == "syntax" => return Some(value),
                Some((key, _)) if known.contains(&key.as_str()) => at += line.len(),
                Some(_) | None => break,
            }
        }
    }
    let document = text.trim_start();
    if !document.starts_with('{') {
        return None;
    }
    let value: serde_json::Value = serde_json::from_str(document).ok()?;
    Some(Word::new(value.get("syntax")?.as_str()?, Span::new(0, first.trim_end().len())))
}
