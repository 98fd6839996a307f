//! Credentials out of docker's `config.json` and containers' `auth.json`, which have one format.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::settings::{Secret, SettingsError};
use crate::image::DEFAULT_REGISTRY;

/// What the auth files hold, by host or host and path.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    files: Vec<AuthFile>,
}

/// How to prove who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    Anonymous,
    Password {
        user: String,
        password: Secret,
    },
    /// A refresh token of OAuth 2, as cloud registries hand it out.
    Identity(Secret),
    /// A token that is sent as it is.
    Bearer(Secret),
    /// Somebody else keeps it: `docker-credential-NAME`. Asked for only where anonymous access does not do.
    Helper(String),
}

#[derive(Clone, Debug, Default)]
struct AuthFile {
    entries: BTreeMap<String, Credential>,
    store: Option<String>,
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

impl Credentials {
    /// Adds the text of an auth file; files added earlier win.
    pub fn add(&mut self, path: &Path, text: &str) -> Result<(), SettingsError> {
        let refuse = |problem| SettingsError { path: path.to_owned(), problem };
        if text.trim().is_empty() {
            return Ok(());
        }
        // The parser's message could quote a secret, so only the place is told.
        let json: Json = serde_json::from_str(text).map_err(|error| {
            refuse(format!("not an auth file (line {}, column {})", error.line(), error.column()))
        })?;
        let mut file =
            AuthFile { store: json.creds_store.filter(|name| !name.is_empty()), ..AuthFile::default() };
        for (key, helper) in json.cred_helpers {
            file.entries.insert(normal_key(&key), Credential::Helper(helper));
        }
        // A key without a scheme is the newer spelling and wins over one with it.
        let (urls, plain): (Vec<_>, Vec<_>) =
            json.auths.into_iter().partition(|(key, _)| key.contains("://"));
        for (key, entry) in plain.into_iter().chain(urls) {
            let credential = entry
                .unwrap_or_default()
                .credential()
                .map_err(|problem| refuse(format!("the entry for {key:?} {problem}")))?;
            match (credential, &file.store) {
                (Some(credential), _) => file.entries.entry(normal_key(&key)).or_insert(credential),
                // docker leaves an empty entry behind for a login that its store holds.
                (None, Some(store)) => {
                    let helper = Credential::Helper(store.clone());
                    file.entries.entry(normal_key(&key)).or_insert(helper)
                }
                (None, None) => continue,
            };
        }
        self.files.push(file);
        Ok(())
    }

    /// Adds one login, such as one given on the command line; it wins over what was added before.
    pub fn add_login(&mut self, host: &str, user: &str, password: Secret) {
        let login = Credential::Password { user: user.to_owned(), password };
        let entries = BTreeMap::from([(normal_key(host), login)]);
        self.files.insert(0, AuthFile { entries, store: None });
    }

    /// The most specific entry of the first file that has one: `host/a/b`, then `host/a`, then `host`.
    pub(super) fn find(&self, host: &str, repository: &str) -> Credential {
        for file in &self.files {
            let mut key = format!("{}/{repository}", normal_key(host));
            loop {
                if let Some(credential) = file.entries.get(&key) {
                    return credential.clone();
                }
                match key.rfind('/') {
                    Some(slash) => key.truncate(slash),
                    None => break,
                }
            }
        }
        match self.files.iter().find_map(|file| file.store.clone()) {
            Some(store) => Credential::Helper(store),
            None => Credential::Anonymous,
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

/// `https://index.docker.io/v1/`, `index.docker.io` and `docker.io` are one; so are `https://host/v2/` and `host`.
fn normal_key(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let (host, path) = key.split_at(key.find('/').unwrap_or(key.len()));
    match host {
        "index.docker.io" | "registry-1.docker.io" => format!("{DEFAULT_REGISTRY}{path}"),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Credentials {
        let mut credentials = Credentials::default();
        credentials.add(Path::new("auth.json"), text).unwrap();
        credentials
    }

    fn password(user: &str, password: &str) -> Credential {
        Credential::Password { user: user.into(), password: Secret::new(password) }
    }

    #[test]
    fn the_most_specific_key_wins() {
        let auth = |text: &str| STANDARD.encode(text);
        let credentials = parsed(&format!(
            r#"{{"auths":{{"ghcr.io":{{"auth":"{}"}},"ghcr.io/org":{{"auth":"{}"}},
                "https://index.docker.io/v1/":{{"auth":"{}"}},"https://quay.io/v2/":{{"identitytoken":"t"}}}}}}"#,
            auth("a:1"),
            auth("b:2:3"),
            auth("hub:x"),
        ));
        assert_eq!(credentials.find("ghcr.io", "org/app"), password("b", "2:3"));
        assert_eq!(credentials.find("ghcr.io", "organ/app"), password("a", "1"));
        assert_eq!(credentials.find("docker.io", "library/alpine"), password("hub", "x"));
        assert_eq!(credentials.find("quay.io", "x"), Credential::Identity(Secret::new("t")));
        assert_eq!(credentials.find("other.io", "x"), Credential::Anonymous);
    }

    #[test]
    fn helpers_are_named_and_earlier_files_win() {
        let mut credentials =
            parsed(r#"{"auths":{"a.io":{"username":"u","password":"p"}},"credHelpers":{"g.io":"gcloud"}}"#);
        let second = r#"{"auths":{"a.io":{}},"credsStore":"desktop"}"#;
        credentials.add(Path::new("config.json"), second).unwrap();
        assert_eq!(credentials.find("a.io", "x"), password("u", "p"));
        assert_eq!(credentials.find("g.io", "x"), Credential::Helper("gcloud".into()));
        assert_eq!(credentials.find("z.io", "x"), Credential::Helper("desktop".into()));
    }

    #[test]
    fn errors_and_debug_do_not_show_secrets() {
        let mut credentials = Credentials::default();
        for text in [r#"{"auths":{"a.io":{"auth":"hunter2!"}}}"#, r#"{"auths":{"a.io":"hunter2"}}"#] {
            let error = credentials.add(Path::new("auth.json"), text).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        credentials.add_login("a.io", "u", Secret::new("hunter2"));
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
