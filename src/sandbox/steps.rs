//! The order in which a sandbox is made, as data.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::spec::{Emulated, Network, RootFs, Spec};

/// One thing that the first process inside does before it becomes the program. Paths named `at` are inside the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Mount the overlay, over an extra layer of mount points if some are missing.
    MountRoot {
        root: RootFs,
        mount_points: Vec<MountPoint>,
    },
    MountProc {
        at: String,
    },
    /// A small `/dev` with the harmless devices, terminals, shared memory and message queues.
    MountDev {
        at: String,
    },
    /// The host's `/sys`, or a fresh one, read-only.
    MountSys {
        at: String,
        fresh: bool,
    },
    /// Show a file of the host, read-only.
    BindFile {
        source: PathBuf,
        at: String,
    },
    /// Hide what is there, if it is there.
    Mask {
        at: String,
    },
    /// Forbid writing below, if it is there.
    MakeReadOnly {
        at: String,
    },
    LoopbackUp,
    /// Make the root `/` and let go of everything outside.
    Pivot,
    SetHostname {
        name: String,
    },
    NewSession,
    /// Hand calls that need other users or more rights over to the child, which remembers what they ask for.
    Emulate {
        what: Emulated,
    },
    /// Give up every capability but these, for good.
    LimitCapabilities,
    /// Look the user up inside and become it.
    BecomeUser {
        user: String,
    },
    /// Go to the working directory, making it if missing.
    ChangeDirectory {
        path: String,
    },
}

/// A place that something is mounted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    pub path: String,
    pub kind: MountPointKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountPointKind {
    Directory,
    File,
}

const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Turns a spec into steps. The order matters, and each place that depends on another says so.
pub fn plan(spec: &Spec) -> Vec<Step> {
    let files = [(&spec.hosts, "/etc/hosts"), (&spec.resolv_conf, "/etc/resolv.conf")];
    let mut mount_points: Vec<MountPoint> = ["/proc", "/dev", "/sys"]
        .map(|path| MountPoint { path: path.to_owned(), kind: MountPointKind::Directory })
        .into();
    mount_points
        .extend(files.map(|(_, path)| MountPoint { path: path.to_owned(), kind: MountPointKind::File }));
    let mut steps = vec![
        Step::MountRoot { root: spec.root.clone(), mount_points },
        Step::MountProc { at: "/proc".to_owned() },
        // A fresh sysfs shows the devices of the network namespace it is made in, so only the owner of that may.
        Step::MountSys { at: "/sys".to_owned(), fresh: spec.network == Network::None },
        Step::MountDev { at: "/dev".to_owned() },
    ];
    for (source, at) in files {
        steps.push(Step::BindFile { source: source.clone(), at: at.to_owned() });
    }
    // After /proc and /sys are there, before they can be looked at from inside.
    steps.extend(MASKED.map(|at| Step::Mask { at: at.to_owned() }));
    steps.extend(READ_ONLY.map(|at| Step::MakeReadOnly { at: at.to_owned() }));
    if spec.network == Network::None {
        steps.push(Step::LoopbackUp);
    }
    // The hostname is set with capabilities that go away below.
    steps.push(Step::SetHostname { name: spec.hostname.clone() });
    steps.push(Step::Pivot);
    // Never the caller's: who shares a terminal's session can type into it (TIOCSTI).
    steps.push(Step::NewSession);
    // The working directory is made by root, but entered as the user would.
    steps.push(Step::ChangeDirectory { path: spec.process.directory.clone() });
    // It takes a capability that is given up next. From here on the child answers, also what this process asks.
    if spec.emulated != Emulated::Nothing {
        steps.push(Step::Emulate { what: spec.emulated });
    }
    // The bounding set is limited while SETPCAP is still held; becoming another user then drops the rest.
    steps.push(Step::LimitCapabilities);
    steps.push(Step::BecomeUser { user: spec.process.user.clone() });
    steps
}

impl fmt::Display for Step {
    /// One line, as `--dump steps` and the golden files have it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MountRoot { root, mount_points } => {
                write!(out, "mount-root lowers={} upper={}", root.lowers.len(), root.upper.display())?;
                mount_points.iter().try_for_each(|point| write!(out, " {}", point.path))
            }
            Self::MountProc { at } => write!(out, "mount-proc {at}"),
            Self::MountDev { at } => write!(out, "mount-dev {at}"),
            Self::MountSys { at, fresh } => write!(out, "mount-sys {at} fresh={fresh}"),
            Self::BindFile { source, at } => write!(out, "bind-file {at} from {}", source.display()),
            Self::Mask { at } => write!(out, "mask {at}"),
            Self::MakeReadOnly { at } => write!(out, "make-read-only {at}"),
            Self::LoopbackUp => out.write_str("loopback-up"),
            Self::Pivot => out.write_str("pivot"),
            Self::SetHostname { name } => write!(out, "set-hostname {name}"),
            Self::NewSession => out.write_str("new-session"),
            Self::Emulate { what } => write!(out, "emulate {what}"),
            Self::LimitCapabilities => out.write_str("limit-capabilities"),
            Self::BecomeUser { user } => write!(out, "become-user {user:?}"),
            Self::ChangeDirectory { path } => write!(out, "change-directory {path}"),
        }
    }
}
