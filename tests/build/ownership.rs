//! Owners are kept, whoever builds: with every id, with a range of them, and with just one.

use crate::support::{Image, Kind, Registry, TestEnv, require_busybox, require_tool};

#[test]
fn owners_are_kept_in_steps_and_in_layers() {
    require_tool!("docker-registry");
    require_busybox!();
    let env = TestEnv::new();
    let registry = Registry::start();
    env.busybox_image("base:1");
    env.write("copied.txt", "copied");
    env.dockerfile(
        "FROM base:1 AS made\n\
         RUN mkdir /d && echo f > /d/f && chown -R 1000:50 /d && chown 7 /d/f && chmod 4755 /d/f\n\
         RUN test \"$(stat -c %u:%g:%a /d /d/f | tr '\\n' ' ')\" = '1000:50:755 7:50:4755 '\n\
         RUN mv /d/f /moved && cp -p /moved /copy && touch /d/roots\n\
         RUN chown 8 /copy && test $(stat -c %a /copy) = 755\n\
         FROM base:1\n\
         COPY --from=made /d /moved /copy /here/\n\
         COPY --chown=app:daemon copied.txt /named\n\
         COPY --chown=4711 copied.txt /numbered\n\
         USER app\n\
         WORKDIR /home/app/work\n",
    );
    let tag = format!("{}/app:1", registry.address());
    env.rbuild(&["-t", &tag, "--push", "."]).run().success();
    let image = Image::fetch(&registry, "app:1").sound();
    let files = image.files();
    let owner = |path: &str| (files[path].uid, files[path].gid, files[path].mode & 0o7777);
    assert_eq!(owner("here/moved"), (7, 50, 0o4755), "{}", image.listing().join("\n"));
    assert_eq!(owner("here/copy"), (8, 50, 0o755));
    assert_eq!(owner("here/roots"), (0, 0, 0o644));
    assert_eq!(owner("numbered"), (4711, 4711, 0o644));
    assert_eq!((files["named"].uid, files["named"].gid), (1000, 1));
    assert_eq!((files["home/app/work"].uid, files["home/app/work"].gid), (1000, 1000));
    assert!(!image.mentions("user.rbuild"), "a record of the store got into a layer");
    // And whoever takes the image from the registry finds them again.
    let other = TestEnv::new();
    let seen = "stat -c '%u:%g %n' /here/moved /named /home/app/work";
    other
        .rbuild(&["run", "--rm", "-u", "root", &tag, "sh", "-c", seen])
        .run()
        .success()
        .prints("7:50 /here/moved\n1000:1 /named\n1000:1000 /home/app/work\n");
}

#[test]
fn owners_that_nobody_lends_are_kept_in_layers() {
    require_tool!("docker-registry");
    require_busybox!();
    let registry = Registry::start();
    let tag = |name: &str| format!("{}/{name}:1", registry.address());
    let made = TestEnv::new();
    made.write("file", "content");
    made.dockerfile("FROM scratch\nCOPY --chown=200000:300000 file /f\n");
    made.rbuild(&["-t", &tag("made"), "--push", "."]).run().success();
    let owner = |image: &str, path: &str| {
        let files = Image::fetch(&registry, image).sound().files();
        (files[path].uid, files[path].gid)
    };
    assert_eq!(owner("made:1", "f"), (200_000, 300_000));
    // And in a store that has to unpack them.
    let other = TestEnv::new();
    other.dockerfile(&format!("FROM scratch\nCOPY --from={} /f /g\n", tag("made")));
    other.rbuild(&["-t", &tag("other"), "--push", "."]).run().success();
    assert_eq!(owner("other:1", "g"), (200_000, 300_000));
}

#[test]
fn users_may_be_changed_and_root_regained() {
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    env.dockerfile(
        "FROM base:1\n\
         RUN id -u > /ids && su app -c 'id -u; id -g; id -un' >> /ids && id -u >> /ids\n\
         USER app\n\
         RUN test $(id -u) = 1000 && test $(id -g) = 1000 && test $HOME = /home/app\n\
         RUN touch /tmp/mine && mkdir /tmp/dir && echo x > /tmp/dir/in && ! mkdir /tmp/dir 2> /dev/null\n\
         RUN test \"$(stat -c %u:%g:%a /tmp/mine /tmp/dir /tmp/dir/in | tr '\\n' ' ')\" = '1000:1000:644 1000:1000:755 1000:1000:644 '\n\
         RUN (umask 077; touch /tmp/tight) && test $(stat -c %a /tmp/tight) = 600 && echo more >> /tmp/mine\n\
         RUN ! chown 0 /tmp && ! su root -c true < /dev/null\n\
         USER 4711:50\n\
         RUN test \"$(id -u):$(id -g)\" = 4711:50\n",
    );
    env.rbuild(&["-t", "app", "."]).run().success();
    env.rbuild(&["run", "--rm", "app", "cat", "/ids"]).run().success().prints("0\n1000\n1000\napp\n0\n");
    env.rbuild(&["run", "--rm", "-u", "app", "app", "id", "-u"]).run().success().prints("1000\n");
}

#[test]
fn devices_of_steps_reach_the_layer() {
    require_tool!("docker-registry");
    require_busybox!();
    let env = TestEnv::new();
    let registry = Registry::start();
    env.busybox_image("base:1");
    env.dockerfile(
        "FROM base:1\n\
         RUN mknod -m 620 /node c 1 3 && mknod /block b 7 1 && chown 5:6 /block && mkfifo -m 600 /pipe\n\
         RUN mv /node /moved\n\
         USER app\n\
         RUN ! mknod /tmp/refused c 1 3 && ! test -e /tmp/refused\n",
    );
    let tag = format!("{}/app:1", registry.address());
    env.rbuild(&["-t", &tag, "--push", "."]).run().success();
    let image = Image::fetch(&registry, "app:1").sound();
    let files = image.files();
    let line = |path: &str| files[path].describe(path);
    assert_eq!(files["pipe"].kind, Kind::Other(b'6'));
    assert_eq!(line("moved"), "device 0620 0:0 moved type 3 1:3");
    assert_eq!(line("block"), "device 0644 5:6 block type 4 7:1");
}
