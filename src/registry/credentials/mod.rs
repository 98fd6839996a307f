//! Who we are to which registry: logins given for one command, auth files, helper programs, and what CI sets up.
//!
//! Flow: [`Credentials::candidates`] names what may hold a login, best first, without asking anybody; the client asks them
//! in turn (`auth`), once a registry has demanded a login.
//!
//! Invariant: a login is found by the host it is for, and by nothing else.

mod aws;
mod document;
mod environment;
mod file;
mod keychain;

use std::fmt;
use std::path::Path;

pub(super) use aws::{EcrHost, authorization as ecr_authorization};
pub use document::{AuthDocument, Holder};
pub use environment::EnvironmentLogins;
use file::AuthFile;
pub use keychain::HelperError;
pub(super) use keychain::ask;
pub use keychain::{erase, store};

use super::settings::{Secret, SettingsError};
use crate::image::DEFAULT_REGISTRY;

/// All logins that are known, and where further ones may be.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    given: Vec<(String, Login)>,
    files: Vec<AuthFile>,
    environment: EnvironmentLogins,
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
}

/// A credential and where it comes from, so that a refusal can say which one was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) credential: Credential,
    pub(super) origin: Origin,
}

/// Where a login comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nowhere: there is none.
    Nobody,
    /// It was given for this command.
    Command,
    /// An auth file.
    File(String),
    /// The program `docker-credential-NAME`.
    Helper(String),
    /// Variables of the environment, by what they are called.
    Environment(&'static str),
}

/// What may hold the login for a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Candidate {
    Login(Login),
    /// `docker-credential-NAME`, which may turn out to have none.
    Helper(String),
    /// A service of AWS, which makes one out of the keys in the environment.
    Ecr(EcrHost),
}

impl Credentials {
    /// Adds the text of an auth file; files added earlier win.
    pub fn add(&mut self, path: &Path, text: &str) -> Result<(), SettingsError> {
        if !text.trim().is_empty() {
            self.files.push(AuthFile::parse(path, text)?);
        }
        Ok(())
    }

    /// Adds one login, such as one given on the command line; it wins over whatever files hold.
    pub fn add_login(&mut self, host: &str, user: &str, password: Secret) {
        let credential = Credential::Password { user: user.to_owned(), password };
        let login = Login { credential, origin: Origin::Command };
        self.given.insert(0, (normal_key(host), login));
    }

    /// Takes what variables of the environment say; files win.
    pub fn set_environment(&mut self, logins: EnvironmentLogins) {
        self.environment = logins;
    }

    /// Who may have the login for a repository, best first.
    pub(super) fn candidates(&self, host: &str, repository: &str) -> Vec<Candidate> {
        let host = normal_key(host);
        let given = self.given.iter().find(|(key, _)| *key == host);
        let mut found: Vec<Candidate> =
            given.map(|(_, login)| Candidate::Login(login.clone())).into_iter().collect();
        for file in &self.files {
            found.extend(file.candidates(&host, repository));
        }
        found.extend(self.environment.candidate(&host));
        found
    }
}

impl Login {
    pub(super) fn none() -> Self {
        Self { credential: Credential::Anonymous, origin: Origin::Nobody }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => out.write_str("nobody"),
            Self::Command => out.write_str("the command line"),
            Self::File(path) => out.write_str(path),
            Self::Helper(name) => write!(out, "docker-credential-{name}"),
            Self::Environment(variables) => out.write_str(variables),
        }
    }
}

/// The spelling under which auth files and helpers know a registry; docker's own has one of its own.
pub fn written_key(key: &str) -> String {
    let key = normal_key(key);
    if key == DEFAULT_REGISTRY { "https://index.docker.io/v1/".to_owned() } else { key }
}

/// `https://index.docker.io/v1/`, `index.docker.io` and `docker.io` are one; so are `https://host/v2/` and `host`.
pub fn normal_key(key: &str) -> String {
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
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn parsed(text: &str) -> Credentials {
        let mut credentials = Credentials::default();
        credentials.add(Path::new("auth.json"), text).unwrap();
        credentials
    }

    fn password(user: &str, password: &str) -> Credential {
        Credential::Password { user: user.into(), password: Secret::new(password) }
    }

    fn first(credentials: &Credentials, host: &str, repository: &str) -> Option<Credential> {
        match credentials.candidates(host, repository).first()? {
            Candidate::Login(login) => Some(login.credential.clone()),
            Candidate::Helper(_) | Candidate::Ecr(_) => panic!("not a login"),
        }
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
        assert_eq!(first(&credentials, "ghcr.io", "org/app"), Some(password("b", "2:3")));
        assert_eq!(first(&credentials, "ghcr.io", "organ/app"), Some(password("a", "1")));
        assert_eq!(first(&credentials, "docker.io", "library/alpine"), Some(password("hub", "x")));
        assert_eq!(first(&credentials, "quay.io", "x"), Some(Credential::Identity(Secret::new("t"))));
        assert_eq!(first(&credentials, "other.io", "x"), None);
        assert_eq!(first(&credentials, "ghcr.io.evil.example", "org/app"), None);
    }

    #[test]
    fn helpers_come_before_the_store_and_that_before_entries_and_files_in_order() {
        let mut credentials = parsed(r#"{"auths":{"a.io":{"username":"u","password":"p"}}}"#);
        let second = r#"{"auths":{"a.io":{},"b.io":{"username":"v","password":"q"}},
            "credHelpers":{"g.io":"gcloud"},"credsStore":"desktop"}"#;
        credentials.add(Path::new("config.json"), second).unwrap();
        let helper = |name: &str| Candidate::Helper(name.to_owned());
        let login = |user: &str, secret: &str, file: &str| {
            Candidate::Login(Login { credential: password(user, secret), origin: Origin::File(file.into()) })
        };
        assert_eq!(
            credentials.candidates("a.io", "x"),
            [login("u", "p", "auth.json"), helper("desktop")],
            "an empty entry says that the store has it"
        );
        assert_eq!(credentials.candidates("b.io", "x"), [helper("desktop"), login("v", "q", "config.json")]);
        assert_eq!(credentials.candidates("g.io", "x"), [helper("gcloud"), helper("desktop")]);
        assert_eq!(credentials.candidates("z.io", "x"), [helper("desktop")]);
        credentials.add_login("z.io", "w", Secret::new("r"));
        let given = Login { credential: password("w", "r"), origin: Origin::Command };
        assert_eq!(credentials.candidates("z.io", "x")[0], Candidate::Login(given));
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
