//! An auth file as `login` and `logout` change it: one entry, and nothing else of what may be in it.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize as _;
use serde_json::{Map, Value, json};

use super::{normal_key, written_key};
use crate::registry::settings::{Secret, SettingsError};

/// The JSON of an auth file, with the keys that nobody here knows.
#[derive(Debug)]
pub struct AuthDocument(Map<String, Value>);

/// Who keeps the login of a registry, by what the file says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Holder {
    File,
    /// `docker-credential-NAME`
    Helper(String),
}

impl AuthDocument {
    /// An empty text is an empty document.
    pub fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        if text.trim().is_empty() {
            return Ok(Self(Map::new()));
        }
        let refuse = |problem| SettingsError { path: path.to_owned(), problem };
        // The parser's message could quote a secret, so only the place is told.
        let value: Value = serde_json::from_str(text).map_err(|error| {
            refuse(format!("not an auth file (line {}, column {})", error.line(), error.column()))
        })?;
        let Value::Object(map) = value else {
            return Err(refuse("not an auth file: not an object".to_owned()));
        };
        for name in ["auths", "credHelpers"] {
            if map.get(name).is_some_and(|value| !value.is_object()) {
                return Err(refuse(format!("not an auth file: {name} is not an object")));
            }
        }
        Ok(Self(map))
    }

    /// Who is to keep the login of a registry.
    pub fn holder(&self, key: &str) -> Holder {
        let wanted = normal_key(key);
        let helpers = self.0.get("credHelpers").and_then(Value::as_object).into_iter().flatten();
        let own = helpers.filter(|(key, _)| normal_key(key) == wanted).find_map(|(_, name)| name.as_str());
        match own.or_else(|| self.store()) {
            Some(name) => Holder::Helper(name.to_owned()),
            None => Holder::File,
        }
    }

    /// The keys of all logins that the file knows of, its helpers' included.
    pub fn keys(&self) -> Vec<String> {
        let of = |name: &str| {
            self.0.get(name).and_then(Value::as_object).into_iter().flat_map(|map| map.keys().cloned())
        };
        let mut keys: Vec<String> = of("auths").chain(of("credHelpers")).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    pub fn has_entry(&self, key: &str) -> bool {
        let wanted = normal_key(key);
        let entries = self.0.get("auths").and_then(Value::as_object).into_iter().flatten();
        entries.map(|(key, _)| normal_key(key)).any(|key| key == wanted)
    }

    /// Puts a login in, in place of what there is for the same registry, however that is spelled.
    pub fn set(&mut self, key: &str, user: &str, password: &Secret) {
        let auth = STANDARD.encode(format!("{user}:{}", password.reveal()));
        self.set_entry(key, json!({ "auth": auth }));
    }

    /// Notes, as docker does, that a helper has the login.
    pub fn set_held_elsewhere(&mut self, key: &str) {
        self.set_entry(key, json!({}));
    }

    /// Removes the entry of a registry, however it is spelled; whether there was one.
    pub fn remove(&mut self, key: &str) -> bool {
        let wanted = normal_key(key);
        let Some(Value::Object(entries)) = self.0.get_mut("auths") else { return false };
        let before = entries.len();
        entries.retain(|key, _| normal_key(key) != wanted);
        entries.len() != before
    }

    /// As docker writes it.
    pub fn text(&self) -> String {
        let mut bytes = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
        self.0.serialize(&mut serializer).expect("JSON can be written to memory");
        bytes.push(b'\n');
        String::from_utf8(bytes).expect("JSON is text")
    }

    fn store(&self) -> Option<&str> {
        self.0.get("credsStore").and_then(Value::as_str).filter(|name| !name.is_empty())
    }

    fn set_entry(&mut self, key: &str, entry: Value) {
        self.remove(key);
        let entries = self.0.entry("auths").or_insert_with(|| json!({}));
        if let Value::Object(entries) = entries {
            entries.insert(written_key(key), entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"auths":{"a.io":{"auth":"eDp5"},"docker.io":{"auth":"eDp5"}},
        "credHelpers":{"g.io":"gcloud"},"HttpHeaders":{"X":"1"},"detachKeys":"ctrl-e,e"}"#;

    fn document(text: &str) -> AuthDocument {
        AuthDocument::parse(Path::new("config.json"), text).unwrap()
    }

    #[test]
    fn one_entry_changes_and_the_rest_stays() {
        let mut document = document(TEXT);
        document.set("docker.io", "me", &Secret::new("p:w"));
        document.set("r.example:5000/team", "me", &Secret::new("s"));
        let value: Value = serde_json::from_str(&document.text()).unwrap();
        assert_eq!(
            value,
            json!({
                "auths": {
                    "a.io": { "auth": "eDp5" },
                    "https://index.docker.io/v1/": { "auth": "bWU6cDp3" },
                    "r.example:5000/team": { "auth": "bWU6cw==" },
                },
                "credHelpers": { "g.io": "gcloud" },
                "HttpHeaders": { "X": "1" },
                "detachKeys": "ctrl-e,e",
            })
        );
        assert!(document.remove("https://index.docker.io/v1/"));
        assert!(!document.remove("docker.io"));
        assert_eq!(document.keys(), ["a.io", "g.io", "r.example:5000/team"]);
    }

    #[test]
    fn the_file_says_who_keeps_a_login() {
        let helper = |name: &str| Holder::Helper(name.to_owned());
        assert_eq!(document(TEXT).holder("g.io"), helper("gcloud"));
        assert_eq!(document(TEXT).holder("a.io"), Holder::File);
        let with_store = document(r#"{"credsStore":"pass","credHelpers":{"https://g.io":"gcloud"}}"#);
        assert_eq!(with_store.holder("a.io"), helper("pass"));
        assert_eq!(with_store.holder("g.io"), helper("gcloud"));
        assert_eq!(document("").holder("a.io"), Holder::File);
    }

    #[test]
    fn what_is_no_auth_file_is_not_overwritten_and_not_quoted() {
        for text in ["[]", r#"{"auths":["hunter2"]}"#, r#"{"auths":{"a":"hunter2"}"#] {
            let error = AuthDocument::parse(Path::new("x"), text).unwrap_err().to_string();
            assert!(error.starts_with("x: not an auth file") && !error.contains("hunter2"), "{error}");
        }
    }
}
