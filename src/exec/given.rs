//! What the command line lends to steps: secrets, agents and devices. None of it is ever written down.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::error::ExecError;

/// Secrets and agents by id, and where devices are described.
#[derive(Debug, Default, Clone)]
pub struct Given {
    pub secrets: BTreeMap<String, Secret>,
    pub agents: BTreeMap<String, AgentSource>,
    /// Directories with descriptions of devices; of two, the later one counts.
    pub device_directories: Vec<PathBuf>,
    pub surroundings: Surroundings,
}

/// What programs of the host need to know of it, such as git.
#[derive(Debug, Default, Clone)]
pub struct Surroundings {
    /// Where programs are, and through which proxies and by which authorities servers are reached.
    pub variables: Vec<(&'static str, OsString)>,
    /// Who the user is to other machines, unless an address says it.
    pub user: String,
    /// Files with the keys of hosts that the user knows.
    pub known_hosts: Vec<PathBuf>,
}

/// Where an agent comes from.
#[derive(Debug, Clone)]
pub enum AgentSource {
    /// It runs already, and has this socket.
    Socket(PathBuf),
    /// It has to be started, for these keys alone.
    Keys(Vec<PrivateKey>),
}

#[derive(Debug, Clone)]
pub struct PrivateKey {
    /// For messages.
    pub file: PathBuf,
    pub text: Secret,
}

/// A value that nobody is shown but the steps that ask for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(value: Vec<u8>) -> Self {
        Self(value)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a variable has it.
    pub(super) fn text(&self, id: &str) -> Result<&str, ExecError> {
        let text = std::str::from_utf8(&self.0).ok().filter(|text| !text.contains('\0'));
        text.ok_or_else(|| ExecError::SecretNotText { id: id.to_owned() })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

impl Given {
    pub(super) fn secret(&self, id: &str, required: bool) -> Result<Option<&Secret>, ExecError> {
        match self.secrets.get(id) {
            None if required => Err(ExecError::NoSecret { id: id.to_owned() }),
            found => Ok(found),
        }
    }

    pub(super) fn agent(&self, id: &str, required: bool) -> Result<Option<&AgentSource>, ExecError> {
        match self.agents.get(id) {
            None if required => Err(ExecError::NoAgent { id: id.to_owned() }),
            found => Ok(found),
        }
    }
}

/// Hides values in what a step writes.
#[derive(Debug, Default, Clone)]
pub(super) struct Mask {
    /// The longest first: one may be part of another.
    hidden: Vec<Vec<u8>>,
}

/// A shorter line of a value with several says nothing by itself.
const SHORTEST_LINE: usize = 4;
const INSTEAD: &[u8] = b"****";

impl Mask {
    /// A log comes line by line, so each line of a value is one.
    pub(super) fn add(&mut self, secret: &Secret) {
        let value = secret.0.trim_ascii();
        let lines: Vec<&[u8]> = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect();
        let shortest = if lines.len() > 1 { SHORTEST_LINE } else { 1 };
        self.hidden.extend(lines.into_iter().filter(|line| line.len() >= shortest).map(<[u8]>::to_vec));
        self.hidden.sort_by_key(|value| std::cmp::Reverse(value.len()));
    }

    pub(super) fn apply(&self, mut text: Vec<u8>) -> Vec<u8> {
        for value in &self.hidden {
            let finder = memchr::memmem::Finder::new(value);
            if finder.find(&text).is_none() {
                continue;
            }
            let mut masked = Vec::with_capacity(text.len());
            let mut rest = &text[..];
            while let Some(at) = finder.find(rest) {
                masked.extend_from_slice(&rest[..at]);
                masked.extend_from_slice(INSTEAD);
                rest = &rest[at + value.len()..];
            }
            masked.extend_from_slice(rest);
            text = masked;
        }
        text
    }

    pub(super) fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.apply(text.as_bytes().to_vec())).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(secrets: &[&str], text: &str) -> String {
        let mut mask = Mask::default();
        secrets.iter().for_each(|value| mask.add(&Secret::new(value.as_bytes().to_vec())));
        mask.text(text)
    }

    #[test]
    fn values_are_hidden_wherever_they_are() {
        assert_eq!(masked(&["tiger\n"], "a tiger, two tigers"), "a ****, two ****s");
        assert_eq!(masked(&["tig", "tiger"], "tiger tig"), "**** ****");
        assert_eq!(masked(&["{\n  secret\n}\n"], "{ secret }"), "{ **** }");
        assert_eq!(masked(&["", "\n"], "nothing"), "nothing");
        assert_eq!(masked(&[], "nothing"), "nothing");
        assert_eq!(format!("{:?}", Secret::new(b"x".to_vec())), "Secret");
    }
}
