//! ENTRYPOINT: the program that containers run.

use super::argument::Arguments;
use super::command::CommandLine;
use crate::dockerfile::diagnostic::Diagnostic;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entrypoint {
    pub command: CommandLine,
}

impl Entrypoint {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.no_flags();
        Ok(Self { command: CommandLine::parse(arguments)? })
    }
}
