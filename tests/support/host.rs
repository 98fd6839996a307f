//! Who runs the tests, and what this machine has.

use std::fs;

/// Whether the tests run as real root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether this user can map a range of ids: root, or a range in both files and the programs that apply it.
pub(crate) fn has_subuid_range() -> bool {
    let has = |path| fs::read_to_string(path).is_ok_and(|table: String| table.lines().any(is_mine));
    is_root()
        || (has("/etc/subuid")
            && has("/etc/subgid")
            && is_installed("newuidmap")
            && is_installed("newgidmap"))
}

/// The name of the user who runs the tests, or the number where there is no name.
pub(crate) fn user_name() -> String {
    let id = rustix::process::geteuid().as_raw().to_string();
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mine = accounts.lines().find(|line| line.split(':').nth(2) == Some(&id));
    mine.and_then(|line| line.split(':').next()).map_or(id.clone(), str::to_owned)
}

/// Whether a program is on the path that tests give to what they start.
pub(crate) fn is_installed(tool: &str) -> bool {
    super::env::PATH.split(':').any(|directory| fs::metadata(format!("{directory}/{tool}")).is_ok())
}

fn is_mine(line: &str) -> bool {
    let owner = line.split(':').next().unwrap_or_default();
    owner == user_name() || owner == rustix::process::geteuid().as_raw().to_string()
}
