//! A world of its own for one test: store, home, temporary files, and an environment with nothing of the host's in it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{BaseImage, Image, Output, Registry};

pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Removed on drop, with whatever other users of a container left in it.
#[derive(Debug)]
pub(crate) struct TestEnv {
    root: PathBuf,
}

/// A command to be run in a [`TestEnv`].
#[derive(Debug)]
#[must_use = "nothing runs before `run`"]
pub(crate) struct Rbuild {
    command: Command,
    input: Vec<u8>,
    limit: Duration,
}

impl TestEnv {
    pub(crate) fn new() -> Self {
        // Not /tmp: it is often a tmpfs, which is no place for a store. Not the repository: users cannot enter it.
        let parent = std::env::var_os("TMPDIR").unwrap_or_else(|| "/var/tmp".into());
        let root = tempfile::Builder::new().prefix("rbuild-test-").tempdir_in(parent).unwrap().keep();
        for directory in ["store", "home", "runtime", "tmp", "context"] {
            fs::create_dir(root.join(directory)).unwrap();
        }
        fs::set_permissions(root.join("runtime"), fs::Permissions::from_mode(0o700)).unwrap();
        let env = Self { root };
        // A mistyped image name must fail at once, not wait for a network that may be there on some machines.
        env.registries_conf(
            "[[registry]]\nprefix = \"docker.io\"\nlocation = \"127.0.0.1:1/docker.io\"\ninsecure = true\n",
        );
        env
    }

    /// rbuild with its arguments, in the `context` directory of this world.
    pub(crate) fn rbuild(&self, arguments: &[&str]) -> Rbuild {
        self.program(binary(), arguments)
    }

    /// Any other program in the same environment: a peer, such as skopeo.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>, arguments: &[&str]) -> Rbuild {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.context()).env_clear();
        command.env("PATH", PATH).env("LANG", "C.UTF-8").env("USER", super::user_name());
        command.env("HOME", self.path("home")).env("XDG_RUNTIME_DIR", self.path("runtime"));
        command.env("TMPDIR", self.path("tmp")).env("RBUILD_ROOT", self.store());
        command.env("CONTAINERS_REGISTRIES_CONF", self.path("registries.conf"));
        Rbuild { command, input: Vec::new(), limit: Duration::from_secs(120) }
    }

    /// A place in this world.
    pub(crate) fn path(&self, inner: impl AsRef<Path>) -> PathBuf {
        self.root.join(inner)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// The default build context.
    pub(crate) fn context(&self) -> PathBuf {
        self.path("context")
    }

    /// Writes a file of the default build context.
    pub(crate) fn write(&self, inner: &str, content: &str) -> &Self {
        let path = self.context().join(inner);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Writes the Dockerfile of the default build context.
    pub(crate) fn dockerfile(&self, text: &str) -> &Self {
        self.write("Dockerfile", text)
    }

    /// Copies one of `fixtures/contexts` into this world, where the test may change it.
    pub(crate) fn fixture(&self, name: &str) -> PathBuf {
        let to = self.path(name);
        copy_tree(&source_directory().join("fixtures/contexts").join(name), &to);
        to
    }

    /// Asserts that no half-written blob or tree lies in the store.
    #[track_caller]
    pub(crate) fn has_no_leftovers(&self) {
        let left =
            fs::read_dir(self.store().join("tmp")).map(|entries| entries.flatten().map(|entry| entry.path()));
        let left: Vec<_> = left.into_iter().flatten().collect();
        assert!(left.is_empty(), "left in the store: {left:?}");
    }

    pub(crate) fn registries_conf(&self, text: &str) {
        fs::write(self.path("registries.conf"), text).unwrap();
    }

    /// An image of this world's store, as it would leave it.
    #[track_caller]
    pub(crate) fn image(&self, tag: &str) -> Image {
        let layout = self.path("saved");
        let _ = fs::remove_dir_all(&layout);
        let words = ["save", "-q", "--format", "oci-dir", "-o", layout.to_str().unwrap(), tag];
        self.rbuild(&words).run().success();
        Image::open(&layout).sound()
    }

    /// Builds the busybox base image with rbuild itself, into this world's store.
    pub(crate) fn busybox_image(&self, tag: &str) {
        let context = BaseImage::busybox().context(self);
        self.rbuild(&["-q", "-t", tag, context.to_str().unwrap()]).run().success();
    }

    /// Builds the base image that has the probe, into this world's store.
    pub(crate) fn probe_image(&self, tag: &str) {
        let context = BaseImage::probe().context(self);
        self.rbuild(&["-q", "-t", tag, context.to_str().unwrap()]).run().success();
    }

    /// Builds and pushes the busybox base image with rbuild itself; the reference that others may pull.
    pub(crate) fn push_busybox(&self, registry: &Registry) -> String {
        let context = BaseImage::busybox().context(self);
        let reference = format!("{}/busybox:test", registry.address());
        self.rbuild(&["-q", "-t", &reference, "--push", context.to_str().unwrap()]).run().success();
        reference
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        if std::env::var_os("RBUILD_TEST_KEEP").is_some() {
            eprintln!("kept {}", self.root.display());
            return;
        }
        if fs::remove_dir_all(&self.root).is_ok() {
            return;
        }
        // Files of other container users belong to subordinate ids, which only the namespace's root may remove.
        let mut inside = Command::new("unshare");
        inside.args(["--map-auto", "--map-root-user", "rm", "-rf"]).arg(&self.root).stderr(Stdio::null());
        let mut own = Command::new("unshare");
        own.args(["--map-root-user", "rm", "-rf"]).arg(&self.root).stderr(Stdio::null());
        if !(inside.status().is_ok_and(|status| status.success())
            || own.status().is_ok_and(|status| status.success()))
        {
            eprintln!("left behind: {}", self.root.display());
        }
    }
}

impl Rbuild {
    pub(crate) fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    pub(crate) fn arguments(mut self, more: &[&str]) -> Self {
        self.command.args(more);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The prepared command, for a test that starts it in a way of its own.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    /// Runs it as somebody at a terminal would, who answers each question when it comes; everything that was shown.
    pub(crate) fn typing(mut self, answers: &[(&str, &str)]) -> String {
        use std::io::Read as _;
        let mut child = self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (mut shown, mut from) = (Vec::new(), 0);
        let mut answers = answers.iter().peekable();
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = stdout.read(&mut bytes) {
            shown.extend_from_slice(&bytes[..count]);
            if let Some((question, answer)) = answers.peek()
                && String::from_utf8_lossy(&shown[from..]).contains(question)
            {
                from = shown.len();
                stdin.write_all(answer.as_bytes()).unwrap();
                answers.next();
            }
        }
        child.wait().unwrap();
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Runs it to its end and collects what it wrote. What still holds its output open past the limit is a failure.
    pub(crate) fn run(mut self) -> Output {
        let line = describe(&self.command);
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = std::time::Instant::now();
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        let mut stdin = child.stdin.take().unwrap();
        // A program that never reads its input closes it early, which is its right.
        let input = std::thread::spawn(move || drop(stdin.write_all(&self.input)));
        let id = child.id();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(child.wait_with_output()));
        let Ok(output) = receiver.recv_timeout(self.limit) else {
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
            panic!("{line}: not over after {:?}, or its output is still held open by a child", self.limit);
        };
        input.join().unwrap();
        Output::new(line, output.unwrap(), started.elapsed())
    }
}

/// The program under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("RBUILD_TEST_BIN").map_or_else(|| env!("CARGO_BIN_EXE_rbuild").into(), PathBuf::from)
}

/// The repository, or the copy of it that the user who runs the tests can read.
pub(crate) fn source_directory() -> PathBuf {
    std::env::var_os("RBUILD_TEST_SOURCE").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    // `cp` keeps modes and links, which the standard library's copy of one file would not.
    let status =
        Command::new("cp").arg("-a").arg("--no-preserve=ownership").args([from, to]).status().unwrap();
    assert!(status.success(), "cp {} {}", from.display(), to.display());
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
