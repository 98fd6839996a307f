//! ARG: build arguments.

use super::argument::{Arguments, description};
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::source::Word;
use crate::dockerfile::word;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArgInstruction {
    /// From left to right, each default may use the ones before it. Never empty.
    pub variables: Vec<ArgVariable>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArgVariable {
    pub name: Word,
    /// None for `ARG X`, empty for `ARG X=`.
    pub default: Option<Word>,
    /// From a comment `# name text` right before the instruction.
    pub description: Option<String>,
}

impl ArgInstruction {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.no_flags();
        arguments.require_one()?;
        let words = word::quoted(arguments.rest(), arguments.escape());
        if words.is_empty() {
            return Err(arguments.none_given());
        }
        let variable = |word: &Word| variable(word, arguments.comments());
        Ok(Self { variables: words.iter().map(variable).collect::<Result<_, _>>()? })
    }
}

fn variable(word: &Word, comments: &[String]) -> Result<ArgVariable, Diagnostic> {
    let (name, default) = match word.text.split_once('=') {
        None => (word.clone(), None),
        Some((name, value)) => {
            (word.part(0, name.len()), Some(word.part(word.text.len() - value.len(), word.text.len())))
        }
    };
    if name.text.is_empty() {
        return Err(Diagnostic::new("ARG names can not be blank", word.span));
    }
    let description = description(comments, &name.text);
    Ok(ArgVariable { name, default, description })
}
