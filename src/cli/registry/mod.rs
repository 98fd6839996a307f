//! What commands that talk to registries have in common: their options, and the files and variables that say where names
//! lead, whom to trust and who we are.

pub(super) mod auth_file;

use std::path::{Path, PathBuf};

use clap::Args;

use super::Global;
use super::environment::{config_home, read_if_there, text, variable};
use super::prompt;
use super::report::Report;
use crate::image::Reference;
use crate::registry::{EnvironmentLogins, MirrorAddress, Proxies, Secret, Settings};

/// How registries are reached.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct AccessArgs {
    /// The file with the logins of registries [default: $REGISTRY_AUTH_FILE, else the files of podman and of docker]
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// With =false, talk to registries without a trusted certificate, and in plain HTTP to those without TLS; with =true,
    /// to none of these, whatever registries.conf says
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub tls_verify: Option<bool>,
}

/// What is asked of registries.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct RegistryArgs {
    #[command(flatten)]
    access: AccessArgs,
    /// Ask this registry for images of docker.io first; may be given several times
    #[arg(long, value_name = "HOST|URL")]
    registry_mirror: Vec<MirrorAddress>,
}

/// A login for one command.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct CredsArgs {
    /// The login for the registry of the images named; without a password it is asked for
    #[arg(long, value_name = "USER[:PASSWORD]")]
    creds: Option<String>,
}

impl RegistryArgs {
    pub(super) fn of(access: AccessArgs) -> Self {
        Self { access, registry_mirror: Vec::new() }
    }
}

/// What the files, the variables and the command line say.
pub(super) fn settings(global: &Global, args: &RegistryArgs) -> Result<Settings, Report> {
    let mut settings = reached_by(global, &args.access)?;
    if let Some(file) = &args.access.authfile
        && !file.exists()
    {
        let message = format!("there is no auth file {}", file.display());
        return Err(Report::usage(message).hint(Some("`rbuild login --authfile` makes one".to_owned())));
    }
    for path in auth_file::read_in_turn(&args.access) {
        if let Some(text) = read_if_there(&path)? {
            settings.credentials.add(&path, &text).map_err(Report::usage)?;
        }
    }
    let read = |path: &str| std::fs::read_to_string(path).ok();
    settings.credentials.set_environment(EnvironmentLogins::from_variables(text, read));
    for mirror in &args.registry_mirror {
        settings.registries.add_hub_mirror(mirror.clone());
    }
    Ok(settings)
}

/// The same without any login.
pub(super) fn reached_by(global: &Global, args: &AccessArgs) -> Result<Settings, Report> {
    let mut settings = Settings::default();
    for path in registries_files(global) {
        if let Some(text) = read_if_there(&path)? {
            settings.registries.add(&path, &text).map_err(Report::usage)?;
        }
    }
    settings.registries.verify_tls(args.tls_verify);
    for directory in certificate_directories() {
        settings.registries.add_certificate_directory(directory);
    }
    let hosts_directories = config_home().map(|config| config.join("containerd/certs.d"));
    for directory in hosts_directories.into_iter().chain([PathBuf::from("/etc/containerd/certs.d")]) {
        settings.registries.add_hosts_directory(directory);
    }
    let proxy = |first: &str, second: &str| {
        let said = |name: &str| text(name).filter(|value| !value.is_empty());
        said(first).or_else(|| said(second)).or_else(|| said("ALL_PROXY")).or_else(|| said("all_proxy"))
    };
    settings.proxies = Proxies {
        http: proxy("http_proxy", "HTTP_PROXY").map(Secret::new),
        https: proxy("HTTPS_PROXY", "https_proxy").map(Secret::new),
        no_proxy: text("NO_PROXY").filter(|value| !value.is_empty()).or_else(|| text("no_proxy")),
    };
    settings.trust.file = variable("SSL_CERT_FILE").map(PathBuf::from);
    settings.trust.directory = variable("SSL_CERT_DIR").map(PathBuf::from);
    Ok(settings)
}

impl CredsArgs {
    /// Adds the login that was given, for the one registry that the names are of.
    pub(super) fn add_to(&self, settings: &mut Settings, names: &[Reference]) -> Result<(), Report> {
        let Some(given) = &self.creds else { return Ok(()) };
        let mut hosts: Vec<&str> = names.iter().map(|name| name.registry.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let hint = Some("`rbuild login` keeps a login for each registry".to_owned());
        let [host] = hosts[..] else {
            let which = if hosts.is_empty() {
                "no image is named that says which".to_owned()
            } else {
                format!("the images named are of {}", hosts.join(", "))
            };
            return Err(Report::usage(format!("--creds is a login for one registry, and {which}")).hint(hint));
        };
        let (user, password) = match given.split_once(':') {
            Some((user, password)) => (user, Secret::new(password)),
            None => (given.as_str(), prompt::secret(&format!("Password for {given} at {host}: "))?),
        };
        if user.is_empty() {
            return Err(Report::usage("--creds: the user is missing"));
        }
        settings.credentials.add_login(host, user, password);
        Ok(())
    }
}

/// Earlier ones win.
fn certificate_directories() -> Vec<PathBuf> {
    let config = config_home();
    let mut directories: Vec<PathBuf> = ["containers", "docker"]
        .iter()
        .filter_map(|name| Some(config.as_ref()?.join(name).join("certs.d")))
        .collect();
    directories.extend(["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from));
    directories
}

/// Later ones win.
fn registries_files(global: &Global) -> Vec<PathBuf> {
    if let Some(file) = &global.registries_conf {
        return vec![file.clone()];
    }
    if let Some(file) = variable("CONTAINERS_REGISTRIES_CONF") {
        return vec![PathBuf::from(file)];
    }
    let mut files = vec![PathBuf::from("/etc/containers/registries.conf")];
    files.extend(fragments(Path::new("/etc/containers/registries.conf.d")));
    if let Some(config) = config_home() {
        files.push(config.join("containers/registries.conf"));
        files.extend(fragments(&config.join("containers/registries.conf.d")));
    }
    files
}

/// The `*.conf` files of a directory, in order of their names.
fn fragments(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    files
}
