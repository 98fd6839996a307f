//! CMD: the default command of containers.

use super::argument::Arguments;
use super::command::CommandLine;
use crate::dockerfile::diagnostic::Diagnostic;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cmd {
    pub command: CommandLine,
}

impl Cmd {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.no_flags();
        Ok(Self { command: CommandLine::parse(arguments)? })
    }
}
