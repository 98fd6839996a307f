//! Base images that need no network: what this machine has, arranged by the recipes in `fixtures/bases`.

use std::path::PathBuf;
use std::process::Command;

use super::{Registry, TestEnv, binary, source_directory};

/// A recipe for a base image; every image has accounts for root, daemon, app (1000) and nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BaseImage {
    recipe: &'static str,
    /// Beside what the recipe takes anyway.
    programs: &'static [&'static str],
    has_probe: bool,
}

impl BaseImage {
    /// One static program with its applets as links. Needs Debian's busybox-static.
    pub(crate) fn busybox() -> Self {
        Self { recipe: "busybox", programs: &[], has_probe: false }
    }

    /// The host's own shell and tools with their libraries and loader.
    pub(crate) fn host_shell() -> Self {
        Self::host_shell_with(&[])
    }

    /// The same with more of the host's programs.
    pub(crate) fn host_shell_with(programs: &'static [&'static str]) -> Self {
        Self { recipe: "host-shell", programs, has_probe: false }
    }

    /// The same with `/bin/probe`, which says what it finds inside, and some more tools.
    pub(crate) fn probe() -> Self {
        let programs =
            &["find", "grep", "id", "kill", "mkfifo", "mknod", "mount", "readlink", "umount", "unshare"];
        Self { recipe: "host-shell", programs, has_probe: true }
    }

    /// Whether this machine has what the recipe takes; a dynamic busybox would not run in an image without libraries.
    pub(crate) fn is_possible(self) -> bool {
        let ldd = || Command::new("ldd").arg("/bin/busybox").output();
        self.recipe != "busybox"
            || std::path::Path::new("/bin/busybox").exists()
                && ldd().is_ok_and(|output| !output.status.success())
    }

    /// Writes a build context (`FROM scratch`, `COPY rootfs/ /`) into a test's world.
    pub(crate) fn context(self, env: &TestEnv) -> PathBuf {
        let directory = env.path(format!("base-{}", self.recipe));
        let recipe = source_directory().join("fixtures/bases").join(self.recipe);
        let mut command = Command::new(&recipe);
        command.arg(&directory).args(self.programs);
        if self.has_probe {
            command.arg(probe_program());
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}: {}", recipe.display(), String::from_utf8_lossy(&output.stderr));
        directory
    }

    /// Pushes the image with umoci and skopeo, so that a test of pulling does not rest on rbuild's own pushing.
    pub(crate) fn push_by_peers(self, env: &TestEnv, registry: &Registry) -> String {
        let context = self.context(env);
        let reference = format!("{}/{}:peer", registry.address(), self.recipe);
        let peer = |program: &str, arguments: &[&str]| {
            env.program(program, arguments).directory(env.path(".")).run().success();
        };
        let rootfs = context.join("rootfs");
        peer("umoci", &["init", "--layout", "peer"]);
        peer("umoci", &["new", "--image", "peer:base"]);
        peer("umoci", &["insert", "--rootless", "--image", "peer:base", rootfs.to_str().unwrap(), "/"]);
        peer("umoci", &["config", "--image", "peer:base", "--config.cmd", "/bin/sh"]);
        let destination = format!("docker://{reference}");
        peer(
            "skopeo",
            &["--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "oci:peer:base", &destination],
        );
        reference
    }
}

/// What `fixtures/probe` was built to: it lies beside rbuild, as Cargo puts it.
fn probe_program() -> PathBuf {
    let program = binary().with_file_name("examples").join("probe");
    assert!(program.exists(), "{} is not there: `cargo build --example probe` makes it", program.display());
    let changed = |path: PathBuf| std::fs::metadata(path).unwrap().modified().unwrap();
    let sources = source_directory().join("fixtures/probe").read_dir().unwrap();
    let newest = sources.map(|entry| changed(entry.unwrap().path())).max();
    // A copy made for another user was made of what had just been built.
    let is_copy = std::env::var_os("RBUILD_TEST_SOURCE").is_some();
    assert!(
        is_copy || newest <= Some(changed(program.clone())),
        "the probe is older than its source: run `cargo build --example probe`"
    );
    program
}
