//! EXPOSE: the ports that an image listens on.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::argument::Arguments;
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::expand;
use crate::dockerfile::source::Word;
use crate::dockerfile::suggest;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expose {
    /// Never empty. Each expands to any number of specifications, see [`expand::expand_words`] and [`Port::parse`].
    pub ports: Vec<Word>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Port {
    pub number: u16,
    pub protocol: Protocol,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Protocol {
    Sctp,
    Tcp,
    Udp,
}

impl Expose {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.no_flags();
        let ports = arguments.rest().words();
        if ports.is_empty() {
            return Err(arguments.none_given());
        }
        for port in &ports {
            let constant = expand::constant(&port.text, arguments.escape());
            if let Some(Err(message)) = constant.map(|text| Port::parse(&text)) {
                arguments.refuse(Diagnostic::new(message, port.span));
            }
        }
        Ok(Self { ports })
    }
}

impl Port {
    /// Reads `[[address:]host:]port[-port][/protocol]`: every port of the range, or what is wrong. Address and host port
    /// mean nothing in an image, but they are checked.
    pub fn parse(specification: &str) -> Result<Vec<Self>, String> {
        let (ports, protocol) = specification.split_once('/').unwrap_or((specification, "tcp"));
        let (host, container) = ports.rsplit_once(':').unwrap_or(("", ports));
        let (address, host) = host.rsplit_once(':').unwrap_or(("", host));
        if container.is_empty() {
            return Err(format!("no port specified: {specification}<empty>"));
        }
        let range = range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
        let protocol = protocol_named(protocol)?;
        let plain = address.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(address);
        if !address.is_empty() && plain.parse::<IpAddr>().is_err() {
            return Err(format!("invalid IP address: {plain}"));
        }
        if !host.is_empty() {
            let host_range = self::range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?;
            // One container port may be mapped to any of several host ports.
            if range.len() != host_range.len() && range.len() != 1 {
                return Err(format!(
                    "invalid ranges specified for container and host Ports: {container} and {host}"
                ));
            }
        }
        Ok(range.map(|number| Self { number, protocol }).collect())
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| -> Option<u16> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse().ok() } else { None }
    };
    let range = port(first)?..=port(last)?;
    if range.is_empty() { None } else { Some(range) }
}

fn protocol_named(text: &str) -> Result<Protocol, String> {
    match text.to_ascii_lowercase().as_str() {
        "" | "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Ok(Protocol::Sctp),
        other => {
            let near = suggest::suffix(other, ["tcp", "udp", "sctp"]);
            Err(format!("invalid proto: {text}{near}"))
        }
    }
}

/// As the config writes it: `80/tcp`.
impl fmt::Display for Port {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Sctp => "sctp",
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(out, "{}/{protocol}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_specifications_become_single_ports() {
        let ports =
            |text| Port::parse(text).map(|ports| ports.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(ports("80"), Ok(vec!["80/tcp".into()]));
        assert_eq!(ports("53/UDP"), Ok(vec!["53/udp".into()]));
        assert_eq!(ports("1-3/sctp"), Ok(vec!["1/sctp".into(), "2/sctp".into(), "3/sctp".into()]));
        assert_eq!(ports("127.0.0.1:8080:80"), Ok(vec!["80/tcp".into()]));
        assert_eq!(ports("[::1]:8080:80"), Ok(vec!["80/tcp".into()]));
        assert_eq!(ports("8000-8001:80"), Ok(vec!["80/tcp".into()]));
        assert_eq!(ports("x"), Err("invalid containerPort: x".into()));
        assert_eq!(ports("3-1"), Err("invalid containerPort: 3-1".into()));
        assert_eq!(ports("65536"), Err("invalid containerPort: 65536".into()));
        assert_eq!(ports("80/upd"), Err("invalid proto: upd (did you mean udp?)".into()));
        assert!(ports("80:1-2").unwrap_err().contains("invalid ranges specified"));
    }
}
