//! The lines of a verdict: one thing each, whether it is there, and what would bring it. Pure.

use super::attempt::{Attempt, Inside, NetworkTried, OverlayTried, ProcTried, Tried};
use super::cgroup::Cgroup;
use super::isolation::Rung;
use super::lent::Mapper;
use super::obstacles::Remedy;
use super::probe::{Device, Facts};
use super::verdict::{Check, State};

type Line = (Check, Option<Remedy>);

/// Every check, in the order in which they are read.
pub(super) fn all(facts: &Facts, chosen: Option<(Rung, &Inside)>) -> Vec<Line> {
    let is_root = matches!(chosen, Some((Rung::Root, _)));
    let mut lines = vec![user_namespaces(facts), lent_ids(facts, is_root), mappers(facts, is_root)];
    lines.extend(facts.rungs.iter().map(|(rung, tried)| rung_line(*rung, tried, facts, is_root)));
    let inside = chosen.map(|(_, inside)| inside);
    lines.extend([
        overlay(inside),
        proc(inside),
        tried_inside(
            inside.map(|inside| &inside.handing_over),
            "seccomp_notify",
            "seccomp notify",
            notify_remedy(),
        ),
        landlock(facts),
        cgroup(facts),
        device(facts.fuse, "fuse", "/dev/fuse", "fuse"),
        fuse_overlayfs(facts),
        device(facts.tun, "tun", "/dev/net/tun", "tun"),
        network(inside),
    ]);
    lines
}

/// What is missing on a rung that no step can do without.
pub(super) fn keeps_steps_from_running(inside: &Inside) -> Option<&'static str> {
    match &inside.proc {
        ProcTried::Fails(_) => Some("no /proc can be shown"),
        ProcTried::Fresh | ProcTried::Shared(_) => None,
    }
}

fn line(name: &'static str, what: &'static str, state: State, detail: impl Into<String>) -> Check {
    Check { name, state, what, detail: detail.into() }
}

fn advice(what: &str) -> Remedy {
    Remedy { what: what.to_owned(), command: None }
}

fn user_namespaces(facts: &Facts) -> Line {
    let check = |state, detail| line("user_namespaces", "user namespaces", state, detail);
    match &facts.user_namespace {
        Ok(()) => (check(State::Ok, "can be made".to_owned()), None),
        Err(why) => {
            let filtered =
                if facts.obstacles.filtered { "; a seccomp filter is on this process" } else { "" };
            let detail = format!("{why}{filtered}");
            (check(State::Missing, detail), Some(facts.obstacles.of_user_namespaces()))
        }
    }
}

/// Why ids from outside are of no use here, if they are not.
fn needs_no_range(facts: &Facts, is_root: bool) -> Option<&'static str> {
    if is_root {
        return Some("not needed: root has every id");
    }
    (facts.owned_ids <= 1).then_some("of no use: this user namespace has one id itself")
}

fn lent_ids(facts: &Facts, is_root: bool) -> Line {
    let check = |state, detail: String| line("lent_ids", "subordinate ids", state, detail);
    let Facts { lent_users, lent_groups, user, .. } = facts;
    if *lent_users > 0 && *lent_groups > 0 {
        return (check(State::Ok, format!("{lent_users} users, {lent_groups} groups")), None);
    }
    if let Some(why) = needs_no_range(facts, is_root) {
        return (check(State::NotApplicable, why.to_owned()), None);
    }
    let detail = match (lent_users, lent_groups) {
        (0, 0) => "none in /etc/subuid and /etc/subgid",
        (0, _) => "none in /etc/subuid",
        _ => "none in /etc/subgid",
    };
    (check(State::Missing, detail.to_owned()), Some(Remedy::lend_ids(user, facts.first_free_id)))
}

fn mappers(facts: &Facts, is_root: bool) -> Line {
    let check = |state, detail: &str| line("mappers", "newuidmap, newgidmap", state, detail);
    let missing = match needs_no_range(facts, is_root) {
        Some(_) => State::NotApplicable,
        None => State::Missing,
    };
    match (&facts.newuidmap, &facts.newgidmap) {
        (Mapper::Missing, _) | (_, Mapper::Missing) => {
            (check(missing, "not installed"), Some(Remedy::install("uidmap")))
        }
        (Mapper::Powerless(_), _) | (_, Mapper::Powerless(_)) => {
            (check(missing, "not setuid root"), Some(Remedy::reinstall("uidmap")))
        }
        (Mapper::Ready(_), Mapper::Ready(_)) if facts.obstacles.no_new_privileges => {
            let detail = "without power: no_new_privs is set";
            (check(missing, detail), Some(Remedy::allow_new_privileges()))
        }
        (Mapper::Ready(_), Mapper::Ready(_)) => (check(State::Ok, "installed, with privileges"), None),
    }
}

fn rung_line(rung: Rung, tried: &Tried, facts: &Facts, is_root: bool) -> Line {
    let what = match rung {
        Rung::Root => "isolation root",
        Rung::Range => "isolation range",
        Rung::Single => "isolation single",
        Rung::Bare => "isolation none",
    };
    match tried {
        Tried::Works(inside) => {
            let detail = match rung {
                Rung::Root => "root, may mount".to_owned(),
                Rung::Range => format!("{} ids", inside.ids),
                Rung::Single => "one id; owners are remembered".to_owned(),
                Rung::Bare => "images without RUN".to_owned(),
            };
            (line(rung.name(), what, State::Ok, detail), None)
        }
        Tried::Fails { why, remedy } => {
            let is_needed = match rung {
                // Nobody has to become root.
                Rung::Root => false,
                Rung::Range => needs_no_range(facts, is_root).is_none(),
                Rung::Single => !is_root,
                Rung::Bare => false,
            };
            let state = if is_needed { State::Missing } else { State::NotApplicable };
            (line(rung.name(), what, state, why.clone()), remedy.clone())
        }
    }
}

fn overlay(inside: Option<&Inside>) -> Line {
    let check = |state, detail: &str| line("overlay", "overlay", state, detail);
    let instead = "each step gets a copy of all files instead";
    match inside.map(|inside| &inside.overlay) {
        None => (check(State::NotApplicable, "not to be tried without isolation"), None),
        Some(OverlayTried::Works) => {
            (check(State::Ok, "with userxattr and lowerdir+, where the store is"), None)
        }
        Some(OverlayTried::OldWay) => {
            (check(State::Ok, "with userxattr, without lowerdir+ (Linux 6.8)"), None)
        }
        Some(OverlayTried::Fails(why)) if why == "No such device" => {
            let remedy = Remedy::command("an administrator can load overlayfs", "modprobe overlay");
            (check(State::Missing, &format!("not in this kernel; {instead}")), Some(remedy))
        }
        Some(OverlayTried::Fails(why)) => {
            let remedy = advice(
                "put the store (--root) on a local file system such as ext4, xfs or btrfs, not on an overlay or NFS; \
                 overlays in a user namespace need Linux 5.11",
            );
            (check(State::Missing, &format!("{why}; {instead}")), Some(remedy))
        }
        Some(OverlayTried::NoPlace(why)) => {
            (check(State::NotApplicable, &format!("cannot write where the store would be: {why}")), None)
        }
    }
}

fn tried_inside(tried: Option<&Attempt>, name: &'static str, what: &'static str, remedy: Remedy) -> Line {
    match tried {
        None => (line(name, what, State::NotApplicable, "not to be tried without isolation"), None),
        Some(Ok(())) => (line(name, what, State::Ok, "works"), None),
        Some(Err(why)) => (line(name, what, State::Missing, why), Some(remedy)),
    }
}

fn proc(inside: Option<&Inside>) -> Line {
    let check = |state, detail: String| line("proc", "fresh /proc", state, detail);
    match inside.map(|inside| &inside.proc) {
        None => (check(State::NotApplicable, "not to be tried without isolation".to_owned()), None),
        Some(ProcTried::Fresh) => (check(State::Ok, "works".to_owned()), None),
        Some(ProcTried::Shared(why)) => {
            let detail = format!("{why}; steps share the processes around them");
            (check(State::Missing, detail), Some(proc_remedy()))
        }
        Some(ProcTried::Fails(why)) => (check(State::Missing, why.clone()), Some(proc_remedy())),
    }
}

fn proc_remedy() -> Remedy {
    advice(
        "a container around this one covers parts of /proc: uncover them (docker: --security-opt systempaths=unconfined; \
         Kubernetes: procMount: Unmasked)",
    )
}

fn notify_remedy() -> Remedy {
    advice("system calls cannot be handed over twice: run rbuild outside of what answers them already")
}

fn landlock(facts: &Facts) -> Line {
    let check = |state, detail: String| line("landlock", "landlock", state, detail);
    match facts.landlock {
        Some(version) => (check(State::Ok, format!("version {version}")), None),
        None => {
            let remedy = advice("landlock needs Linux 5.13 and `landlock` in the kernel's lsm= list");
            (check(State::Missing, "not in this kernel, or off".to_owned()), Some(remedy))
        }
    }
}

fn cgroup(facts: &Facts) -> Line {
    const LIMITS: [&str; 3] = ["cpu", "memory", "pids"];
    let check = |state, detail: String| line("cgroup", "cgroup limits", state, detail);
    let remedy = || Some(facts.cgroup.remedy(facts.uid == 0));
    match &facts.cgroup {
        Cgroup::Absent => (check(State::Missing, "no cgroup v2 is mounted".to_owned()), remedy()),
        Cgroup::NotDelegated { directory } => {
            (check(State::Missing, format!("not delegated: {}", directory.display())), remedy())
        }
        Cgroup::Delegated { controllers, .. } => {
            let (has, lacks): (Vec<&str>, Vec<&str>) =
                LIMITS.iter().partition(|name| controllers.iter().any(|controller| controller == *name));
            match (has.is_empty(), lacks.is_empty()) {
                (true, _) => {
                    (check(State::Missing, format!("delegated without {}", lacks.join(", "))), remedy())
                }
                (false, true) => (check(State::Ok, has.join(", ")), None),
                (false, false) => {
                    (check(State::Ok, format!("{} (not {})", has.join(", "), lacks.join(", "))), None)
                }
            }
        }
    }
}

fn device(device: Device, name: &'static str, path: &'static str, module: &str) -> Line {
    match device {
        Device::Usable => (line(name, path, State::Ok, "can be opened"), None),
        Device::Missing => {
            (line(name, path, State::Missing, "not there"), Some(Remedy::open_device(path, module, false)))
        }
        Device::Closed => {
            let remedy = Remedy::open_device(path, module, true);
            (line(name, path, State::Missing, "cannot be opened"), Some(remedy))
        }
    }
}

fn fuse_overlayfs(facts: &Facts) -> Line {
    let check = |state, detail: String| line("fuse_overlayfs", "fuse-overlayfs", state, detail);
    match &facts.fuse_overlayfs {
        Some(program) => (check(State::Ok, program.display().to_string()), None),
        None => {
            (check(State::NotApplicable, "not installed; needed only for --overlay fuse".to_owned()), None)
        }
    }
}

fn network(inside: Option<&Inside>) -> Line {
    let check = |state, detail: &str| line("network", "private network", state, detail);
    match inside.map(|inside| &inside.network) {
        None => (check(State::NotApplicable, "not to be tried without isolation"), None),
        Some(NetworkTried::Works(program)) => (check(State::Ok, &format!("by {program}")), None),
        Some(NetworkTried::Fails { why, remedy }) => {
            let detail = format!("{why}; steps have the host's network");
            (check(State::Missing, &detail), remedy.clone())
        }
    }
}
