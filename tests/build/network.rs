//! What steps and containers reach, and by which names.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Rbuild, TestEnv, require_busybox, require_tool, skip};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Leaves the test where this machine has no address beside its loopback.
macro_rules! own_address {
    () => {
        match own_address() {
            Some(address) => address,
            None => skip!("this machine has no address but loopback"),
        }
    };
}

#[test]
fn a_step_reaches_out_but_not_to_the_hosts_loopback() {
    require_busybox!();
    require_tool!("slirp4netns");
    let address = own_address!();
    let env = world();
    let (outside, loopback) = (serve(address), serve("127.0.0.1".parse().unwrap()));
    env.dockerfile(&format!(
        "FROM base:1\nRUN {}\nRUN if {}; then exit 9; fi\nRUN {}\n",
        asking(outside),
        asking(loopback),
        // Neither by the way out, nor by the name that slirp4netns has for the host.
        format_args!(
            "for ip in 10.0.2.2 10.0.2.3; do if {}; then exit 9; fi; done",
            asking_for("$ip", loopback)
        ),
    ));
    env.rbuild(&["--no-cache", "."]).run().success();
    // What is refused above is there.
    env.dockerfile(&format!("FROM base:1\nRUN --network=host {}\n", asking(loopback)));
    env.rbuild(&["--network=host", "."]).run().success();
    env.dockerfile(&format!("FROM base:1\nRUN {}\n", asking(outside)));
    env.rbuild(&["--network", "none", "."]).run().code(1);
    run(&env, &[], &asking(outside)).run().success();
    run(&env, &["--network=private"], &asking(loopback)).run().code(1);
    run(&env, &["--network=host"], &asking(loopback)).run().success();
    run(&env, &["--network=none"], &asking(outside)).run().code(1);
    run(&env, &["--network=bridge"], "true").run().code(2).says(&["bridge", "private, none, host"]);
}

#[test]
fn pasta_connects_where_nothing_else_does() {
    require_busybox!();
    require_tool!("pasta");
    let address = own_address!();
    let env = world();
    let path = broken(&env, &["slirp4netns"]);
    let (outside, loopback) = (serve(address), serve("127.0.0.1".parse().unwrap()));
    let refused = |ip: &str| format!("if {}; then exit 9; fi", asking_for(ip, loopback));
    let script = format!("{} && {}", asking(outside), refused("127.0.0.1"));
    env.dockerfile(&format!("FROM base:1\nRUN {script}\n"));
    env.rbuild(&["."]).env("PATH", &path).run().success().omits(&["there is no private network"]);
    run(&env, &["--network=pasta"], &script).env("PATH", &path).run().success();
    assert!(doctor(&env, &path).contains("by /usr/bin/pasta"));
}

#[test]
fn what_listens_without_an_address_is_out_of_reach() {
    require_busybox!();
    require_tool!("slirp4netns");
    let env = world();
    let name = format!("rbuild-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&UnixAddr::from_abstract_name(&name).unwrap()).unwrap();
    let look = format!("grep -c @{name} /proc/net/unix");
    run(&env, &[], &look).run().code(1).prints("0\n");
    run(&env, &["--network=host"], &look).run().success().prints("1\n");
}

#[test]
fn without_a_helper_the_host_network_is_used_and_that_is_said_once() {
    require_busybox!();
    let env = world();
    let path = broken(&env, &["pasta", "slirp4netns"]);
    let loopback = serve("127.0.0.1".parse().unwrap());
    env.dockerfile(&format!("FROM base:1\nRUN {0}\nRUN {0} && true\n", asking(loopback)));
    let built = env.rbuild(&["."]).env("PATH", &path).run().success();
    let warned = built.stderr().matches("there is no private network").count();
    assert_eq!(warned, 1, "{built}");
    assert!(built.stderr().contains("pasta: ") && built.stderr().contains("slirp4netns: "), "{built}");
    run(&env, &["--network=private"], "true").env("PATH", &path).run().code(125).says(&["private network"]);
    assert!(doctor(&env, &path).contains("steps have the host's network"));
}

#[test]
fn a_build_that_finds_everything_starts_nothing() {
    require_busybox!();
    let env = world();
    let path = broken(&env, &["pasta", "slirp4netns"]);
    let started = env.path("started");
    env.dockerfile("FROM base:1\nCOPY Dockerfile /\nRUN true\n");
    env.rbuild(&["."]).env("PATH", &path).run().success();
    assert!(started.exists(), "the first build has to look for a network");
    fs::remove_file(&started).unwrap();
    env.rbuild(&["."]).env("PATH", &path).run().success();
    env.rbuild(&["--no-cache", "--network=none", "."]).env("PATH", &path).run().success();
    assert!(!started.exists(), "nothing in these builds wants a network");
}

#[test]
fn a_network_dies_with_the_build_that_is_killed() {
    require_busybox!();
    require_tool!("slirp4netns");
    require_tool!("pasta");
    let env = world();
    for path in [PATH.to_owned(), broken(&env, &["slirp4netns"])] {
        env.dockerfile("FROM base:1\nRUN echo begun; sleep 1000\n");
        let mut command = env.rbuild(&["--no-cache", "."]).env("PATH", &path).into_command();
        let mut build = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for_line(&mut build, "begun");
        let below = descendants(build.id());
        let names: Vec<String> = below.iter().map(|pid| command_line(*pid)).collect();
        let count = |word: &str| names.iter().filter(|name| name.contains(word)).count();
        assert!(count("__network") >= 2 && count("eth0") >= 1, "{names:?}");
        build.kill().unwrap();
        build.wait().unwrap();
        let patience = Instant::now() + Duration::from_secs(5);
        while below.iter().any(|pid| !command_line(*pid).is_empty()) {
            assert!(Instant::now() < patience, "some of these live on: {below:?} {names:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn names_are_those_that_were_given() {
    require_busybox!();
    let env = world();
    env.dockerfile("FROM base:1\nRUN cat /etc/hosts /etc/resolv.conf > /seen\nCMD cat /seen\n");
    let options = [
        "--add-host=db:192.0.2.7",
        "--add-host=six=[2001:db8::7]",
        "--dns=192.0.2.53",
        "--dns-search=a.example",
        "--dns-option=ndots:2",
    ];
    let build = |host: &str| {
        let built = env.rbuild(&["-t", "app", ".", "--add-host", host]).arguments(&options).run().success();
        built
            .outcome("[2/2] RUN cat /etc/hosts /etc/resolv.conf > /seen")
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(build("other:192.0.2.8"), "DONE");
    env.rbuild(&["run", "--rm", "app"]).run().success().prints(
        "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n192.0.2.8\tother\n\
         192.0.2.7\tdb\n2001:db8::7\tsix\nnameserver 192.0.2.53\nsearch a.example\noptions ndots:2\n",
    );
    assert_eq!(build("other:192.0.2.9"), "CACHED", "addresses decide about no key");
    assert_eq!(build("another:192.0.2.9"), "DONE", "names do");
    for (option, value) in [
        ("--add-host", "db"),
        ("--add-host", "db:300.1.1.1"),
        ("--add-host", "a b:192.0.2.1"),
        ("--dns", "resolver"),
        ("--dns-search", "a b"),
        ("--dns-option", "a\nnameserver 192.0.2.1"),
        ("--network", "container:x"),
    ] {
        env.rbuild(&[".", option, value]).run().code(2).says(&[option]);
        env.rbuild(&["run", "--rm", option, value, "base:1"]).run().code(2).says(&[option]);
    }
}

#[test]
fn a_container_knows_itself() {
    require_busybox!();
    require_tool!("slirp4netns");
    let env = world();
    let script = "test $(cat /etc/hostname) = $(hostname) && \
                  ip=$(awk -v name=$(hostname) '$2 == name { print $1 }' /etc/hosts) && \
                  ip addr show dev eth0 | grep -q \" $ip/\" && test -e /sys/class/net/eth0";
    run(&env, &[], script).run().success();
    let gateway = own_address!();
    let server = serve(gateway);
    let options = ["--add-host", "me:host-gateway"];
    let ip = "$(awk '$2 == \"me\" { print $1 }' /etc/hosts)";
    run(&env, &options, &asking_for(ip, server)).run().success();
    let loopback = serve("127.0.0.1".parse().unwrap());
    run(&env, &["--network=host", options[0], options[1]], &asking_for(ip, loopback)).run().success();
}

fn world() -> TestEnv {
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env
}

fn run(env: &TestEnv, options: &[&str], script: &str) -> Rbuild {
    env.rbuild(&["run", "--rm"]).arguments(options).arguments(&["base:1", "sh", "-c", script])
}

fn doctor(env: &TestEnv, path: &str) -> String {
    let told = env.rbuild(&["doctor", "--format=json"]).env("PATH", path).run().success();
    told.stdout().to_owned()
}

/// The address by which others know this machine.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().unwrap().ip())
}

const QUESTION: &str = "who is there?";

/// A server that answers a question of its own kind with many bytes, until the test ends.
fn serve(address: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let served = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut question = [0; QUESTION.len()];
            if client.read_exact(&mut question).is_ok() && question == QUESTION.as_bytes() {
                let _ = client.write_all(&[b'!'; 300_000]);
            }
        }
    });
    served
}

/// A command that succeeds if the whole answer comes through.
fn asking(server: SocketAddr) -> String {
    asking_for(&server.ip().to_string(), server)
}

fn asking_for(ip: &str, server: SocketAddr) -> String {
    // Standard input stays open, so that only the server ends the connection.
    format!(
        "(rm -f /tmp/q; mkdir -p /tmp; mkfifo /tmp/q; exec 3<>/tmp/q; printf '{QUESTION}' >&3; \
         test $(timeout 10 nc {ip} {} <&3 | tr -d -c '!' | wc -c) = 300000)",
        server.port()
    )
}

/// A search path on which these programs are found and do nothing but leave a trace.
fn broken(env: &TestEnv, programs: &[&str]) -> String {
    let directory = env.path("broken");
    fs::create_dir_all(&directory).unwrap();
    let script = format!("#!/bin/sh\ntouch {}\necho broken >&2\nexit 1\n", env.path("started").display());
    for program in programs {
        fs::write(directory.join(program), &script).unwrap();
        fs::set_permissions(directory.join(program), fs::Permissions::from_mode(0o755)).unwrap();
    }
    format!("{}:{PATH}", directory.display())
}

fn wait_for_line(build: &mut Child, line: &str) {
    use std::io::{BufRead as _, BufReader};
    let mut lines = BufReader::new(build.stderr.take().unwrap()).lines();
    assert!(lines.any(|said| said.unwrap().ends_with(line)), "it ended before it said {line:?}");
    std::thread::spawn(move || lines.count());
}

fn descendants(of: u32) -> Vec<u32> {
    let children = fs::read_dir("/proc").unwrap().flatten().filter_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        let parent: u32 = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
        (parent == of).then_some(pid)
    });
    let children: Vec<u32> = children.collect();
    let below: Vec<u32> = children.iter().flat_map(|child| descendants(*child)).collect();
    [children, below].concat()
}

/// What a process was called with; empty for one that is gone, buried or not.
fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}
