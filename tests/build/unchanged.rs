//! What a step only touched is in no layer of its own.

use std::fs;
use std::time::Duration;

use crate::support::{
    BaseImage, Image, Kind, Registry, TestEnv, has_subuid_range, is_root, require_busybox, require_tool,
};

/// Everything gets the same time, so that no step depends on when it runs.
const MAKE: &str = "\
mkdir -p /t/dir/sub /t/owned /t/filled/deep && cd /t && \
for f in mode owner content copied rewritten newer linked file filled/deep/x pair; do echo $f > $f; done && \
ln pair pair2 && chown 1000:50 owned owner && chmod 4755 copied && ln -s mode link && chown -h 7:8 link && mkfifo -m 640 pipe && \
: > empty && chown 3:4 empty && find /t -exec touch -h -d @1000 {} +";

/// Overlays copy these, and nothing about them has changed.
const TOUCH: &str = "\
cd /t && chmod 644 mode && chown 1000:50 owner owned && echo content > content && cp -p copied c && mv c copied && \
chmod 755 dir && chmod 640 pipe && chown -h 7:8 link && chown -R 0:0 filled && chmod 644 empty && chmod 644 /attributes && \
chmod 644 pair2 && touch new && rm new && touch -d @1000 content /t";

const CHANGE: &str = "\
cd /t && echo OTHER-BYT > rewritten && touch -d @1001 newer && ln linked linked2 && rm -r dir && mkdir dir && \
rm file && ln -s mode file && chmod 600 filled/deep/x && chown 5 empty && chown -h 8:8 link && chmod 600 pipe && chmod 700 owned && \
touch -d @1000 rewritten dir file /t && touch -h -d @1000 file";

const CHANGED: [&str; 15] = [
    "t",
    "t/dir",
    "t/dir/.wh.sub",
    "t/empty",
    "t/file",
    "t/filled",
    "t/filled/deep",
    "t/filled/deep/x",
    "t/link",
    "t/linked",
    "t/linked2",
    "t/newer",
    "t/owned",
    "t/pipe",
    "t/rewritten",
];

fn rungs() -> Vec<&'static str> {
    match (is_root(), has_subuid_range()) {
        (true, _) => vec!["root", "single"],
        (false, true) => vec!["range", "single"],
        (false, false) => vec!["single"],
    }
}

#[test]
fn what_was_copied_up_and_is_as_it_was_is_left_out() {
    require_tool!("docker-registry");
    require_busybox!();
    let registry = Registry::start();
    for rung in rungs() {
        // Not fuse-overlayfs: it loses owners of links that it copies up, and cannot chmod pipes.
        for way in ["kernel", "mount", "copy"] {
            let env = TestEnv::new();
            let context = BaseImage::busybox().context(&env);
            let base = ["--isolation", rung, "build", "-q", "-t", "base:1", context.to_str().unwrap()];
            env.rbuild(&base).run().success();
            env.write("attributes", "1\n");
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(env.context().join("attributes"), "user.kept", b"value", flags).unwrap();
            env.dockerfile(&format!(
                "FROM base:1\nCOPY --chmod=644 attributes /\nRUN {MAKE}\nRUN {TOUCH}\nRUN {CHANGE}\n"
            ));
            let name = format!("{}/{rung}-{way}:1", registry.address());
            let words = ["--isolation", rung, "--overlay", way, "build", "-t", &name, "--push", "."];
            env.rbuild(&words).limit(Duration::from_secs(300)).run().success();
            let image = Image::fetch(&registry, &format!("{rung}-{way}:1")).sound();
            let paths = |index| image.layer(index).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
            assert_eq!(paths(3), Vec::<String>::new(), "{rung} {way}: nothing has changed");
            assert_eq!(paths(4), CHANGED, "{rung} {way}");
            let files = image.files();
            assert_eq!(files["t/rewritten"].kind, Kind::File { content: b"OTHER-BYT\n".to_vec() });
            assert_eq!(files["t/linked2"].kind, Kind::Hardlink { to: "t/linked".to_owned() });
            let owner = |path: &str| (files[path].uid, files[path].gid);
            assert_eq!([owner("t/owner"), owner("t/link"), owner("t/empty")], [(1000, 50), (8, 8), (5, 4)]);
        }
    }
}

#[test]
fn an_attribute_alone_is_a_change() {
    require_tool!("docker-registry");
    require_busybox!();
    let (env, registry) = (TestEnv::new(), Registry::start());
    let write = |value: &[u8]| {
        let (path, flags) = (env.context().join("file"), rustix::fs::XattrFlags::empty());
        fs::write(&path, "same").unwrap();
        rustix::fs::setxattr(&path, "user.kind", value, flags).unwrap();
        let time = rustix::fs::Timespec { tv_sec: 1000, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty()).unwrap();
    };
    env.dockerfile("FROM scratch\nCOPY file /\n");
    write(b"one");
    env.rbuild(&["-t", "base:1", "."]).run().success();
    for (value, entries) in [("one", 0), ("two", 1)] {
        write(value.as_bytes());
        env.dockerfile("FROM base:1\nCOPY file /\n");
        let name = format!("{}/{value}:1", registry.address());
        env.rbuild(&["--no-cache", "-t", &name, "--push", "."]).run().success();
        let image = Image::fetch(&registry, &format!("{value}:1")).sound();
        assert_eq!(image.layer(1).len(), entries, "the attribute is {value}");
    }
}
