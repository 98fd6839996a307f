//! registries.conf, version 2: other locations, mirrors, what is insecure or blocked.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::settings::SettingsError;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Toml {
    pub(super) unqualified_search_registries: Option<Vec<String>>,
    #[serde(default)]
    pub(super) aliases: HashMap<String, String>,
    #[serde(default)]
    pub(super) registry: Vec<Entry>,
    /// The tables of version 1 of the format.
    registries: Option<toml::Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Entry {
    #[serde(default)]
    pub(super) prefix: String,
    #[serde(default)]
    pub(super) location: String,
    #[serde(default)]
    pub(super) insecure: bool,
    #[serde(default)]
    pub(super) blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Mirror {
    pub(super) location: String,
    #[serde(default)]
    pub(super) insecure: bool,
    #[serde(default)]
    pull_from_mirror: PullFromMirror,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

/// Reads a file; every entry has a prefix afterwards.
pub(super) fn parse(path: &Path, text: &str) -> Result<Toml, SettingsError> {
    let refuse = |problem: String| SettingsError { path: path.to_owned(), problem };
    let mut file: Toml = toml::from_str(text).map_err(|error| refuse(error.to_string().trim().to_owned()))?;
    if file.registries.is_some() {
        return Err(refuse("written in version 1 of the format; use [[registry]] tables".to_owned()));
    }
    for entry in &mut file.registry {
        if entry.prefix.is_empty() {
            entry.prefix.clone_from(&entry.location);
        }
        if entry.prefix.is_empty() {
            return Err(refuse("a [[registry]] has neither a prefix nor a location".to_owned()));
        }
    }
    Ok(file)
}

impl Entry {
    /// How much of a name the prefix covers; none if the entry is not for it.
    pub(super) fn covers(&self, name: &str) -> Option<usize> {
        match self.prefix.strip_prefix('*') {
            Some(domain) => {
                let host = &name[..name.find('/').unwrap_or(name.len())];
                (host.len() > domain.len() && host.ends_with(domain)).then_some(host.len())
            }
            None => {
                let rest = name.strip_prefix(self.prefix.as_str())?;
                (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(self.prefix.len())
            }
        }
    }

    /// The mirrors that serve what is asked for by tag or by digest.
    pub(super) fn mirrors(&self, by_digest: bool) -> impl Iterator<Item = &Mirror> {
        self.mirror.iter().filter(move |mirror| match mirror.pull_from_mirror {
            PullFromMirror::All => by_digest || !self.mirror_by_digest_only,
            PullFromMirror::DigestOnly => by_digest,
            PullFromMirror::TagOnly => !by_digest,
        })
    }
}
