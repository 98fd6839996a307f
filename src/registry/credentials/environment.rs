//! Logins that the usual CI systems and clouds put into the environment. Each is for the hosts of one provider alone.

use super::aws::{AwsKeys, EcrHost};
use super::{Candidate, Credential, Login, Origin, normal_key};
use crate::registry::settings::Secret;

/// What was found in the variables. It is used for a host only where no auth file has a login for it.
#[derive(Clone, Debug, Default)]
pub struct EnvironmentLogins {
    gitlab: Option<(String, Login)>,
    github: Option<Login>,
    google: Option<Login>,
    azure: Option<Login>,
    aws: Option<AwsKeys>,
}

impl EnvironmentLogins {
    /// Looks variables up by name; `read` reads the key file that one of them may name.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
        read: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        Self {
            gitlab: gitlab(variable),
            github: github(variable),
            google: google(variable, read),
            azure: azure(variable),
            aws: AwsKeys::from_variables(variable),
        }
    }

    /// The login for a host, whose key is in its normal form.
    pub(super) fn candidate(&self, host: &str) -> Option<Candidate> {
        let login = |login: &Option<Login>| login.clone().map(Candidate::Login);
        if let Some((registry, gitlab)) = &self.gitlab
            && registry == host
        {
            return Some(Candidate::Login(gitlab.clone()));
        }
        if host == "ghcr.io" {
            return login(&self.github);
        }
        if host == "gcr.io" || is_below(host, "gcr.io") || is_below(host, "pkg.dev") {
            return login(&self.google);
        }
        if ["azurecr.io", "azurecr.cn", "azurecr.us"].iter().any(|domain| is_below(host, domain)) {
            return login(&self.azure);
        }
        let keys = self.aws.clone()?;
        EcrHost::parse(host, keys).map(Candidate::Ecr)
    }
}

/// Whether a host has exactly one more label than a domain, and no port.
fn is_below(host: &str, domain: &str) -> bool {
    let label = host.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.'));
    label.is_some_and(|label| {
        !label.is_empty() && label.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
    })
}

fn password(user: impl Into<String>, password: String, origin: &'static str) -> Login {
    let credential = Credential::Password { user: user.into(), password: Secret::new(password) };
    Login { credential, origin: Origin::Environment(origin) }
}

fn gitlab(variable: impl Fn(&str) -> Option<String>) -> Option<(String, Login)> {
    let registry = normal_key(&variable("CI_REGISTRY")?);
    let login = match (variable("CI_REGISTRY_USER"), variable("CI_REGISTRY_PASSWORD")) {
        (Some(user), Some(secret)) => password(user, secret, "CI_REGISTRY_PASSWORD"),
        _ => password("gitlab-ci-token", variable("CI_JOB_TOKEN")?, "CI_JOB_TOKEN"),
    };
    Some((registry, login))
}

fn github(variable: impl Fn(&str) -> Option<String>) -> Option<Login> {
    let token = variable("GITHUB_TOKEN")?;
    // The registry looks at the token alone, but wants a name.
    let actor = variable("GITHUB_ACTOR").unwrap_or_else(|| "github-actions".to_owned());
    Some(password(actor, token, "GITHUB_TOKEN"))
}

fn google(variable: impl Fn(&str) -> Option<String>, read: impl Fn(&str) -> Option<String>) -> Option<Login> {
    for name in ["GOOGLE_OAUTH_ACCESS_TOKEN", "CLOUDSDK_AUTH_ACCESS_TOKEN"] {
        if let Some(token) = variable(name) {
            return Some(password("oauth2accesstoken", token, name));
        }
    }
    let name = "GOOGLE_APPLICATION_CREDENTIALS";
    let text = read(&variable(name)?)?;
    // Other kinds of key files are not what the registries take as a password.
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    (json.get("type")?.as_str()? == "service_account").then(|| password("_json_key", text, name))
}

fn azure(variable: impl Fn(&str) -> Option<String>) -> Option<Login> {
    let secret = variable("AZURE_CLIENT_SECRET")?;
    Some(password(variable("AZURE_CLIENT_ID")?, secret, "AZURE_CLIENT_SECRET"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)], host: &str) -> Option<(String, String)> {
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let read = |path: &str| (path == "/key").then(|| r#"{"type":"service_account"}"#.to_owned());
        match EnvironmentLogins::from_variables(variable, read).candidate(host)? {
            Candidate::Login(Login { credential: Credential::Password { user, password }, .. }) => {
                Some((user, password.reveal().to_owned()))
            }
            other => panic!("{other:?}"),
        }
    }

    fn pair(user: &str, secret: &str) -> Option<(String, String)> {
        Some((user.to_owned(), secret.to_owned()))
    }

    #[test]
    fn gitlab_is_for_its_registry_alone() {
        let job = [("CI_REGISTRY", "r.gitlab.example:5050"), ("CI_JOB_TOKEN", "t")];
        assert_eq!(found(&job, "r.gitlab.example:5050"), pair("gitlab-ci-token", "t"));
        for other in ["r.gitlab.example", "gitlab.example", "x.r.gitlab.example:5050", "docker.io"] {
            assert_eq!(found(&job, other), None, "{other}");
        }
        let user = [job.as_slice(), &[("CI_REGISTRY_USER", "u"), ("CI_REGISTRY_PASSWORD", "p")]].concat();
        assert_eq!(found(&user, "r.gitlab.example:5050"), pair("u", "p"));
        assert_eq!(found(&[("CI_JOB_TOKEN", "t")], "registry.gitlab.com"), None);
    }

    #[test]
    fn github_google_and_azure_are_for_their_hosts_alone() {
        let github = [("GITHUB_TOKEN", "t"), ("GITHUB_ACTOR", "me")];
        assert_eq!(found(&github, "ghcr.io"), pair("me", "t"));
        for other in ["docker.pkg.github.com", "ghcr.io.evil.example", "x.ghcr.io", "ghcr.io:444"] {
            assert_eq!(found(&github, other), None, "{other}");
        }
        let google = [("GOOGLE_OAUTH_ACCESS_TOKEN", "t")];
        for host in ["gcr.io", "eu.gcr.io", "europe-west1-docker.pkg.dev"] {
            assert_eq!(found(&google, host), pair("oauth2accesstoken", "t"), "{host}");
        }
        for other in
            ["pkg.dev", "evilgcr.io", "gcr.io.evil.example", "a.b.gcr.io", "eu.gcr.io:444", ".gcr.io"]
        {
            assert_eq!(found(&google, other), None, "{other}");
        }
        let key = [("GOOGLE_APPLICATION_CREDENTIALS", "/key")];
        assert_eq!(found(&key, "gcr.io"), pair("_json_key", r#"{"type":"service_account"}"#));
        assert_eq!(found(&[("GOOGLE_APPLICATION_CREDENTIALS", "/none")], "gcr.io"), None);
        let azure = [("AZURE_CLIENT_ID", "id"), ("AZURE_CLIENT_SECRET", "s")];
        assert_eq!(found(&azure, "mine.azurecr.io"), pair("id", "s"));
        for other in ["mine.azurecr.io.evil.example", "a.b.azurecr.io", "mine.azurecr.de", "mineazurecr.io"] {
            assert_eq!(found(&azure, other), None, "{other}");
        }
        assert_eq!(found(&[("GITHUB_TOKEN", "")], "ghcr.io"), None);
    }
}
