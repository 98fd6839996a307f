//! A real distribution: packages with users of their own, setuid programs and file capabilities are installed in a RUN.
//!
//! It takes a Debian (`tests/run` makes one) and a package registry that can be reached.

use std::path::PathBuf;

use crate::support::{Image, Layer, Registry, TestEnv, push_by_hand, require_tool, skip};

/// The archive of a minimal Debian.
fn debian() -> Option<PathBuf> {
    std::env::var_os("RBUILD_TEST_DEBIAN").filter(|path| !path.is_empty()).map(PathBuf::from)
}

#[test]
fn packages_with_users_and_capabilities_are_installed() {
    require_tool!("docker-registry");
    require_tool!("skopeo");
    let Some(archive) = debian() else {
        skip!("there is no Debian to build on: tests/run makes one as root")
    };
    let (env, registry) = (TestEnv::new(), Registry::start());
    let base = push_by_hand(&env, &registry, "debian", &[Layer::plain(&std::fs::read(archive).unwrap())]);
    env.dockerfile(&format!(
        "FROM {base}\n\
         RUN apt-get update && \\\n\
             apt-get install -y --no-install-recommends openssh-server iputils-ping && \\\n\
             rm -rf /var/lib/apt/lists/*\n\
         RUN useradd --create-home app && mkdir /data && chown app:app /data && ln -s /data /home/app/data && \\\n\
             chown --no-dereference app: /home/app/data\n\
         USER app\n\
         RUN id -un > /data/who && stat -c %U /home/app >> /data/who\n"
    ));
    let tag = format!("{}/app:1", registry.address());
    env.rbuild(&["-t", &tag, "--push", "."]).run().success();
    let image = Image::fetch(&registry, "app:1").sound();
    assert_eq!(image.text("data/who"), "app\napp\n");
    let files = image.files();
    let owner = |path: &str| (files[path].uid, files[path].gid, files[path].mode & 0o7777);
    let id = |table: &str, name: &str| -> u64 {
        let text = image.text(table);
        let line = text.lines().find(|line| line.split(':').next() == Some(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).split(':').nth(2).unwrap().parse().unwrap()
    };
    let (app, ssh) = (id("etc/passwd", "app"), id("etc/group", "_ssh"));
    assert!(image.text("etc/passwd").contains("\nsshd:"), "the package's own user was made");
    assert_eq!(owner("usr/bin/ssh-agent"), (0, ssh, 0o2755));
    assert_eq!(owner("usr/lib/openssh/ssh-keysign"), (0, 0, 0o4755));
    assert_eq!((owner("data").0, owner("home/app/.profile").0, owner("data/who").0), (app, app, app));
    assert_eq!(owner("etc/shadow"), (0, id("etc/group", "shadow"), 0o640));
    assert!(image.mentions("SCHILY.xattr.security.capability="), "ping kept its capabilities");
    // What has to run as somebody else does.
    let says = "ssh-keygen -q -t ed25519 -N '' -f /tmp/key && sudo=$(id -u) && echo $sudo";
    env.rbuild(&["run", "--rm", &tag, "sh", "-c", says]).run().success().prints(&format!("{app}\n"));
}
