//! SHELL: what runs the shell forms that follow.

use super::argument::Arguments;
use crate::dockerfile::diagnostic::Diagnostic;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shell {
    /// Program and options; never empty.
    pub command: Vec<String>,
}

impl Shell {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.no_flags();
        arguments.require_one()?;
        let Some(words) = arguments.json()? else {
            let message = "SHELL requires the arguments to be in JSON form";
            return Err(Diagnostic::new(message, arguments.rest().span())
                .hint("write an array of strings in double quotes: SHELL [\"/bin/bash\", \"-c\"]"));
        };
        if words.is_empty() {
            return Err(arguments.none_given());
        }
        Ok(Self { command: words.into_iter().map(|word| word.text).collect() })
    }
}
