//! Steps that try to get at what is outside.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{TestEnv, binary, is_root, require_tool};

fn world() -> TestEnv {
    let env = TestEnv::new();
    env.probe_image("probe:1");
    env
}

#[track_caller]
fn attack(env: &TestEnv, name: &str) -> String {
    env.rbuild(&["run", "--rm", "probe:1", "/bin/probe", name]).run().success().stdout().to_owned()
}

#[test]
fn the_root_that_counts_is_the_images() {
    assert_eq!(attack(&world(), "chroot"), "climb ok\nroot the same\n");
}

#[test]
fn no_descriptor_and_no_process_leads_outside() {
    assert_eq!(attack(&world(), "descriptors"), "process.root inside\nprocess.cwd inside\n");
}

#[test]
fn a_device_of_an_image_opens_nothing() {
    let env = world();
    env.dockerfile(
        "FROM probe:1\nRUN mknod -m 666 /node c 1 5 || touch /none\nRUN [\"/bin/probe\", \"device\"]\n",
    );
    let built = env.rbuild(&["."]).run().success();
    // A device that is remembered is an empty file; a real one is not opened; where neither can be made there is none.
    let opened = |path: &str| {
        let line = built.stderr().lines().find_map(|line| line.split_once(&format!(" open.{path} ")));
        line.unwrap_or_else(|| panic!("{built}")).1.to_owned()
    };
    for path in ["/node", "/made"] {
        assert!(["0 bytes", "EACCES", "ENOENT"].contains(&opened(path).as_str()), "{path}\n{built}");
    }
    if is_root() {
        assert_eq!(opened("/node"), "EACCES");
    }
}

#[test]
fn nobody_types_into_the_callers_terminal() {
    require_tool!("script");
    let env = world();
    let command = format!("'{}' run --rm -i probe:1 /bin/probe terminal", binary().display());
    let said = env.program("script", &["-qec", &command, "/dev/null"]).run().success();
    let said = said.stdout().replace('\r', "");
    for name in ["type", "take", "take.by_force", "type.again", "open"] {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no line {name}: {said}"));
        assert!(["EPERM", "EIO", "ENXIO"].contains(&line), "{name}: {said}");
    }
}

#[test]
fn rbuild_itself_cannot_be_overwritten() {
    let env = world();
    // A copy that no other test runs: what runs cannot be written to anyhow.
    let rbuild = env.path("rbuild");
    env.program("cp", &[binary().to_str().unwrap(), rbuild.to_str().unwrap()]).run().success();
    let before = fs::read(&rbuild).unwrap();
    // Inside no program can be written to while it runs, and none is rbuild's.
    assert_eq!(attack(&env, "programs"), "program./bin/probe ETXTBSY\n");
    let script = "for exe in /proc/[0-9]*/exe; do echo x 2>/dev/null > $exe; done; true";
    env.program(&rbuild, &["run", "--rm", "probe:1", "sh", "-c", script]).run().success();
    // A step that becomes rbuild again, with the image's libraries.
    let _ = env.program(&rbuild, &["run", "--rm", "probe:1", "/proc/self/exe", "--version"]).run();
    // Whoever keeps the program open until nobody runs it any more may not write to it either.
    let mut command = env.program(&rbuild, &["run", "--rm", "probe:1", "sleep", "30"]).into_command();
    let mut running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let child = child_of(running.id());
    let program = File::open(format!("/proc/{child}/exe")).unwrap();
    running.kill().unwrap();
    running.wait().unwrap();
    wait_until(|| !fs::exists(format!("/proc/{child}")).unwrap(), "the sandbox's child ends");
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    let error = OpenOptions::new().write(true).open(path).unwrap_err();
    assert!(matches!(error.raw_os_error(), Some(libc::EROFS | libc::EACCES | libc::EPERM)), "{error}");
    assert!(before == fs::read(&rbuild).unwrap(), "rbuild has been changed");
}

/// The process that rbuild keeps beside a sandbox.
fn child_of(rbuild: u32) -> u32 {
    let mut found = None;
    wait_until(
        || {
            let children =
                fs::read_to_string(format!("/proc/{rbuild}/task/{rbuild}/children")).unwrap_or_default();
            let all = fs::read_dir(format!("/proc/{rbuild}/task")).into_iter().flatten().flatten();
            let of_threads =
                all.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
            let children: String = of_threads.chain([children]).collect::<Vec<_>>().join(" ");
            let is_child = |number: &str| {
                fs::read_to_string(format!("/proc/{number}/cmdline"))
                    .is_ok_and(|text| text.contains("__sandbox"))
            };
            found = children.split_whitespace().find(|number| is_child(number)).map(|it| it.parse().unwrap());
            found.is_some()
        },
        "rbuild starts a sandbox",
    );
    found.unwrap()
}

#[track_caller]
fn wait_until(mut done: impl FnMut() -> bool, what: &str) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < patience, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn signals_stay_inside() {
    let env = world();
    let mut outside = Command::new("sleep").arg("60").spawn().unwrap();
    let script = format!(
        "trap '' TERM; kill -TERM -1; kill -KILL {}; kill -KILL -{}; true",
        outside.id(),
        outside.id()
    );
    env.rbuild(&["run", "--rm", "probe:1", "sh", "-c", &script]).run().success();
    assert!(outside.try_wait().unwrap().is_none(), "a process outside was killed");
    outside.kill().unwrap();
    outside.wait().unwrap();
}

#[test]
fn mounts_of_a_sandbox_are_not_seen_outside() {
    let env = world();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let mut command =
        env.rbuild(&["run", "--rm", "probe:1", "sh", "-c", "echo begun; sleep 30"]).into_command();
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(running.stdout.as_mut().unwrap()), &mut line)
        .unwrap();
    assert_eq!(line, "begun\n");
    // Other tests mount nothing here, whoever runs them.
    assert_eq!(mounts(), before);
    running.kill().unwrap();
    running.wait().unwrap();
}

#[test]
fn other_users_cannot_use_what_is_in_the_store() {
    let env = world();
    let store = env.path("home/store");
    env.dockerfile("FROM scratch\nCOPY Dockerfile /\n");
    env.rbuild(&["--root", store.to_str().unwrap(), "."]).run().success();
    let mode = fs::metadata(&store).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o700, "{mode:o}: setuid programs of an image would be everybody's");
}

#[test]
fn a_sandbox_inside_a_sandbox_is_no_way_out() {
    let env = world();
    // Whatever a user namespace gives inside: what is hidden and read-only stays so.
    let script = "unshare -Urm true 2>/dev/null || { echo none; exit 0; }; \
                  unshare -Urm sh -c 'umount /proc/keys; umount /proc/sys; umount /sys/firmware; umount -a; \
                      test ! -s /proc/keys; echo x > /proc/sys/kernel/domainname; mount -t proc proc /tmp && echo FRESH; \
                      mount -t sysfs sys /tmp && echo FRESH; test -e /bin/probe && echo inside' 2>/dev/null";
    let ran = env.rbuild(&["run", "--rm", "probe:1", "sh", "-c", script]).run().success();
    assert!(["none\n", "inside\n"].contains(&ran.stdout()), "{ran}");
}
