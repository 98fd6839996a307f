//! Whoever puts layers on top of each other for a step, the step sees the same and leaves the same.

use std::fs;
use std::time::Duration;

use crate::support::{
    BaseImage, Image, Kind, Layer, Rbuild, Registry, TestEnv, binary, is_root, push_by_hand, require_busybox,
    require_tool,
};

const WAYS: [&str; 4] = ["kernel", "mount", "copy", "fuse"];

/// What steps do to files, each on what those before have left. The first makes what the others work on.
const STEPS: [&str; 27] = [
    "mkdir -p /t/d/sub/deep /t/e /t/gone/in /t/gone2 /t/twice && cd /t && echo 1 > f && echo 1 > d/a && \
     echo 1 > d/sub/b && echo 1 > d/sub/deep/c && echo 1 > e/x && echo 1 > gone/in/y && echo 1 > gone2/z && \
     echo 1 > twice/a && ln -s f link && mkfifo -m 640 pipe && echo 1 > h1 && ln h1 h2 && echo 1 > moved && chown 7:8 e/x",
    "echo 2 > /t/new",
    "echo 2 > /t/f",
    "echo 2 >> /t/d/sub/deep/c",
    "chmod 4751 /t/f && chmod 2770 /t/d",
    "chown 1000:50 /t/d/a",
    "test $(stat -c %u:%g /t/d/a) = 1000:50 && mv /t/moved /t/e/moved",
    "cp -a /t/d /t/copied && rm -r /t/copied/sub/deep",
    "mv /t/d/sub /t/renamed",
    "rm /t/d/a",
    "rm -r /t/gone",
    "rm -r /t/gone2 && mkdir /t/gone2 && echo 2 > /t/gone2/other",
    "rm -r /t/renamed && mkdir -p /t/renamed/deep && echo 2 > /t/renamed/deep/new",
    "rm /t/new && mkdir /t/new && echo 2 > /t/new/in",
    "rm -r /t/new && echo 2 > /t/new",
    "chmod 751 /t/f && ln /t/f /t/linked && ln /t/f /t/e/linked",
    "echo 3 >> /t/h1",
    "test \"$(cat /t/h2)\" = 1 && ln -sf e /t/link && ln -s nowhere /t/dangling && chown -h 5:6 /t/dangling || true",
    "mv /t/dangling /t/renamed-link && mv /t/link /t/d/link",
    "dd if=/dev/zero of=/t/sparse bs=1 count=1 seek=1048575 2> /dev/null && echo tail >> /t/sparse",
    "mkfifo -m 600 /t/pipe2 && rm /t/pipe",
    "rm /t/twice/a",
    "test ! -e /t/twice/a && echo 2 > /t/twice/a && rm -r /t/twice",
    "rm -r /t/e && mkdir -m 700 /t/e",
    "touch /t/short && rm /t/short",
    "echo 2 >> /attributes && cat /secret > /dev/null && chmod 0 /t/f",
    "cd /t && for i in 1 2 3 4 5 6 7 8 9; do mkdir -p many/$i && echo $i > many/$i/file; done && rm -r many/3 many/5/file",
];

/// What version 1.10 of fuse-overlayfs does otherwise: it copies another name of a file that loses one of its names, which
/// adds what is there already, and forgets whose a link is that it copies.
fn is_of_fuse(line: &str) -> bool {
    line.starts_with("25 file ") && line.contains(" t/linked ") || line.contains(" t/renamed-link ")
}

fn dockerfile(base: &str) -> String {
    let steps: Vec<String> = STEPS.iter().map(|step| format!("RUN {step}\n")).collect();
    format!("FROM {base}\nCOPY attributes secret /\n{}", steps.concat())
}

fn prepare(env: &TestEnv, rung: &str) {
    let context = BaseImage::busybox().context(env);
    let words = ["--isolation", rung, "build", "-q", "-t", "base:1", context.to_str().unwrap()];
    env.rbuild(&words).run().success();
    env.write("attributes", "1\n").write("secret", "1\n");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(env.context().join("attributes"), "user.kept", b"value", flags).unwrap();
    env.dockerfile(&dockerfile("base:1"));
}

/// One line for each entry of each layer above the base.
fn lines(image: &Image) -> Vec<String> {
    let layers = 1..image.manifest.layers.len();
    let entries = layers.flat_map(|index| image.layer(index).into_iter().map(move |entry| (index, entry)));
    entries.map(|(index, (path, entry))| format!("{index} {}", entry.describe(&path))).collect()
}

#[test]
fn steps_leave_the_same_layers() {
    require_tool!("docker-registry");
    require_tool!("fuse-overlayfs");
    require_busybox!();
    let registry = Registry::start();
    let mut rungs = vec!["auto"];
    if is_root() {
        // The lowest has records instead of owners, which have to get through, too.
        rungs.push("single");
    }
    for rung in rungs {
        let mut first: Option<Vec<String>> = None;
        for way in WAYS {
            let env = TestEnv::new();
            prepare(&env, rung);
            let name = format!("{}/{rung}-{way}:1", registry.address());
            // One time for everything: whether a directory that only got a new one has a place in the layer would depend on
            // how fast steps follow each other.
            let output = format!("type=registry,name={name},rewrite-timestamp=true");
            let words = ["--isolation", rung, "--overlay", way, "build", "--output", &output, "."];
            let limit = Duration::from_secs(300);
            env.rbuild(&words).env("SOURCE_DATE_EPOCH", "1000").limit(limit).run().success();
            let image = Image::fetch(&registry, &format!("{rung}-{way}:1")).sound();
            for own in ["user.overlay", "user.fuseoverlayfs", "user.rbuild", "user.containers"] {
                assert!(!image.mentions(own), "{way}: {own} got into a layer");
            }
            assert!(image.mentions("user.kept"), "{way}: an attribute is lost");
            let mut lines = lines(&image);
            if way == "fuse" {
                lines.retain(|line| !is_of_fuse(line));
                first.iter_mut().for_each(|first: &mut Vec<_>| first.retain(|line| !is_of_fuse(line)));
            }
            match &first {
                None => {
                    let files = image.files();
                    for gone in ["t/gone", "t/gone2/z", "t/renamed/b", "t/renamed/deep/c", "t/e/x", "t/twice"]
                    {
                        assert!(!files.contains_key(gone), "{way}: {gone} is still there");
                    }
                    assert_eq!(files["t/h1"].kind, Kind::File { content: b"1\n3\n".to_vec() });
                    first = Some(lines);
                }
                Some(first) => {
                    let without = |these: &[String], those: &[String]| -> Vec<String> {
                        these.iter().filter(|line| !those.contains(line)).cloned().collect()
                    };
                    let differ = (without(first, &lines), without(&lines, first));
                    assert!(first == &lines, "{rung}: kernel and {way} differ: {differ:#?}");
                }
            }
            env.has_no_leftovers();
        }
    }
}

#[test]
fn containers_are_run_whoever_puts_them_together() {
    require_tool!("fuse-overlayfs");
    require_busybox!();
    let env = TestEnv::new();
    env.busybox_image("base:1");
    for way in WAYS {
        let script = "echo x > /f && rm -r /home && ls -d /home /f 2> /dev/null; grep -c . /etc/hosts > /dev/null; exit 7";
        let words = ["--overlay", way, "run", "--rm", "base:1", "sh", "-c", script];
        env.rbuild(&words).run().code(7).prints("/f\n");
        env.has_no_leftovers();
    }
    env.rbuild(&["--overlay", "other", "run", "--rm", "base:1", "true"])
        .run()
        .code(2)
        .says(&["kernel, mount, fuse, copy"]);
}

#[test]
fn mount_points_that_an_image_lacks_leave_no_trace() {
    require_tool!("docker-registry");
    require_tool!("fuse-overlayfs");
    require_busybox!();
    let registry = Registry::start();
    for way in WAYS {
        let env = TestEnv::new();
        let busybox = env.context().join("busybox");
        fs::copy("/bin/busybox", busybox).unwrap();
        env.dockerfile(
            "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"true\"]\n\
             RUN [\"/bin/busybox\", \"touch\", \"/etc/new\"]\n",
        );
        let name = format!("{}/{way}:1", registry.address());
        env.rbuild(&["--overlay", way, "build", "-t", &name, "--push", "."]).run().success();
        let image = Image::fetch(&registry, &format!("{way}:1")).sound();
        let paths: Vec<String> = image.files().into_keys().collect();
        assert_eq!(paths, ["bin", "bin/busybox", "etc", "etc/new"], "{way}");
        assert_eq!(image.layer(1).len(), 0, "{way}");
    }
}

/// rbuild with its store on an overlay, which is no place for another one's changes.
fn on_overlay(env: &TestEnv, arguments: &[&str]) -> Rbuild {
    for name in ["lower", "upper", "work", "store/overlay"] {
        fs::create_dir_all(env.path(name)).unwrap();
    }
    let script = "cd \"$RBUILD_ROOT\"/.. && mount -t overlay -o userxattr,lowerdir=lower,upperdir=upper,workdir=work \
                  none store/overlay && cd context && RBUILD_ROOT=$RBUILD_ROOT/overlay exec \"$@\"";
    let rbuild = binary();
    let words = [&["-Urm", "sh", "-c", script, "sh", rbuild.to_str().unwrap()], arguments].concat();
    env.program("unshare", &words)
}

#[test]
fn where_the_kernel_does_not_do_it_the_next_way_is_found() {
    require_tool!("docker-registry");
    require_tool!("skopeo");
    require_tool!("fuse-overlayfs");
    require_busybox!();
    let registry = Registry::start();
    let builder = TestEnv::new();
    let base = builder.push_busybox(&registry);
    for (way, said) in [("auto", "WARN: each RUN gets a copy"), ("fuse", "DONE")] {
        let env = TestEnv::new();
        env.dockerfile(&format!(
            "FROM {base} AS made\nRUN echo made > /made && rm -r /home && chown 7:8 /made\nRUN echo more >> /made\n\
             FROM {base}\nCOPY --from=made /made /copied\nRUN cat /copied && stat -c owner=%u:%g /copied\n"
        ));
        let words = ["--overlay", way, "build", "--jobs", "1", "."];
        on_overlay(&env, &words).run().success().says(&[said, "more", "owner=7:8"]);
    }
    let env = TestEnv::new();
    let doctor = on_overlay(&env, &["doctor"]).run().success();
    let flat = doctor.stdout().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("each step gets a copy of all files instead"), "{doctor}");
    // Asked for by name, it is that or nothing.
    let env = TestEnv::new();
    env.dockerfile(&format!("FROM {base}\nRUN true\n"));
    on_overlay(&env, &["--overlay", "kernel", "build", "."]).run().code(4).says(&["mount-root"]);
}

#[test]
fn one_call_takes_as_many_layers_as_there_may_be() {
    require_tool!("docker-registry");
    require_tool!("skopeo");
    require_busybox!();
    let (env, registry) = (TestEnv::new(), Registry::start());
    let tars: Vec<Vec<u8>> = (0..498)
        .map(|index| {
            let mut tar = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_ustar();
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1);
            header.set_size(0);
            tar.append_data(&mut header, format!("layer-{index}"), &b""[..]).unwrap();
            tar.into_inner().unwrap()
        })
        .collect();
    let layers: Vec<Layer<'_>> = tars.iter().map(|tar| Layer::plain(tar)).collect();
    let base = push_by_hand(&env, &registry, "many", &layers);
    fs::copy("/bin/busybox", env.context().join("busybox")).unwrap();
    env.dockerfile(&format!(
        "FROM {base}\nCOPY busybox /\nRUN [\"/busybox\", \"sh\", \"-c\", \"/busybox ls / | /busybox grep -c layer-\"]\n"
    ));
    env.rbuild(&["--overlay", "mount", "build", "."]).run().success().says(&[" 498\n"]);
}
