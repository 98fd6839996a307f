//! Certificates for single hosts, in the directories of docker and podman: `certs.d/HOST[:PORT]/`, with `*.crt` of authorities
//! and pairs of `NAME.cert` and `NAME.key` to prove who we are.

use std::path::{Path, PathBuf};

use super::error::RegistryError;

/// What one host is trusted by and knows us by, as files.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Certificates {
    /// Authorities that are trusted besides those that are for all.
    pub(super) authorities: Vec<PathBuf>,
    /// A certificate of our own, and the file with its key, which may be the same.
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

impl Certificates {
    /// What lies below any of the directories for a host; none if nothing does.
    pub(super) fn find(directories: &[PathBuf], hosts: &[&str]) -> Result<Option<Self>, RegistryError> {
        let mut found = Self::default();
        for directory in directories {
            for host in hosts {
                found.add(&directory.join(host))?;
            }
        }
        Ok((found != Self::default()).then_some(found))
    }

    /// The same without what proves who we are, for other hosts that the registry sends us to.
    pub(super) fn of_authorities(&self) -> Self {
        Self { authorities: self.authorities.clone(), client: None }
    }

    fn add(&mut self, directory: &Path) -> Result<(), RegistryError> {
        let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.sort();
        for file in files {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => self.authorities.push(file),
                Some("cert") => {
                    let key = file.with_extension("key");
                    if !key.is_file() {
                        let problem = format!("{} has no key: {} is missing", file.display(), key.display());
                        return Err(RegistryError::Setup { what: "the client certificate", problem });
                    }
                    // One is shown; the first of the first directory.
                    self.client.get_or_insert((file, key));
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }
}
