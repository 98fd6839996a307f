//! What decides which namespace a process moves into, without moving.

use std::os::unix::fs::MetadataExt as _;

use super::isolation::{Choice, Host};
use crate::sys::namespace::read_setting;

/// A text that is the same as long as [`super::enter`] leads to the same place.
pub fn foresight(host: &Host<'_>, choice: Choice) -> String {
    let Host { search_path, user, uid, gid } = host;
    let mut text = format!("{choice:?}\n{user}\n{uid}\n{gid}\n{}\n", search_path.display());
    for file in
        ["/etc/subuid", "/etc/subgid", "/etc/nsswitch.conf", "/usr/bin/newuidmap", "/usr/bin/newgidmap"]
    {
        let stat = std::fs::metadata(file).ok();
        let stat = stat.map(|stat| (stat.dev(), stat.ino(), stat.size(), stat.ctime(), stat.ctime_nsec()));
        text.push_str(&format!("{file} {stat:?}\n"));
    }
    let namespace = std::fs::read_link("/proc/self/ns/user").ok();
    let status = read_setting("/proc/self/status").unwrap_or_default();
    let capabilities = status.lines().find(|line| line.starts_with("CapEff:")).unwrap_or_default();
    let boot = read_setting("/proc/sys/kernel/random/boot_id");
    text.push_str(&format!("{namespace:?}\n{capabilities}\n{boot:?}\n"));
    text
}
