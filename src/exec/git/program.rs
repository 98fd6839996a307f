//! The program `git`, kept from all that is not its business.
//!
//! It sees neither the settings of the user nor those of the system, asks nobody for anything, and talks to servers only, with the one
//! protocol that the address names. What authorizes it is in its environment, where nobody else looks, and in no argument and no file.
//! Whatever came from a repository runs nothing: bare repositories of ours have no hooks, and filters would have to be set up.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::super::Executor;
use super::super::error::ExecError;
use super::super::given::{Mask, Surroundings};
use super::access::Access;
use super::error::GitError;
use super::running::{Group, Heard, read};
use crate::event::{Events, StepId, Stream, harmless_lines};
use crate::graph::VertexId;
use crate::store::{HeldCache, Workspace};
use crate::sys::{At, process};

/// How many of the last lines an error repeats.
const LAST_LINES: usize = 10;
/// How long a server may have nothing to say. Git gives up by itself only one that speaks HTTP.
const PATIENCE: Duration = Duration::from_secs(300);
const LONGEST_LINE: usize = 4 << 10;

/// What holds for every call, whatever anybody's settings say.
const SETTINGS: [(&str, &str); 20] = [
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.symlinks", "true"),
    ("core.fileMode", "true"),
    ("core.autocrlf", "false"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.askPass", ""),
    ("credential.helper", ""),
    // Objects come in packs, which get their names when they are whole. Who is killed leaves no commit without its files.
    ("fetch.unpackLimit", "1"),
    ("fetch.recurseSubmodules", "false"),
    ("submodule.recurse", "false"),
    // Nothing goes on behind a command that has ended.
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("protocol.version", "2"),
    ("checkout.workers", "0"),
    // A server that has nothing more to say for a minute is given up.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
];

/// Runs git for a step.
#[derive(Debug)]
pub(super) struct Git {
    surroundings: Surroundings,
    events: Events,
    step: StepId,
    /// Empty.
    home: PathBuf,
    limit: Option<Duration>,
}

/// One call, put together.
pub(super) struct Call<'a> {
    git: &'a Git,
    /// For messages, as in `cannot …`.
    what: String,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, OsString)>,
    access: Option<&'a Access>,
    patience: Option<Duration>,
    held: Option<&'a HeldCache>,
    input: Option<Vec<u8>>,
}

impl Git {
    pub(super) fn new(
        executor: &Executor,
        vertex: VertexId,
        workspace: &Workspace,
    ) -> Result<Self, ExecError> {
        Ok(Self {
            surroundings: executor.mounts.given.surroundings.clone(),
            events: executor.events.clone(),
            step: executor.step(vertex),
            home: workspace.directory("home")?,
            limit: executor.sandboxing.settings.limits.timeout,
        })
    }

    /// A line for who follows the step.
    pub(super) async fn tell(&self, line: String) {
        self.events.log(self.step, Stream::Stderr, line).await;
    }

    pub(super) fn call(&self, what: String) -> Call<'_> {
        Call {
            git: self,
            what,
            arguments: Vec::new(),
            variables: Vec::new(),
            access: None,
            patience: None,
            held: None,
            input: None,
        }
    }
}

impl<'a> Call<'a> {
    pub(super) fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(super) fn arguments(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// The repository that is worked with.
    pub(super) fn repository(self, path: &Path) -> Self {
        self.variable("GIT_DIR", path)
    }

    pub(super) fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// As whom a server is talked to. Without it none is.
    pub(super) fn access(mut self, access: &'a Access) -> Self {
        self.access = Some(access);
        self.patience = Some(PATIENCE);
        self
    }

    /// Keeps a repository for git as long as that lives, even if this process is killed.
    pub(super) fn holding(mut self, held: &'a HeldCache) -> Self {
        self.held = Some(held);
        self
    }

    pub(super) fn input(mut self, input: Vec<u8>) -> Self {
        self.input = Some(input);
        self
    }

    /// Runs it; what it writes is text.
    pub(super) async fn text(self) -> Result<String, ExecError> {
        Ok(String::from_utf8_lossy(&self.run().await?).into_owned())
    }

    /// Runs it; an error if it does not succeed.
    pub(super) async fn run(self) -> Result<Vec<u8>, ExecError> {
        let what = self.what.clone();
        match self.attempt().await? {
            Ok(output) => Ok(output),
            Err(said) => Err(GitError::Failed { what, said, disk: None }.into()),
        }
    }

    /// Runs it. Yields what it wrote, or the last lines of what it complained.
    pub(super) async fn attempt(self) -> Result<Result<Vec<u8>, Vec<String>>, ExecError> {
        let (what, limit) = (self.what.clone(), self.git.limit);
        let work = self.attempt_without_end();
        match limit {
            None => work.await,
            Some(limit) => match tokio::time::timeout(limit, work).await {
                Ok(result) => result,
                Err(_) => Err(GitError::TimedOut { what, limit }.into()),
            },
        }
    }

    async fn attempt_without_end(self) -> Result<Result<Vec<u8>, Vec<String>>, ExecError> {
        let mut command = self.command()?;
        let child = match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(GitError::Missing { what: self.what }.into());
            }
            answer => answer.at("start", "git")?,
        };
        let mut group = Group::of(child);
        let mask = self.access.map(|access| access.mask.clone()).unwrap_or_default();
        let (output, error) = (group.child.stdout.take(), group.child.stderr.take());
        let (output, error) = (output.expect("it is piped"), error.expect("it is piped"));
        let stdin = group.child.stdin.take();
        let feeding = async {
            if let (Some(mut stdin), Some(input)) = (stdin, &self.input) {
                // Who does not read to the end says why by itself.
                let _ = stdin.write_all(input).await;
            }
        };
        let heard = Heard::default();
        let done = async { tokio::join!(read(output, &heard), self.follow(error, mask, &heard), feeding) };
        let (output, said, ()) = tokio::select! {
            done = done => done,
            patience = heard.nothing_for(self.patience) => {
                return Err(GitError::Silent { what: self.what, patience }.into());
            }
        };
        let status = group.child.wait().await.at("wait for", "git")?;
        group.is_over = true;
        let Some(output) = output else { return Err(GitError::Endless { what: self.what }.into()) };
        Ok(if status.success() { Ok(output) } else { Err(said) })
    }

    fn command(&self) -> Result<Command, ExecError> {
        let git = self.git;
        let mut command = Command::new("git");
        command.args(&self.arguments).env_clear().current_dir(&git.home);
        command.envs(git.surroundings.variables.iter().map(|(name, value)| (name, value)));
        command.envs([
            ("LC_ALL", "C"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_PROTOCOL_FROM_USER", "0"),
        ]);
        // Nor does it look for a repository around the store.
        command.env("GIT_CEILING_DIRECTORIES", git.home.parent().unwrap_or(&git.home));
        command
            .env("HOME", &git.home)
            .env("GIT_ALLOW_PROTOCOL", self.access.map_or("", |access| access.protocols()));
        let mut settings: Vec<(&str, &str)> = SETTINGS.to_vec();
        if let Some(access) = self.access {
            settings.extend(access.settings());
            command.envs(access.variables());
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (number, (name, value)) in settings.into_iter().enumerate() {
            command
                .env(format!("GIT_CONFIG_KEY_{number}"), name)
                .env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let stdin = match (&self.input, self.held) {
            (Some(_), _) => Stdio::piped(),
            // Nobody reads it: it is there to be held.
            (None, Some(held)) => Stdio::from(held.share()?),
            (None, None) => Stdio::null(),
        };
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        // It starts others, which have to end with it.
        command.kill_on_drop(true).process_group(0);
        process::end_with_this(command.as_std_mut());
        Ok(command)
    }

    /// Passes on what git says of its progress, line by line; of lines that overwrite each other the last.
    async fn follow(&self, mut from: impl AsyncRead + Unpin, mask: Mask, heard: &Heard) -> Vec<String> {
        let mut last = VecDeque::new();
        let mut line = Vec::new();
        let mut overwritten = Vec::new();
        let mut buffer = vec![0; 8 << 10];
        // A pipe that breaks has ended as far as its reader is concerned.
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            heard.something();
            for byte in &buffer[..length] {
                match byte {
                    b'\r' => overwritten = std::mem::take(&mut line),
                    b'\n' => {
                        let whole = if line.is_empty() { &mut overwritten } else { &mut line };
                        self.line(std::mem::take(whole), &mask, &mut last).await;
                        overwritten.clear();
                    }
                    byte if line.len() < LONGEST_LINE => line.push(*byte),
                    _ => {}
                }
            }
        }
        if !line.is_empty() {
            self.line(line, &mask, &mut last).await;
        }
        last.into()
    }

    async fn line(&self, line: Vec<u8>, mask: &Mask, last: &mut VecDeque<String>) {
        // Some of it is what the server says.
        let line = harmless_lines(String::from_utf8_lossy(&mask.apply(line)).trim_end());
        if line.is_empty() {
            return;
        }
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line.clone());
        self.git.tell(line).await;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::event;

    /// A git that says something twice, and then nothing more.
    #[tokio::test]
    async fn a_server_that_has_nothing_to_say_is_given_up() {
        let scratch = tempfile::tempdir().unwrap();
        let program = scratch.path().join("git");
        std::fs::write(&program, "#!/bin/sh\necho a\nsleep 0.2\necho b >&2\nsleep $1\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", scratch.path().display());
        let surroundings = Surroundings { variables: vec![("PATH", path.into())], ..Surroundings::default() };
        let (events, _receiver) = event::channel();
        let home = scratch.path().to_owned();
        let git = Git { surroundings, events, step: StepId(0), home, limit: None };
        let said = |seconds: &'static str, patience| {
            let mut call = git.call("ask".to_owned()).argument(seconds);
            call.patience = patience;
            call.text()
        };
        let (short, long) = (Some(Duration::from_millis(700)), Some(Duration::from_secs(60)));
        assert_eq!(said("0", long).await.unwrap(), "a\n");
        assert_eq!(said("1", None).await.unwrap(), "a\n");
        let error = said("60", short).await.unwrap_err().to_string();
        assert_eq!(error, "cannot ask: the server has had nothing to say for 700ms");
    }
}
