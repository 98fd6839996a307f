//! USER: who later steps and containers run as.

use super::argument::Arguments;
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::source::Word;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// `name`, `uid`, `name:group`, `uid:gid` and mixtures, once expanded.
    pub user: Word,
}

impl User {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.no_flags();
        Ok(Self { user: arguments.single()? })
    }
}
