//! Why an instruction is not planned.

use super::{Entitlement, Request};
use crate::dockerfile::{Diagnostic, Span};

#[derive(Debug)]
pub(super) enum Refusal {
    /// It is wrong.
    Wrong(Diagnostic),
    /// It is right, but what it asks for is not executed without being allowed.
    Later(Diagnostic),
    /// It needs values that are not known: what would be said about it may not be true.
    Unknown,
}

pub(super) type Outcome<T> = Result<T, Refusal>;

impl From<Diagnostic> for Refusal {
    fn from(error: Diagnostic) -> Self {
        Self::Wrong(error)
    }
}

pub(super) fn must_be_allowed(entitlement: &Entitlement, request: &Request, span: Span) -> Outcome<()> {
    let has_all_devices = || request.entitlements.contains(&Entitlement::AnyDevice);
    let is_device = matches!(entitlement, Entitlement::Device(_));
    if request.entitlements.contains(entitlement) || is_device && has_all_devices() {
        return Ok(());
    }
    let name = entitlement.name();
    let hint = format!("whoever trusts this Dockerfile allows it with --allow {name}");
    Err(Refusal::Later(Diagnostic::new(format!("entitlement {name} is not allowed"), span).hint(hint)))
}
