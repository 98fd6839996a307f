//! What this kernel and this host can do, for whom: gathered without judging ([`super::verdict`] does that).

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::attempt::{Attempt, Tried, try_rung, try_user_namespace};
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
    pub pasta: Option<PathBuf>,
    pub slirp4netns: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Usable,
    Missing,
    /// It is there and cannot be opened.
    Closed,
}

/// The control group (version 2) of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroup {
    /// There are none, or their file system is not mounted.
    Absent,
    /// Others manage it.
    NotDelegated {
        directory: PathBuf,
    },
    Delegated {
        directory: PathBuf,
        controllers: Vec<String>,
    },
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
        cgroup: cgroup(),
        landlock: landlock::version(),
        fuse_overlayfs: program("fuse-overlayfs"),
        pasta: program("pasta"),
        slirp4netns: program("slirp4netns"),
    })
}

/// Where a store that does not exist would be made: its file system is what counts.
fn nearest_directory(store: &Path) -> &Path {
    store.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"))
}

/// Opening one of these does nothing yet.
fn device(path: &str) -> Device {
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

fn cgroup() -> Cgroup {
    let mounts = read_setting("/proc/self/mountinfo").unwrap_or_default();
    let membership = read_setting("/proc/self/cgroup").unwrap_or_default();
    let Some(directory) = cgroup_directory(&mounts, &membership) else { return Cgroup::Absent };
    let may_write = |file: &Path| rustix::fs::access(file, Access::WRITE_OK).is_ok();
    let files = ["cgroup.procs", "cgroup.subtree_control"].map(|name| directory.join(name));
    if !may_write(&directory) || !files.iter().all(|file| may_write(file)) {
        return Cgroup::NotDelegated { directory };
    }
    let controllers = read_setting(directory.join("cgroup.controllers")).unwrap_or_default();
    Cgroup::Delegated { directory, controllers: controllers.split_whitespace().map(str::to_owned).collect() }
}

/// Where this process's control group is seen.
fn cgroup_directory(mounts: &str, membership: &str) -> Option<PathBuf> {
    let own = Path::new(membership.lines().find_map(|line| line.strip_prefix("0::"))?);
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        // A mount may show just a part of the tree, as in containers.
        let inner = own.strip_prefix(root).ok().filter(|_| kind.starts_with("cgroup2 "))?;
        // Joined with nothing a path would end in a slash.
        Some(Path::new(mount_point).join(inner).components().collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_control_group_is_found_where_it_is_mounted() {
        let hybrid = "30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 24 0:27 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        let found = |mounts, own| cgroup_directory(mounts, own);
        let expected = Some(PathBuf::from("/sys/fs/cgroup/unified/a/b"));
        assert_eq!(found(hybrid, "8:pids:/\n0::/a/b"), expected);
        let part = "31 24 0:27 /a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(found(part, "0::/a/b"), Some(PathBuf::from("/sys/fs/cgroup/b")));
        assert_eq!(found(part, "0::/a").unwrap().as_os_str(), "/sys/fs/cgroup");
        assert_eq!(found(part, "0::/else"), None);
        assert_eq!(found(hybrid, "8:pids:/"), None);
    }

    #[test]
    fn a_store_that_is_not_there_is_probed_next_to_it() {
        assert_eq!(nearest_directory(Path::new("/proc/no/such/store")), Path::new("/proc"));
    }
}
