//! Comments that should describe a stage or an argument.

use super::{Findings, Rule, check_comment};
use crate::dockerfile::source::Spanned;

/// The last comment right before FROM or ARG begins with a name that it defines.
pub(super) fn described<T>(keyword: &str, names: &[&str], at: &Spanned<T>, findings: &mut Findings) {
    let Some(comment) = at.comments.iter().rev().find(|comment| check_comment(comment).is_none()) else {
        return;
    };
    let first = comment.split(' ').next().unwrap_or_default();
    let example = match names {
        [] => return,
        names if names.contains(&first) => return,
        [name] => name,
        _ => "<arg_key>",
    };
    let message = format!("Comment for {keyword} should follow the format: `# {example} <description>`");
    findings.add(Rule::InvalidDefinitionDescription, message, at.span, &at.comments);
}
