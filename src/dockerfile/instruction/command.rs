//! Commands: a JSON array that is run as it is, or text for a shell.

use super::argument::Arguments;
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::source::Word;

/// What RUN, CMD, ENTRYPOINT and HEALTHCHECK run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandLine {
    /// One string for the shell of the stage.
    Shell(Word),
    /// The arguments as they are, without a shell.
    Exec(Vec<String>),
}

impl CommandLine {
    /// Reads all that is left. What looks like an array but is none is a command for the shell, as it always was.
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.require_one()?;
        Ok(match arguments.json()? {
            Some(words) => Self::Exec(words.into_iter().map(|word| word.text).collect()),
            None => Self::Shell(arguments.rest().word()),
        })
    }
}
