//! Rules about COPY and ADD.

use super::{Findings, Rule};
use crate::dockerfile::instruction::CopySource;
use crate::dockerfile::source::{Spanned, Word};
use crate::dockerfile::{Instruction, expand};

/// Several sources go into a directory, and only a slash at the end says so.
pub(super) fn destination(
    keyword: &str,
    sources: &[CopySource],
    destination: &Word,
    escape: char,
    at: &Spanned<Instruction>,
    findings: &mut Findings,
) {
    if sources.len() < 2 {
        return;
    }
    // Variables are stood in for by a slash: one at the end may bring its own.
    let slash = |_: &str| Some("/".to_owned());
    let Ok(expanded) = expand::expand(&destination.text, escape, &slash) else { return };
    let path = expanded.text.as_str();
    if path.is_empty() || path.ends_with('/') || path == "." || path.ends_with("/.") || path.ends_with("..") {
        return;
    }
    let message = format!(
        "{keyword} with several sources should have a destination that ends with a slash, not {:?}",
        destination.text
    );
    findings.add(Rule::MultipleSourcesWithoutSlash, message, destination.span, &at.comments);
}
