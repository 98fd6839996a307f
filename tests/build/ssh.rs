//! `RUN --mount=type=ssh`: an agent of the caller's, in a step.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use crate::support::{TestEnv, require_busybox};

/// Something that answers as an agent would: whoever asks gets its name.
fn agent(env: &TestEnv, name: &'static str) -> PathBuf {
    let path = env.path(name);
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut question = String::new();
            let _ = socket.read_to_string(&mut question);
            let _ = socket.write_all(format!("{name} heard {question}").as_bytes());
        }
    });
    path
}

fn world(dockerfile: &str) -> TestEnv {
    let env = TestEnv::new();
    env.probe_image("base:1");
    env.dockerfile(dockerfile);
    env
}

#[test]
fn a_step_reaches_the_agents_that_it_asks_for() {
    let env = world(
        "FROM base:1\n\
         RUN --mount=type=ssh echo at $SSH_AUTH_SOCK && probe ask $SSH_AUTH_SOCK && probe ask $SSH_AUTH_SOCK\n\
         RUN --mount=type=ssh,id=second,target=/tmp/agent echo at $SSH_AUTH_SOCK && probe ask /tmp/agent\n\
         RUN --mount=type=ssh --mount=type=ssh,id=second probe ask /run/buildkit/ssh_agent.0 && probe ask /run/buildkit/ssh_agent.1\n\
         RUN ! test -e /run && echo left $(ls /tmp)\n",
    );
    let (first, second) = (agent(&env, "first"), agent(&env, "second"));
    let given = format!("second={}", second.display());
    let build = env.rbuild(&["--ssh", "default", "--ssh", &given, "."]).env("SSH_AUTH_SOCK", first);
    build.run().success().says(&[
        "at /run/buildkit/ssh_agent.0",
        "answer first heard who?",
        "at /tmp/agent",
        "answer second heard who?",
        "left\n",
    ]);
}

#[test]
fn the_socket_has_the_owner_and_the_mode_asked_for() {
    require_busybox!();
    let env = world(
        "FROM base:1\nRUN --mount=type=ssh stat -c 'is %u:%g %a %F' $SSH_AUTH_SOCK\n\
         RUN --mount=type=ssh,mode=0666 stat -c 'open %a' $SSH_AUTH_SOCK\n\
         USER 1000:1000\nRUN --mount=type=ssh,uid=1000,gid=1000 probe ask $SSH_AUTH_SOCK\n",
    );
    let path = agent(&env, "first");
    let built = env.rbuild(&["--ssh", "default", "."]).env("SSH_AUTH_SOCK", path).run().success();
    built.says(&["is 0:0 600 socket", "open 666", "answer first heard who?"]);
}

#[test]
fn an_agent_that_is_missing_is_told_by_who_needs_it() {
    let env = world("FROM base:1\nRUN --mount=type=ssh ! test -e /run/buildkit && echo without\n");
    env.rbuild(&["."]).run().success().says(&["without"]);
    env.dockerfile("FROM base:1\nRUN --mount=type=ssh,required true\n");
    env.rbuild(&["."]).run().code(3).says(&["no SSH agent \"default\" is forwarded", "--ssh default"]);
    env.rbuild(&["--ssh", "default", "."]).run().code(2).says(&["SSH_AUTH_SOCK is not set", "ssh-add"]);
    env.rbuild(&["--ssh", "default=/no/such", "."]).run().code(3).says(&["/no/such: No such file"]);
    let path = agent(&env, "first");
    let given = format!("default={}", path.display());
    env.rbuild(&["--ssh", &given, "--ssh", &given, "."]).run().code(2).says(&["gives default twice"]);
}
