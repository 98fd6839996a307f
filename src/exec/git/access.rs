//! As whom a repository is asked for.

use std::ffi::OsString;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::Executor;
use super::super::error::ExecError;
use super::super::given::{Given, Mask, Secret};
use crate::dockerfile::{GitRemote, GitScheme};

/// What git needs to reach one repository, and no other.
pub(super) struct Access {
    scheme: GitScheme,
    /// A whole header; a secret.
    header: Option<String>,
    variables: Vec<(&'static str, OsString)>,
    pub(super) mask: Mask,
}

impl Executor {
    /// How a repository is reached that a build asks for because of `main`, which may be itself.
    pub(super) async fn access(&self, remote: &GitRemote, main: &GitRemote) -> Result<Access, ExecError> {
        let given = &self.mounts.given;
        let mut access =
            Access { scheme: remote.scheme(), header: None, variables: Vec::new(), mask: Mask::default() };
        match remote.scheme() {
            GitScheme::Http | GitScheme::Https => access.authorize(given, remote, main)?,
            GitScheme::Ssh => {
                let agent = self.agent("default", true).await?;
                let known_hosts: Vec<&Path> =
                    given.surroundings.known_hosts.iter().map(std::path::PathBuf::as_path).collect();
                access.variables.extend(agent.map(|agent| ("SSH_AUTH_SOCK", agent.address().into())));
                // In a namespace this process has another name.
                let user = Some(given.surroundings.user.as_str()).filter(|_| !remote.names_user());
                access.variables.push(("GIT_SSH_COMMAND", ssh_command(&known_hosts, user).into()));
                access.variables.push(("GIT_SSH_VARIANT", "ssh".into()));
            }
            GitScheme::Git => {}
        }
        Ok(access)
    }
}

impl Access {
    /// Takes the secret that is meant for the host, or else for the repository that the build names; then what an address has
    /// for itself.
    fn authorize(&mut self, given: &Given, remote: &GitRemote, main: &GitRemote) -> Result<(), ExecError> {
        let is_mains = remote.has_same_server(main);
        let host = remote.host();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let mut ids = Vec::new();
        // What is meant for a host is not sent to it in the open because a repository says so.
        if is_mains || remote.scheme() == GitScheme::Https {
            ids.extend([host, name].into_iter().flat_map(|host| {
                [(format!("GIT_AUTH_HEADER.{host}"), false), (format!("GIT_AUTH_TOKEN.{host}"), true)]
            }));
        }
        if is_mains {
            ids.extend([("GIT_AUTH_HEADER".to_owned(), false), ("GIT_AUTH_TOKEN".to_owned(), true)]);
        }
        for (id, is_token) in ids {
            let Some(secret) = given.secret(&id, false)? else { continue };
            let text = std::str::from_utf8(secret.bytes()).map(str::trim_end).ok();
            let text = text.filter(|text| !text.contains(char::is_control));
            let text = text.ok_or(ExecError::SecretNotHeader { id })?;
            self.mask.add(secret);
            let value = if is_token { basic("x-access-token", text) } else { text.to_owned() };
            self.set_header(&value);
            return Ok(());
        }
        if let Some((user, password)) = remote.login() {
            for secret in [password, user].into_iter().filter(|text| !text.is_empty()) {
                self.mask.add(&Secret::new(secret.as_bytes().to_vec()));
            }
            self.set_header(&basic(user, password));
        }
        Ok(())
    }

    fn set_header(&mut self, value: &str) {
        self.mask.add(&Secret::new(value.as_bytes().to_vec()));
        self.header = Some(format!("Authorization: {value}"));
    }

    /// What git may talk. A server may send it on to where nobody listens in, not the other way round.
    pub(super) fn protocols(&self) -> &'static str {
        match self.scheme {
            GitScheme::Http => "http:https",
            GitScheme::Https => "https",
            GitScheme::Ssh => "ssh",
            GitScheme::Git => "git",
        }
    }

    pub(super) fn settings(&self) -> Vec<(&str, &str)> {
        match &self.header {
            // Git would send it to wherever it is sent on.
            Some(header) => vec![("http.extraHeader", header), ("http.followRedirects", "false")],
            None => vec![("http.followRedirects", "initial")],
        }
    }

    pub(super) fn variables(&self) -> impl Iterator<Item = (&'static str, &OsString)> {
        self.variables.iter().map(|(name, value)| (*name, value))
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Only keys of the agent are used, and only hosts are talked to that the user knows.
fn ssh_command(known_hosts: &[&Path], user: Option<&str>) -> String {
    let files: Vec<String> = known_hosts.iter().map(|path| format!("\"{}\"", path.display())).collect();
    let files = if files.is_empty() { "/dev/null".to_owned() } else { files.join(" ") };
    let options = [
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "IdentityFile=none",
        "ConnectTimeout=30",
        "ServerAliveInterval=20",
        "UpdateHostKeys=no",
        &format!("UserKnownHostsFile={files}"),
    ];
    let options: Vec<String> = options.iter().map(|option| format!(" -o {}", quoted(option))).collect();
    let user = user.map(|user| format!(" -l {}", quoted(user))).unwrap_or_default();
    format!("ssh -F /dev/null{}{user}", options.concat())
}

/// As one word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(given: &[(&str, &str)], remote: &str, main: &str) -> Option<String> {
        let secrets =
            given.iter().map(|(id, value)| ((*id).to_owned(), Secret::new(value.as_bytes().to_vec())));
        let given = Given { secrets: secrets.collect(), ..Given::default() };
        let [remote, main] = [remote, main].map(|text| GitRemote::parse(text).unwrap());
        let mut access =
            Access { scheme: remote.scheme(), header: None, variables: Vec::new(), mask: Mask::default() };
        access.authorize(&given, &remote, &main).unwrap();
        access.header
    }

    #[test]
    fn what_authorizes_goes_to_whom_it_is_for() {
        let (token, hosts) = ([("GIT_AUTH_TOKEN", "tiger\n")], [("GIT_AUTH_TOKEN.h", "tiger")]);
        let tiger = Some("Authorization: Basic eC1hY2Nlc3MtdG9rZW46dGlnZXI=".to_owned());
        let main = "https://h/o/r.git";
        assert_eq!(header(&token, main, main), tiger);
        assert_eq!(header(&token, "https://h/other.git", main), tiger);
        assert_eq!(header(&token, "https://other/x.git", main), None);
        assert_eq!(header(&token, "http://h/x.git", main), None);
        assert_eq!(header(&hosts, "https://h/x.git", "https://other/x.git"), tiger);
        assert_eq!(header(&hosts, "http://h/x.git", "https://other/x.git"), None);
        assert_eq!(header(&hosts, "https://h:8443/x.git", "https://h:8443/x.git"), tiger);
        assert_eq!(header(&hosts, "https://h.evil/x.git", main), None);
        let both = [("GIT_AUTH_TOKEN.h", "tiger"), ("GIT_AUTH_HEADER.h", "Bearer lion")];
        assert_eq!(header(&both, main, main).as_deref(), Some("Authorization: Bearer lion"));
        // What an address says for itself comes last.
        let own = "https://a:b@h/r.git";
        assert_eq!(header(&[], own, own).as_deref(), Some("Authorization: Basic YTpi"));
        assert_eq!(header(&token, own, own), tiger);
    }

    #[test]
    fn paths_are_words() {
        let command = ssh_command(&["/home/a b/it's".as_ref(), "/x".as_ref()], Some("ann"));
        assert!(command.contains(r#"-o 'UserKnownHostsFile="/home/a b/it'\''s" "/x"'"#), "{command}");
        assert!(command.ends_with(" -l 'ann'"), "{command}");
        assert!(ssh_command(&[], None).ends_with("UserKnownHostsFile=/dev/null'"));
    }
}
