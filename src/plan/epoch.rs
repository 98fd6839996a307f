//! SOURCE_DATE_EPOCH: the time that a build is to pretend, in seconds since 1970.

use super::Request;
use super::scope::GlobalScope;
use crate::dockerfile::{Diagnostic, Dockerfile};

/// The variable's name, as build argument, in the environment and in an ARG before the first FROM.
pub const EPOCH_ARG: &str = "SOURCE_DATE_EPOCH";

/// What a value means: none for nothing, and for `context`, because a directory has no time of its own.
pub fn parse_epoch(value: &str) -> Result<Option<i64>, String> {
    match value.trim() {
        "" | "context" => Ok(None),
        text => match text.parse::<i64>() {
            Ok(seconds) if seconds >= 0 => Ok(Some(seconds)),
            Ok(_) | Err(_) => Err(format!(
                "invalid {EPOCH_ARG}: {value:?} is no number of seconds since 1970, which is what is supported"
            )),
        },
    }
}

/// The build argument decides, also an empty one; else the default of a global ARG.
pub(super) fn epoch(
    file: &Dockerfile,
    request: &Request,
    global: &GlobalScope<'_>,
) -> Result<Option<i64>, Diagnostic> {
    let given = request.build_args.get(EPOCH_ARG).map(String::as_str);
    let Some(value) = given.or_else(|| global.get(EPOCH_ARG)) else { return Ok(None) };
    parse_epoch(value).map_err(|message| {
        let mut variables = file.global_args.iter().flat_map(|arg| &arg.node.variables);
        let place = variables.rfind(|variable| variable.name.text == EPOCH_ARG);
        Diagnostic::new(message, place.map(|variable| variable.name.span).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_number_of_seconds() {
        assert_eq!(parse_epoch("1700000000"), Ok(Some(1_700_000_000)));
        assert_eq!(parse_epoch("0"), Ok(Some(0)));
        assert_eq!(parse_epoch(""), Ok(None));
        assert_eq!(parse_epoch("context"), Ok(None));
        for wrong in ["-1", "1.5", "now", "0x10"] {
            assert!(parse_epoch(wrong).unwrap_err().contains("SOURCE_DATE_EPOCH"), "{wrong}");
        }
    }
}
