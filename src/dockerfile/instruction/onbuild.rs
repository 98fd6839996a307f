//! ONBUILD: an instruction for images built on this one.

use super::argument::Arguments;
use super::{Instruction, Parsed};
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::source::Spanned;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Onbuild {
    pub trigger: Box<Spanned<Instruction>>,
    /// What the image's config records: the trigger's line, and its heredocs with their terminators.
    pub text: String,
}

impl Onbuild {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.no_flags();
        arguments.require_one()?;
        let word = arguments.rest().first_word();
        match word.text.to_uppercase().as_str() {
            "ONBUILD" => {
                let message = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed";
                return Err(Diagnostic::new(message, word.span));
            }
            keyword @ ("FROM" | "MAINTAINER") => {
                let message = format!("{keyword} isn't allowed as an ONBUILD trigger");
                return Err(Diagnostic::new(message, word.span));
            }
            _ => {}
        }
        let line = arguments.rest();
        let heredocs = arguments.take_heredocs();
        let mut text = line.as_str().to_owned();
        for heredoc in &heredocs {
            text.push('\n');
            text.push_str(&heredoc.body);
            text.push_str(&heredoc.name);
        }
        let end = heredocs.last().map_or(line.span(), |_| arguments.span());
        let span = line.span().to(end);
        let node = match arguments.nested(heredocs)? {
            Parsed::Instruction(instruction) => instruction,
            Parsed::From(_) => {
                return Err(Diagnostic::new("FROM isn't allowed as an ONBUILD trigger", word.span));
            }
        };
        let trigger = Spanned { node, span, text: line.as_str().to_owned(), comments: Vec::new() };
        Ok(Self { trigger: Box::new(trigger), text })
    }
}
