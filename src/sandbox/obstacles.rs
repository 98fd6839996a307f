//! What can keep a process from making and using a user namespace, and what an administrator does about it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sys::namespace::read_setting;

/// The switches of this host and the state of this process that stand between a user and a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Obstacles {
    /// `user.max_user_namespaces`; zero forbids.
    pub max_user_namespaces: Option<u64>,
    /// `kernel.unprivileged_userns_clone`, a switch of Debian's kernels; zero forbids.
    pub unprivileged_userns_clone: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns`, a switch of Ubuntu's kernels; one takes all rights inside away.
    pub apparmor_restricts: Option<u64>,
    /// Setuid programs give this process nothing.
    pub no_new_privileges: bool,
    /// A filter of system calls is on this process, as containers have.
    pub filtered: bool,
}

/// Something that an administrator or the user can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// What it is for, or what is wrong.
    pub what: String,
    /// What to type, where that is all there is to it.
    pub command: Option<String>,
}

impl Obstacles {
    pub fn read() -> Self {
        let number = |file: &str| read_setting(file)?.parse().ok();
        let status = read_setting("/proc/self/status").unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Self {
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            unprivileged_userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            no_new_privileges: field("NoNewPrivs:") == Some("1"),
            filtered: field("Seccomp:") == Some("2"),
        }
    }

    /// What would let user namespaces be made, as far as the cause can be seen.
    pub fn of_user_namespaces(&self) -> Remedy {
        let allow = |setting: &str| {
            Remedy::command("an administrator can allow user namespaces", format!("sysctl {setting}"))
        };
        if self.max_user_namespaces == Some(0) {
            return allow("user.max_user_namespaces=15000");
        }
        if self.unprivileged_userns_clone == Some(0) {
            return allow("kernel.unprivileged_userns_clone=1");
        }
        if self.apparmor_restricts == Some(1) {
            return allow("kernel.apparmor_restrict_unprivileged_userns=0");
        }
        let text = "inside a container, allow user namespaces to it (docker: --security-opt seccomp=unconfined \
                    --security-opt apparmor=unconfined), or run as root";
        Remedy { what: text.to_owned(), command: None }
    }

    /// Whether a namespace may be made that then allows nothing.
    pub(super) fn may_be_useless(&self) -> bool {
        self.apparmor_restricts == Some(1)
    }

    /// The switch that forbids user namespaces, if one does.
    pub fn cause(&self) -> Option<&'static str> {
        if self.max_user_namespaces == Some(0) {
            Some("user.max_user_namespaces is 0")
        } else if self.unprivileged_userns_clone == Some(0) {
            Some("kernel.unprivileged_userns_clone is 0")
        } else if self.apparmor_restricts == Some(1) {
            Some("kernel.apparmor_restrict_unprivileged_userns is 1")
        } else {
            None
        }
    }
}

impl Remedy {
    pub(super) fn command(what: impl Into<String>, command: impl Into<String>) -> Self {
        Self { what: what.into(), command: Some(command.into()) }
    }

    pub(super) fn install(package: &str) -> Self {
        Self::command(format!("install {package}"), format!("apt-get install {package}"))
    }

    pub(super) fn reinstall(package: &str) -> Self {
        let what = format!("{package} has lost its privileges, perhaps when an image was copied");
        Self::command(what, format!("apt-get install --reinstall {package}"))
    }

    /// `first` and the ids above it are nobody's yet.
    pub(super) fn lend_ids(user: &str, first: u32) -> Self {
        let range = format!("{first}-{}", first.saturating_add(65_535));
        Self::command(
            format!("an administrator can lend ids to {user} that nobody else has"),
            format!("usermod --add-subuids {range} --add-subgids {range} {user}"),
        )
    }

    pub(super) fn check_lent_ids(user: &str) -> Self {
        let what = format!(
            "check the lines of {user} in /etc/subuid and /etc/subgid, and that newuidmap and newgidmap are setuid root"
        );
        Self { what, command: None }
    }

    /// A device that is not there, or that is there and closed.
    pub(super) fn open_device(path: &str, module: &str, is_there: bool) -> Self {
        if is_there {
            let what = format!("an administrator can open {path} for everybody");
            return Self::command(what, format!("chmod 666 {path}"));
        }
        let what = format!("an administrator can load the driver of {path}");
        Self::command(what, format!("modprobe {module}"))
    }

    pub(super) fn allow_new_privileges() -> Self {
        let text = "start rbuild without no_new_privs, so that newuidmap can do its work (Kubernetes: \
                    allowPrivilegeEscalation: true)";
        Self { what: text.to_owned(), command: None }
    }

    pub(super) fn become_root() -> Self {
        Self {
            what: "run as root, in a container with the capability SYS_ADMIN, or leave the choice to `auto`"
                .to_owned(),
            command: None,
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.what)?;
        self.command.iter().try_for_each(|command| write!(out, ": {command}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_that_forbids_is_named() {
        let command = |obstacles: &Obstacles| obstacles.of_user_namespaces().command.unwrap_or_default();
        let mut obstacles = Obstacles { apparmor_restricts: Some(1), ..Obstacles::default() };
        assert_eq!(command(&obstacles), "sysctl kernel.apparmor_restrict_unprivileged_userns=0");
        obstacles.unprivileged_userns_clone = Some(0);
        assert_eq!(command(&obstacles), "sysctl kernel.unprivileged_userns_clone=1");
        obstacles.max_user_namespaces = Some(0);
        assert_eq!(command(&obstacles), "sysctl user.max_user_namespaces=15000");
        assert_eq!(obstacles.cause(), Some("user.max_user_namespaces is 0"));
        assert_eq!(Obstacles::default().of_user_namespaces().command, None);
        assert_eq!(Obstacles::default().cause(), None);
    }
}
