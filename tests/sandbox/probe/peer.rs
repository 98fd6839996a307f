//! The same probe in a bundle with docker's default settings, run by runc or crun: where the reports differ, a reason is
//! listed.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Report, of_run};
use crate::support::{BaseImage, TestEnv, is_root, skip};

/// What may differ, by the beginning of the name, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    ("open.", "the peer has pipes of its own in between"),
    ("signals.ignored", "Rust's way of starting programs leaves one ignored, and the peer hands it on"),
    ("interfaces", "the bundle's network has no way out"),
    ("limit.nofile", "the peer, a Go program, raises its own and hands that on"),
    ("keyring.session", "runc names the keyring after the container"),
    ("control_groups", "a container of the peer has a group of its own"),
    ("mount./ ", "the peer's root is a directory as it stands, not an overlay"),
    ("call.name_to_handle_at", "this overlay has no file handles, ext4 has"),
    ("mount./dev ", "devices are mounts of their own here, so that no other opens; the peer makes nodes"),
    ("mount./dev/", "devices are mounts of their own here; the peer makes nodes"),
    ("mount./proc/", "what hides a file is the host's /dev/null here, the container's there"),
    ("mount./sys", "shown without the groups below it"),
    ("mount./etc/", "the files lie in the store, so its file system shows"),
    ("write./sys/fs/cgroup", "runc leaves a writable directory around cgroup v1"),
];

#[test]
fn a_container_is_what_a_peer_makes_of_dockers_settings() {
    if !is_root() {
        // A runtime of an ordinary user leaves out half of it, and what is left is no standard to be held to.
        return;
    }
    let env = TestEnv::new();
    env.probe_image("probe:1");
    let ours = of_run(&env, &[]);
    let bundle = env.path("bundle");
    write_bundle(&env, &bundle, &ours);
    let Some(peer) = ["runc", "crun"].into_iter().find_map(|peer| run_by(peer, &env, &bundle)) else {
        skip!("neither runc nor crun can run a container here");
    };
    let names = ours.0.keys().chain(peer.0.keys());
    let differing: std::collections::BTreeSet<&String> =
        names.filter(|name| value(&ours, name) != value(&peer, name)).collect();
    let listed = |name: &str| DIFFERENCES.iter().any(|(start, _)| format!("{name} ").starts_with(start));
    let faults: Vec<String> = differing
        .iter()
        .filter(|name| !listed(name))
        .map(|name| format!("{name}: {:?}, the peer has {:?}", ours.0.get(*name), peer.0.get(*name)))
        .collect();
    assert!(faults.is_empty(), "  {}\n\n{ours}", faults.join("\n  "));
}

/// Values that can be compared: of namespaces whether they are the host's, of refusals that they are.
fn value(report: &Report, name: &str) -> Option<String> {
    let value = report.0.get(name)?;
    if let Some(kind) = name.strip_prefix("namespace.") {
        let outside = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        return Some((outside.to_str() == Some(value)).to_string());
    }
    let refusals = ["EPERM", "EACCES", "ENOSYS", "EAFNOSUPPORT"];
    let refused = name.starts_with("call.") && refusals.contains(&value.as_str());
    Some(if refused { "refused".to_owned() } else { value.clone() })
}

fn run_by(peer: &str, env: &TestEnv, bundle: &Path) -> Option<Report> {
    let state = env.path(format!("state-{peer}"));
    let name = format!("rbuild-probe-{}", std::process::id());
    let script = format!(
        "ulimit -Sn {}; exec {peer} --root \"$0\" run --bundle \"$1\" {name} </dev/null",
        super::OPEN_FILES
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .args([&state, bundle])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    // Versions differ in which control groups they get along with; what a container says is not said by halves.
    output.status.success().then(|| Report::parse(String::from_utf8_lossy(&output.stdout).lines()))
}

/// Docker's settings for a container, with the names that rbuild's had, and its files.
fn write_bundle(env: &TestEnv, bundle: &Path, ours: &Report) {
    let context = BaseImage::probe().context(env);
    fs::create_dir(bundle).unwrap();
    crate::support::copy_tree(&context.join("rootfs"), &bundle.join("rootfs"));
    let mut mounts = json!([
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
    ]);
    for name in ["hosts", "resolv.conf"] {
        let (file, inside) = (bundle.join(name), format!("/etc/{name}"));
        let content = ours.get(&format!("content.{inside}")).replace("\\n", "\n").replace("\\t", "\t");
        fs::write(&file, content).unwrap();
        fs::write(bundle.join("rootfs/etc").join(name), "").unwrap();
        let file = json!({"destination": inside, "type": "bind", "source": file, "options": ["bind", "ro"]});
        mounts.as_array_mut().unwrap().push(file);
    }
    fs::write(bundle.join("config.json"), config(mounts, ours.get("hostname")).to_string()).unwrap();
}

fn config(mounts: Value, hostname: &str) -> Value {
    let capabilities: Vec<String> = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FSETID",
        "FOWNER",
        "MKNOD",
        "NET_RAW",
        "SETGID",
        "SETUID",
        "SETFCAP",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "SYS_CHROOT",
        "KILL",
        "AUDIT_WRITE",
    ]
    .iter()
    .map(|name| format!("CAP_{name}"))
    .collect();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let namespaces = ["pid", "ipc", "uts", "mount", "network", "cgroup"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.0.2",
        "hostname": hostname,
        "root": {"path": "rootfs"},
        "mounts": mounts,
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/probe"],
            "cwd": "/",
            "env": [path, format!("HOSTNAME={hostname}"), "HOME=/root"],
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                "/sys/devices/virtual/powercap"],
            "seccomp": filter(),
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// What docker's filter says of the calls that the probe tries; it allows by list, this one refuses by list.
fn filter() -> Value {
    let refuse =
        |names: &[&str], errno: i32| json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno});
    let when = |name: &str, value: u64, operator: &str| {
        let argument = json!({"index": 0, "value": value, "valueTwo": value, "op": operator});
        json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM, "args": [argument]})
    };
    let names = [
        "acct",
        "add_key",
        "bpf",
        "clock_settime",
        "delete_module",
        "fanotify_init",
        "fsopen",
        "init_module",
        "io_uring_setup",
        "ioperm",
        "iopl",
        "kcmp",
        "kexec_load",
        "keyctl",
        "mbind",
        "mount",
        "open_by_handle_at",
        "open_tree",
        "perf_event_open",
        "pivot_root",
        "quotactl",
        "reboot",
        "request_key",
        "set_mempolicy",
        "sethostname",
        "setns",
        "swapon",
        "syslog",
        "umount2",
        "unshare",
        "userfaultfd",
    ];
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            refuse(&names, libc::EPERM),
            refuse(&["clone3"], libc::ENOSYS),
            when("clone", 0x1000_0000, "SCMP_CMP_MASKED_EQ"),
            when("personality", 0x0004_0000, "SCMP_CMP_EQ"),
            when("socket", 38, "SCMP_CMP_EQ"),
            when("socket", 40, "SCMP_CMP_EQ"),
        ],
    })
}
