//! containerd's `hosts.toml`: `certs.d/HOST/hosts.toml` says which hosts serve in place of a registry, for what, and how each is
//! trusted. Read when the registry is first asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::certificates::Certificates;
use super::settings::SettingsError;

/// The hosts of one registry, in the order in which they are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hosts {
    pub(super) hosts: Vec<Host>,
    /// The registry itself, asked last; without an address it is where its name says.
    pub(super) server: Host,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) address: Option<Address>,
    pub(super) pull: bool,
    pub(super) resolve: bool,
    pub(super) push: bool,
    pub(super) skip_verify: bool,
    pub(super) certificates: Option<Certificates>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// None where no scheme is said.
    pub(super) is_plain: Option<bool>,
    pub(super) authority: String,
    /// What all paths begin with.
    pub(super) base: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Toml {
    server: Option<String>,
    #[serde(default)]
    host: BTreeMap<String, Spanned<Table>>,
    // The rest says how the server itself is reached.
    capabilities: Option<Vec<String>>,
    ca: Option<Files>,
    client: Option<Clients>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    capabilities: Option<Vec<String>>,
    ca: Option<Files>,
    client: Option<Clients>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Files {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

/// `"file"`, `["file"]` or `[["certificate", "key"]]`; a file without a key beside it has both.
#[derive(Deserialize)]
#[serde(untagged)]
enum Clients {
    One(PathBuf),
    Files(Vec<PathBuf>),
    Pairs(Vec<Vec<PathBuf>>),
}

impl Hosts {
    /// The file for a registry in the first directory that has one: its own, else the one for all.
    pub(super) fn find(directories: &[PathBuf], registry: &str) -> Result<Option<Self>, SettingsError> {
        let underscored = registry.rsplit_once(':').map(|(host, port)| format!("{host}_{port}_"));
        let names = [Some(registry), underscored.as_deref(), Some("_default")];
        for directory in directories {
            for name in names.iter().flatten() {
                let path = directory.join(name).join("hosts.toml");
                match std::fs::read_to_string(&path) {
                    Ok(text) => return Self::parse(&path, &text).map(Some),
                    Err(error) if is_missing(&error) => {}
                    Err(error) => return Err(SettingsError { path, problem: error.to_string() }),
                }
            }
        }
        Ok(None)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, SettingsError> {
        let refuse = |problem| SettingsError { path: path.to_owned(), problem };
        let toml: Toml = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
            let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            refuse(format!("{line}{}", error.message()))
        })?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        let mut hosts: Vec<(usize, Host)> = Vec::new();
        for (key, table) in toml.host {
            // Tables come sorted by name; their order in the file is what counts.
            let at = table.span().start;
            let table = table.into_inner();
            hosts.push((
                at,
                table.host(Some(&key), directory).map_err(|why| refuse(format!("{key:?}: {why}")))?,
            ));
        }
        hosts.sort_by_key(|(at, _)| *at);
        let own = Table {
            capabilities: toml.capabilities,
            ca: toml.ca,
            client: toml.client,
            skip_verify: toml.skip_verify,
            override_path: toml.override_path,
        };
        let server = own.host(toml.server.as_deref(), directory).map_err(refuse)?;
        Ok(Self { hosts: hosts.into_iter().map(|(_, host)| host).collect(), server })
    }
}

impl Table {
    fn host(self, address: Option<&str>, directory: &Path) -> Result<Host, String> {
        let all = ["pull", "resolve", "push"].map(str::to_owned).to_vec();
        let capabilities = self.capabilities.unwrap_or(all);
        if let Some(unknown) = capabilities
            .iter()
            .find(|name| !["pull", "resolve", "push", "referrers"].contains(&name.as_str()))
        {
            return Err(format!("the capability {unknown:?} is not known: pull, resolve and push are"));
        }
        let can = |name: &str| capabilities.iter().any(|known| known == name);
        let authorities = match self.ca {
            None => Vec::new(),
            Some(Files::One(file)) => vec![file],
            Some(Files::Many(files)) => files,
        };
        let authorities = authorities.iter().map(|file| directory.join(file)).collect();
        let client = self.client.map(|clients| clients.pair(directory)).transpose()?.flatten();
        let certificates = Certificates { authorities, client };
        Ok(Host {
            address: address.map(|text| Address::parse(text, self.override_path)).transpose()?,
            pull: can("pull"),
            resolve: can("resolve"),
            push: can("push"),
            skip_verify: self.skip_verify,
            certificates: (certificates != Certificates::default()).then_some(certificates),
        })
    }
}

impl Clients {
    fn pair(self, directory: &Path) -> Result<Option<(PathBuf, PathBuf)>, String> {
        let mut pairs = match self {
            Self::One(file) => vec![vec![file]],
            Self::Files(files) => files.into_iter().map(|file| vec![file]).collect(),
            Self::Pairs(pairs) => pairs,
        };
        let Some(pair) = pairs.pop() else { return Ok(None) };
        if !pairs.is_empty() {
            return Err("more than one client certificate is not supported".to_owned());
        }
        let key = pair.get(1).filter(|key| !key.as_os_str().is_empty());
        match (pair.first(), key, pair.len()) {
            (Some(certificate), key, 1 | 2) => {
                Ok(Some((directory.join(certificate), directory.join(key.unwrap_or(certificate)))))
            }
            _ => Err("a client is a certificate and a key".to_owned()),
        }
    }
}

impl Address {
    fn parse(text: &str, override_path: bool) -> Result<Self, String> {
        let (is_plain, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(true), rest),
            Some(("https", rest)) => (Some(false), rest),
            Some(_) => return Err(format!("{text:?} is neither http nor https")),
            None => (None, text),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let fits = |letter: char| letter.is_ascii_alphanumeric() || ".-_:[]/~%".contains(letter);
        if authority.is_empty() || !rest.chars().all(fits) {
            return Err(format!("{text:?} is no address of a host"));
        }
        let path = path.trim_end_matches('/');
        let base = match path {
            _ if override_path || path.ends_with("/v2") => path.to_owned(),
            _ => format!("{path}/v2"),
        };
        Ok(Self { is_plain, authority: authority.to_owned(), base })
    }
}

fn is_missing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        server = "https://registry-1.docker.io"
        skip_verify = true
        [host."https://z.example/hub"]
        capabilities = ["pull", "resolve"]
        ca = "z.crt"
        client = [["/c/a.cert", "/c/a.key"]]
        [host."http://a.example:5000/proxy/"]
        capabilities = ["pull"]
        ca = ["/x.crt", "/y.crt"]
        override_path = true
        client = "both.pem"
        [host."m.example"]
    "#;

    fn parse(text: &str) -> Result<Hosts, String> {
        Hosts::parse(Path::new("/d/docker.io/hosts.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn hosts_come_in_the_order_of_the_file() {
        let file = parse(TEXT).unwrap();
        let address = |host: &Host| {
            let address = host.address.clone().unwrap();
            (address.is_plain, address.authority, address.base)
        };
        let found: Vec<_> = file.hosts.iter().chain([&file.server]).map(address).collect();
        let wanted = [
            (Some(false), "z.example", "/hub/v2"),
            (Some(true), "a.example:5000", "/proxy"),
            (None, "m.example", "/v2"),
            (Some(false), "registry-1.docker.io", "/v2"),
        ];
        assert_eq!(
            found,
            wanted.map(|(plain, authority, base)| (plain, authority.to_owned(), base.to_owned()))
        );
        let [z, a, m] = &file.hosts[..] else { panic!("{file:?}") };
        assert_eq!((z.pull, z.resolve, z.push, z.skip_verify), (true, true, false, false));
        assert_eq!((a.pull, a.resolve, a.push), (true, false, false));
        assert_eq!((m.pull, m.resolve, m.push), (true, true, true));
        assert!(file.server.skip_verify);
        let certificates = z.certificates.clone().unwrap();
        assert_eq!(certificates.authorities, [PathBuf::from("/d/docker.io/z.crt")]);
        assert_eq!(certificates.client, Some(("/c/a.cert".into(), "/c/a.key".into())));
        let both = PathBuf::from("/d/docker.io/both.pem");
        assert_eq!(a.certificates.clone().unwrap().client, Some((both.clone(), both)));
        assert_eq!(m.certificates, None);
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name_without_quoting_values() {
        let header = "[host.\"https://a\"]\n[host.\"https://a\".header]\nauthorization = \"Basic hunter2\"\n";
        for (text, wanted) in [
            (header, "header"),
            ("[host.\"https://a\"]\ndial_timeout = \"3s\"", "dial_timeout"),
            ("[host.\"https://a\"]\ncapabilities = [\"fly\"]", "fly"),
            ("[host.\"ftp://a\"]", "ftp://a"),
            ("server = \"https://\"", "https://"),
            ("client = [\"a\", \"b\"]", "more than one client certificate"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with("/d/docker.io/hosts.toml: ") && error.contains(wanted), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
