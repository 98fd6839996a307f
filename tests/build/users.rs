//! Users inside a step: programs that run as their owner, and processes that outlive the one that started them. What the
//! kernel does where it has the ids is what is expected everywhere.

use crate::support::{BaseImage, TestEnv};

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
    crate::support::require_busybox!();
    // The inner shells end at once, by themselves or by a signal, and what they started asks later.
    with_su(
        "RUN su app -c '(sleep 0.3; id -u > /tmp/daemon) &' && sleep 0.7 && test $(cat /tmp/daemon) = 1000\n\
         RUN su app -c '((sleep 0.3; id -u > /tmp/twice) &) &' && sleep 0.7 && test $(cat /tmp/twice) = 1000\n\
         RUN su app -c '(sleep 0.3; id -u > /tmp/killed) & kill -9 $$' ; sleep 0.7 && test $(cat /tmp/killed) = 1000\n",
    );
}

#[test]
fn processes_keep_the_ids_they_were_born_with() {
    crate::support::require_busybox!();
    with_su(
        "RUN sh -c '(sleep 0.3; id -u > /early) & exec su app -c \"sleep 0.7; id -u > /tmp/late\"' && test \"$(cat /early /tmp/late | tr '\\n' ' ')\" = '0 1000 '\n\
         RUN (sleep 0.3; id -u > /early) & exec su app -c 'sleep 0.7; test $(cat /early) = 0 && test $(id -u) = 1000'\n",
    );
}
