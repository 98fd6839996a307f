//! Namespaces and id maps of this process.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::process::{Gid, Uid};
pub use rustix::thread::UnshareFlags as Namespaces;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::error::{At, IoError};
use super::here;

/// Moves this process, which must have one thread, into new namespaces.
pub fn unshare(namespaces: Namespaces) -> io::Result<()> {
    // Sharing of descriptors between threads is what makes the raw call unsafe; it is never asked for.
    assert!(!namespaces.contains(Namespaces::FILES), "descriptor tables are not unshared");
    // SAFETY: without CLONE_FILES the call changes no descriptor that other code could rely on.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }?;
    // The others change no ids; and inside a sandbox nothing could be found out again.
    if namespaces.contains(Namespaces::NEWUSER) {
        here::moved();
    }
    Ok(())
}

/// Makes the control group that this process is in the root of those that it sees. Kernels without control groups have
/// nothing to hide.
pub fn hide_control_groups() -> io::Result<()> {
    match unshare(Namespaces::NEWCGROUP) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        answer => answer,
    }
}

/// Moves this thread, and what it starts from now on, into a network namespace.
pub fn join_network(netns: impl AsFd) -> io::Result<()> {
    Ok(move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Maps the namespace's root to one user and group outside: what every process may do for itself.
pub fn map_single_ids(uid: u32, gid: u32) -> Result<(), IoError> {
    // The kernel takes a group map from an ordinary user only after setgroups is given up.
    for (file, line) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        write_once(file, &line)?;
    }
    Ok(())
}

fn write_once(file: &str, line: &str) -> Result<(), IoError> {
    use std::io::Write;
    let mut open = std::fs::OpenOptions::new().write(true).open(file).at("open", file)?;
    open.write_all(line.as_bytes()).at("write", file)
}

/// Becomes the namespace's root after its ids have been mapped.
pub fn become_root() -> Result<(), IoError> {
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).at("become group 0", "namespace")?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).at("become user 0", "namespace")?;
    // Groups from outside have no name inside. With a single id the kernel does not let go of them: they stay unmapped.
    let _ = rustix::thread::set_thread_groups(&[]);
    here::moved();
    Ok(())
}

/// Whether this process may mount.
pub fn may_administrate() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Whether this process has the right to make devices, which counts in the host's own user namespace only.
pub fn may_make_devices() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::MKNOD))
}

/// Whether this process may take any user and group id of its namespace, and hand them all on to a new one.
pub fn may_change_ids() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    let needed = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::SETFCAP;
    capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// Whether this process is root that may make files be whose and what they should be, and whom no permissions hold up.
pub fn may_own_files() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    let needed = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::SETFCAP;
    rustix::process::geteuid().is_root()
        && capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// Whether this process's user namespace has one user and no other.
pub fn has_single_id() -> bool {
    let map = read_setting("/proc/self/uid_map").unwrap_or_default();
    map.lines().count() == 1 && map.split_whitespace().nth(2) == Some("1")
}

/// The last id in a map of this process's user namespace, `/proc/self/uid_map` or `gid_map`; none if it has no end.
pub fn last_id(map: &str) -> Option<u32> {
    let map = read_setting(map)?;
    let last = |line: &str| {
        let mut fields = line.split_whitespace().map(|field| field.parse::<u32>().ok());
        let (inside, count) = (fields.next()??, fields.nth(1)??);
        inside.checked_add(count)?.checked_sub(1)
    };
    // The whole range has one id less than there are numbers.
    map.lines().filter_map(last).max().filter(|last| *last < u32::MAX - 1)
}

/// The text of a small kernel file, trimmed; none where it does not exist.
pub fn read_setting(file: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}
