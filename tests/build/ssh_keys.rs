//! `--ssh ID=KEYFILE`: keys in an agent of the build's own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{BaseImage, TestEnv, git_world, is_root, require_tool, started};

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Makes a key in the context; its fingerprint.
fn key(env: &TestEnv, name: &str, arguments: &[&str], passphrase: &str) -> String {
    let keygen = |arguments: &[&str]| {
        let output = Command::new("ssh-keygen").args(arguments).current_dir(env.context()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    keygen(&[&["-q", "-N", passphrase, "-C", name, "-f", name], arguments].concat());
    let listed = keygen(&["-l", "-f", name]);
    listed.split(' ').nth(1).unwrap().to_owned()
}

/// A base image with `ssh-add`, and no context but what a test wants.
fn world() -> TestEnv {
    let env = TestEnv::new();
    let context = BaseImage::host_shell_with(&["ssh-add", "ssh-keygen"]).context(&env);
    env.rbuild(&["-q", "-t", "base:1", context.to_str().unwrap()]).run().success();
    env
}

/// A path to programs on which `ssh-agent` writes down its number before it is what it is.
fn counted_agents(env: &TestEnv) -> (String, PathBuf) {
    let (bin, numbers) = (env.path("bin"), env.path("agents"));
    fs::create_dir_all(&bin).unwrap();
    fs::write(&numbers, "").unwrap();
    let real = PATH.split(':').map(|directory| Path::new(directory).join("ssh-agent"));
    let real = real.into_iter().find(|path| path.exists()).unwrap();
    let script = format!("#!/bin/sh\necho $$ >> {}\nexec {} \"$@\"\n", numbers.display(), real.display());
    fs::write(bin.join("ssh-agent"), script).unwrap();
    fs::set_permissions(bin.join("ssh-agent"), fs::Permissions::from_mode(0o755)).unwrap();
    (format!("{}:{PATH}", bin.display()), numbers)
}

/// The processes of the agents that have been started.
fn agents(numbers: &Path) -> Vec<PathBuf> {
    let numbers = fs::read_to_string(numbers).unwrap();
    numbers.lines().map(|number| Path::new("/proc").join(number)).collect()
}

#[test]
fn a_step_reaches_the_keys_that_are_named_and_no_others() {
    require_tool!("ssh-agent");
    let env = world();
    let first = key(&env, "first", &["-t", "ed25519"], "");
    let second = key(&env, "second", &["-t", "rsa", "-b", "2048", "-m", "PEM"], "");
    let third = key(&env, "third", &["-t", "ecdsa", "-m", "PKCS8"], "");
    // What ssh-add by itself would refuse: a mode that lets others read, ends of lines of other systems, and none at the end.
    fs::set_permissions(env.context().join("first"), fs::Permissions::from_mode(0o644)).unwrap();
    let text = fs::read_to_string(env.context().join("third")).unwrap();
    env.write("third", text.replace('\n', "\r\n").trim_end());
    env.dockerfile(
        "FROM base:1\n\
         RUN --mount=type=ssh ssh-add -l | while read -r line; do echo default $line; done\n\
         RUN --mount=type=ssh,id=other ssh-add -l | while read -r line; do echo other $line; done\n\
         RUN --mount=type=ssh,uid=1000 --mount=type=ssh,id=other ssh-add -T /key.pub && echo signs || echo signs not\n\
         RUN ssh-add -l || echo without $SSH_AUTH_SOCK $?\n\
         USER 1000\nRUN --mount=type=ssh,uid=1000 ssh-add -l | while read -r line; do echo user $line; done\n",
    );
    let public = fs::read_to_string(env.context().join("first.pub")).unwrap();
    let dockerfile = fs::read_to_string(env.context().join("Dockerfile")).unwrap();
    let with_public = format!("FROM base:1\nRUN echo '{}' > /key.pub\n", public.trim());
    env.dockerfile(&dockerfile.replace("FROM base:1\n", &with_public));
    // The user's own agent, which nobody is led to.
    let own = UnixListener::bind(env.path("own")).unwrap();
    own.set_nonblocking(true).unwrap();
    let (path, numbers) = counted_agents(&env);
    let build = |arguments: &[&str]| {
        let keys = ["-t", "app", "--ssh", "default=first,second", "--ssh", "other=third", "."];
        let build = env.rbuild(arguments).arguments(&keys);
        build.env("SSH_AUTH_SOCK", env.path("own")).env("PATH", &path).run().success()
    };
    let built = build(&[]);
    let built = built.says(&[
        &format!("default 256 {first} first (ED25519)"),
        &format!("default 2048 {second}"),
        &format!("other 256 {third}"),
        "signs\n",
        "without 2\n",
        &format!("user 256 {first}"),
    ]);
    let secret = fs::read_to_string(env.context().join("first")).unwrap();
    let secret = secret.lines().nth(2).unwrap();
    built.omits(&[&format!("default 256 {third}"), &format!("other 256 {first}"), secret]);
    assert!(own.accept().is_err(), "the user's own agent was asked");
    // One for each id, and none when there is nothing to do.
    let started = agents(&numbers);
    assert_eq!(started.len(), 2);
    assert!(started.iter().all(|agent| !agent.exists()), "agents live on");
    env.has_no_leftovers();
    build(&[]);
    assert_eq!(agents(&numbers).len(), 2, "a build that finds everything needs no agent");
    let found = Command::new("grep").args(["-rlF", secret]).arg(env.store()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the key lies in the store");
}

#[test]
fn a_step_cannot_change_what_others_are_served() {
    require_tool!("ssh-agent");
    let env = world();
    let print = key(&env, "key", &["-t", "ed25519"], "");
    env.dockerfile(
        "FROM base:1\n\
         RUN --mount=type=ssh ssh-keygen -q -t ed25519 -N '' -f /own; \
           ssh-add /own || echo not added; ssh-add -D || echo not emptied; \
           ssh-add -s /usr/lib/x.so </dev/null || echo not loaded\n\
         RUN --mount=type=ssh ssh-add -l | while read -r line; do echo has $line; done; echo end\n",
    );
    let built = env.rbuild(&["--ssh", "default=key", "."]).run().success();
    let built = built.says(&["not added", "not emptied", "not loaded", &format!("has 256 {print}")]);
    assert_eq!(built.stderr().matches("has 256").count(), 1, "{}", built.stderr());
}

#[test]
fn git_reaches_the_keys_wherever_the_store_is() {
    require_tool!("ssh-agent");
    let (env, _server, repository) = git_world();
    let print = key(&env, "key", &["-t", "ed25519"], "");
    let (path, numbers) = counted_agents(&env);
    // Instead of a connection: what the agent has, and what would be run at the other end.
    let script = "#!/bin/sh\nssh-add -l >&2 || exit 1\nfor last; do :; done\nexec sh -c \"$last\"\n";
    fs::write(env.path("bin/ssh"), script).unwrap();
    fs::set_permissions(env.path("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
    let address = format!("ssh://h.example{}", repository.path().display());
    env.dockerfile(&format!("FROM scratch\nADD {address} /\n"));
    let deep = env.path("d".repeat(120));
    for store in [env.store(), deep] {
        // Without a name of its own it is the one that git asks.
        let build = env.rbuild(&["--root", store.to_str().unwrap(), "--ssh", "=key", "."]);
        build.env("PATH", &path).run().success().says(&[&print]);
        let build = env.rbuild(&["--root", store.to_str().unwrap(), "--ssh", "default=key", &address]);
        let failed = build.env("PATH", &path).run().code(3);
        failed.says(&[&print, "Dockerfile"]);
    }
    assert!(agents(&numbers).iter().all(|agent| !agent.exists()), "agents live on");
}

#[test]
fn what_is_no_key_is_refused_before_anything_is_built() {
    require_tool!("ssh-agent");
    let env = TestEnv::new();
    key(&env, "key", &["-t", "ed25519"], "");
    key(&env, "locked", &["-t", "ed25519"], "t1ger");
    key(&env, "locked-pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"], "t1ger");
    let text = fs::read_to_string(env.context().join("key")).unwrap();
    env.write("text", "not a key\n").write("half", &text[..150]).write("large", &"x".repeat(102_401));
    fs::create_dir(env.context().join("directory")).unwrap();
    let _socket = UnixListener::bind(env.context().join("socket")).unwrap();
    let _other = UnixListener::bind(env.context().join("socket2")).unwrap();
    env.dockerfile("FROM scratch\nCOPY text /\n");
    let secret = text.lines().nth(2).unwrap();
    for (given, code, said) in [
        ("default=none", 3, ["--ssh default=none: none: No such file", "--ssh ID=KEYFILE"]),
        ("default=key,none", 3, ["none: No such file", "that you may read"]),
        ("default=directory", 3, ["directory: Is a directory", "a private key"]),
        ("default=large", 3, ["large: larger than the 100 KiB", "a private key"]),
        ("default=text", 3, ["text is no private key", "name a private key"]),
        ("default=half", 3, ["half is a private key that is cut off", "ssh-keygen -y -f half"]),
        ("default=key.pub", 3, ["key.pub is a public key", "without .pub"]),
        ("default=locked", 3, ["locked is protected by a passphrase", "ssh-add locked"]),
        ("other=locked-pem", 3, ["locked-pem is protected by a passphrase", "--ssh other"]),
        ("default=key,", 2, ["a name between the commas is missing", "--ssh"]),
        ("default=key,socket", 2, ["sockets and keys cannot be given", "by another id"]),
        ("default=socket,socket2", 2, ["one socket only", "by another id"]),
    ] {
        let refused = env.rbuild(&["--ssh", given, "."]).run().code(code);
        refused.says(&said).omits(&[secret, "COPY"]);
    }
    let twice = env.rbuild(&["--ssh", "default=key", "--ssh", "default=key", "."]).run().code(2);
    twice.says(&["gives default twice", "--ssh default=KEYFILE,KEYFILE"]);
    let named = env.rbuild(&["--ssh", "default", "."]).env("SSH_AUTH_SOCK", "key").run().code(2);
    named.says(&["which SSH_AUTH_SOCK names, is no socket", "--ssh default=KEYFILE"]);
    if !is_root() {
        fs::set_permissions(env.context().join("key"), fs::Permissions::from_mode(0o000)).unwrap();
        let unreadable = env.rbuild(&["--ssh", "default=key", "."]).run().code(3);
        unreadable.says(&["key: Permission denied", "that you may read"]);
    }
}

#[test]
fn what_the_agent_lacks_is_told_by_the_step_that_needs_it() {
    require_tool!("ssh-agent");
    let env = world();
    key(&env, "key", &["-t", "ed25519"], "");
    env.dockerfile("FROM base:1\nRUN true\n");
    let bare = env.path("bare");
    fs::create_dir(&bare).unwrap();
    let path = bare.display().to_string();
    // What entering a namespace takes.
    for program in ["newuidmap", "newgidmap", "sh", "cat"] {
        let real =
            PATH.split(':').map(|directory| Path::new(directory).join(program)).find(|path| path.exists());
        if let Some(real) = real {
            std::os::unix::fs::symlink(real, bare.join(program)).unwrap();
        }
    }
    let build = || env.rbuild(&["--ssh", "default=key", "."]).env("PATH", &path).run();
    build().success();
    env.dockerfile("FROM base:1\nRUN --mount=type=ssh true\n");
    let missing = build().code(3);
    missing.says(&[
        "the program ssh-agent is not installed",
        "Debian: package openssh-client",
        "RUN --mount",
    ]);
    let program = |name: &str, script: &str| {
        fs::write(bare.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(bare.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    program("ssh-agent", "echo out of order >&2; exit 1");
    build().code(3).says(&["ssh-agent does not answer: out of order", "--ssh default=SOCKET"]);
    fs::remove_file(bare.join("ssh-agent")).unwrap();
    std::os::unix::fs::symlink("/usr/bin/ssh-agent", bare.join("ssh-agent")).unwrap();
    build().code(3).says(&["the program ssh-add is not installed", "openssh-client"]);
    program("ssh-add", "cat > /dev/null; echo 'no: such key' >&2; exit 1");
    build()
        .code(3)
        .says(&["the key key of --ssh default cannot be loaded: no: such key", "ssh-keygen -y -f key"]);
    env.has_no_leftovers();
}

#[test]
fn the_agent_ends_with_the_build_however_that_ends() {
    require_tool!("ssh-agent");
    let env = world();
    key(&env, "key", &["-t", "ed25519"], "");
    let (path, numbers) = counted_agents(&env);
    let build = || env.rbuild(&["--ssh", "default=key", "."]).env("PATH", &path);
    let is_over = |count: usize| {
        let agents = agents(&numbers);
        assert_eq!(agents.len(), count);
        let patience = Instant::now() + Duration::from_secs(5);
        while agents.iter().any(|agent| agent.exists()) {
            assert!(Instant::now() < patience, "{agents:?}: one of them lives on");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    env.dockerfile("FROM base:1\nRUN --mount=type=ssh ssh-add -l && false\n");
    build().run().code(1);
    is_over(1);
    env.has_no_leftovers();
    env.dockerfile("FROM base:1\nRUN --mount=type=ssh ssh-add -l && echo begun && sleep 1000\n");
    let ends = [(Signal::INT, Some(130)), (Signal::TERM, Some(130)), (Signal::KILL, None)];
    for (count, (signal, code)) in (2..).zip(ends) {
        let mut build = started(build(), "begun");
        let alive = agents(&numbers).into_iter().filter(|agent| agent.exists()).count();
        assert_eq!(alive, 1, "the step is served by one agent");
        kill_process(Pid::from_child(&build), signal).unwrap();
        assert_eq!(build.wait().unwrap().code(), code);
        is_over(count);
        if signal != Signal::KILL {
            env.has_no_leftovers();
        }
    }
    // What the killed one could not remove is removed by who comes next.
    env.dockerfile("FROM base:1\nRUN true\n");
    env.rbuild(&["."]).run().success();
    env.rbuild(&["prune", "-f"]).run().success();
    env.has_no_leftovers();
}

#[test]
fn nobody_is_asked_at_a_terminal() {
    require_tool!("ssh-agent");
    require_tool!("script");
    let env = world();
    // Instead of one that would ask: it says whether it could.
    let program = env.path("bin/ssh-add");
    key(&env, "key", &["-t", "ed25519"], "");
    fs::create_dir(env.path("bin")).unwrap();
    fs::write(&program, "#!/bin/sh\nif (: < /dev/tty) 2>/dev/null; then echo a terminal; else echo no terminal; fi >&2\nexit 1\n")
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    env.dockerfile("FROM base:1\nRUN --mount=type=ssh true\n");
    let build = env.rbuild(&["--ssh", "default=key", "."]).into_command();
    let words: Vec<_> = std::iter::once(build.get_program()).chain(build.get_args()).collect();
    let line = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let path = format!("{}:{PATH}", env.path("bin").display());
    let mut script = env.program("script", &["-qec", &line, "/dev/null"]).env("PATH", path).into_command();
    let output = script.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("cannot be loaded: no terminal"), "{said}");
}
