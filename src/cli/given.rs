//! `--secret`, `--ssh` and `--cdi-spec-dir`: what the command line lends to steps.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::environment;
use super::report::{Code, Report};
use super::ssh;
use crate::dockerfile::nearest;
use crate::exec::{Given, Secret};

/// As BuildKit's clients have it.
const LARGEST_SECRET: u64 = 500 << 10;

#[derive(Debug, Args)]
pub(super) struct GivenArgs {
    /// A secret for RUN --mount=type=secret: from a file or a variable of the environment; without either from the variable
    /// of the id's name if it is set, else from the file of that name.
    #[arg(long = "secret", value_name = "id=ID[,src=FILE|,env=VARIABLE]")]
    secrets: Vec<String>,
    /// An SSH agent for RUN --mount=type=ssh, by its socket [default: that of SSH_AUTH_SOCK], or private keys, which an agent is
    /// started for; `default` is the one for git repositories, too
    #[arg(long = "ssh", value_name = "default|ID[=SOCKET|=KEYFILE,…]")]
    agents: Vec<String>,
    /// Where devices for RUN --device are described (CDI, in JSON); of several directories, later ones come first
    /// [default: /etc/cdi and /var/run/cdi]
    #[arg(long = "cdi-spec-dir", value_name = "DIR")]
    device_directories: Vec<PathBuf>,
}

/// Where vendors put what the machine has, and what it has just now.
const DEVICE_DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

impl GivenArgs {
    pub(super) fn given(&self) -> Result<Given, Report> {
        let mut given = Given {
            device_directories: self.device_directories.clone(),
            surroundings: environment::surroundings(),
            ..Given::default()
        };
        if given.device_directories.is_empty() {
            given.device_directories = DEVICE_DIRECTORIES.map(PathBuf::from).into();
        }
        for text in &self.secrets {
            let (id, value) = secret(text)?;
            given.secrets.extend(value.map(|value| (id, Secret::new(value))));
        }
        for text in &self.agents {
            let (id, source) = ssh::agent(text)?;
            if given.agents.insert(id.clone(), source).is_some() {
                let hint = format!("several keys of one id are given at once: --ssh {id}=KEYFILE,KEYFILE");
                return Err(Report::usage(format!("--ssh gives {id} twice")).hint(Some(hint)));
            }
        }
        Ok(given)
    }
}

/// Where a secret is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Written {
    id: String,
    kind: Option<String>,
    source: Option<String>,
    variable: Option<String>,
}

impl Written {
    fn parse(text: &str) -> Result<Self, String> {
        let mut written = Self::default();
        for field in text.split(',') {
            let Some((key, value)) = field.split_once('=') else {
                return Err(format!("{field:?} is no key=value: write --secret id=ID,src=FILE"));
            };
            match key.to_ascii_lowercase().as_str() {
                "id" => value.clone_into(&mut written.id),
                "type" if matches!(value, "file" | "env") => written.kind = Some(value.to_owned()),
                "type" => return Err(format!("type {value} is not supported: file and env are")),
                "src" | "source" => written.source = Some(value.to_owned()),
                "env" => written.variable = Some(value.to_owned()),
                other => {
                    let near = nearest(other, ["id", "type", "src", "source", "env"]);
                    let near = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
                    return Err(format!("unexpected key {key:?}{near}"));
                }
            }
        }
        if written.id.is_empty() {
            return Err("an id is missing: write --secret id=ID,src=FILE".to_owned());
        }
        if written.kind.as_deref() == Some("env") && written.variable.is_none() {
            written.variable = written.source.take();
        }
        if written.source.is_some() && written.variable.is_some() {
            return Err("src and env cannot both be given".to_owned());
        }
        Ok(written)
    }
}

/// A secret's id and value; none where its variable is not set, which is for the steps that want it to judge.
fn secret(text: &str) -> Result<(String, Option<Vec<u8>>), Report> {
    let written = Written::parse(text).map_err(|why| Report::usage(format!("--secret {text}: {why}")))?;
    let Written { id, kind, source, variable } = written;
    if let Some(variable) = variable {
        return Ok((id, environment::bytes(&variable)));
    }
    let by_name =
        if source.is_none() && kind.as_deref() != Some("file") { environment::bytes(&id) } else { None };
    if by_name.is_some() || (source.is_none() && kind.as_deref() == Some("env")) {
        return Ok((id, by_name));
    }
    let path = PathBuf::from(source.unwrap_or_else(|| id.clone()));
    let value = read(&path).map_err(|error| {
        Report::new(Code::Input, format!("secret {id}: {}: {error}", path.display())).hint(Some(format!(
            "name its file with src=FILE, or a variable with env=VARIABLE: --secret id={id},…"
        )))
    })?;
    Ok((id, Some(value)))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut value = Vec::new();
    File::open(path)?.take(LARGEST_SECRET + 1).read_to_end(&mut value)?;
    if value.len() as u64 > LARGEST_SECRET {
        return Err(std::io::Error::other("larger than the 500 KiB that a secret may have"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_named_as_buildx_names_them() {
        let full = |text: &str| Written::parse(text).unwrap();
        let some = |text: &str| Some(text.to_owned());
        let id = || "a".to_owned();
        assert_eq!(full("id=a"), Written { id: id(), ..Written::default() });
        assert_eq!(full("id=a,src=/f"), Written { id: id(), source: some("/f"), ..Written::default() });
        assert_eq!(full("type=file,id=a,source=f").source, some("f"));
        assert_eq!(full("id=a,env=V").variable, some("V"));
        assert_eq!(full("type=env,id=a,src=V").variable, some("V"));
        for (text, part) in [
            ("a", "no key=value"),
            ("src=f", "an id is missing"),
            ("id=a,typ=env", "did you mean type?"),
            ("id=a,type=vault", "file and env are"),
            ("id=a,src=f,env=V", "cannot both"),
        ] {
            let error = Written::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
