//! Ids that this user may map into a namespace, and who writes the maps.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::StatVfsMountFlags;
use rustix::process::Pid;

use super::isolation::Host;
use super::obstacles::Remedy;
use super::ranges::{
    IdMap, IdRange, first_free, names_subid_source, owned_ids, parse_getsubids, parse_map, parse_ranges,
};
use crate::sys::namespace::{self, read_setting};

/// Maps for a namespace that is about to be made.
#[derive(Debug)]
pub(super) struct LentIds {
    users: Vec<IdMap>,
    groups: Vec<IdMap>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// newuidmap and newgidmap, which know what the administrator lends.
    Programs { newuidmap: PathBuf, newgidmap: PathBuf },
    /// This process, which may hand on every id that its own namespace has.
    Directly,
}

/// newuidmap or newgidmap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapper {
    Missing,
    /// Neither setuid root nor with capabilities: it can do no more than its caller.
    Powerless(PathBuf),
    Ready(PathBuf),
}

/// Why there is no range of ids.
#[derive(Debug)]
pub(super) struct Unlent {
    pub why: String,
    pub remedy: Option<Remedy>,
}

pub(super) const NEITHER_MAPPED: i32 = 3;
const FAILED_HALFWAY: i32 = 4;

impl LentIds {
    pub(super) fn find(host: &Host<'_>) -> Result<Self, Unlent> {
        Self::by_programs(host).or_else(|unlent| Self::directly(host).ok_or(unlent))
    }

    fn by_programs(host: &Host<'_>) -> Result<Self, Unlent> {
        if owned_ids() <= 1 {
            let why = "this user namespace has a single id itself".to_owned();
            return Err(Unlent { why, remedy: None });
        }
        let (users, groups) = lent_ranges(host);
        if users.is_empty() || groups.is_empty() {
            let why = format!("/etc/subuid and /etc/subgid lend no ids to {}", host.user);
            return Err(Unlent { why, remedy: Some(Remedy::lend_ids(host.user, first_free_id())) });
        }
        let program = |name: &str| match Mapper::find(host, name) {
            Mapper::Ready(program) => Ok(program),
            Mapper::Powerless(program) => Err(Unlent {
                why: format!("{} has no setuid bit that takes effect", program.display()),
                remedy: Some(Remedy::reinstall("uidmap")),
            }),
            Mapper::Missing => Err(Unlent {
                why: format!("{name} is not installed"),
                remedy: Some(Remedy::install("uidmap")),
            }),
        };
        if rustix::thread::no_new_privs().unwrap_or(false) {
            let why = "newuidmap has no power: no_new_privs is set".to_owned();
            return Err(Unlent { why, remedy: Some(Remedy::allow_new_privileges()) });
        }
        // Both are looked at first: a namespace with one of its maps written is of no use and cannot be left.
        let way = Way::Programs { newuidmap: program("newuidmap")?, newgidmap: program("newgidmap")? };
        Ok(Self { users: own_and_lent(host.uid, &users), groups: own_and_lent(host.gid, &groups), way })
    }

    /// As root of a namespace, or of a container, that has several ids but not the right to mount.
    fn directly(host: &Host<'_>) -> Option<Self> {
        let own = |file: &str| {
            let map = parse_map(&read_setting(file).unwrap_or_default());
            // Inside as outside: the ids of the files that are there stay what they are.
            let map: Vec<_> = map.into_iter().map(|line| IdMap { outside: line.inside, ..line }).collect();
            (map.iter().map(|line| u64::from(line.count)).sum::<u64>() > 1).then_some(map)
        };
        let (users, groups) = (own("/proc/self/uid_map")?, own("/proc/self/gid_map")?);
        (host.uid == 0 && namespace::may_change_ids()).then_some(Self { users, groups, way: Way::Directly })
    }

    pub(super) fn mapper(&self) -> &'static str {
        match self.way {
            Way::Programs { .. } => "newuidmap and newgidmap",
            Way::Directly => "writing the id maps",
        }
    }

    /// Waits until the namespace exists, then maps users and groups at the same time. The answer explains a failure.
    pub(super) fn map_when_told(&self, target: Pid, go_ahead: &mut impl Read, mut answer: impl Write) -> i32 {
        if go_ahead.read_exact(&mut [0]).is_err() {
            return FAILED_HALFWAY;
        }
        let failures = match &self.way {
            Way::Programs { newuidmap, newgidmap } => {
                let started = [start(newuidmap, target, &self.users), start(newgidmap, target, &self.groups)];
                started.map(finish)
            }
            Way::Directly => [
                write_map(target, "uid_map", &self.users).err(),
                write_map(target, "gid_map", &self.groups).err(),
            ],
        };
        let failures: Vec<String> = failures.into_iter().flatten().collect();
        // Nobody may be listening any more; the exit code says the same.
        let _ = answer.write_all(failures.join("; ").as_bytes());
        match failures.len() {
            0 => 0,
            1 => FAILED_HALFWAY,
            _ => NEITHER_MAPPED,
        }
    }
}

impl Mapper {
    pub(super) fn find(host: &Host<'_>, name: &str) -> Self {
        match find_program(host.search_path, name) {
            None => Self::Missing,
            Some(program) if has_power(&program) => Self::Ready(program),
            Some(program) => Self::Powerless(program),
        }
    }
}

fn has_power(program: &Path) -> bool {
    let is_setuid = std::fs::metadata(program).is_ok_and(|meta| meta.mode() & 0o4000 != 0 && meta.uid() == 0);
    let has_capabilities = || {
        let mut value = [0_u8; 64];
        rustix::fs::getxattr(program, "security.capability", &mut value).is_ok()
    };
    let ignored = rustix::fs::statvfs(program)
        .is_ok_and(|file_system| file_system.f_flag.contains(StatVfsMountFlags::NOSUID));
    !ignored && (is_setuid || has_capabilities())
}

/// The ranges of users and of groups that the administrator lends to this user.
pub(super) fn lent_ranges(host: &Host<'_>) -> (Vec<IdRange>, Vec<IdRange>) {
    // Without a source of its own getsubids reads the same files, only slower.
    let elsewhere = names_subid_source(&read_setting("/etc/nsswitch.conf").unwrap_or_default());
    let getsubids = elsewhere.then(|| find_program(host.search_path, "getsubids")).flatten();
    let ask = |options: &[&str]| {
        let program = getsubids.as_ref()?;
        let output = Command::new(program).args(options).arg(host.user).stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| parse_getsubids(&String::from_utf8_lossy(&output.stdout)))
    };
    let read = |file: &str| parse_ranges(&read_setting(file).unwrap_or_default(), host.user, host.uid);
    let users = ask(&[]).unwrap_or_else(|| read("/etc/subuid"));
    let groups = ask(&["-g"]).unwrap_or_else(|| read("/etc/subgid"));
    (users, groups)
}

/// The first id that is lent to nobody.
pub(super) fn first_free_id() -> u32 {
    first_free(&["/etc/subuid", "/etc/subgid"].map(|file| read_setting(file).unwrap_or_default()))
}

/// An ordinary user's search path often lacks the directories of administrators.
pub(super) fn find_program(search_path: &OsStr, name: &str) -> Option<PathBuf> {
    let fallback = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(search_path).chain(fallback).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Root inside is this user; the lent ids follow in order.
fn own_and_lent(own: u32, ranges: &[IdRange]) -> Vec<IdMap> {
    let mut map = vec![IdMap { inside: 0, outside: own, count: 1 }];
    for range in ranges {
        let taken = |line: &IdMap| {
            range.start < line.outside.saturating_add(line.count) && line.outside < range.start + range.count
        };
        let inside = map.last().and_then(|line| line.inside.checked_add(line.count));
        // The kernel refuses a whole map if it has an id twice or too many lines.
        let Some(inside) = inside.filter(|_| map.len() < 340 && !map.iter().any(taken)) else { continue };
        if inside.checked_add(range.count).is_some() {
            map.push(IdMap { inside, outside: range.start, count: range.count });
        }
    }
    map
}

fn start(program: &Path, target: Pid, map: &[IdMap]) -> io::Result<std::process::Child> {
    let mut command = Command::new(program);
    command.arg(target.as_raw_nonzero().to_string());
    for line in map {
        command.args([line.inside, line.outside, line.count].map(|number| number.to_string()));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
}

/// What went wrong, if anything did.
fn finish(started: io::Result<std::process::Child>) -> Option<String> {
    match started.and_then(std::process::Child::wait_with_output) {
        Ok(output) if output.status.success() => None,
        // Libraries may have added lines; the message becomes part of a sentence.
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            Some(text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; "))
        }
        Err(error) => Some(error.to_string()),
    }
}

fn write_map(target: Pid, name: &str, map: &[IdMap]) -> Result<(), String> {
    let file = format!("/proc/{}/{name}", target.as_raw_nonzero());
    let lines: Vec<String> = map.iter().map(IdMap::to_string).collect();
    // In one write: the kernel takes no second one.
    std::fs::write(&file, lines.join("\n")).map_err(|error| format!("write {file}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_would_refuse_is_left_out_of_a_map() {
        let range = |start, count| IdRange { start, count };
        let ranges = [range(100_000, 10), range(100_005, 10), range(1000, 5), range(200_000, 3)];
        let map: Vec<String> = own_and_lent(1002, &ranges).iter().map(IdMap::to_string).collect();
        assert_eq!(map, ["0 1002 1", "1 100000 10", "11 200000 3"]);
    }
}
