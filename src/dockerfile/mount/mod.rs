//! `RUN --mount=`: what is shown to a command without becoming part of the layer.
//!
//! [`Mount::parse`] checks everything that can be known before variables have values; [`Mount::resolve`] checks the rest.

mod csv;
mod resolve;
mod resolved;

pub use resolved::{BindMount, CacheMount, Owner, ResolvedMount, SecretMount, Sharing, SshMount, TmpfsMount};

use super::diagnostic::Diagnostic;
use super::source::{Span, Word};
use super::suggest;

/// The options of one `--mount`, in the order written. Their values are unexpanded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mount {
    pub options: Vec<MountOption>,
    pub span: Span,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountOption {
    pub key: MountKey,
    /// None for a bare `ro`, `rw` or `required`.
    pub value: Option<Word>,
    pub span: Span,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MountKey {
    Env,
    From,
    Gid,
    Id,
    Mode,
    Readonly,
    Readwrite,
    Required,
    Sharing,
    Size,
    Source,
    Target,
    Type,
    Uid,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MountKind {
    Bind,
    Cache,
    Secret,
    Ssh,
    Tmpfs,
}

/// Every spelling of every key; the first of a key is the one that is printed.
const KEYS: &[(MountKey, &str)] = &[
    (MountKey::Type, "type"),
    (MountKey::From, "from"),
    (MountKey::Source, "source"),
    (MountKey::Source, "src"),
    (MountKey::Target, "target"),
    (MountKey::Target, "dst"),
    (MountKey::Target, "destination"),
    (MountKey::Readonly, "readonly"),
    (MountKey::Readonly, "ro"),
    (MountKey::Readwrite, "readwrite"),
    (MountKey::Readwrite, "rw"),
    (MountKey::Id, "id"),
    (MountKey::Sharing, "sharing"),
    (MountKey::Required, "required"),
    (MountKey::Size, "size"),
    (MountKey::Mode, "mode"),
    (MountKey::Uid, "uid"),
    (MountKey::Gid, "gid"),
    (MountKey::Env, "env"),
];

const KINDS: &[(MountKind, &str)] = &[
    (MountKind::Bind, "bind"),
    (MountKind::Cache, "cache"),
    (MountKind::Tmpfs, "tmpfs"),
    (MountKind::Secret, "secret"),
    (MountKind::Ssh, "ssh"),
];

impl Mount {
    pub(super) fn parse(value: &Word) -> Result<Self, Diagnostic> {
        let fields = csv::fields(&value.text)
            .map_err(|reason| Diagnostic::new(format!("failed to parse csv mounts: {reason}"), value.span))?;
        let options = fields.iter().map(|field| option(field, value)).collect::<Result<_, _>>()?;
        let mount = Self { options, span: value.span };
        mount.check_constants()?;
        Ok(mount)
    }

    pub fn option(&self, key: MountKey) -> Option<&MountOption> {
        // A key given twice counts as given last.
        self.options.iter().rev().find(|option| option.key == key)
    }
}

impl MountKey {
    pub fn name(self) -> &'static str {
        KEYS.iter().find(|(key, _)| *key == self).map_or("", |(_, name)| name)
    }

    /// Whether the key alone means that it is true.
    fn may_be_bare(self) -> bool {
        matches!(self, Self::Readonly | Self::Readwrite | Self::Required)
    }
}

impl MountKind {
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    fn named(text: &str) -> Option<Self> {
        KINDS.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(kind, _)| *kind)
    }
}

fn option(field: &csv::Field, whole: &Word) -> Result<MountOption, Diagnostic> {
    let (name, value) = match field.text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (field.text.as_str(), None),
    };
    let place = whole.part(field.start, field.end);
    let name = name.to_ascii_lowercase();
    let Some((key, _)) = KEYS.iter().find(|(_, known)| *known == name) else {
        if value.is_none() {
            let near = suggest::suffix(&name, KEYS.iter().map(|(_, known)| *known));
            let message = format!("invalid field '{}' must be a key=value pair{near}", field.text);
            return Err(Diagnostic::new(message, place.span));
        }
        let near = suggest::suffix(&name, KEYS.iter().map(|(_, known)| *known));
        let message = format!("unexpected key '{name}' in '{}'{near}", field.text);
        return Err(Diagnostic::new(message, place.span));
    };
    let value = match value {
        None if key.may_be_bare() => None,
        None => {
            let message = format!("invalid field '{}' must be a key=value pair", field.text);
            return Err(Diagnostic::new(message, place.span).hint(format!("write {name}=value")));
        }
        Some(value) if place.text.len() == field.text.len() => {
            Some(place.part(field.text.len() - value.len(), field.text.len()))
        }
        Some(value) => Some(Word::new(value, place.span)),
    };
    Ok(MountOption { key: *key, value, span: place.span })
}
