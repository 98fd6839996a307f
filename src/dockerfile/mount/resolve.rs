//! Mounts whose values are known.

use super::resolved::{
    BindMount, CacheMount, Owner, ResolvedMount, SecretMount, Sharing, SshMount, TmpfsMount,
};
use super::{KINDS, Mount, MountKey, MountKind, MountOption};
use crate::dockerfile::boolean::go_boolean;
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::source::Word;
use crate::dockerfile::suggest;

/// An option's value as far as it is known.
#[derive(Clone, Debug)]
enum Value {
    Bare,
    Known(String),
    /// It depends on variables.
    Unknown,
}

const SHARINGS: &[(Sharing, &str)] =
    &[(Sharing::Shared, "shared"), (Sharing::Private, "private"), (Sharing::Locked, "locked")];

impl Mount {
    /// Expands the values and checks what they say together.
    pub fn resolve(
        &self,
        mut expand: impl FnMut(&Word) -> Result<String, Diagnostic>,
    ) -> Result<ResolvedMount, Diagnostic> {
        let mut values = Vec::with_capacity(self.options.len());
        for option in &self.options {
            values.push(match &option.value {
                None => Value::Bare,
                Some(word) => Value::Known(expand(word)?),
            });
        }
        let known = Known { mount: self, values };
        match known.resolve()? {
            Some(mount) => Ok(mount),
            // Every value is known here.
            None => Err(Diagnostic::new("the mount's type is not known", self.span)),
        }
    }

    /// Checks what does not depend on variables. Quotes in values are only taken out by expansion, so a value with any
    /// sign that expansion minds counts as unknown.
    pub(super) fn check_constants(&self) -> Result<(), Diagnostic> {
        let values = self.options.iter().map(|option| match &option.value {
            None => Value::Bare,
            Some(word) if word.text.contains(['$', '\'', '"', '\\', '`']) => Value::Unknown,
            Some(word) => Value::Known(word.text.clone()),
        });
        let known = Known { mount: self, values: values.collect() };
        known.resolve().map(|_| ())
    }
}

struct Known<'a> {
    mount: &'a Mount,
    values: Vec<Value>,
}

impl Known<'_> {
    /// None if the values that are not known leave it open.
    fn resolve(&self) -> Result<Option<ResolvedMount>, Diagnostic> {
        let Some(kind) = self.kind()? else {
            return Ok(None);
        };
        self.check_keys(kind)?;
        let owner = Owner {
            mode: self.number(MountKey::Mode, 8)?,
            uid: self.number(MountKey::Uid, 10)?,
            gid: self.number(MountKey::Gid, 10)?,
        };
        let readonly = self.readonly(kind)?;
        let required = self.boolean(MountKey::Required)?.unwrap_or(false);
        let target = self.text(MountKey::Target);
        if target.as_deref() == Some("/") {
            return Err(self.wrong(MountKey::Target, "invalid mount target \"/\""));
        }
        let from = self.text(MountKey::From);
        let source = self.text(MountKey::Source);
        let mount = match kind {
            MountKind::Bind => ResolvedMount::Bind(BindMount { target, from, source, readonly }),
            MountKind::Cache => {
                let sharing = self.sharing()?;
                let id = self.text(MountKey::Id);
                let id = id.unwrap_or_else(|| clean(target.as_deref().unwrap_or_default()));
                ResolvedMount::Cache(CacheMount { target, id, sharing, from, source, readonly, owner })
            }
            MountKind::Tmpfs => ResolvedMount::Tmpfs(TmpfsMount { target, size: self.size()?, readonly }),
            MountKind::Secret => ResolvedMount::Secret(self.secret(target, source, required, owner)?),
            MountKind::Ssh => {
                let id = self.text(MountKey::Id).unwrap_or_else(|| "default".to_owned());
                ResolvedMount::Ssh(SshMount { id, target, required, owner })
            }
        };
        let all_known = self.values.iter().all(|value| !matches!(value, Value::Unknown));
        Ok(all_known.then_some(mount))
    }

    fn kind(&self) -> Result<Option<MountKind>, Diagnostic> {
        let Some((option, value)) = self.find(MountKey::Type) else { return Ok(Some(MountKind::Bind)) };
        let text = match value {
            Value::Bare | Value::Unknown => return Ok(None),
            Value::Known(text) => text,
        };
        match MountKind::named(text) {
            Some(kind) => Ok(Some(kind)),
            None => {
                let near = suggest::suffix(&text.to_ascii_lowercase(), KINDS.iter().map(|(_, name)| *name));
                let message = format!("unsupported mount type {text:?}{near}");
                Err(Diagnostic::new(message, option.span))
            }
        }
    }

    /// Which keys a kind of mount takes.
    fn check_keys(&self, kind: MountKind) -> Result<(), Diagnostic> {
        let has_files = matches!(kind, MountKind::Cache | MountKind::Secret | MountKind::Ssh);
        let name = kind.name();
        for option in &self.mount.options {
            let key = option.key.name();
            let fits = match option.key {
                MountKey::Size => kind == MountKind::Tmpfs,
                MountKey::Required => matches!(kind, MountKind::Secret | MountKind::Ssh),
                MountKey::Env => kind == MountKind::Secret,
                MountKey::Mode | MountKey::Uid | MountKey::Gid if !has_files => {
                    let message = format!("{key} not allowed for {name:?} type mounts");
                    return Err(Diagnostic::new(message, option.span));
                }
                MountKey::From if kind == MountKind::Secret => {
                    return Err(Diagnostic::new("secret mount should not have a from", option.span));
                }
                MountKey::Sharing if kind == MountKind::Secret => {
                    return Err(Diagnostic::new("secret mount should not define sharing", option.span));
                }
                MountKey::Sharing if kind != MountKind::Cache => {
                    let message = format!("invalid cache sharing set for {name} mount");
                    return Err(Diagnostic::new(message, option.span));
                }
                MountKey::Source if kind == MountKind::Ssh => {
                    return Err(Diagnostic::new("ssh does not support source", option.span));
                }
                MountKey::From
                | MountKey::Gid
                | MountKey::Id
                | MountKey::Mode
                | MountKey::Readonly
                | MountKey::Readwrite
                | MountKey::Sharing
                | MountKey::Source
                | MountKey::Target
                | MountKey::Type
                | MountKey::Uid => true,
            };
            if !fits {
                let message = format!("unexpected key '{key}' for mount type '{name}'");
                return Err(Diagnostic::new(message, option.span));
            }
        }
        Ok(())
    }

    fn secret(
        &self,
        target: Option<String>,
        source: Option<String>,
        required: bool,
        owner: Owner,
    ) -> Result<SecretMount, Diagnostic> {
        // What depends on variables may be there or not: it is no reason to refuse.
        let given = |key| self.text(key).is_some();
        let open = |key| matches!(self.find(key), Some((_, Value::Unknown)));
        if given(MountKey::Source) && given(MountKey::Id) {
            return Err(self.wrong(MountKey::Source, "both source and id can't be set"));
        }
        let names = [MountKey::Source, MountKey::Id, MountKey::Target];
        if !names.into_iter().any(|key| given(key) || open(key)) {
            let message = "invalid secret mount. one of source, target required";
            return Err(Diagnostic::new(message, self.mount.span).hint("write type=secret,id=name"));
        }
        let env = self.text(MountKey::Env);
        let id = self
            .text(MountKey::Id)
            .or(source)
            .unwrap_or_else(|| base_name(target.as_deref().unwrap_or_default()).to_owned());
        let target = target.or_else(|| env.is_none().then(|| format!("/run/secrets/{}", base_name(&id))));
        Ok(SecretMount { id, target, env, required, owner })
    }

    fn readonly(&self, kind: MountKind) -> Result<bool, Diagnostic> {
        let last = self.mount.options.iter().rev();
        let last = last.map(|option| option.key);
        let mut switches = last.filter(|key| matches!(key, MountKey::Readonly | MountKey::Readwrite));
        let default = match kind {
            MountKind::Cache | MountKind::Tmpfs => false,
            MountKind::Bind | MountKind::Secret | MountKind::Ssh => true,
        };
        Ok(match switches.next() {
            Some(MountKey::Readwrite) => !self.boolean(MountKey::Readwrite)?.unwrap_or(true),
            Some(_) => self.boolean(MountKey::Readonly)?.unwrap_or(true),
            None => default,
        })
    }

    fn sharing(&self) -> Result<Sharing, Diagnostic> {
        let Some(text) = self.text(MountKey::Sharing) else { return Ok(Sharing::default()) };
        let lower = text.to_ascii_lowercase();
        match SHARINGS.iter().find(|(_, name)| *name == lower) {
            Some((sharing, _)) => Ok(*sharing),
            None => {
                let near = suggest::suffix(&lower, SHARINGS.iter().map(|(_, name)| *name));
                Err(self.wrong(MountKey::Sharing, format!("unsupported sharing value {text:?}{near}")))
            }
        }
    }

    fn size(&self) -> Result<Option<u64>, Diagnostic> {
        let Some(text) = self.text(MountKey::Size) else { return Ok(None) };
        match bytes(&text) {
            Some(size) => Ok(Some(size)),
            None => Err(self
                .wrong(MountKey::Size, format!("invalid value for size: {text}"))
                .hint("write bytes, or a number with k, m or g: size=64m")),
        }
    }

    fn number(&self, key: MountKey, radix: u32) -> Result<Option<u32>, Diagnostic> {
        let Some((_, Value::Known(text))) = self.find(key) else { return Ok(None) };
        match u32::from_str_radix(text, radix) {
            Ok(number) if !text.starts_with('+') => Ok(Some(number)),
            Ok(_) | Err(_) => {
                let wrong = self.wrong(key, format!("invalid value {text} for {}", key.name()));
                Err(if key == MountKey::Mode { wrong.hint("mode is octal: mode=0755") } else { wrong })
            }
        }
    }

    fn boolean(&self, key: MountKey) -> Result<Option<bool>, Diagnostic> {
        match self.find(key) {
            None | Some((_, Value::Unknown)) => Ok(None),
            Some((_, Value::Bare)) => Ok(Some(true)),
            Some((_, Value::Known(text))) => match go_boolean(text) {
                None => Err(self.wrong(key, format!("invalid value for {}: {text}", key.name()))),
                said => Ok(said),
            },
        }
    }

    /// A value that is not empty.
    fn text(&self, key: MountKey) -> Option<String> {
        match self.find(key)?.1 {
            Value::Known(text) if !text.is_empty() => Some(text.clone()),
            Value::Known(_) | Value::Bare | Value::Unknown => None,
        }
    }

    fn find(&self, key: MountKey) -> Option<(&MountOption, &Value)> {
        self.mount.options.iter().zip(&self.values).rev().find(|(option, _)| option.key == key)
    }

    fn wrong(&self, key: MountKey, message: impl Into<String>) -> Diagnostic {
        let span = self.find(key).map_or(self.mount.span, |(option, _)| option.span);
        Diagnostic::new(message, span)
    }
}

/// The last name of a path.
fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

/// Bytes, in units of 1024: `64m`, `1.5g`, `512 KiB`.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u64 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let total = (u128::from(whole) << power) + (u128::from(fraction) << power) / u128::from(scale);
    i64::try_from(total).ok().and_then(|total| u64::try_from(total).ok())
}

/// The shortest equal path: no empty or `.` parts, `..` taken back; `.` if nothing is left.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_units() {
        for (text, size) in [("1024", 1024), ("64m", 64 << 20), ("1.5g", 3 << 29), ("2 KiB", 2048), ("0", 0)]
        {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for text in ["", "m", "-1", "1x", ".5m", "1e3", "9999999999999t", "1..2"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn paths_are_cleaned() {
        for (path, clean_path) in
            [("/a//b/./../c/", "/a/c"), ("", "."), ("../a/..", ".."), ("/..", "/"), ("a", "a")]
        {
            assert_eq!(clean(path), clean_path, "{path}");
        }
    }
}
