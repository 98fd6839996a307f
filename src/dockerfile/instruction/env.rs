//! ENV: environment variables of later steps and of containers.

use super::argument::Arguments;
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::source::Word;
use crate::dockerfile::word;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Env {
    /// Never empty.
    pub pairs: Vec<Pair>,
    /// Written `ENV key value`.
    pub legacy: bool,
}

/// `key=value` of ENV and LABEL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    pub key: Word,
    pub value: Word,
}

impl Env {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.no_flags();
        let (pairs, legacy) = parse_pairs(arguments)?;
        Ok(Self { pairs, legacy })
    }
}

/// Pairs in the new form, or the one pair of the old form, told apart by whether the first word has a `=`.
pub(super) fn parse_pairs(arguments: &mut Arguments<'_>) -> Result<(Vec<Pair>, bool), Diagnostic> {
    arguments.require_one()?;
    let keyword = arguments.keyword().name();
    let words = word::quoted(arguments.rest(), arguments.escape());
    let legacy = words.first().is_none_or(|first| !first.text.contains('='));
    let pairs = if legacy {
        vec![legacy_pair(arguments, keyword)?]
    } else {
        words.iter().map(pair).collect::<Result<_, _>>()?
    };
    match pairs.iter().find(|pair| pair.key.text.is_empty()) {
        Some(pair) => Err(Diagnostic::new(
            format!("{keyword} names can not be blank"),
            pair.key.span.to(pair.value.span),
        )),
        None => Ok((pairs, legacy)),
    }
}

fn legacy_pair(arguments: &Arguments<'_>, keyword: &str) -> Result<Pair, Diagnostic> {
    let rest = arguments.rest();
    match rest.split_first_word() {
        Some((key, value)) if !value.as_str().is_empty() => Ok(Pair { key: key.word(), value: value.word() }),
        Some(_) | None => Err(Diagnostic::new(format!("{keyword} must have two arguments"), rest.span())
            .hint(format!("write {keyword} name=value"))),
    }
}

fn pair(word: &Word) -> Result<Pair, Diagnostic> {
    let Some((key, value)) = word.text.split_once('=') else {
        let message =
            format!("Syntax error - can't find = in {:?}. Must be of the form: name=value", word.text);
        return Err(Diagnostic::new(message, word.span)
            .hint("a value that contains blanks must be quoted: name=\"some value\""));
    };
    Ok(Pair {
        key: word.part(0, key.len()),
        value: word.part(word.text.len() - value.len(), word.text.len()),
    })
}
