//! WORKDIR: the directory of later steps and of containers.

use super::argument::Arguments;
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::source::Word;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workdir {
    /// Relative to the current directory unless it begins with a slash.
    pub path: Word,
}

impl Workdir {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.no_flags();
        Ok(Self { path: arguments.single()? })
    }
}
