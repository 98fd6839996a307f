//! A small disk of a test's own: a tmpfs that only processes started by way of it see, so that any user may have one.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::{Rbuild, TestEnv, binary, has_subuid_range, is_root};

/// Gone with the value.
pub(crate) struct Disk<'a> {
    env: &'a TestEnv,
    place: PathBuf,
    /// Keeps the mount namespace; ends when its input does.
    holder: Child,
}

impl<'a> Disk<'a> {
    /// Puts a tmpfs with these options over a directory of a test's world.
    pub(crate) fn over(env: &'a TestEnv, place: &Path, options: &str) -> Self {
        let mut arguments = vec!["--mount", "--propagation", "private"];
        if !is_root() {
            arguments.extend(["--user", "--map-root-user"]);
            arguments.extend(has_subuid_range().then_some("--map-auto"));
        }
        let script = "mount -t tmpfs -o \"$1\" tmpfs \"$0\" && echo mounted && exec cat";
        let place = place.to_owned();
        arguments.extend(["sh", "-c", script, place.to_str().unwrap(), options]);
        let mut command = env.program("unshare", &arguments).into_command();
        let mut holder = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n", "no tmpfs at {}", place.display());
        Self { env, place, holder }
    }

    pub(crate) fn place(&self) -> &Path {
        &self.place
    }

    /// A program that sees the disk.
    pub(crate) fn program(&self, program: &str, arguments: &[&str]) -> Rbuild {
        let target = self.holder.id().to_string();
        let mut all = vec!["--target", &*target, "--mount"];
        if !is_root() {
            all.extend(["--user", "--preserve-credentials"]);
        }
        let context = self.env.context();
        // Who enters a mount namespace is at its root.
        all.extend(["sh", "-c", "cd \"$0\" && exec \"$@\"", context.to_str().unwrap(), program]);
        all.extend(arguments);
        self.env.program("nsenter", &all)
    }

    /// rbuild, that sees the disk.
    pub(crate) fn rbuild(&self, arguments: &[&str]) -> Rbuild {
        self.program(binary().to_str().unwrap(), arguments)
    }

    pub(crate) fn shell(&self, script: &str) -> String {
        self.program("sh", &["-c", script]).run().success().stdout().to_owned()
    }

    /// Changes the options, such as the size.
    pub(crate) fn remount(&self, options: &str) {
        // Named in full, so that the other options are not repeated: what they say may have no meaning inside.
        let (options, place) = (format!("remount,{options}"), self.place.to_str().unwrap());
        self.program("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", place]).run().success();
    }

    /// How many KiB are used, and how many files there are.
    pub(crate) fn used(&self) -> (u64, u64) {
        let text = self.shell(&format!("df --output=used,iused {} | tail -n 1", self.place.display()));
        let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }

    /// Uses up what is left, of bytes or of files. The kernel gives tmpfs some things in pieces, so it is done until nothing
    /// fits.
    pub(crate) fn fill(&self) {
        self.shell(&format!(
            "cd {}; i=0; while mkdir ballast.$i && echo x > ballast.$i/x; do i=$((i+1)); cat /dev/zero > ballast.$i.0; done 2>/dev/null; true",
            self.place.display()
        ));
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
