//! `RUN --mount`: what a step sees, and that nothing of it stays.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;

use crate::support::{Image, TestEnv, require_busybox, require_tool};

/// Every way in which layers are put on top of each other.
const WAYS: [&str; 4] = ["kernel", "mount", "fuse", "copy"];

const USERS: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";

/// A world with a base image that has an account and something to mount.
fn world() -> TestEnv {
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env
}

/// The names in an image's last layer.
fn last_layer(env: &TestEnv, tag: &str) -> Vec<String> {
    let directory = env.path(format!("saved-{}", tag.replace(':', "-")));
    env.rbuild(&["save", "-q", "--format", "oci-dir", "-o", directory.to_str().unwrap(), tag])
        .run()
        .success();
    let image = Image::open(&directory);
    image.layer(image.manifest.layers.len() - 1).into_iter().map(|(path, _)| path).collect()
}

#[test]
fn the_context_is_shown_as_the_ignore_file_lets_it() {
    require_busybox!();
    let env = world();
    env.write("src/a.txt", "a\n").write("src/hidden", "h").write("src/deep/b.txt", "b\n").write("other", "o");
    env.write(".dockerignore", "src/hidden\nother\n");
    symlink("../../../../etc/passwd", env.context().join("src/out")).unwrap();
    fs::set_permissions(env.context().join("src/a.txt"), fs::Permissions::from_mode(0o640)).unwrap();
    let socket = UnixListener::bind(env.context().join("src/socket")).unwrap();
    env.dockerfile(
        "FROM base:1\n\
         RUN --mount=source=src,target=/s find /s | sort && cat /s/a.txt /s/deep/b.txt && readlink /s/out && \
         stat -c '%u:%g %a %F' /s/a.txt && ! test -S /s/socket && ! touch /s/new 2>/dev/null && echo kept\n\
         RUN --mount=target=/all ls /all | tr '\\n' ' '\n\
         RUN --mount=source=src/a.txt,target=/one.txt cat /one.txt && stat -c %F /one.txt\n",
    );
    let built = env.rbuild(&["-t", "app:1", "."]).run().success();
    let seen = ["/s/a.txt", "/s/deep/b.txt", "../../../../etc/passwd", "0:0 640 regular file", "kept"];
    built.says(&seen).says(&["Dockerfile src", "regular file"]).omits(&["hidden", "other"]);
    assert_eq!(last_layer(&env, "app:1"), [""; 0]);
    drop(socket);
}

#[test]
fn what_is_written_to_a_bind_is_gone_afterwards() {
    require_tool!("fuse-overlayfs");
    require_busybox!();
    for way in WAYS {
        let env = world();
        env.write("src/a", "a\n");
        env.dockerfile(
            "FROM base:1 AS made\nRUN mkdir -p /m/d && echo one > /m/1 && echo two > /m/d/2\n\
             FROM base:1\n\
             RUN --mount=source=src,target=/s,rw rm /s/a && echo new > /s/b && ls /s\n\
             RUN --mount=from=made,source=/m,target=/m,rw rm -r /m/d && echo changed > /m/1 && echo x > /m/n && ls /m\n\
             RUN --mount=from=made,source=/m/1,target=/f,rw echo over > /f && cat /f\n\
             RUN --mount=source=src,target=/s --mount=from=made,source=/m,target=/m echo $(ls /s /m) $(cat /m/1) $(cat /m/d/2)\n\
             RUN --mount=from=made,source=/m,target=/m ! touch /m/x 2>/dev/null\n",
        );
        let built = env.rbuild(&["--overlay", way, "build", "-t", "app:1", "."]).run().success();
        built.says(&["/m: 1 d /s: a one two"]);
        assert_eq!(fs::read_to_string(env.context().join("src/a")).unwrap(), "a\n", "{way}");
        assert!(!env.context().join("src/b").exists(), "{way}");
        assert_eq!(last_layer(&env, "app:1"), [""; 0], "{way}");
        env.has_no_leftovers();
    }
}

#[test]
fn a_source_is_found_by_links_inside_its_root() {
    require_busybox!();
    let env = world();
    env.dockerfile(
        "FROM base:1 AS made\nRUN mkdir -p /real/d && echo in > /real/d/f && ln -s /real /link && ln -s ../../../etc /up\n\
         FROM base:1\n\
         RUN --mount=from=made,source=/link/d,target=/t cat /t/f\n\
         RUN --mount=from=made,source=link/../link/d/f,target=/file cat /file\n\
         RUN --mount=from=made,source=/up,target=/e grep -c root /e/passwd\n\
         RUN --mount=from=scratch,target=/nothing ls -A /nothing | wc -l\n",
    );
    env.rbuild(&["."]).run().success().says(&[" in", " 1", " 0"]);
    for from in ["from=made,", ""] {
        env.dockerfile(&format!(
            "FROM base:1 AS made\nRUN true\nFROM base:1\nRUN --mount={from}source=/no/such,target=/t true\n"
        ));
        env.rbuild(&["."]).run().code(3).says(&["\"/no/such\": not found"]);
    }
}

#[test]
fn places_that_are_missing_are_made_and_leave_no_trace() {
    require_tool!("fuse-overlayfs");
    require_busybox!();
    for way in WAYS {
        let env = world();
        env.write("passwd", USERS);
        env.dockerfile(
            "FROM base:1\nCOPY passwd /etc/passwd\n\
             RUN mkdir -p /home/app /real && chown 1000:1000 /home/app && chmod 700 /home/app && ln -s /real /link && touch -d 2001-01-01 /home/app\n\
             RUN --mount=type=tmpfs,target=/home/app/.cache/a/b --mount=type=tmpfs,target=/link/x/y \
             --mount=type=secret,id=s,target=/opt/dir/secret --mount=type=tmpfs,target=/new \
             stat -c 'owner %u:%g %a' /home/app && ls /real/x && cat /opt/dir/secret\n",
        );
        let words = ["--overlay", way, "build", "--secret", "id=s,env=VALUE", "-t", "app:1", "."];
        let built = env.rbuild(&words).env("VALUE", "tiger").run().success();
        built.says(&["owner 1000:1000 700", " y", "****"]);
        assert_eq!(last_layer(&env, "app:1"), [""; 0], "{way}");
        // What the step itself makes beside them stays, and has the right owner above it.
        env.dockerfile(
            "FROM app:1\nRUN --mount=type=tmpfs,target=/home/app/.cache/a touch /home/app/mine /home/app/.cache/other\n\
             RUN stat -c '%n %u %a' /home/app /home/app/mine && find /home/app | sort | tr '\\n' ' '\n",
        );
        let built = env.rbuild(&["--overlay", way, "build", "."]).run().success();
        built.says(&[
            "/home/app 1000 700",
            "/home/app /home/app/.cache /home/app/.cache/other /home/app/mine \n",
        ]);
    }
}

#[test]
fn mounts_lie_in_each_other() {
    require_busybox!();
    let env = world();
    env.write("a/file", "a\n").write("b/file", "b\n");
    env.dockerfile(
        "FROM base:1\nWORKDIR /w\n\
         RUN --mount=source=b,target=/x/y/z --mount=type=tmpfs,target=/x --mount=type=cache,target=/x/y \
         --mount=type=secret,id=s,target=sub/secret --mount=source=a,target=sub,rw \
         cat /x/y/z/file sub/file && ls /x /x/y && cat /w/sub/secret\n\
         RUN --mount=type=cache,target=/x/y ls -A /x/y\n",
    );
    let built = env.rbuild(&["--secret", "id=s,env=VALUE", "."]).env("VALUE", "tiger").run().success();
    built.says(&[" a\n", " b\n", "****"]);
    // What is read-only takes no further place.
    env.dockerfile("FROM base:1\nRUN --mount=source=a,target=/a --mount=type=tmpfs,target=/a/missing true\n");
    let built = env.rbuild(&["."]).run().code(1);
    built.says(&["cannot mount on /a/missing: it is in something that is read-only, and is not there"]);
}

#[test]
fn the_last_of_one_target_is_seen() {
    require_busybox!();
    let env = world();
    env.write("a/file", "first\n").write("b/file", "second\n");
    env.dockerfile("FROM base:1\nRUN --mount=source=a,target=/t --mount=source=b,target=/t/ cat /t/file\n");
    env.rbuild(&["."]).run().success().says(&["second"]);
}

#[test]
fn memory_is_as_large_as_asked_for() {
    require_busybox!();
    let env = world();
    env.dockerfile(
        "FROM base:1\n\
         RUN --mount=type=tmpfs,target=/t,size=128k head -c 100k /dev/zero > /t/a && ! head -c 100k /dev/zero > /t/b\n\
         RUN --mount=type=tmpfs,target=/dev/shm,size=1m df -k /dev/shm | grep -c 1024 && echo x > /dev/shm/x\n\
         RUN --mount=type=tmpfs,target=/t,ro ! touch /t/x 2>/dev/null && stat -c 'mode %a' /t\n\
         RUN --mount=type=tmpfs,target=/t grep ' /t ' /proc/mounts && ls -A /t | wc -l\n",
    );
    let built = env.rbuild(&["-t", "app:1", "."]).run().success();
    built.says(&["standard output: ", "mode 1777", "nosuid,nodev", " 0\n"]);
    assert_eq!(last_layer(&env, "app:1"), [""; 0]);
}

#[test]
fn what_cannot_be_mounted_on_is_told() {
    require_busybox!();
    let env = world();
    env.write("dir/f", "f").write("file", "f");
    for (mount, complaint) in [
        ("source=dir,target=/etc/passwd", "cannot mount on /etc/passwd: it is no directory in the image"),
        ("source=file,target=/etc", "cannot mount on /etc: it is a directory in the image"),
        (
            "type=tmpfs,target=/etc/passwd/x",
            "cannot mount on /etc/passwd/x: it is below what is no directory",
        ),
        ("type=tmpfs,target=/proc/sys", "cannot mount on /proc/sys: it is in /proc"),
        ("type=tmpfs,target=/loop", "cannot mount on /loop: it is a link without end"),
        ("type=tmpfs,target=/root-link", "cannot mount on /root-link: it is the root itself"),
        ("type=secret,id=s,target=.", "cannot mount on /: it is the root itself"),
    ] {
        env.dockerfile(&format!(
            "FROM base:1\nRUN ln -s /loop /loop && ln -s / /root-link\nRUN --mount={mount} true\n"
        ));
        let built = env.rbuild(&["--secret", "id=s,env=VALUE", "."]).env("VALUE", "x").run().code(1);
        built.says(&[complaint, "Dockerfile:3"]);
    }
}

#[test]
fn what_every_step_has_can_be_covered() {
    require_busybox!();
    let env = world();
    env.write("hosts", "1.2.3.4 mine\n");
    env.dockerfile(
        "FROM base:1\nRUN --mount=source=hosts,target=/etc/hosts cat /etc/hosts\n\
         RUN --mount=type=tmpfs,target=/etc ls -A /etc | wc -l\n\
         RUN --mount=type=tmpfs,target=/dev/mine touch /dev/mine/x && echo fine\n\
         RUN --mount=type=tmpfs,target=/sys ls -A /sys | wc -l\n",
    );
    env.rbuild(&["."]).run().success().says(&["1.2.3.4 mine", " 0", "fine"]);
}

#[test]
fn an_image_may_be_there_for_a_mount_alone() {
    require_busybox!();
    let env = world();
    env.dockerfile("FROM base:1\nRUN echo tool > /tool\n");
    env.rbuild(&["-q", "-t", "tools:1", "."]).run().success();
    env.dockerfile("FROM base:1\nRUN --mount=from=tools:1,source=/tool,target=/t cat /t\n");
    env.rbuild(&["."]).run().success().says(&[" tool"]);
    env.dockerfile("FROM base:1\nRUN --mount=from=missing:1,target=/t true\n");
    env.rbuild(&["."]).run().code(5).says(&["missing:1"]);
}

#[test]
fn devices_open_nothing_in_a_mount() {
    require_busybox!();
    let env = world();
    env.dockerfile(
        "FROM base:1 AS made\nRUN mkdir /d && mknod /d/zero c 1 5\n\
         FROM base:1\nRUN --mount=from=made,source=/d,target=/d ! head -c 1 /d/zero 2>/dev/null | grep -q .\n\
         RUN --mount=type=cache,target=/c mknod /c/zero c 1 5; ! head -c 1 /c/zero 2>/dev/null | od | grep -q 000000\\ 000\n",
    );
    env.rbuild(&["."]).run().success();
}
