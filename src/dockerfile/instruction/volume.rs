//! VOLUME: directories that hold data.

use super::argument::Arguments;
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::source::Word;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Volume {
    /// Never empty.
    pub paths: Vec<Word>,
}

impl Volume {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.no_flags();
        let paths = arguments.json_or_words()?.words;
        if paths.is_empty() {
            return Err(arguments.none_given());
        }
        match paths.iter().find(|path| path.text.trim().is_empty()) {
            Some(blank) => Err(Diagnostic::new("VOLUME specified can not be an empty string", blank.span)),
            None => Ok(Self { paths }),
        }
    }
}
