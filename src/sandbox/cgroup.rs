//! Control groups (version 2): where groups for sandboxes can be made. The place is found before any thread.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::group::GroupSpec;
use super::obstacles::Remedy;
use super::resources::{GroupFile, Resources};
use crate::sys::namespace::read_setting;
use crate::sys::{At, IoError};

/// The control groups that this process could make groups in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroup {
    /// There are none, or their file system is not mounted.
    Absent,
    /// Others manage them, or have processes in them.
    NotDelegated { directory: PathBuf },
    Delegated {
        directory: PathBuf,
        controllers: Vec<String>,
        /// Whether version 1 holds controllers, which version 2 then lacks.
        is_hybrid: bool,
    },
}

/// A limit that cannot be kept here.
#[derive(Debug, thiserror::Error)]
#[error("{option} cannot be kept here: {why}")]
pub struct LimitError {
    pub option: String,
    pub why: String,
    pub remedy: Option<Remedy>,
}

impl LimitError {
    /// What would help.
    pub fn hint(&self) -> Option<String> {
        self.remedy.as_ref().map(ToString::to_string)
    }
}

/// Where this process makes groups.
#[derive(Debug)]
pub(super) struct Groups {
    directory: PathBuf,
}

/// The leaf that this process itself moves into: a group that hands controllers on must not have processes.
const OWN_LEAF: &str = "rbuild";

/// A group that children could be made in.
struct Place {
    directory: PathBuf,
    /// What its children can get.
    controllers: Vec<String>,
    /// Whether this process has to leave it first.
    is_in_the_way: bool,
}

impl Cgroup {
    /// Looks, and changes nothing.
    pub fn find() -> Self {
        let Some(own) = own_directory() else { return Self::Absent };
        let count =
            |place: &Place| ["cpu", "memory", "pids"].iter().filter(|name| place.offers(name)).count();
        match places(&own).into_iter().rev().max_by_key(count) {
            Some(place) => {
                let (directory, controllers) = (place.directory, place.controllers);
                Self::Delegated { directory, controllers, is_hybrid: is_hybrid(&membership()) }
            }
            None => Self::NotDelegated { directory: own },
        }
    }

    /// What would bring groups that limit.
    pub(super) fn remedy(&self, is_root: bool) -> Remedy {
        match self {
            Self::Delegated { is_hybrid: false, .. } => Remedy {
                what: "an administrator can have systemd delegate more controllers to users: Delegate=cpu cpuset memory \
                       pids under [Service] in /etc/systemd/system/user@.service.d/delegate.conf"
                    .to_owned(),
                command: None,
            },
            Self::Absent | Self::Delegated { is_hybrid: true, .. } => Remedy {
                what: "limits need controllers in cgroup v2: boot without cgroup v1, by the kernel's command line \
                       systemd.unified_cgroup_hierarchy=1"
                    .to_owned(),
                command: None,
            },
            Self::NotDelegated { .. } => {
                let user = if is_root { "" } else { "--user " };
                let what = "limits need a control group of one's own, which systemd gives";
                Remedy::command(what, format!("systemd-run {user}--scope -p Delegate=yes rbuild ..."))
            }
        }
    }
}

impl Groups {
    /// Finds the place where groups can be made that keep to these limits, and prepares it. This process, which has
    /// one thread, may move into a group beside them.
    pub(super) fn prepare(resources: &Resources, is_root: bool) -> Result<Option<Self>, LimitError> {
        let files = resources.files();
        if files.is_empty() {
            return Ok(None);
        }
        let Some(own) = own_directory() else {
            return Err(refused(&files, "no cgroup v2 is mounted", &Cgroup::Absent, is_root));
        };
        let places = places(&own);
        let lacks = |place: &Place| files.iter().find(|file| !place.offers(&file.controller)).cloned();
        let Some(place) = places.iter().find(|place| lacks(place).is_none()) else {
            let found = Cgroup::find();
            return Err(match places.iter().rev().find_map(|place| Some((place, lacks(place)?))) {
                Some((place, lacking)) => {
                    let directory = place.directory.display();
                    let why = format!("there is no controller `{}` in {directory}", lacking.controller);
                    refused(&[lacking], &why, &found, is_root)
                }
                None => {
                    let why = format!("the control group {} is not delegated", own.display());
                    refused(&files, &why, &found, is_root)
                }
            });
        };
        let failed = |error: IoError| LimitError {
            option: files[0].option.clone(),
            why: error.to_string(),
            remedy: Some(Cgroup::NotDelegated { directory: own.clone() }.remedy(is_root)),
        };
        place.open(&files).map_err(failed)?;
        check_processors(resources, &place.directory)?;
        Ok(Some(Self { directory: place.directory.clone() }))
    }

    /// What the child needs to make one.
    pub(super) fn spec(&self, name: String, resources: &Resources) -> GroupSpec {
        GroupSpec { within: self.directory.clone(), name, files: resources.files() }
    }
}

fn refused(files: &[GroupFile], why: &str, found: &Cgroup, is_root: bool) -> LimitError {
    LimitError { option: files[0].option.clone(), why: why.to_owned(), remedy: Some(found.remedy(is_root)) }
}

/// The kernel takes a list with processors that are not there, and then leaves the group all of them.
fn check_processors(resources: &Resources, directory: &Path) -> Result<(), LimitError> {
    let Some(wanted) = &resources.cpuset else { return Ok(()) };
    let there = read_setting(directory.join("cpuset.cpus.effective")).unwrap_or_default();
    match numbers(wanted).into_iter().find(|number| !numbers(&there).contains(number)) {
        None => Ok(()),
        Some(number) => Err(LimitError {
            option: "--cpuset-cpus".to_owned(),
            why: format!("there is no processor {number}, only {there}"),
            remedy: None,
        }),
    }
}

/// The numbers of a list such as `0-2,5`.
fn numbers(list: &str) -> Vec<u16> {
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => Some(first.parse().ok()?..=last.parse().ok()?),
        None => part.parse().ok().map(|number| number..=number),
    };
    list.split(',').filter_map(range).flatten().collect()
}

impl Place {
    fn offers(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// Lets the children have what these files need.
    fn open(&self, files: &[GroupFile]) -> Result<(), IoError> {
        let control = self.directory.join("cgroup.subtree_control");
        let enabled = words(&control);
        let mut wanted: Vec<String> = files.iter().map(|file| format!("+{}", file.controller)).collect();
        wanted.sort();
        wanted.dedup();
        wanted.retain(|controller| !enabled.contains(&controller[1..].to_owned()));
        if wanted.is_empty() {
            return Ok(());
        }
        if self.is_in_the_way {
            let leaf = self.directory.join(OWN_LEAF);
            match std::fs::create_dir(&leaf) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    Err(error).at("create", &leaf)?
                }
                _ => {}
            }
            put(&leaf.join("cgroup.procs"), "0")?;
        }
        put(&control, &wanted.join(" "))
    }
}

/// Where groups could be made: below the own one, else beside it.
fn places(own: &Path) -> Vec<Place> {
    let above = own.parent().filter(|above| above.join("cgroup.procs").exists());
    // An earlier command has moved out of the way to here.
    if let Some(above) = above.filter(|_| own.ends_with(OWN_LEAF)) {
        return place(above, false).into_iter().collect();
    }
    [place(own, true), above.and_then(|above| place(above, false))].into_iter().flatten().collect()
}

fn place(directory: &Path, is_own: bool) -> Option<Place> {
    let may_write = |file: &Path| rustix::fs::access(file, Access::WRITE_OK).is_ok();
    let files = ["cgroup.procs", "cgroup.subtree_control"].map(|name| directory.join(name));
    if !may_write(directory) || !files.iter().all(|file| may_write(file)) {
        return None;
    }
    // Only the root of all groups may have processes and hand controllers on.
    let is_root = !directory.join("cgroup.type").exists();
    let own_process = std::process::id().to_string();
    let others = words(&files[0]).iter().any(|process| *process != own_process);
    let is_free = is_root || !others;
    let controllers =
        words(&directory.join(if is_free { "cgroup.controllers" } else { "cgroup.subtree_control" }));
    let is_in_the_way = is_own && !is_root;
    (is_free || !controllers.is_empty()).then(|| Place {
        directory: directory.to_owned(),
        controllers,
        is_in_the_way,
    })
}

fn words(file: &Path) -> Vec<String> {
    let text = read_setting(file).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

fn put(file: &Path, content: &str) -> Result<(), IoError> {
    let mut open = OpenOptions::new().write(true).open(file).at("open", file)?;
    open.write_all(content.as_bytes()).at("write", file)
}

fn own_directory() -> Option<PathBuf> {
    let mounts = read_setting("/proc/self/mountinfo").unwrap_or_default();
    cgroup_directory(&mounts, &membership())
}

fn membership() -> String {
    read_setting("/proc/self/cgroup").unwrap_or_default()
}

/// Whether there are controllers in hierarchies of version 1; one that is only for names has none.
fn is_hybrid(membership: &str) -> bool {
    let controllers = |line: &str| line.split(':').nth(1).unwrap_or_default().to_owned();
    membership.lines().map(controllers).any(|names| !names.is_empty() && !names.starts_with("name="))
}

/// Where this process's control group is seen.
fn cgroup_directory(mounts: &str, membership: &str) -> Option<PathBuf> {
    let own = Path::new(membership.lines().find_map(|line| line.strip_prefix("0::"))?);
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        // A mount may show just a part of the tree, as in containers.
        let inner = own.strip_prefix(root).ok().filter(|_| kind.starts_with("cgroup2 "))?;
        // Joined with nothing a path would end in a slash.
        Some(Path::new(mount_point).join(inner).components().collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_control_group_is_found_where_it_is_mounted() {
        let hybrid = "30 24 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 24 0:27 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        let found = |mounts, own| cgroup_directory(mounts, own);
        let expected = Some(PathBuf::from("/sys/fs/cgroup/unified/a/b"));
        assert_eq!(found(hybrid, "8:pids:/\n0::/a/b"), expected);
        let part = "31 24 0:27 /a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(found(part, "0::/a/b"), Some(PathBuf::from("/sys/fs/cgroup/b")));
        assert_eq!(found(part, "0::/a").unwrap().as_os_str(), "/sys/fs/cgroup");
        assert_eq!(found(part, "0::/else"), None);
        assert_eq!(found(hybrid, "8:pids:/"), None);
    }

    /// A directory with the files of a control group in it.
    fn group(directory: &Path, processes: &str, controllers: &str, enabled: &str) {
        std::fs::create_dir_all(directory).unwrap();
        let files = [
            ("cgroup.type", "domain\n"),
            ("cgroup.procs", processes),
            ("cgroup.controllers", controllers),
            ("cgroup.subtree_control", enabled),
        ];
        for (name, content) in files {
            std::fs::write(directory.join(name), content).unwrap();
        }
    }

    #[test]
    fn groups_are_made_below_the_own_one_or_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let (slice, scope) = (dir.path().join("slice"), dir.path().join("slice/scope"));
        let own = std::process::id().to_string();
        let found = || -> Vec<(PathBuf, String)> {
            let places = places(&scope).into_iter();
            places.map(|place| (place.directory, place.controllers.join(" "))).collect()
        };
        group(&slice, "", "cpu memory pids", "memory pids");
        // Alone in it.
        group(&scope, &own, "memory pids", "");
        let beside = (slice.clone(), "cpu memory pids".to_owned());
        assert_eq!(found(), [(scope.clone(), "memory pids".to_owned()), beside.clone()]);
        // With the shell that started this.
        group(&scope, &format!("{own}\n1\n"), "memory pids", "");
        assert_eq!(found(), [beside]);
        group(&slice, "1\n", "cpu memory pids", "");
        assert_eq!(found(), []);
    }

    #[test]
    fn what_is_handed_on_is_what_is_needed_and_lacking() {
        let dir = tempfile::tempdir().unwrap();
        group(dir.path(), "", "cpu memory pids", "memory");
        let place = place(dir.path(), false).unwrap();
        let resources = Resources { memory: Some(1), pids: Some(1), ..Resources::default() };
        place.open(&resources.files()).unwrap();
        // A true group would take the line as an order; a plain file keeps it over its old content.
        assert_eq!(read_setting(dir.path().join("cgroup.subtree_control")).unwrap(), "+pidsy");
    }

    #[test]
    fn controllers_of_version_1_are_seen() {
        assert!(is_hybrid("4:memory:/a\n1:name=systemd:/\n0::/"));
        assert!(!is_hybrid("1:name=systemd:/\n0::/"));
    }

    #[test]
    fn lists_are_read() {
        assert_eq!(numbers("0-2,5"), [0, 1, 2, 5]);
        assert!(numbers("").is_empty());
    }
}
