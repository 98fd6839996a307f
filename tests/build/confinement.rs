//! What a step is kept from beside what namespaces keep it from, and what may be asked for instead.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{BaseImage, TestEnv, has_subuid_range, is_root, require_busybox, require_tool, skip};

const FOURTEEN: &str = "00000000a80425fb";

/// `Name: value` of a `/proc/<pid>/status`.
fn field(status: &str, name: &str) -> String {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
}

/// A filter hands calls over that take more than the namespace has: devices at least.
fn own_filters() -> u32 {
    u32::from(!is_root())
}

#[track_caller]
fn is_confined(status: &str) {
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(status, name), FOURTEEN, "{name} of {status}");
    }
    for name in ["CapInh", "CapAmb"] {
        assert_eq!(field(status, name), "0000000000000000", "{name} of {status}");
    }
    assert_eq!((field(status, "NoNewPrivs"), field(status, "Seccomp")), ("0".to_owned(), "2".to_owned()));
    assert_eq!(field(status, "Seccomp_filters"), (1 + own_filters()).to_string());
    assert_eq!(field(status, "Umask"), "0022");
}

/// All capabilities that there are: of the tests themselves as root, of the namespace's root else.
fn full() -> String {
    if is_root() {
        return field(&fs::read_to_string("/proc/self/status").unwrap(), "CapPrm");
    }
    let last: u32 = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap().trim().parse().unwrap();
    format!("{:016x}", (1_u64 << (last + 1)) - 1)
}

#[track_caller]
fn is_unconfined(status: &str) {
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(status, name), full(), "{name} of {status}");
    }
    assert_eq!(field(status, "Seccomp_filters"), own_filters().to_string());
}

#[test]
fn a_step_and_a_container_have_dockers_confinement() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let limits = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    env.dockerfile(
        "FROM base:1\n\
         RUN cat /proc/self/status > /status && cat /proc/self/oom_score_adj > /oom\n\
         RUN test ! -e /dev/console && ! grep . /proc/interrupts /proc/keys /proc/timer_list\n\
         RUN ! touch /proc/sys/kernel/hostname && ! mkdir /sys/fs/made\n\
         RUN ! mount -t tmpfs none /tmp 2> /err && grep -i 'not permitted\\|denied' /err\n\
         RUN ! unshare -U true 2> /err && grep 'not permitted' /err\n",
    );
    env.rbuild(&["-t", "app", "."]).run().success().omits(&["not refused"]);
    let run = |arguments: &[&str]| {
        let words = [&["run", "--rm"], arguments].concat();
        env.rbuild(&words).run().success().stdout().to_owned()
    };
    is_confined(&run(&["app", "cat", "/status"]));
    assert_eq!(run(&["app", "cat", "/oom"]), limits);
    is_confined(&run(&["app", "cat", "/proc/self/status"]));
    if has_subuid_range() {
        let status = run(&["-u", "app", "app", "cat", "/proc/self/status"]);
        assert_eq!(field(&status, "CapEff"), "0000000000000000");
        assert_eq!(field(&status, "CapBnd"), FOURTEEN);
    }
}

/// What calls answer, by errno: a script that makes each of them.
fn calls() -> (String, Vec<(&'static str, i32)>) {
    let calls: [(&str, i64, &str, i32); 12] = [
        ("setns", libc::SYS_setns, "99, 0", libc::EPERM),
        ("fsopen", libc::SYS_fsopen, "0, 0", libc::EPERM),
        ("keyctl", libc::SYS_keyctl, "0, -1, 0", libc::EPERM),
        ("bpf", libc::SYS_bpf, "99, 0, 0", libc::EPERM),
        ("io_uring_setup", libc::SYS_io_uring_setup, "1, 0", libc::EPERM),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, "99, 0, 0", libc::EPERM),
        ("socket(AF_ALG)", libc::SYS_socket, "38, 5, 0", libc::EPERM),
        ("socket(AF_VSOCK)", libc::SYS_socket, "40, 1, 0", libc::EPERM),
        ("personality", libc::SYS_personality, "0x40000", libc::EPERM),
        ("clone3", libc::SYS_clone3, "0, 0", libc::ENOSYS),
        ("what is newer", 468, "0, 0, 0, 0, 0", libc::ENOSYS),
        // Last: who is in a new user namespace has no power over what was there before.
        ("unshare", libc::SYS_unshare, "0x10000000", libc::EPERM),
    ];
    let mut script = String::new();
    for (name, number, arguments, _) in calls {
        write!(script, "$! = 0; syscall({number}, {arguments}); print \"{name} \", $! + 0, \"\\n\"; ")
            .unwrap();
    }
    for (name, number, arguments) in [
        ("getppid", libc::SYS_getppid, ""),
        ("socket(AF_INET)", libc::SYS_socket, ", 2, 1, 0"),
        ("personality", libc::SYS_personality, ", 0xffffffff"),
        ("process_vm_readv", libc::SYS_process_vm_readv, ", $$, 0, 0, 0, 0, 0"),
    ] {
        write!(script, "$! = 0; syscall({number}{arguments}); die \"{name}: $!\" if $!; ").unwrap();
    }
    (script, calls.map(|(name, _, _, errno)| (name, errno)).into())
}

#[test]
fn calls_that_no_container_needs_are_refused() {
    require_tool!("perl");
    let env = TestEnv::new();
    let context = BaseImage::host_shell_with(&["perl"]).context(&env);
    let (script, calls) = calls();
    env.rbuild(&["-q", "-t", "base:1", context.to_str().unwrap()]).run().success();
    env.write("calls.pl", &script);
    env.dockerfile("FROM base:1\nCOPY calls.pl /\nRUN perl /calls.pl > /answers\n");
    env.rbuild(&["-t", "app", "."]).run().success();
    let expected: String = calls.iter().map(|(name, errno)| format!("{name} {errno}\n")).collect();
    env.rbuild(&["run", "--rm", "app", "cat", "/answers"]).run().success().prints(&expected);
    env.rbuild(&["run", "--rm", "app", "perl", "/calls.pl"]).run().success().prints(&expected);
    // Without the filter the kernel itself answers, and otherwise.
    let free = [
        "run",
        "--rm",
        "--security-opt",
        "seccomp=unconfined",
        "--cap-add",
        "ALL",
        "app",
        "perl",
        "/calls.pl",
    ];
    let answers = env.rbuild(&free).run().success().stdout().to_owned();
    for (line, (name, errno)) in answers.lines().zip(&calls) {
        assert_ne!(line, format!("{name} {errno}"), "it is not the filter that refuses this call");
    }
    assert_eq!(answers.lines().count(), calls.len(), "{answers}");
}

/// A static program for i386 that asks for a user namespace and exits with the errno.
fn unshare_on_i386() -> Vec<u8> {
    let code = [
        &[0xb8, 0x36, 0x01, 0, 0][..], // mov eax, 310: unshare
        &[0xbb, 0, 0, 0, 0x10],        // mov ebx, CLONE_NEWUSER
        &[0xcd, 0x80, 0xf7, 0xd8],     // int 0x80; neg eax
        &[0x89, 0xc3],                 // mov ebx, eax
        &[0xb8, 1, 0, 0, 0],           // mov eax, 1: exit
        &[0xcd, 0x80],                 // int 0x80
    ]
    .concat();
    let word = |value: u32| value.to_le_bytes();
    let half = |value: u16| value.to_le_bytes();
    let size = 0x54 + u32::try_from(code.len()).unwrap();
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    [half(2), half(3)].iter().for_each(|field| file.extend(field));
    [word(1), word(0x0804_8054), word(52), word(0), word(0)].iter().for_each(|field| file.extend(field));
    [half(52), half(32), half(1), half(0), half(0), half(0)].iter().for_each(|field| file.extend(field));
    let segment = [1, 0, 0x0804_8000, 0x0804_8000, size, size, 5, 0x1000];
    segment.iter().for_each(|field| file.extend(word(*field)));
    [file, code].concat()
}

#[test]
fn programs_for_i386_are_held_to_the_same_list() {
    require_busybox!();
    let env = TestEnv::new();
    let program = env.context().join("unshare32");
    fs::write(&program, unshare_on_i386()).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    if env.program(&program, &[]).into_command().status().is_err() {
        skip!("this machine runs no programs for i386");
    }
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nCOPY unshare32 /\nRUN /unshare32; test $? = 1\n");
    env.rbuild(&["-t", "app", "."]).run().success();
    env.rbuild(&["run", "--rm", "--security-opt", "seccomp=unconfined", "app", "/unshare32"]).run().success();
}

#[test]
fn setuid_programs_still_work() {
    if !has_subuid_range() {
        skip!("this user has no range of subordinate ids, so all users of a container are one");
    }
    let env = TestEnv::new();
    let context = BaseImage::host_shell().context(&env);
    env.rbuild(&["-q", "-t", "base:1", context.to_str().unwrap()]).run().success();
    env.dockerfile(
        "FROM base:1\n\
         RUN cp /bin/cat /as-root && chmod 4755 /as-root && echo roots > /secret && chmod 600 /secret\n\
         USER app\n\
         RUN ! cat /secret && test $(/as-root /secret) = roots\n",
    );
    env.rbuild(&["-t", "app", "."]).run().success();
    env.rbuild(&["run", "--rm", "app", "/as-root", "/secret"]).run().success().prints("roots\n");
    let without = ["run", "--rm", "--security-opt", "no-new-privileges", "app", "/as-root", "/secret"];
    env.rbuild(&without).run().code(1).says(&["Permission denied"]);
}

#[test]
fn what_is_not_allowed_is_refused_with_a_hint() {
    let env = TestEnv::new();
    env.dockerfile("FROM scratch\nRUN --security=insecure true\nRUN --network=host true\n");
    let both = ["entitlement security.insecure is not allowed", "entitlement network.host is not allowed"];
    env.rbuild(&["."]).run().code(3).says(&both).says(&["--allow security.insecure", "--allow network.host"]);
    let one = env.rbuild(&["--allow", "network.host", "."]).run().code(3);
    one.says(&both[..1]).omits(&both[1..]);
    // Whether it may be built is no matter of the file.
    env.rbuild(&["--check", "."]).run().success();
    env.rbuild(&["--allow", "fs.read=/x", "."]).run().code(2).says(&["entitlement fs.read is not supported"]);
    env.rbuild(&["--allow", "security.insecur", "."])
        .run()
        .code(2)
        .says(&["did you mean security.insecure?"]);
}

#[test]
fn an_insecure_step_has_all_that_there_is() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let mut text = "FROM base:1\n\
         RUN --security=insecure cat /proc/self/status > /status && cat /proc/mounts > /mounts && ls /dev > /dev-list\n\
         RUN --security=insecure mount -t tmpfs none /tmp && touch /tmp/x && umount /tmp && unshare -U true\n\
         RUN --security=insecure test ! -e /dev/console && test -c /dev/null && grep -q . /proc/interrupts\n\
         RUN cat /proc/self/status > /confined && ! mount -t tmpfs none /tmp 2> /dev/null\n"
        .to_owned();
    if is_root() {
        text += "RUN --security=insecure mknod /n c 1 3 && echo x > /n && rm /n\nRUN mknod /n c 1 3 && ! (echo x > /n) 2> /dev/null\n";
    }
    env.dockerfile(&text);
    env.rbuild(&["-t", "app", "--allow", "security.insecure", "."]).run().success();
    let read =
        |file: &str| env.rbuild(&["run", "--rm", "app", "cat", file]).run().success().stdout().to_owned();
    is_unconfined(&read("/status"));
    is_confined(&read("/confined"));
    let mounts = read("/mounts");
    let sys = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/sys")).unwrap();
    assert!(!is_root() || sys.contains(" rw,"), "{sys}");
    assert!(!mounts.contains(" /proc/kcore ") && !mounts.contains(" /proc/sys "), "{mounts}");
    let devices = read("/dev-list");
    let missing = ["loop-control", "kmsg"].iter().find(|name| {
        fs::symlink_metadata(format!("/dev/{name}")).is_ok() && !devices.lines().any(|line| line == **name)
    });
    assert_eq!(missing, None, "{devices}");
}

#[test]
fn a_step_with_the_hosts_network_has_it() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile("FROM base:1\nRUN --network=host readlink /proc/self/ns/net > /net\n");
    env.rbuild(&["-t", "app", "--allow", "network.host", "."]).run().success();
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    env.rbuild(&["run", "--rm", "app", "cat", "/net"])
        .run()
        .success()
        .prints(&format!("{}\n", own.display()));
}

#[test]
fn a_container_may_be_given_more_or_less() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    let run = |options: &[&str], command: &[&str]| {
        env.rbuild(&[&["run", "--rm"], options, &["base:1"], command].concat()).run()
    };
    let status = |options: &[&str]| run(options, &["cat", "/proc/self/status"]).success().stdout().to_owned();
    is_unconfined(&status(&["--privileged"]));
    run(&["--privileged"], &["mount", "-t", "tmpfs", "none", "/tmp"]).success();
    let without_filter = status(&["--security-opt", "seccomp=unconfined"]);
    assert_eq!(field(&without_filter, "Seccomp_filters"), own_filters().to_string());
    assert_eq!(field(&without_filter, "CapBnd"), FOURTEEN);
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(&status(&["--cap-drop", "ALL"]), name), "0000000000000000");
        let two = status(&["--cap-drop=all", "--cap-add=CHOWN", "--cap-add=cap_net_raw"]);
        assert_eq!(field(&two, name), "0000000000002001");
        assert_eq!(field(&status(&["--cap-add", "SYS_ADMIN"]), name), "00000000a82425fb");
    }
    run(&["--cap-add", "SYS_ADMIN"], &["mount", "-t", "tmpfs", "none", "/tmp"]).success();
    assert_eq!(field(&status(&["--security-opt", "no-new-privileges"]), "NoNewPrivs"), "1");
    let open = ["--security-opt", "systempaths=unconfined"];
    run(&open, &["grep", "-q", ".", "/proc/interrupts"]).success();
    run(&[], &["grep", "-q", ".", "/proc/interrupts"]).code(1);
    // Becoming a user takes capabilities that the container does not have.
    run(&["--cap-drop", "ALL", "-u", "app"], &["id", "-u"]).success().prints("1000\n");
    run(&["--cap-add", "SYS_NOTHING"], &["true"]).code(2).says(&["no capability \"SYS_NOTHING\""]);
    run(&["--security-opt", "seccomp=my.json"], &["true"]).code(2).says(&["not supported"]);
}
