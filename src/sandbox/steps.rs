//! The order in which a sandbox is made, as data.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::capabilities::Capabilities;
use super::limits::Ulimit;
use super::mounts::Mount;
use super::spec::{Emulated, Network, RootFs, Spec};

/// One thing that the first process inside does before it becomes the program. Paths named `at` are inside the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Move into the control group that was made for it.
    JoinGroup,
    /// Take the own control group for the root of all of them.
    HideGroups,
    /// Mount the overlay, over an extra layer of mount points if some are missing.
    MountRoot {
        root: RootFs,
        mount_points: Vec<MountPoint>,
        /// Whether devices in it open what they stand for.
        devices: bool,
    },
    MountProc {
        at: String,
    },
    /// A small `/dev` with the harmless devices, terminals, shared memory and message queues.
    MountDev {
        at: String,
        /// Whether all the host's devices are there, too.
        all: bool,
        /// Bytes of shared memory, if not the usual size.
        shm_size: Option<u64>,
    },
    /// The host's `/sys`, or a fresh one.
    MountSys {
        at: String,
        fresh: bool,
        read_only: bool,
    },
    /// The control groups as they are seen from inside, where the kernel has them.
    MountGroups {
        at: String,
        read_only: bool,
    },
    /// Show a file of the host, read-only.
    BindFile {
        source: PathBuf,
        at: String,
    },
    /// Show what was asked for. `staging` is empty; trees are put together there.
    Mount {
        mount: Mount,
        staging: PathBuf,
        devices: bool,
    },
    /// Hide what is there, if it is there.
    Mask {
        at: String,
    },
    /// Hide what has this name in each directory there.
    MaskInEach {
        at: String,
        name: String,
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
    /// Let system calls fail that no container needs.
    RefuseCalls {
        capabilities: Capabilities,
    },
    /// Raise the hard limit where it is too low.
    AllowUlimit {
        ulimit: Ulimit,
    },
    /// Give up every capability but these, for good.
    LimitCapabilities {
        capabilities: Capabilities,
    },
    /// Let setuid programs and file capabilities have no effect.
    NoNewPrivileges,
    /// Look the user up inside and become it.
    BecomeUser {
        user: String,
    },
    SetUlimit {
        ulimit: Ulimit,
    },
    /// Go to the working directory, making it if missing.
    ChangeDirectory {
        path: String,
    },
}

/// How the step that mounts the root is called.
pub(super) const MOUNT_ROOT: &str = "mount-root";

/// A place that something is mounted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    pub path: String,
    pub kind: MountPointKind,
    /// Whether this step alone has something there; then links may lead to it.
    pub is_asked_for: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountPointKind {
    Directory,
    File,
}

const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
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

/// With `/proc/interrupts`, what tells about others by when things happen.
const MASKED_FOR_EACH_CPU: (&str, &str) = ("/sys/devices/system/cpu", "thermal_throttle");

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The places in its root that a spec has something mounted on.
pub fn mount_points(spec: &Spec) -> Vec<MountPoint> {
    let points = plan(spec).into_iter().find_map(|step| match step {
        Step::MountRoot { mount_points, .. } => Some(mount_points),
        _ => None,
    });
    points.unwrap_or_default()
}

/// Turns a spec into steps. The order matters, and each place that depends on another says so.
pub fn plan(spec: &Spec) -> Vec<Step> {
    let confinement = spec.confinement;
    let mut files = vec![(&spec.files.hosts, "/etc/hosts"), (&spec.files.resolv_conf, "/etc/resolv.conf")];
    files.extend(spec.hostname_file.iter().map(|file| (file, "/etc/hostname")));
    let mut mount_points: Vec<MountPoint> = ["/proc", "/dev", "/sys"]
        .map(|path| MountPoint {
            path: path.to_owned(),
            kind: MountPointKind::Directory,
            is_asked_for: false,
        })
        .into();
    let file = |(_, path): &(_, &str)| {
        let path = (*path).to_owned();
        MountPoint { path, kind: MountPointKind::File, is_asked_for: false }
    };
    mount_points.extend(files.iter().map(file));
    mount_points.extend(spec.mounts.points(&["/proc", "/dev", "/sys"]));
    let mut steps = Vec::new();
    if !spec.limits.resources.is_unlimited() {
        steps.push(Step::JoinGroup);
    }
    steps.extend([
        // After it has moved: where it is now becomes the root.
        Step::HideGroups,
        Step::MountRoot { root: spec.root.clone(), mount_points, devices: !confinement.keeps_from_hardware },
        Step::MountProc { at: "/proc".to_owned() },
        // A fresh sysfs shows the devices of the network namespace it is made in, so only the owner of that may.
        Step::MountSys {
            at: "/sys".to_owned(),
            fresh: !matches!(spec.network, Network::Host),
            read_only: confinement.keeps_from_hardware,
        },
        // On a directory of /sys.
        Step::MountGroups { at: "/sys/fs/cgroup".to_owned(), read_only: confinement.keeps_from_hardware },
        Step::MountDev {
            at: "/dev".to_owned(),
            all: !confinement.keeps_from_hardware,
            shm_size: spec.limits.shm_size,
        },
    ]);
    for (source, at) in files {
        steps.push(Step::BindFile { source: source.clone(), at: at.to_owned() });
    }
    // After /proc and /sys are there, before they can be looked at from inside.
    if confinement.covers_kernel_files {
        steps.extend(MASKED.map(|at| Step::Mask { at: at.to_owned() }));
        let (at, name) = MASKED_FOR_EACH_CPU;
        steps.push(Step::MaskInEach { at: at.to_owned(), name: name.to_owned() });
        steps.extend(READ_ONLY.map(|at| Step::MakeReadOnly { at: at.to_owned() }));
    }
    // After all that every sandbox has: they may hide any of it.
    for mount in &spec.mounts.mounts {
        steps.push(Step::Mount {
            mount: mount.clone(),
            staging: spec.mounts.staging.clone(),
            devices: !confinement.keeps_from_hardware,
        });
    }
    // Whoever made a network that is shared has done it there.
    if matches!(spec.network, Network::None) {
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
    // It takes the same capability. Nothing below is among the refused calls. Where both filters have something to say
    // about a call, a refusal goes before handing over.
    let capabilities = confinement.capabilities;
    if confinement.refuses_calls {
        steps.push(Step::RefuseCalls { capabilities });
    }
    // Raising takes a capability that is given up next; lowering comes last, so that nothing here runs into a limit.
    steps.extend(spec.limits.ulimits.iter().map(|ulimit| Step::AllowUlimit { ulimit: *ulimit }));
    // The bounding set is limited while SETPCAP is still held; becoming another user then drops the rest.
    steps.push(Step::LimitCapabilities { capabilities });
    steps.push(Step::BecomeUser { user: spec.process.user.clone() });
    if confinement.no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    steps.extend(spec.limits.ulimits.iter().map(|ulimit| Step::SetUlimit { ulimit: *ulimit }));
    steps
}

impl fmt::Display for Step {
    /// One line, as `--dump steps` and the golden files have it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MountRoot { root, mount_points, devices } => {
                let (lowers, upper) = (root.lowers.len(), root.upper.display());
                write!(out, "{MOUNT_ROOT} lowers={lowers} upper={upper} devices={devices}")?;
                mount_points.iter().try_for_each(|point| write!(out, " {}", point.path))
            }
            Self::MountProc { at } => write!(out, "mount-proc {at}"),
            Self::MountDev { at, all, shm_size } => {
                write!(out, "mount-dev {at} all={all}")?;
                shm_size.iter().try_for_each(|size| write!(out, " shm={size}"))
            }
            Self::MountSys { at, fresh, read_only } => {
                write!(out, "mount-sys {at} fresh={fresh} read-only={read_only}")
            }
            Self::JoinGroup => out.write_str("join-group"),
            Self::HideGroups => out.write_str("hide-groups"),
            Self::MountGroups { at, read_only } => write!(out, "mount-groups {at} read-only={read_only}"),
            Self::BindFile { source, at } => write!(out, "bind-file {at} from {}", source.display()),
            Self::Mount { mount, .. } => write!(out, "mount {mount}"),
            Self::Mask { at } => write!(out, "mask {at}"),
            Self::MaskInEach { at, name } => write!(out, "mask-in-each {at} {name}"),
            Self::MakeReadOnly { at } => write!(out, "make-read-only {at}"),
            Self::LoopbackUp => out.write_str("loopback-up"),
            Self::Pivot => out.write_str("pivot"),
            Self::SetHostname { name } => write!(out, "set-hostname {name}"),
            Self::NewSession => out.write_str("new-session"),
            Self::Emulate { what } => write!(out, "emulate {what}"),
            Self::RefuseCalls { .. } => out.write_str("refuse-calls"),
            Self::AllowUlimit { ulimit } => write!(out, "allow-ulimit {ulimit}"),
            Self::SetUlimit { ulimit } => write!(out, "set-ulimit {ulimit}"),
            Self::LimitCapabilities { .. } => out.write_str("limit-capabilities"),
            Self::NoNewPrivileges => out.write_str("no-new-privileges"),
            Self::BecomeUser { user } => write!(out, "become-user {user:?}"),
            Self::ChangeDirectory { path } => write!(out, "change-directory {path}"),
        }
    }
}
