//! Dockerfiles that can be read just once: pipes and devices that `--file` names.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::{TestEnv, assert_tree, binary, require_busybox, require_tool, tar};

const TEXT: &str = "FROM scratch\nCOPY . /\n";

/// Runs `rbuild` in a shell, which knows about pipes and descriptors.
fn shell(env: &TestEnv, arguments: &str) -> crate::support::Output {
    let line = format!("rbuild() {{ exec {} \"$@\"; }}; {arguments}", binary().display());
    env.program("bash", &["-c", &line]).run()
}

/// A context with one file that is ignored, and one that only a Dockerfile's own ignore file would hide.
fn env() -> TestEnv {
    let env = TestEnv::new();
    env.write("a", "a").write("hidden", "x").write(".dockerignore", "hidden\n.dockerignore\n*.text\n");
    fs::set_permissions(env.context().join("a"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .unwrap();
    env
}

#[test]
fn pipes_and_descriptors_are_read_once() {
    require_tool!("bash");
    let env = env();
    fs::write(env.path("text"), TEXT).unwrap();
    for (number, arguments) in [
        "rbuild -t app -f <(cat ../text) .",
        "cat ../text | rbuild -t app -f /dev/stdin .",
        "cat ../text | rbuild -t app -f /proc/self/fd/0 .",
        "rbuild -t app -f /dev/fd/7 . 7< <(cat ../text)",
        "rbuild -t app -f /dev/stdin . < ../text",
        "rbuild -t app -f /dev/fd/7 . 7< ../text",
        "mkfifo ../pipe; (cat ../text > ../pipe) & rbuild -t app -f ../pipe .",
    ]
    .into_iter()
    .enumerate()
    {
        let built = shell(&env, arguments).success().says(&["load build definition from "]);
        assert_tree(&env.image("app"), &["f644 a: a"], arguments);
        // The same whatever it comes from.
        assert!(number == 0 || built.outcome("COPY") == Some("CACHED"), "{arguments}\n{built}");
    }
    env.has_no_leftovers();
}

#[test]
fn a_socket_on_standard_input_is_read() {
    require_tool!("python3");
    let env = env();
    // As programs have it that other programs have started.
    let script = format!(
        "import socket, subprocess, sys\na, b = socket.socketpair()\na.sendall({TEXT:?}.encode())\na.close()\n\
         sys.exit(subprocess.run([{:?}, '-t', 'app', '-f', '/dev/stdin', '.'], stdin=b).returncode)\n",
        binary().display().to_string()
    );
    env.program("python3", &["-c", &script]).run().success();
    assert_tree(&env.image("app"), &["f644 a: a"], "");
}

#[test]
fn steps_are_run_from_a_dockerfile_of_a_pipe() {
    require_tool!("bash");
    require_busybox!();
    let env = env();
    env.busybox_image("base:1");
    shell(&env, "rbuild --no-cache -t app -f <(printf 'FROM base:1\\nRUN echo made > /made\\n') .").success();
    assert_eq!(env.image("app").text("made"), "made\n");
}

#[test]
fn what_is_asked_about_a_dockerfile_is_answered_for_pipes() {
    require_tool!("bash");
    let env = env();
    let ask = |option: &str| {
        let asked = format!("rbuild {option} -f <(printf 'FROM scratch AS one\\nARG A=1\\nCOPY a /\\n') .");
        shell(&env, &asked).success().stdout().to_owned()
    };
    assert!(ask("--check").contains("no warnings found"));
    assert!(ask("--call=outline").contains("BUILD ARG"));
    assert!(ask("--call=targets").contains("one (default)"));
    assert!(ask("--dump=ast").contains("COPY"));
    assert!(ask("--dump=plan").contains("one: vertex"));
    assert!(ask("--dump=keys").contains("content "));
    // Mistakes have their places.
    let wrong = shell(&env, "rbuild -f <(printf 'FROM scratch\\nRUM x\\n') .").code(3);
    wrong.says(&["/dev/fd/", ":2", "RUM"]);
}

#[test]
fn what_is_no_dockerfile_is_told() {
    for tool in ["bash", "script"] {
        require_tool!(tool);
    }
    let env = env();
    fs::create_dir(env.path("directory")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(env.path("socket")).unwrap();
    env.rbuild(&["-f", "/dev/null", "."])
        .run()
        .code(3)
        .says(&["/dev/null is empty", "a Dockerfile is expected"]);
    env.rbuild(&["-f", "/dev/stdin", "."]).run().code(3).says(&["/dev/stdin is empty"]);
    env.rbuild(&["-f", "/dev/zero", "."]).run().code(3).says(&["/dev/zero is larger than the 64 MiB"]);
    env.rbuild(&["-f", "../directory", "."])
        .run()
        .code(3)
        .says(&["../directory is a directory, and no regular file"]);
    env.rbuild(&["-f", "../socket", "."]).run().code(3).says(&["../socket is a socket, and no regular file"]);
    drop(socket);
    shell(&env, "rbuild -f <(printf 'FROM \\377\\n') .").code(3).says(&["/dev/fd/"]);
    let typed = format!("{} -f /dev/tty .", binary().display());
    let typed = env.program("script", &["-qec", &typed, "/dev/null"]).run().code(3);
    assert!(typed.stdout().contains("/dev/tty is a terminal, and no Dockerfile"), "{typed}");
    // Nobody names it, so it is nothing that was meant to be read.
    assert!(Command::new("mkfifo").arg(env.context().join("Dockerfile")).status().unwrap().success());
    env.rbuild(&["."]).run().code(3).says(&["Dockerfile is a pipe, and no regular file"]);
}

#[test]
fn a_context_on_standard_input_is_no_dockerfile_under_another_name() {
    require_tool!("bash");
    let env = env();
    let archive = tar(&["a", "text 644 FROM scratch\nCOPY a /in\n"]);
    let both = env.rbuild(&["-f", "/dev/stdin", "-"]).input(archive.clone()).run().code(2);
    both.says(&["standard input cannot be the context and the Dockerfile at once"]);
    fs::write(env.path("context.tar"), archive).unwrap();
    // Beside an archive an absolute path is one of this machine, and another one is in the archive, whatever is here.
    shell(&env, "rbuild -t app -f <(printf 'FROM scratch\\nCOPY a /out\\n') - < ../context.tar").success();
    assert_tree(&env.image("app"), &["f644 out: a"], "");
    assert!(Command::new("mkfifo").arg(env.context().join("text")).status().unwrap().success());
    shell(&env, "rbuild -t app -f text - < ../context.tar").success();
    assert_tree(&env.image("app"), &["f644 in: a"], "");
    symlink("/dev/stdin", env.path("other")).unwrap();
    let link = env.path("other").display().to_string();
    shell(&env, &format!("rbuild -f {link} - < ../context.tar")).code(2).says(&["at once"]);
}
