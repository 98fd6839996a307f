//! The same Dockerfile gives the same file system, whatever the namespace that it was built in.

use crate::support::{
    BaseImage, Entry, Image, Layer, Registry, TestEnv, has_subuid_range, is_root, push_by_hand,
    require_busybox, require_tool,
};

/// The rungs of the ladder that whoever runs the tests can stand on.
fn rungs() -> Vec<&'static str> {
    match (is_root(), has_subuid_range()) {
        (true, _) => vec!["root", "single"],
        (false, true) => vec!["range", "single"],
        (false, false) => vec!["single"],
    }
}

const STEPS: &str = "\
FROM base:1 AS made
RUN mkdir /m && cd /m && echo a > file && mkdir dir && ln -s file link && ln -s nowhere dangling && mkfifo pipe && ln -s file roots
RUN cd /m && chown 1000:50 file dir && chown -h 7:8 link && chown -h 9 dangling && chown 11:12 pipe
RUN cd /m && mknod -m 640 character c 1 3 && mknod block b 259 1027 && chown 5:6 character && mv block moved-block && chmod 604 moved-block
RUN cd /m && cp file suid && chmod 4755 suid && cp file sgid && chown 0:50 sgid && chmod 2755 sgid
RUN cd /m && cp file lost && chmod 6755 lost && chown 3 lost && cp file kept && chmod 2644 kept && chown 4 kept
RUN cd /m && mv link moved && ln moved hard && mv pipe sub-pipe && chmod 604 sub-pipe && touch -h dangling
RUN cd /m && ln -s x again && chown -h 1:1 again && rm again && ln -s y again && ln -s x back && chown -h 1 back && chown -h 0 back
RUN cd /m && rm file && echo b > file && mkdir -p deep/er && ln -s .. deep/er/up && chown -hR 21:22 deep && mv deep deeper
RUN mkdir /m/shared && chown 0:50 /m/shared && chmod 2777 /m/shared
RUN echo 'late:x:1500:1501::/m/late:/bin/sh' >> /etc/passwd && mkdir /m/late && chown late:1501 /m/late
USER app
RUN cd /m/shared && echo f > f && mkdir d && ln -s f l && mkfifo p && echo g > d/g && ln f hard && mv d e && (umask 027; touch masked)
RUN echo more >> /m/shared/f && chmod 4711 /m/shared/masked && ln -s /m/shared/f /tmp/l && cp /m/shared/f /tmp/copied
USER late
RUN echo x > /m/late/x
USER root
RUN mkdir /copy && cp -a /m/moved /m/dangling /m/sub-pipe /m/deeper /m/shared/l /copy/ && chown -h 31:32 /m/moved /m/shared/l && rm /m/dangling
FROM base:1
COPY --from=made /m /c/
COPY --from=made /copy /d/
COPY --from=made --chown=41:42 /copy /e/
COPY --from=made /tmp/l /tmp/copied /f/
";

const EXPECTED: &str = "\
symlink 0777 0:0 c/again -> y
symlink 0777 0:0 c/back -> x
device 0640 5:6 c/character type 3 1:3
directory 0755 21:22 c/deeper
directory 0755 21:22 c/deeper/er
symlink 0777 21:22 c/deeper/er/up -> ..
directory 0755 1000:50 c/dir
file 0644 0:0 c/file 2
symlink 0777 7:8 c/hard -> file
file 2644 4:0 c/kept 2
directory 0755 1500:1501 c/late
file 0644 1500:1501 c/late/x 2
file 0755 3:0 c/lost 2
symlink 0777 31:32 c/moved -> file
device 0604 0:0 c/moved-block type 4 259:1027
symlink 0777 0:0 c/roots -> file
file 2755 0:50 c/sgid 2
directory 2777 0:50 c/shared
directory 2755 1000:50 c/shared/e
file 0644 1000:50 c/shared/e/g 2
file 0644 1000:50 c/shared/f 7
file 0644 1000:50 c/shared/hard 2
symlink 0777 31:32 c/shared/l -> f
file 4711 1000:50 c/shared/masked 0
other 0644 1000:50 c/shared/p type 6
other 0604 11:12 c/sub-pipe type 6
file 4755 0:0 c/suid 2
symlink 0777 9:0 d/dangling -> nowhere
directory 0755 21:22 d/deeper
directory 0755 21:22 d/deeper/er
symlink 0777 21:22 d/deeper/er/up -> ..
symlink 0777 1000:50 d/l -> f
symlink 0777 7:8 d/moved -> file
other 0604 11:12 d/sub-pipe type 6
symlink 0777 41:42 e/dangling -> nowhere
directory 0755 41:42 e/deeper
directory 0755 41:42 e/deeper/er
symlink 0777 41:42 e/deeper/er/up -> ..
symlink 0777 41:42 e/l -> f
symlink 0777 41:42 e/moved -> file
other 0604 41:42 e/sub-pipe type 6
file 0644 1000:1000 f/copied 7
file 0644 1000:50 f/l 7
";

#[test]
fn a_dockerfile_gives_the_same_owners_on_every_rung() {
    require_tool!("docker-registry");
    require_busybox!();
    for rung in rungs() {
        assert_eq!(made_on(rung, STEPS, &["c", "d", "e", "f"]), EXPECTED.trim_end(), "on the rung {rung}");
    }
}

/// What an image of a rung has below these directories.
fn made_on(rung: &str, dockerfile: &str, tops: &[&str]) -> String {
    let (env, registry) = (TestEnv::new(), Registry::start());
    let context = BaseImage::busybox().context(&env);
    let base = ["--isolation", rung, "-q", "-t", "base:1", context.to_str().unwrap()];
    env.rbuild(&base).run().success();
    env.write("tree/file", "f\n");
    std::os::unix::fs::symlink("file", env.context().join("tree/link")).unwrap();
    env.dockerfile(dockerfile);
    let tag = format!("{}/app:1", registry.address());
    env.rbuild(&["--isolation", rung, "-t", &tag, "--push", "."]).run().success();
    let image = Image::fetch(&registry, "app:1").sound();
    assert!(!image.mentions("user.rbuild"), "a record of the store got into a layer");
    let made = |line: &String| tops.iter().any(|top| line.contains(&format!(" {top}/")));
    let files = image.files();
    let lines: Vec<String> = files.iter().map(|(path, entry)| brief(path, entry)).filter(made).collect();
    lines.join("\n")
}

const FAR: &str = "\
FROM base:1 AS made
COPY --chown=4000000:4000001 tree /c/copied/
COPY --chown=4000000:4000001 tree /c/changed/
RUN mkdir /c/d && cd /c/d && for name in far half back group native; do echo a > $name; done && chmod 6755 far && mknod dev c 1 3
RUN cd /c/d && chown 4000000:4000001 far half back native . && chown 4000000:50 dev && chown 1000:50 group && chown :4000000 group
RUN cd /c/d && chgrp 50 half && chown 0:0 back && chown 7:8 native && chown :4000009 native && chmod 600 far && mv far moved
RUN cd /c/d && for name in l m n; do ln -s far $name && chown -h 4000000:7 $name; done && mkfifo p && chown 4000000 p && chown -h 3:4 m
RUN cd /c/d && mv l moved-l && ln n hard-n && chmod 604 p && chown 65536 half && chown :4000000 half
RUN chown 0:0 /c/changed/file && chown -h 0:0 /c/changed/link && mv /c/copied/link /c/copied/moved
USER app
RUN cd /c/d && ! chown 4000000 group && ! chown :4000001 group && chown :4000000 group
USER root
FROM base:1
COPY --from=made /c /c/
";

const EXPECTED_OF_FAR: &str = "\
directory 0755 4000000:4000001 c/changed
file 0644 0:0 c/changed/file 2
symlink 0777 0:0 c/changed/link -> file
directory 0755 4000000:4000001 c/copied
file 0644 4000000:4000001 c/copied/file 2
symlink 0777 4000000:4000001 c/copied/moved -> file
directory 0755 4000000:4000001 c/d
file 0644 0:0 c/d/back 2
device 0644 4000000:50 c/d/dev type 3 1:3
file 0644 1000:4000000 c/d/group 2
file 0644 65536:4000000 c/d/half 2
symlink 0777 4000000:7 c/d/hard-n -> far
symlink 0777 3:4 c/d/m -> far
file 0600 4000000:4000001 c/d/moved 2
symlink 0777 4000000:7 c/d/moved-l -> far
hardlink 0777 4000000:7 c/d/n = c/d/hard-n
file 0644 7:4000009 c/d/native 2
other 0604 4000000:0 c/d/p type 6
";

#[test]
fn ids_beyond_the_range_are_kept_on_every_rung() {
    require_tool!("docker-registry");
    require_busybox!();
    for rung in rungs() {
        assert_eq!(made_on(rung, FAR, &["c"]), EXPECTED_OF_FAR.trim_end(), "on the rung {rung}");
    }
}

#[test]
fn a_user_beyond_the_range_is_named_with_the_remedy() {
    require_busybox!();
    for rung in rungs() {
        let env = TestEnv::new();
        let rbuild = |words: &[&str]| env.rbuild(&["--isolation", rung]).arguments(words).run();
        rbuild(&["-q", "-t", "base:1", BaseImage::busybox().context(&env).to_str().unwrap()]).success();
        let run = |user| rbuild(&["run", "--rm", "-u", user, "base:1", "sh", "-c", "id -u; id -g"]);
        env.dockerfile(
            "FROM base:1\nUSER 4000000:5000000\nRUN test $(id -u) = 4000000 && test $(id -g) = 5000000\n",
        );
        if rung == "range" {
            rbuild(&["."]).code(1).says(&["cannot become user 4000000", "users 0 to ", "/etc/subuid"]);
            run("0:5000000").code(125).says(&["cannot become group 5000000", "/etc/subgid"]);
        } else {
            rbuild(&["."]).success();
            run("0:5000000").success().prints("0\n5000000\n");
        }
    }
}

/// Owners of an image's links and pipes, and its devices, are those of the image for steps on top of it, too.
#[test]
fn what_an_image_brings_keeps_its_owner_and_kind() {
    require_tool!("docker-registry");
    require_tool!("skopeo");
    require_busybox!();
    let layer = special_entries();
    for rung in rungs() {
        let (env, registry) = (TestEnv::new(), Registry::start());
        let image = push_by_hand(&env, &registry, "special", &[Layer::plain(&layer)]);
        let context = BaseImage::busybox().context(&env);
        let base = ["--isolation", rung, "-q", "-t", "base:1", context.to_str().unwrap()];
        env.rbuild(&base).run().success();
        env.dockerfile(&format!(
            "FROM {image} AS made\n\
             COPY --from=base:1 / /\n\
             RUN cd /d && test \"$(stat -c %u:%g link hard pipe | tr '\\n' ' ')\" = '1000:50 1000:50 11:12 '\n\
             RUN cd /d && mv link moved && touch -h hard && ln moved third && chmod 604 pipe && ln -s x roots\n\
             RUN cd /d && test \"$(stat -c %u:%g moved hard third pipe roots | tr '\\n' ' ')\" = '1000:50 1000:50 1000:50 11:12 0:0 '\n\
             FROM base:1\n\
             COPY --from=made /d /d/\n"
        ));
        let tag = format!("{}/app:1", registry.address());
        env.rbuild(&["--isolation", rung, "-t", &tag, "--push", "."]).run().success();
        let image = Image::fetch(&registry, "app:1").sound();
        let there = |(path, _): &(&String, &Entry)| path.starts_with("d/");
        let files = image.files();
        let lines: Vec<String> = files.iter().filter(there).map(|(path, entry)| brief(path, entry)).collect();
        let expected = [
            "device 0640 5:6 d/device type 3 1:3",
            "symlink 0777 1000:50 d/hard -> nowhere",
            "symlink 0777 1000:50 d/moved -> nowhere",
            "other 0604 11:12 d/pipe type 6",
            "symlink 0777 0:0 d/roots -> x",
            "hardlink 0777 1000:50 d/third = d/moved",
        ];
        assert_eq!(lines, expected, "on the rung {rung}");
    }
}

fn special_entries() -> Vec<u8> {
    use tar::EntryType::{Char, Directory, Fifo, Link, Symlink};
    let mut tar = tar::Builder::new(Vec::new());
    let entries = [
        (Directory, "d/", 0o755, (0, 0), ""),
        (Char, "d/device", 0o640, (5, 6), ""),
        (Symlink, "d/link", 0o777, (1000, 50), "nowhere"),
        (Link, "d/hard", 0o777, (1000, 50), "d/link"),
        (Fifo, "d/pipe", 0o600, (11, 12), ""),
    ];
    for (kind, path, mode, (uid, gid), target) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_path(path).unwrap();
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(1);
        header.set_size(0);
        if !target.is_empty() {
            header.set_link_name(target).unwrap();
        }
        if kind == Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        tar.append(&header, std::io::empty()).unwrap();
    }
    tar.into_inner().unwrap()
}

/// An entry without what its content is.
fn brief(path: &str, entry: &Entry) -> String {
    let line = entry.describe(path);
    line.split_once(" bytes ").map_or_else(|| line.clone(), |(start, _)| start.to_owned())
}
