//! What this kernel and this host can do, for whom: gathered without judging ([`super::verdict`] does that).

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::attempt::{Attempt, Tried, try_rung, try_user_namespace};
use super::cgroup::Cgroup;
use super::isolation::{Host, Rung};
use super::lent::{Mapper, find_program, first_free_id, lent_ranges};
use super::obstacles::Obstacles;
use super::ranges::{IdRange, owned_ids};
use crate::sys::namespace::read_setting;
use crate::sys::{IoError, landlock};

/// Everything that decides how processes can be isolated here.
#[derive(Debug, Clone)]
pub struct Facts {
    pub kernel: String,
    pub user: String,
    pub uid: u32,
    pub obstacles: Obstacles,
    /// How many users the namespace has that this process is in.
    pub owned_ids: u64,
    pub user_namespace: Attempt,
    /// Each rung, best first.
    pub rungs: Vec<(Rung, Tried)>,
    pub lent_users: u64,
    pub lent_groups: u64,
    /// The first id that is lent to nobody.
    pub first_free_id: u32,
    pub newuidmap: Mapper,
    pub newgidmap: Mapper,
    pub fuse: Device,
    pub tun: Device,
    pub cgroup: Cgroup,
    pub landlock: Option<u32>,
    pub fuse_overlayfs: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Usable,
    Missing,
    /// It is there and cannot be opened.
    Closed,
}

/// Looks at everything; this process, which has one thread, stays as it is. `store` is where the store is or would be.
pub fn probe(host: &Host<'_>, store: &Path) -> Result<Facts, IoError> {
    let place = nearest_directory(store);
    let rungs = [Rung::Root, Rung::Range, Rung::Single];
    let rungs = rungs.into_iter().map(|rung| Ok((rung, try_rung(host, rung, place)?)));
    let rungs = rungs.collect::<Result<_, IoError>>()?;
    let (users, groups) = lent_ranges(host);
    let count = |ranges: &[IdRange]| ranges.iter().map(|range| u64::from(range.count)).sum();
    let program = |name: &str| find_program(host.search_path, name);
    Ok(Facts {
        kernel: read_setting("/proc/sys/kernel/osrelease").unwrap_or_default(),
        user: host.user.to_owned(),
        uid: host.uid,
        obstacles: Obstacles::read(),
        owned_ids: owned_ids(),
        user_namespace: try_user_namespace(host)?,
        rungs,
        lent_users: count(&users),
        lent_groups: count(&groups),
        first_free_id: first_free_id(),
        newuidmap: Mapper::find(host, "newuidmap"),
        newgidmap: Mapper::find(host, "newgidmap"),
        fuse: device("/dev/fuse"),
        tun: device("/dev/net/tun"),
        cgroup: Cgroup::find(),
        landlock: landlock::version(),
        fuse_overlayfs: program("fuse-overlayfs"),
    })
}

/// Where a store that does not exist would be made: its file system is what counts.
fn nearest_directory(store: &Path) -> &Path {
    store.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"))
}

/// Opening one of these does nothing yet.
pub(super) fn device(path: &str) -> Device {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Device::Usable,
        Err(error) if is_absence(&error) => Device::Missing,
        Err(_) => Device::Closed,
    }
}

/// A node without a driver is as good as none.
fn is_absence(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_not_there_is_probed_next_to_it() {
        assert_eq!(nearest_directory(Path::new("/proc/no/such/store")), Path::new("/proc"));
    }
}
