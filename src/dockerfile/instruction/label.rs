//! LABEL: metadata of the image.

use super::argument::Arguments;
use super::env::{Pair, parse_pairs};
use crate::dockerfile::diagnostic::Diagnostic;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// Never empty. Keys are expanded, too.
    pub pairs: Vec<Pair>,
    /// Written `LABEL key value`.
    pub legacy: bool,
}

impl Label {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.no_flags();
        let (pairs, legacy) = parse_pairs(arguments)?;
        Ok(Self { pairs, legacy })
    }
}
