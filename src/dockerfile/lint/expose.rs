//! Rules about EXPOSE.

use super::{Findings, Rule};
use crate::dockerfile::expand;
use crate::dockerfile::instruction::Expose;

pub(super) fn ports(expose: &Expose, comments: &[String], escape: char, findings: &mut Findings) {
    for port in &expose.ports {
        let Some(text) = expand::constant(&port.text, escape) else { continue };
        let (ports, protocol) = text.split_once('/').unwrap_or((&text, ""));
        if protocol != protocol.to_lowercase() {
            let message = format!("Defined protocol '{text}' in EXPOSE instruction should be lowercase");
            findings.add(Rule::ExposeProtoCasing, message, port.span, comments);
        }
        if ports.contains(':') {
            let message = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{text}'"
            );
            findings.add(Rule::ExposeInvalidFormat, message, port.span, comments);
        }
    }
}
