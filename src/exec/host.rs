//! What a sandbox shows of the host: names of machines, and who resolves them.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::sys::{At, IoError};

/// Files that are shown inside as `/etc/hosts` and `/etc/resolv.conf`.
#[derive(Debug, Clone)]
pub struct HostFiles {
    pub hosts: PathBuf,
    pub resolv_conf: PathBuf,
}

/// Writes both files into a directory that lives as long as the sandboxes.
pub fn host_files(directory: &Path, hostname: &str) -> Result<HostFiles, IoError> {
    let files = HostFiles { hosts: directory.join("hosts"), resolv_conf: directory.join("resolv.conf") };
    let hosts = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    std::fs::write(&files.hosts, hosts).at("write", &files.hosts)?;
    // The network is the host's, so its resolver is reachable as it stands, a local one too.
    let resolver = std::fs::read("/etc/resolv.conf").unwrap_or_default();
    std::fs::write(&files.resolv_conf, resolver).at("write", &files.resolv_conf)?;
    for file in [&files.hosts, &files.resolv_conf] {
        // Read by whatever user a step runs as, whatever the umask here is.
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o644)).at("change mode of", file)?;
    }
    Ok(files)
}
