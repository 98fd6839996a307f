//! What the report has to say, on every rung.

use super::{OPEN_FILES, Report, of_run, of_step};
use crate::best_rung;
use crate::support::{BaseImage, TestEnv, is_root};

/// One of several answers that are all right.
const EITHER: &str = "|";
/// Not the namespace of whoever runs the tests.
const OWN: &str = "<own>";
/// Any error that says no.
const REFUSED: &str = "EPERM|EACCES|ENOSYS|EAFNOSUPPORT";
/// A kernel that has no such thing gives a sandbox without it.
const EMPTY: &str = "empty|absent";

/// Mount points that depend on what the kernel has.
const MAY_BE_COVERED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const DOCKERS: &str = "00000000a80425fb";

type Line = (&'static str, &'static str);

/// What holds wherever a program runs as root.
const EVERYWHERE: &[Line] = &[
    ("open.0", "/dev/null"),
    ("stdin", "0 bytes, ok"),
    ("stdin.terminal", "false"),
    ("terminal", "ENXIO"),
    ("uid", "0 0 0"),
    ("gid", "0 0 0"),
    ("groups", ""),
    ("capabilities.inheritable", "0000000000000000"),
    ("capabilities.permitted", DOCKERS),
    ("capabilities.effective", DOCKERS),
    ("capabilities.bounding", DOCKERS),
    ("capabilities.ambient", "0000000000000000"),
    ("no_new_privileges", "0"),
    ("seccomp", "2"),
    ("umask", "0022"),
    ("signals.blocked", "0000000000000000"),
    ("signals.ignored", "0000000000000000"),
    ("pid", "1"),
    ("parent", "0"),
    ("session", "1"),
    ("process_group", "1"),
    ("processes", "1"),
    ("directory", "/"),
    ("variable.HOME", "/root"),
    ("variable.PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("namespace.cgroup", OWN),
    ("namespace.ipc", OWN),
    ("namespace.mnt", OWN),
    ("namespace.net", OWN),
    ("namespace.pid", OWN),
    ("namespace.uts", OWN),
    ("loopback", "ok"),
    ("oom_score_adj", "0"),
    ("domain", "(none)"),
    ("keyring.session", REFUSED),
    (
        "mount.",
        "/ /dev /dev/full /dev/mqueue /dev/null /dev/pts /dev/random /dev/shm /dev/tty /dev/urandom /dev/zero /etc/hosts \
         /etc/resolv.conf /proc /proc/bus /proc/fs /proc/irq /proc/sys /sys",
    ),
    ("mount./proc", "proc rw,nosuid,nodev,noexec,relatime rw"),
    ("mount./proc/sys", "proc ro,nosuid,nodev,noexec,relatime rw"),
    ("mount./sys", "sysfs ro,nosuid,nodev,noexec,relatime rw|sysfs ro,nosuid,nodev,noexec,relatime ro"),
    ("mount./dev/mqueue", "mqueue rw,nosuid,nodev,noexec,relatime rw"),
    ("hidden./proc/acpi", EMPTY),
    ("hidden./proc/asound", EMPTY),
    ("hidden./proc/interrupts", EMPTY),
    ("hidden./proc/kcore", EMPTY),
    ("hidden./proc/keys", EMPTY),
    ("hidden./proc/latency_stats", EMPTY),
    ("hidden./proc/sched_debug", EMPTY),
    ("hidden./proc/scsi", EMPTY),
    ("hidden./proc/timer_list", EMPTY),
    ("hidden./proc/timer_stats", EMPTY),
    ("hidden./sys/devices/virtual/powercap", EMPTY),
    ("hidden./sys/firmware", EMPTY),
    // In /proc directories are made by nobody; whether a file may be written to is asked after whose it is.
    ("write./proc/bus", "EROFS|ENOENT"),
    ("write./proc/fs", "EROFS|ENOENT"),
    ("write./proc/irq", "EROFS|ENOENT"),
    ("write./proc/sys", "EROFS|ENOENT"),
    ("write./proc/sys/kernel/core_pattern", "EROFS|EACCES"),
    ("write./proc/sys/kernel/hostname", "EROFS|EACCES"),
    ("write./proc/sysrq-trigger", "EROFS|EACCES|absent"),
    ("write./sys", "EROFS"),
    ("write./sys/kernel", "EROFS"),
    ("write./sys/fs/cgroup", "EROFS|ENOENT|absent"),
    ("write./sys/class/net/lo/ifalias", "EROFS|EACCES"),
    ("write./etc/hosts", "EROFS"),
    ("remove./etc/hosts", "EBUSY"),
    ("write./etc/resolv.conf", "EROFS"),
    ("remove./etc/resolv.conf", "EBUSY"),
    ("write./", "ok"),
    ("write./tmp", "ok"),
    ("write./etc", "ok"),
    ("write./dev", "ok"),
    ("write./dev/shm", "ok"),
    ("write./dev/mqueue", "ok"),
    ("write./proc", "ENOENT"),
    ("time_offsets", REFUSED),
    ("devices", "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"),
    ("device.fd", "link /proc/self/fd"),
    ("device.stdin", "link /proc/self/fd/0"),
    ("device.stdout", "link /proc/self/fd/1"),
    ("device.stderr", "link /proc/self/fd/2"),
    ("device.ptmx", "link pts/ptmx"),
    ("device.pts", "directory 755 0:0"),
    ("device.shm", "directory 1777 0:0"),
    ("device.mqueue", "directory 1777 0:0"),
    ("device.null.swallows", "ok"),
    ("device.full.refuses", "ENOSPC"),
    ("device.zero.gives", "zeros"),
    ("device.urandom.gives", "numbers"),
    ("shared_memory", "ok"),
    ("shared_memory.size", "67108864"),
    ("message_queue", "ok"),
    ("call.chroot", "ok"),
    ("call.ptrace.me", "ok"),
    ("call.process_vm_readv", "ok"),
    ("call.pidfd_open", "ok"),
    ("call.personality.linux32", "ok"),
    ("call.socket.unix", "ok"),
    ("call.socket.netlink", "ok"),
    ("call.socket.raw", "ok"),
    ("call.socket.packet", "ok"),
    // Real on the first rung, and answered as if it had been done on the others.
    ("call.mknod.null", "ok"),
    ("call.mknod.disk", "ok"),
    ("call.mknod.pipe", "ok"),
    ("call.chown.other", "ok"),
    ("call.chmod.setuid", "ok"),
    ("call.capability.file", "ok"),
    ("call.setuid.back", "ok"),
    ("call.setuid.for_good", "ok"),
    ("call.setgroups", "ok"),
    ("call.kill.first", "ok"),
];

const FORBIDDEN: &[&str] = &[
    "mount",
    "mount.bind",
    "remount.proc_sys",
    "umount",
    "fsopen",
    "open_tree",
    "pivot_root",
    "unshare.user",
    "unshare.mount",
    "unshare.network",
    "unshare.process",
    "clone.user",
    "clone3.user",
    "setns",
    "keyctl",
    "add_key",
    "request_key",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring",
    "kcmp",
    "personality.no_randomize",
    "reboot",
    "swapon",
    "init_module",
    "delete_module",
    "kexec_load",
    "syslog",
    "clock_settime",
    "sethostname",
    "acct",
    "quotactl",
    "open_by_handle_at",
    "fanotify",
    "mbind",
    "set_mempolicy",
    "socket.alg",
    "socket.vsock",
    "attribute.trusted",
    "nice",
    "realtime",
    "limit.raise",
    "oom_score.lower",
];

/// What differs by rung: the host's devices belong to nobody in a namespace that lacks the host's root, and with one id
/// there is no group of terminals.
fn by_rung(rung: &str) -> Vec<(String, String)> {
    let nobody = if is_root() { "0:0" } else { "65534:65534" };
    let device = |name: &str, number: &str, opens: &str| {
        (format!("device.{name}"), format!("c {number} 666 {nobody} opens {opens}"))
    };
    let group = if rung == "single" { "0" } else { "5" };
    let mut lines = vec![
        device("null", "1:3", "ok"),
        device("zero", "1:5", "ok"),
        device("full", "1:7", "ok"),
        device("random", "1:8", "ok"),
        device("urandom", "1:9", "ok"),
        device("tty", "5:0", "ENXIO"),
        ("terminal.new".to_owned(), format!("/dev/pts/0 620 group {group}")),
    ];
    if rung != "root" {
        lines.push(("namespace.user".to_owned(), OWN.to_owned()));
    }
    lines
}

pub(super) fn judge(report: &Report, rung: &str, also: &[(&str, &str)]) {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let forbidden = FORBIDDEN.iter().map(|name| (format!("call.{name}"), REFUSED.to_owned()));
    let files = ("limit.nofile".to_owned(), format!("{OPEN_FILES} "));
    let lines: Vec<(String, String)> = EVERYWHERE
        .iter()
        .map(owned)
        .chain(by_rung(rung))
        .chain(forbidden)
        .chain([files])
        .filter(|(name, _)| !also.iter().any(|(other, _)| name == other))
        .chain(also.iter().map(owned))
        .collect();
    let mut faults = Vec::new();
    for (name, wanted) in &lines {
        let found = found(report, name);
        if !holds(name, &found, wanted) {
            faults.push(format!("{name}: {found:?} instead of {wanted:?}"));
        }
    }
    let leaked = report.0.keys().filter(|name| name.starts_with("open.") && !name.starts_with("open./"));
    let leaked: Vec<_> =
        leaked.filter(|name| !["open.0", "open.1", "open.2"].contains(&name.as_str())).collect();
    assert!(leaked.is_empty(), "open in the sandbox: {leaked:?}\n{report}");
    // A way out has a name of its own, and the host's interfaces are not there.
    let interfaces: Vec<&str> = report.get("interfaces").split(' ').collect();
    assert!(interfaces.contains(&"lo") && interfaces.len() <= 2, "{interfaces:?}");
    assert!(faults.is_empty(), "on rung {rung}:\n  {}\n\n{report}", faults.join("\n  "));
}

/// The value of a line; for the mounts their places, without those of control groups, which depend on the host.
fn found(report: &Report, name: &str) -> String {
    if name != "mount." {
        return report.get(name).to_owned();
    }
    let places = report.0.keys().filter_map(|line| line.strip_prefix("mount."));
    places.filter(|place| !place.starts_with("/sys/fs/")).collect::<Vec<_>>().join(" ")
}

fn holds(name: &str, found: &str, wanted: &str) -> bool {
    match (wanted, name.strip_prefix("namespace.")) {
        (OWN, Some(kind)) => {
            let outside = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            found.starts_with(&format!("{kind}:[")) && outside.to_str() != Some(found)
        }
        // The soft limit, and whatever the hard one is.
        _ if name == "limit.nofile" => found.starts_with(wanted),
        // A kernel without one of these things has nothing to cover.
        _ if name == "mount." => {
            let wanted: Vec<&str> = wanted.split(' ').collect();
            let found: Vec<&str> = found.split(' ').collect();
            let all = wanted.iter().all(|place| found.contains(place));
            // Only a container has a file with its name.
            let known = |place: &str| {
                wanted.contains(&place) || place == "/etc/hostname" || MAY_BE_COVERED.contains(&place)
            };
            all && found.iter().all(|place| known(place))
        }
        _ => wanted.split(EITHER).any(|wanted| wanted == found),
    }
}

#[test]
fn a_container_is_what_docker_would_make() {
    let env = TestEnv::new();
    env.probe_image("probe:1");
    let report = of_run(&env, &[]);
    let hostname = report.get("hostname").to_owned();
    assert_eq!(hostname.len(), 12, "{report}");
    judge(&report, best_rung(), &[("variable.HOSTNAME", &hostname)]);
    let hosts = report.get("content./etc/hosts");
    assert!(
        hosts.starts_with("127.0.0.1\\tlocalhost\\n::1\\tlocalhost ip6-localhost ip6-loopback\\n"),
        "{hosts}"
    );
    assert!(hosts.ends_with(&format!("\\t{hostname}\\n")), "{hosts}");
    has_variables(&report, &["HOME", "HOSTNAME", "PATH"]);
}

#[test]
fn a_step_is_what_buildkit_would_make() {
    let env = TestEnv::new();
    env.probe_image("probe:1");
    let report = of_step(&env, "ENV GIVEN=1\nARG PASSED=2\nWORKDIR /made/for/it\nRUN [\"/bin/probe\"]");
    let also = [
        ("open.1", "pipe"),
        ("open.2", "pipe"),
        ("hostname", "buildkitsandbox"),
        ("directory", "/made/for/it"),
        ("program", "/bin/probe"),
        ("variable.GIVEN", "1"),
        ("variable.PASSED", "2"),
        (
            "content./etc/hosts",
            "127.0.0.1\\tlocalhost buildkitsandbox\\n::1\\tlocalhost ip6-localhost ip6-loopback\\n",
        ),
    ];
    judge(&report, best_rung(), &also);
    has_variables(&report, &["GIVEN", "HOME", "PASSED", "PATH"]);
}

#[test]
fn a_step_on_the_lowest_rung_is_no_different_for_who_has_more() {
    let env = TestEnv::new();
    let context = BaseImage::probe().context(&env);
    env.rbuild(&["--isolation=single", "-q", "-t", "probe:1", context.to_str().unwrap()]).run().success();
    let words = ["--isolation=single", "run", "--rm", "probe:1", "/bin/probe"];
    let ran = super::carelessly(&env, &words).run().success();
    judge(&Report::parse(ran.stdout().lines()), "single", &[]);
}

#[track_caller]
fn has_variables(report: &Report, names: &[&str]) {
    let found: Vec<_> = report.0.keys().filter_map(|name| name.strip_prefix("variable.")).collect();
    assert_eq!(found, names);
}
