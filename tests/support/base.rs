//! Base images that need no network: what this machine has, arranged by the recipes in `fixtures/bases`.

use std::path::PathBuf;
use std::process::Command;

use super::{Registry, TestEnv, source_directory};

/// A recipe for a base image; every image has accounts for root, daemon, app (1000) and nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BaseImage {
    recipe: &'static str,
    /// Beside what the recipe takes anyway.
    programs: &'static [&'static str],
}

impl BaseImage {
    /// One static program with its applets as links. Needs Debian's busybox-static.
    pub(crate) fn busybox() -> Self {
        Self { recipe: "busybox", programs: &[] }
    }

    /// The host's own shell and tools with their libraries and loader.
    pub(crate) fn host_shell() -> Self {
        Self::host_shell_with(&[])
    }

    /// The same with more of the host's programs.
    pub(crate) fn host_shell_with(programs: &'static [&'static str]) -> Self {
        Self { recipe: "host-shell", programs }
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
        let output = Command::new(&recipe).arg(&directory).args(self.programs).output().unwrap();
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
