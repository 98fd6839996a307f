//! FROM: the beginning of a stage.

use super::argument::{Arguments, description};
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::flag::FlagSpec;
use crate::dockerfile::source::Word;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct From {
    /// A stage, `scratch`, a named context or an image.
    pub image: Word,
    pub platform: Option<Word>,
    /// As written; stages are looked up in lower case, see [`From::stage_name`].
    pub name: Option<Word>,
    /// The word `AS`, as written.
    pub as_keyword: Option<Word>,
    /// From a comment `# name text` right before the instruction.
    pub description: Option<String>,
}

const FLAGS: &[FlagSpec] = &[FlagSpec::text("platform")];

impl From {
    /// The stage's name in lower case.
    pub fn stage_name(&self) -> Option<String> {
        self.name.as_ref().map(|name| name.text.to_lowercase())
    }

    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let platform = arguments.flags(FLAGS).text("platform");
        let words = arguments.rest().words();
        let (image, named) = match &words[..] {
            [image] => (image, None),
            [image, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => {
                (image, Some((keyword, name)))
            }
            _ => {
                return Err(Diagnostic::new("FROM requires either one or three arguments", arguments.span())
                    .hint("write FROM image, or FROM image AS stage"));
            }
        };
        if let Some((_, name)) = named {
            check_name(name)?;
        }
        let name = named.map(|(_, name)| name.clone());
        let description =
            name.as_ref().and_then(|name| description(arguments.comments(), &name.text.to_lowercase()));
        let as_keyword = named.map(|(keyword, _)| keyword.clone());
        Ok(Self { image: image.clone(), platform, name, as_keyword, description })
    }
}

fn check_name(name: &Word) -> Result<(), Diagnostic> {
    let lower = name.text.to_lowercase();
    let mut letters = lower.bytes();
    let first = letters.next().is_some_and(|byte| byte.is_ascii_lowercase());
    if first
        && letters.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte))
    {
        return Ok(());
    }
    let text = &name.text;
    let message =
        format!("invalid name for build stage: {text:?}, name can't start with a number or contain symbols");
    Err(Diagnostic::new(message, name.span)
        .hint("a stage's name begins with a letter and goes on with letters, digits, '-', '_' and '.'"))
}
