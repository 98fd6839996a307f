//! Contexts and steps that mean harm, or are merely strange.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use crate::support::{TestEnv, require_busybox, skip};

fn world() -> TestEnv {
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env
}

#[test]
fn links_out_of_the_context_lead_nowhere() {
    require_busybox!();
    let env = world();
    fs::write(env.path("secret"), "secret").unwrap();
    let secret = env.path("secret");
    symlink(&secret, env.context().join("absolute")).unwrap();
    symlink("../secret", env.context().join("relative")).unwrap();
    symlink("..", env.context().join("up")).unwrap();
    let sources = ["absolute", "relative", "up/secret", "../secret", "/../secret", secret.to_str().unwrap()];
    for source in sources {
        env.dockerfile(&format!("FROM base:1\nCOPY {source} /stolen\n"));
        env.rbuild(&["."]).run().code(3).says(&["not found", "Dockerfile:2"]);
    }
    env.has_no_leftovers();
}

#[test]
fn links_are_copied_as_links() {
    require_busybox!();
    let env = world();
    fs::create_dir(env.context().join("links")).unwrap();
    for (target, name) in [("loop", "loop"), ("b", "a"), ("a", "b"), ("/etc/passwd", "out"), ("..", "up")] {
        symlink(target, env.context().join("links").join(name)).unwrap();
    }
    env.dockerfile("FROM base:1\nCOPY links /links/\n");
    env.rbuild(&["-t", "app", "."]).run().success();
    let check = "cd /links && for link in *; do echo $link $(readlink $link); done";
    let expected = "a b\nb a\nloop loop\nout /etc/passwd\nup ..\n";
    env.rbuild(&["run", "--rm", "app", "sh", "-c", check]).run().success().prints(expected);
    env.dockerfile("FROM base:1\nCOPY links/a /\n");
    env.rbuild(&["."]).run().code(3).says(&["leads through links without end"]);
}

#[test]
fn fifos_are_kept_and_sockets_become_empty_files() {
    require_busybox!();
    let env = world();
    env.program("mkfifo", &["fifo"]).run().success();
    let _listener = UnixListener::bind(env.context().join("socket")).unwrap();
    env.dockerfile(
        "FROM base:1\nCOPY fifo socket /\nRUN test -p /fifo && test -f /socket && test ! -s /socket\n",
    );
    env.rbuild(&["-t", "app", "."]).run().success();
    env.rbuild(&["run", "--rm", "app", "test", "-p", "/fifo"]).run().success();
}

#[test]
fn strange_names_are_kept() {
    require_busybox!();
    let env = world();
    let longest = "x".repeat(255);
    let names: [&[u8]; 8] = [
        b"new\nline",
        b"not-\xff\xfe-text",
        b"-rf",
        b"$HOME",
        b"*",
        b"back\\slash",
        b" blank",
        longest.as_bytes(),
    ];
    fs::create_dir(env.context().join("names")).unwrap();
    for name in names {
        fs::write(env.context().join("names").join(OsStr::from_bytes(name)), "there").unwrap();
    }
    env.dockerfile("FROM base:1\nCOPY names /names/\n");
    env.rbuild(&["-t", "app", "."]).run().success();
    let check = "cd /names && test -f \"$(printf 'new\\nline')\" && test -f \"$(printf 'not-\\377\\376-text')\" && \
                 test -f ./-rf && cat ./* | wc -c";
    env.rbuild(&["run", "--rm", "app", "sh", "-c", check]).run().success().prints("40\n");
}

#[test]
fn a_name_that_means_a_deletion_is_refused() {
    require_busybox!();
    let env = world();
    env.dockerfile("FROM base:1\nRUN touch /tmp/.wh.etc\n");
    env.rbuild(&["."]).run().code(3).says(&["/tmp/.wh.etc", "deletion"]);
    env.has_no_leftovers();
}

#[test]
fn what_the_user_owns_is_read_whatever_its_mode() {
    require_busybox!();
    let env = world();
    env.write("closed", "closed");
    env.program("chmod", &["000", "closed"]).run().success();
    env.dockerfile("FROM base:1\nCOPY closed /\nRUN test \"$(stat -c %a /closed)\" = 0\n");
    env.rbuild(&["."]).run().success();
}

#[test]
fn a_step_inherits_nothing_but_its_streams() {
    require_busybox!();
    let env = world();
    // The listing program has one descriptor of its own.
    let ran = env.rbuild(&["run", "--rm", "base:1", "ls", "/proc/self/fd"]).run().success();
    assert_eq!(ran.stdout(), "0\n1\n2\n3\n", "{ran}");
    env.dockerfile("FROM base:1\nRUN test \"$(ls /proc/self/fd | wc -l)\" = 4 && readlink /proc/self/fd/0\n");
    env.rbuild(&["."]).run().success().says(&["/dev/null"]);
}

#[test]
fn a_step_cannot_reach_the_host() {
    require_busybox!();
    let env = world();
    let attempts = [
        "echo 1 > /proc/sys/kernel/sysrq",
        "echo x > /proc/self/exe",
        "mount -t tmpfs none /tmp",
        "umount /proc/sys",
        "mount -o remount,rw /sys",
        "mkdir /sys/fs/cgroup/rbuild-test",
        "hostname other",
        "head -c 1 /proc/kcore",
        "echo x > /etc/hosts",
        "chroot /proc/1/root/../.. test -e /var/lib/dpkg",
    ];
    for attempt in attempts {
        let script = format!("({attempt}) 2>/dev/null");
        let outcome =
            env.rbuild(&["run", "--rm", "base:1", "sh", "-c", &format!("{script} || exit 77")]).run();
        outcome.code(77);
    }
    // Only its own processes, and none of them outside its reach.
    let script = "ls /proc | grep -c '^[0-9]'; grep CapEff /proc/self/status | cut -f 2";
    let ran = env.rbuild(&["run", "--rm", "base:1", "sh", "-c", script]).run().success();
    let (processes, capabilities) = ran.stdout().split_once('\n').unwrap();
    assert!(processes.parse::<u32>().unwrap() < 6, "{ran}");
    assert_eq!(capabilities, "00000000a80425fb\n", "{ran}");
}

#[test]
fn a_step_may_close_its_streams_or_fill_them() {
    require_busybox!();
    let env = world();
    env.dockerfile("FROM base:1\nRUN exec >&- 2>&-; echo on > /on; true\nRUN test -e /on\n");
    env.rbuild(&["."]).run().success();
    env.dockerfile("FROM base:1\nRUN head -c 3000000 /dev/zero\nRUN yes | head -n 100000\n");
    env.rbuild(&["-q", "."]).run().success();
}

#[test]
fn a_text_that_grows_without_end_is_refused() {
    let env = TestEnv::new();
    let mut text = "FROM scratch\nENV a0=0123456789\n".to_owned();
    for number in 1..12 {
        text += &format!("ENV a{number}={}\n", format!("$a{}", number - 1).repeat(10));
    }
    env.dockerfile(&text);
    env.rbuild(&["."]).run().code(3).says(&["64 MiB"]);
}

#[test]
fn a_full_disk_is_a_store_error() {
    let env = TestEnv::new();
    env.write("large", &"0123456789abcdef".repeat(1 << 18));
    env.dockerfile("FROM scratch\nCOPY large /\n");
    let small = env.path("home/small");
    fs::create_dir(&small).unwrap();
    let script = "mount -t tmpfs -o size=2m none \"$0\" && exec \"$@\"";
    let world = |command: &[&str]| {
        let inside = ["--map-root-user", "--mount", "sh", "-c", script, small.to_str().unwrap()];
        env.program("unshare", &[&inside[..], command].concat()).env("RBUILD_ROOT", &small).run()
    };
    if !world(&["true"]).succeeded() {
        skip!("no tmpfs can be mounted in a user namespace here");
    }
    let rbuild = crate::support::binary();
    world(&[rbuild.to_str().unwrap(), "."]).code(6).says(&["No space left", "--root"]);
}
