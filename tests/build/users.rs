//! Users inside a step: programs that run as their owner, and processes that outlive the one that started them. What the
//! kernel does where it has the ids is what is expected everywhere.

use crate::support::{BaseImage, TestEnv, require_busybox, skip};

/// Builds the steps on the host's own tools, on the best rung and, whoever runs the test, with a single id.
fn builds_everywhere(steps: &str) {
    for rung in ["auto", "single"] {
        let env = TestEnv::new();
        let context = BaseImage::host_shell().context(&env);
        let base = ["--isolation", rung, "-q", "-t", "base:1", context.to_str().unwrap()];
        env.rbuild(&base).run().success();
        env.dockerfile(&format!("FROM base:1\n{steps}"));
        env.rbuild(&["--isolation", rung, "-t", "app", "."]).run().success();
    }
}

#[test]
fn setuid_programs_run_as_their_owner() {
    builds_everywhere(
        "RUN cp /bin/id /root-id && chmod 4755 /root-id && cp /bin/env /seven && chown 7:50 /seven && chmod 6755 /seven\n\
         RUN echo 'id -u' > /script && chmod 4755 /script && printf '#!/bin/sh\\nid -u' > /hashed && chmod 4755 /hashed\n\
         RUN cp /bin/id /no-x && chown 0:50 /no-x && chmod 2745 /no-x && cp /bin/sh /root-sh && chmod 4755 /root-sh\n\
         USER app\n\
         RUN test $(/root-id -u) = 0 && test $(/root-id -ru) = 1000 && test $(id -u) = 1000\n\
         RUN test \"$(/seven id -u):$(/seven id -g):$(/seven id -ru):$(/seven id -rg)\" = 7:50:1000:1000\n\
         RUN /seven touch /tmp/sevens && test $(stat -c %u:%g /tmp/sevens) = 7:50\n\
         RUN test $(/script) = 1000 && test $(/hashed) = 1000 && test $(/seven /root-id -u) = 0\n\
         RUN test $(/seven sh -c 'id -ru') = 1000\n\
         USER root\n\
         RUN test $(/seven id -u) = 7 && test $(/seven id -ru) = 0 && test $(/no-x -g) = 0\n",
    );
}

/// `su` of busybox changes everything at once; no password is asked of root.
fn with_su(steps: &str) {
    let busybox = "COPY --from=busybox:1 /bin/busybox /bin/su\n";
    for rung in ["auto", "single"] {
        let env = TestEnv::new();
        for (base, tag) in [(BaseImage::host_shell(), "base:1"), (BaseImage::busybox(), "busybox:1")] {
            let context = base.context(&env);
            let arguments = ["--isolation", rung, "-q", "-t", tag, context.to_str().unwrap()];
            env.rbuild(&arguments).run().success();
        }
        env.dockerfile(&format!("FROM base:1\n{busybox}{steps}"));
        env.rbuild(&["--isolation", rung, "-t", "app", "."]).run().success();
    }
}

#[test]
fn processes_keep_their_ids_when_their_parent_is_gone() {
    require_busybox!();
    // The inner shells end at once, by themselves or by a signal, and what they started asks later.
    with_su(
        "RUN su app -c '(sleep 0.3; id -u > /tmp/daemon) &' && sleep 0.7 && test $(cat /tmp/daemon) = 1000\n\
         RUN su app -c '((sleep 0.3; id -u > /tmp/twice) &) &' && sleep 0.7 && test $(cat /tmp/twice) = 1000\n\
         RUN su app -c '(sleep 0.3; id -u > /tmp/killed) & kill -9 $$' ; sleep 0.7 && test $(cat /tmp/killed) = 1000\n",
    );
}

#[test]
fn processes_keep_the_ids_they_were_born_with() {
    require_busybox!();
    with_su(
        "RUN sh -c '(sleep 0.3; id -u > /early) & exec su app -c \"sleep 0.7; id -u > /tmp/late\"' && test \"$(cat /early /tmp/late | tr '\\n' ' ')\" = '0 1000 '\n\
         RUN (sleep 0.3; id -u > /early) & exec su app -c 'sleep 0.7; test $(cat /early) = 0 && test $(id -u) = 1000'\n",
    );
}

#[test]
fn programs_of_32_bit_see_the_same() {
    require_busybox!();
    let program = give_away_and_look();
    for rung in ["auto", "single"] {
        let env = TestEnv::new();
        let place = env.context().join("program");
        std::fs::write(&place, &program).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&place, executable).unwrap();
        // Its file is not there, which it says if it runs at all.
        if std::process::Command::new(&place).status().is_err() {
            skip!("this machine runs no 32-bit programs");
        }
        let context = BaseImage::busybox().context(&env);
        let base = ["--isolation", rung, "-q", "-t", "base:1", context.to_str().unwrap()];
        env.rbuild(&base).run().success();
        env.dockerfile(
            "FROM base:1\n\
             COPY program /program\n\
             RUN ! /program && touch /its-file && /program && test $(stat -c %u:%g /its-file) = 7:8\n\
             RUN rm /its-file && ln -s nowhere /its-file && /program && test $(stat -c %u:%g /its-file) = 7:8\n",
        );
        env.rbuild(&["--isolation", rung, "-t", "app", "."]).run().success();
    }
}

/// A 32-bit program for x86, put together by hand: it gives `/its-file` to 7:8, asks whose it is, and ends with 0 if it was
/// told the same.
fn give_away_and_look() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    const LSTAT64: u32 = 196;
    const LCHOWN32: u32 = 198;
    let (path, buffer) = (BASE + 0x200, BASE + 0x300);
    let mut code = Vec::new();
    let load = |code: &mut Vec<u8>, register: u8, value: u32| {
        code.push(register);
        code.extend(value.to_le_bytes());
    };
    let (eax, ebx, ecx, edx) = (0xb8, 0xbb, 0xb9, 0xba);
    for (register, value) in [(eax, LCHOWN32), (ebx, path), (ecx, 7), (edx, 8)] {
        load(&mut code, register, value);
    }
    // int 0x80; what it returned has to be zero: mov edi, eax.
    code.extend([0xcd, 0x80, 0x89, 0xc7]);
    for (register, value) in [(eax, LSTAT64), (ebx, path), (ecx, buffer)] {
        load(&mut code, register, value);
    }
    // int 0x80; or edi, eax.
    code.extend([0xcd, 0x80, 0x09, 0xc7]);
    for (place, wanted) in [(buffer + 24, 7_u8), (buffer + 28, 8)] {
        // mov eax, [place]; xor eax, wanted; or edi, eax.
        load(&mut code, 0xa1, place);
        code.extend([0x83, 0xf0, wanted, 0x09, 0xc7]);
    }
    // xor ebx, ebx; test edi, edi; setne bl; mov eax, exit; int 0x80.
    code.extend([0x31, 0xdb, 0x85, 0xff, 0x0f, 0x95, 0xc3]);
    load(&mut code, eax, 1);
    code.extend([0xcd, 0x80]);
    let mut file = vec![0x7f, b'E', b'L', b'F', 1, 1, 1];
    file.resize(16, 0);
    file.extend([2, 0, 3, 0]);
    [1, BASE + HEADERS, 52, 0, 0].iter().for_each(|word: &u32| file.extend(word.to_le_bytes()));
    [52, 32, 1, 40, 0, 0].iter().for_each(|half: &u16| file.extend(half.to_le_bytes()));
    // One segment of everything, readable, writable and executable.
    for word in [1, 0, BASE, BASE, 0x300, 0x1000, 7, 0x1000] {
        file.extend(u32::to_le_bytes(word));
    }
    file.extend(code);
    file.resize(0x200, 0);
    file.extend(b"/its-file");
    file.resize(0x300, 0);
    file
}

/// The kernel gives calls to one answerer only. Inside of another one, programs at least go on.
#[test]
fn inside_another_answerer_owners_are_pretended() {
    use rbuild::sys::seccomp::{Interface, Trap, hand_over};
    require_busybox!();
    let inside = || {
        // Without it an ordinary user may not install a filter; with it nobody is lent ids, which are not wanted here.
        rustix::thread::set_no_new_privs(true).unwrap();
        let unknown = Trap { interface: Interface::Native, number: 9999, when: None };
        let _listener = hand_over(&[unknown]).unwrap();
        let env = TestEnv::new();
        let context = BaseImage::busybox().context(&env);
        let base = ["--isolation", "single", "-q", "-t", "base:1", context.to_str().unwrap()];
        env.rbuild(&base).run().success();
        env.dockerfile(
            "FROM base:1\n\
             RUN touch /x && chown 1000:50 /x && mknod /node c 1 3 && test $(stat -c %u /x) = 0\n\
             RUN su app -c true && su nobody -s /bin/sh -c 'touch /tmp/y'\n",
        );
        let output = env.rbuild(&["--isolation", "single", "-t", "app", "."]).run().success();
        output.says(&["owners of files are not kept"]);
    };
    std::thread::spawn(inside).join().unwrap();
}
