//! docker's `config.json` and containers' `auth.json`, which have one format.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{Candidate, Credential, Login, Origin, normal_key};
use crate::registry::settings::{Secret, SettingsError};

/// What one file holds, by host or host and path.
#[derive(Clone, Debug)]
pub(super) struct AuthFile {
    origin: Origin,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
    entries: BTreeMap<String, Credential>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    #[serde(default)]
    auths: BTreeMap<String, Option<Entry>>,
    #[serde(default)]
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

impl AuthFile {
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        let refuse = |problem| SettingsError { path: path.to_owned(), problem };
        // The parser's message could quote a secret, so only the place is told.
        let json: Json = serde_json::from_str(text).map_err(|error| {
            refuse(format!("not an auth file (line {}, column {})", error.line(), error.column()))
        })?;
        let mut file = Self {
            origin: Origin::File(path.display().to_string()),
            helpers: BTreeMap::new(),
            store: json.creds_store.filter(|name| !name.is_empty()),
            entries: BTreeMap::new(),
        };
        for (key, helper) in json.cred_helpers {
            file.helpers.insert(normal_key(&key), helper);
        }
        // A key without a scheme is the newer spelling and wins over one with it.
        let (urls, plain): (Vec<_>, Vec<_>) =
            json.auths.into_iter().partition(|(key, _)| key.contains("://"));
        for (key, entry) in plain.into_iter().chain(urls) {
            let credential = entry
                .unwrap_or_default()
                .credential()
                .map_err(|problem| refuse(format!("the entry for {key:?} {problem}")))?;
            // docker leaves an empty entry behind for a login that its store holds.
            if let Some(credential) = credential {
                file.entries.entry(normal_key(&key)).or_insert(credential);
            }
        }
        Ok(file)
    }

    /// From `host/a/b` over `host/a` to `host`; for each the helper, for the host the store, then the entry.
    pub(super) fn candidates(&self, host: &str, repository: &str) -> Vec<Candidate> {
        let mut found = Vec::new();
        let mut key = format!("{host}/{repository}");
        loop {
            found.extend(self.helpers.get(&key).cloned().map(Candidate::Helper));
            if key == host {
                found.extend(self.store.clone().map(Candidate::Helper));
            }
            let login = |credential: &Credential| {
                let (credential, origin) = (credential.clone(), self.origin.clone());
                Candidate::Login(Login { credential, origin })
            };
            found.extend(self.entries.get(&key).map(login));
            match key.rfind('/') {
                Some(slash) => key.truncate(slash),
                None => return found,
            }
        }
    }
}

impl Entry {
    fn credential(self) -> Result<Option<Credential>, &'static str> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::Identity(Secret::new(self.identitytoken))));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::Bearer(Secret::new(self.registrytoken))));
        }
        let (user, password) = if self.auth.is_empty() {
            (self.username, self.password)
        } else {
            let bytes = STANDARD.decode(self.auth.trim()).map_err(|_| "is not valid base64")?;
            let text = String::from_utf8(bytes).map_err(|_| "is not text")?;
            // Old versions of docker padded with zero bytes.
            let (user, password) = text.split_once(':').ok_or("has no colon between user and password")?;
            (user.to_owned(), password.trim_end_matches('\0').to_owned())
        };
        Ok(match (user.as_str(), password.as_str()) {
            ("", "") => None,
            ("<token>", _) => Some(Credential::Identity(Secret::new(password))),
            _ => Some(Credential::Password { user, password: Secret::new(password) }),
        })
    }
}
