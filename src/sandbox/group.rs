//! A control group with one sandbox in it: made and removed by the child, who outlives what is in it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::resources::GroupFile;
use crate::sys::{At, IoError};

/// A group to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GroupSpec {
    /// The group that it is made in.
    pub within: PathBuf,
    pub name: String,
    pub files: Vec<GroupFile>,
}

/// A group with one sandbox in it. Its directories are held open: the child's root changes with the sandbox's.
#[derive(Debug)]
pub(super) struct Group {
    within: OwnedFd,
    name: String,
    directory: OwnedFd,
}

impl GroupSpec {
    /// Removes a group whose child could not do that any more, as soon as nobody is in it.
    pub(super) fn remove(&self) {
        remove(|| std::fs::remove_dir(self.within.join(&self.name)), || {});
    }
}

/// Tries until it is gone, or for a while.
fn remove(attempt: impl Fn() -> io::Result<()>, meanwhile: impl Fn()) {
    let patience = Instant::now() + Duration::from_secs(2);
    while attempt().is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) {
        if Instant::now() > patience {
            return;
        }
        meanwhile();
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Group {
    /// Makes it, with its limits and nobody in it.
    pub(super) fn create(spec: &GroupSpec) -> Result<Self, IoError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = spec.within.join(&spec.name);
        let within = rustix::fs::open(&spec.within, flags, Mode::empty()).at("open", &spec.within)?;
        rustix::fs::mkdirat(&within, &spec.name, Mode::from_raw_mode(0o755)).at("create", &path)?;
        let directory = rustix::fs::openat(&within, &spec.name, flags, Mode::empty()).at("open", &path)?;
        let group = Self { within, name: spec.name.clone(), directory };
        for file in &spec.files {
            match group.write(&file.name, &file.content) {
                Err(error) if !file.required && error.kind() == io::ErrorKind::NotFound => {}
                answer => answer.at("write", path.join(&file.name)).inspect_err(|_| group.remove())?,
            }
        }
        Ok(group)
    }

    fn write(&self, name: &str, content: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::empty())?;
        rustix::io::write(&file, content.as_bytes())?;
        Ok(())
    }

    /// Moves the calling process into it.
    pub(super) fn join(&self) -> io::Result<()> {
        self.write("cgroup.procs", "0")
    }

    /// Kills everything in it, where the kernel can.
    pub(super) fn kill(&self) {
        let _ = self.write("cgroup.kill", "1");
    }

    /// Whether something in it was killed because the memory was used up.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(&self.directory, "memory.events", flags, Mode::empty()) else {
            return false;
        };
        let events = io::read_to_string(std::fs::File::from(file)).unwrap_or_default();
        count(&events, "oom_kill") > 0
    }

    /// Removes it as soon as nobody is in it any more.
    pub(super) fn remove(&self) {
        let unlink = || Ok(rustix::fs::unlinkat(&self.within, self.name.as_str(), AtFlags::REMOVEDIR)?);
        remove(unlink, || self.kill());
    }
}

fn count(events: &str, name: &str) -> u64 {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    events.lines().find_map(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read() {
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!((count(events, "oom_kill"), count(events, "max")), (2, 0));
    }
}
