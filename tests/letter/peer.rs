//! The same cases built by buildah: whoever knows Dockerfiles otherwise finds mistakes in the cases themselves, too.
//!
//! It writes a tar of all files and the config; its history is its own. What it makes otherwise is marked in the cases and
//! explained in `differences.rs`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::case::Case;
use super::outcome::Outcome;
use super::support::{Output, TestEnv, entries};
use super::world::Place;

/// A store of buildah's own with the base image in it.
pub(crate) struct Peer {
    env: TestEnv,
    count: AtomicUsize,
}

impl Peer {
    /// Takes the base image of rbuild's as it is saved.
    pub(crate) fn new() -> Self {
        let env = TestEnv::new();
        env.busybox_image("base");
        let layout = env.path("base");
        env.rbuild(&["save", "-q", "--format", "oci-dir", "-o", layout.to_str().unwrap(), "base"])
            .run()
            .success();
        let peer = Self { env, count: AtomicUsize::new(0) };
        // By its path it would be called, and paths have letters that names must not have.
        peer.buildah(&["pull", "-q", "oci:base"]).directory(peer.env.path(".")).run().success();
        peer
    }

    /// What buildah makes of a case; nothing if it fails.
    pub(crate) fn build(&self, case: &Case) -> Result<Outcome, String> {
        let place = Place::new(&self.env, case);
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let (tar, id) = (self.env.path(format!("files-{number}")), self.env.path(format!("id-{number}")));
        for (at, (name, dockerfile)) in case.images.iter().enumerate() {
            let file = place.directory.join(format!("Dockerfile.{at}"));
            std::fs::write(&file, dockerfile).unwrap();
            let _ = self.bud(case, &place, &["-t", name, "-f", file.to_str().unwrap(), "."]);
        }
        let output = format!("type=tar,dest={}", tar.display());
        let mut words = vec!["--iidfile", id.to_str().unwrap(), "--output", &output];
        if !case.names_its_file() {
            words.extend(["-f", "../Dockerfile"]);
        }
        let flags = case.flags.iter().map(String::as_str);
        words.extend(flags.filter(|flag| *flag != "--no-cache"));
        words.push(".");
        let output = self.bud(case, &place, &words);
        if !output.succeeded() {
            return Err(output.to_string());
        }
        let outcome = self.outcome(&tar, &id);
        let _ = std::fs::remove_file(tar);
        Ok(outcome)
    }

    fn bud(&self, case: &Case, place: &Place, words: &[&str]) -> Output {
        let build =
            ["build", "-q", "--isolation", "chroot", "--pull-never", "--layers=false", "--format", "docker"];
        let mut command = self.buildah(&build).directory(place.context());
        for (name, value) in &case.environment {
            command = command.env(name, value);
        }
        command.arguments(words).run()
    }

    fn buildah(&self, words: &[&str]) -> super::support::Rbuild {
        let (root, run) = (self.env.path("peer"), self.env.path("peer-run"));
        let store = [
            "--storage-driver",
            "overlay",
            "--root",
            root.to_str().unwrap(),
            "--runroot",
            run.to_str().unwrap(),
        ];
        self.env.program("buildah", &store).arguments(words)
    }

    fn outcome(&self, tar: &Path, id: &Path) -> Outcome {
        let files = entries(&std::fs::read(tar).unwrap()).into_iter().collect();
        let id = std::fs::read_to_string(id).unwrap();
        let id = id.trim().trim_start_matches("sha256:");
        // Storage keeps what an image has under names in base 64.
        let name = base64(format!("sha256:{id}").as_bytes());
        let config = self.env.path("peer/overlay-images").join(id).join(format!("={name}"));
        Outcome::new(&files, &serde_json::from_slice(&std::fs::read(config).unwrap()).unwrap())
    }
}

impl Drop for Peer {
    /// What it has mounted would keep its directory from being removed.
    fn drop(&mut self) {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = self.env.path("peer");
        for place in mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from) {
            if place.starts_with(&own) {
                let _ = Command::new("umount").arg("-l").arg(place).status();
            }
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}
