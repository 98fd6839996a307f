//! The capabilities that a process keeps.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities,
};
use serde::{Deserialize, Serialize};

/// In the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const USUAL: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// What becoming the program's user takes. Executing the program takes from it what is not kept.
const TO_BECOME_A_USER: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID);

/// Which capabilities a process keeps, of those that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    kept: u64,
    /// Those that were asked for by name: that one of them is not there is an error.
    demanded: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no capability {0:?}")]
pub struct UnknownCapability(String);

impl Capabilities {
    /// Docker's fourteen.
    pub const USUAL: Self = Self { kept: USUAL.bits(), demanded: 0 };
    /// All that there are.
    pub const ALL: Self = Self { kept: u64::MAX, demanded: 0 };

    /// The usual ones but for those to add and those to drop, as docker has it: adding `ALL` leaves out what is dropped,
    /// and dropping `ALL` leaves what is added.
    pub fn adjusted(add: &[String], drop: &[String]) -> Result<Self, UnknownCapability> {
        let (add, drop) = (bits(add)?, bits(drop)?);
        Ok(match (add, drop) {
            (u64::MAX, drop) => Self { kept: !drop, demanded: 0 },
            (add, u64::MAX) => Self { kept: add, demanded: add },
            (add, drop) => Self { kept: USUAL.bits() & !drop | add, demanded: add },
        })
    }

    /// Whether they are enough to mount and to enter namespaces.
    pub(super) fn may_administer(self) -> bool {
        self.kept().contains(CapabilitySet::SYS_ADMIN)
    }

    pub(super) fn kept(self) -> CapabilitySet {
        CapabilitySet::from_bits_retain(self.kept)
    }
}

/// `ALL`, or the names of capabilities in any case, each with or without `CAP_`.
fn bits(names: &[String]) -> Result<u64, UnknownCapability> {
    names.iter().try_fold(0, |bits, name| {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        match NAMES.iter().position(|known| *known == short) {
            Some(number) => Ok(bits | 1 << number),
            None if upper == "ALL" => Ok(u64::MAX),
            None => Err(UnknownCapability(name.clone())),
        }
    })
}

/// Gives up everything else, also for programs that are executed later. Runs in the sandbox's first process.
pub(super) fn limit(capabilities: Capabilities) -> io::Result<()> {
    let own = rustix::thread::capabilities(None)?.permitted;
    let missing = CapabilitySet::from_bits_retain(capabilities.demanded).difference(own);
    if !missing.is_empty() {
        let missing = missing.bits();
        let names = (0..NAMES.len()).filter(|number| missing & 1 << number != 0).map(|number| NAMES[number]);
        let names = names.collect::<Vec<_>>().join(", ");
        return Err(io::Error::other(format!("rbuild itself does not have {names}")));
    }
    let kept = capabilities.kept();
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last capability that this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    clear_ambient_capability_set()?;
    let held = own.intersection(kept.union(TO_BECOME_A_USER));
    set_capabilities(
        None,
        CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjusted(add: &[&str], drop: &[&str]) -> Capabilities {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Capabilities::adjusted(&owned(add), &owned(drop)).unwrap()
    }

    #[test]
    fn the_usual_ones_are_dockers() {
        assert_eq!(Capabilities::USUAL.kept, 0xa804_25fb);
        assert_eq!(adjusted(&[], &[]), Capabilities::USUAL);
    }

    #[test]
    fn names_are_those_of_the_kernel() {
        let known = [
            ("CHOWN", CapabilitySet::CHOWN),
            ("net_raw", CapabilitySet::NET_RAW),
            ("CAP_SYS_ADMIN", CapabilitySet::SYS_ADMIN),
            ("cap_setfcap", CapabilitySet::SETFCAP),
            ("AUDIT_READ", CapabilitySet::AUDIT_READ),
            ("CHECKPOINT_RESTORE", CapabilitySet::CHECKPOINT_RESTORE),
        ];
        for (name, capability) in known {
            assert_eq!(adjusted(&[name], &["ALL"]).kept(), capability, "{name}");
        }
        let wrong = Capabilities::adjusted(&["SYS_EVERYTHING".to_owned()], &[]).unwrap_err();
        assert_eq!(wrong.to_string(), "there is no capability \"SYS_EVERYTHING\"");
    }

    #[test]
    fn adding_and_dropping_go_together_as_in_docker() {
        let usual = USUAL.bits();
        let (chown, admin) = (CapabilitySet::CHOWN.bits(), CapabilitySet::SYS_ADMIN.bits());
        assert_eq!(adjusted(&["SYS_ADMIN"], &[]).kept, usual | admin);
        assert_eq!(adjusted(&["SYS_ADMIN"], &["CHOWN"]).kept, usual & !chown | admin);
        assert_eq!(adjusted(&["all"], &["SYS_ADMIN"]).kept, !admin);
        assert_eq!(adjusted(&[], &["all"]).kept, 0);
        assert_eq!(adjusted(&["ALL"], &[]).kept, Capabilities::ALL.kept);
    }
}
