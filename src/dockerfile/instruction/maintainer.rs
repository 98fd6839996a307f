//! MAINTAINER: the image's author, deprecated in favour of a label.

use super::argument::Arguments;
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::source::Word;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Maintainer {
    /// Not expanded.
    pub author: Word,
}

impl Maintainer {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.no_flags();
        Ok(Self { author: arguments.single()? })
    }
}
