//! From facts to a verdict: the rung that is taken and why, what works, and what would help. Pure.

use serde::Serialize;

use super::attempt::{Inside, Tried};
use super::checks;
use super::isolation::{Choice, Rung};
use super::obstacles::Remedy;
use super::probe::Facts;

/// What is to be told of a host. The names of the fields are those of `doctor --format json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub kernel: String,
    pub user: String,
    /// The rung that commands take; none where they cannot isolate.
    pub rung: Option<Rung>,
    /// Whether steps can run on it.
    pub works: bool,
    /// Why this one, or why none.
    pub reason: String,
    pub checks: Vec<Check>,
    /// What would bring what is missing.
    pub hints: Vec<Remedy>,
}

/// One thing that a host has or lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// For programs; it stays the same.
    pub name: &'static str,
    pub state: State,
    /// For people.
    pub what: &'static str,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum State {
    #[serde(rename = "ok")]
    Ok,
    #[serde(rename = "missing")]
    Missing,
    /// Not needed here, or not to be found out.
    #[serde(rename = "n/a")]
    NotApplicable,
}

impl Verdict {
    /// Judges what was found, as `choice` would have it.
    pub fn of(facts: &Facts, choice: Choice) -> Self {
        let chosen = facts.rungs.iter().find_map(|(rung, tried)| match (choice, tried) {
            (Choice::Only(wanted), _) if wanted != *rung => None,
            (Choice::Auto | Choice::Only(_), Tried::Works(inside)) => Some((*rung, inside)),
            (Choice::Auto | Choice::Only(_), Tried::Fails { .. }) => None,
        });
        let (works, reason) = match chosen {
            Some((rung, inside)) => {
                let reason = reason_for(facts, choice, rung, inside);
                match checks::keeps_steps_from_running(inside) {
                    None => (true, reason),
                    Some(what) => (false, format!("{reason}, but steps cannot run: {what}")),
                }
            }
            None => (false, reason_against(facts, choice)),
        };
        let mut hints = Vec::new();
        let mut list = Vec::new();
        for (check, remedy) in checks::all(facts, chosen) {
            if let Some(remedy) =
                remedy.filter(|remedy| check.state == State::Missing && !hints.contains(remedy))
            {
                hints.push(remedy);
            }
            list.push(check);
        }
        Self {
            kernel: facts.kernel.clone(),
            user: facts.user.clone(),
            rung: chosen.map(|(rung, _)| rung),
            works,
            reason,
            checks: list,
            hints,
        }
    }
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::NotApplicable => "n/a",
        }
    }
}

fn reason_for(facts: &Facts, choice: Choice, rung: Rung, inside: &Inside) -> String {
    let reason = match rung {
        Rung::Root => "this is root and may mount, so no user namespace is needed".to_owned(),
        Rung::Range => format!("a user namespace with {} ids can be made", inside.ids),
        Rung::Single => match why_not(facts, Rung::Range) {
            Some(why) if choice == Choice::Auto => format!("a user namespace with one id, because {why}"),
            Some(_) | None => "a user namespace with one id can be made".to_owned(),
        },
        Rung::Bare => "nothing is entered".to_owned(),
    };
    match choice {
        Choice::Auto => reason,
        Choice::Only(_) => format!("{reason}; it was asked for"),
    }
}

fn reason_against(facts: &Facts, choice: Choice) -> String {
    let (rung, how) = match choice {
        // The lowest rung asks for least, so what it lacks is what is missing.
        Choice::Auto => (Rung::Single, "only images without RUN can be built"),
        Choice::Only(rung) => (rung, "it was asked for and does not work"),
    };
    match why_not(facts, rung) {
        Some(why) => format!("{how}: {why}"),
        None => how.to_owned(),
    }
}

fn why_not(facts: &Facts, rung: Rung) -> Option<&str> {
    facts.rungs.iter().find_map(|(tried, how)| match how {
        Tried::Fails { why, .. } if *tried == rung => Some(why.as_str()),
        Tried::Fails { .. } | Tried::Works(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::attempt::{NetworkTried, OverlayTried, ProcTried};
    use super::super::cgroup::Cgroup;
    use super::super::lent::Mapper;
    use super::super::obstacles::Obstacles;
    use super::super::probe::Device;
    use super::*;

    fn inside(ids: u64) -> Inside {
        let network = NetworkTried::Works("/usr/bin/pasta".to_owned());
        Inside { ids, overlay: OverlayTried::Works, network, proc: ProcTried::Fresh, handing_over: Ok(()) }
    }

    fn fails(why: &str) -> Tried {
        Tried::Fails { why: why.to_owned(), remedy: None }
    }

    /// A host that has everything, for a user with a range.
    fn good() -> Facts {
        Facts {
            kernel: "6.8.0".to_owned(),
            user: "ann".to_owned(),
            uid: 1000,
            obstacles: Obstacles::default(),
            owned_ids: 1 << 32,
            user_namespace: Ok(()),
            rungs: vec![
                (Rung::Root, fails("ann is not root")),
                (Rung::Range, Tried::Works(inside(65_537))),
                (Rung::Single, Tried::Works(inside(1))),
            ],
            lent_users: 65_536,
            lent_groups: 65_536,
            first_free_id: 165_536,
            newuidmap: Mapper::Ready(PathBuf::from("/usr/bin/newuidmap")),
            newgidmap: Mapper::Ready(PathBuf::from("/usr/bin/newgidmap")),
            fuse: Device::Usable,
            tun: Device::Usable,
            cgroup: Cgroup::Delegated {
                directory: PathBuf::from("/c"),
                controllers: ["cpu", "memory", "pids"].map(str::to_owned).to_vec(),
                is_hybrid: false,
            },
            landlock: Some(6),
            fuse_overlayfs: None,
        }
    }

    fn state(verdict: &Verdict, name: &str) -> State {
        verdict.checks.iter().find(|check| check.name == name).unwrap().state
    }

    fn commands(verdict: &Verdict) -> Vec<&str> {
        verdict.hints.iter().filter_map(|hint| hint.command.as_deref()).collect()
    }

    #[test]
    fn where_nothing_is_missing_nothing_is_advised() {
        let verdict = Verdict::of(&good(), Choice::Auto);
        assert_eq!(verdict.rung, Some(Rung::Range));
        assert_eq!(verdict.reason, "a user namespace with 65537 ids can be made");
        assert_eq!((verdict.works, verdict.hints.len()), (true, 0));
        assert_eq!(state(&verdict, "root"), State::NotApplicable);
    }

    #[test]
    fn without_a_range_the_lowest_rung_says_why() {
        let mut facts = good();
        facts.rungs[1].1 = fails("nobody lends ids to ann");
        (facts.lent_users, facts.lent_groups) = (0, 0);
        facts.newgidmap = Mapper::Missing;
        let verdict = Verdict::of(&facts, Choice::Auto);
        assert_eq!(verdict.rung, Some(Rung::Single));
        assert_eq!(verdict.reason, "a user namespace with one id, because nobody lends ids to ann");
        let lend = "usermod --add-subuids 165536-231071 --add-subgids 165536-231071 ann";
        assert_eq!(commands(&verdict), [lend, "apt-get install uidmap"]);
        assert_eq!(Verdict::of(&facts, Choice::Only(Rung::Range)).rung, None);
    }

    #[test]
    fn root_needs_neither_ranges_nor_programs() {
        let mut facts = good();
        facts.rungs[0].1 = Tried::Works(inside(1 << 32));
        facts.rungs[1].1 = fails("nobody lends ids to root");
        (facts.lent_users, facts.lent_groups) = (0, 0);
        facts.newuidmap = Mapper::Missing;
        let verdict = Verdict::of(&facts, Choice::Auto);
        assert_eq!((verdict.rung, verdict.hints.len()), (Some(Rung::Root), 0));
        assert_eq!(state(&verdict, "lent_ids"), State::NotApplicable);
        let single = Verdict::of(&facts, Choice::Only(Rung::Single));
        assert_eq!(single.reason, "a user namespace with one id can be made; it was asked for");
    }

    #[test]
    fn where_every_rung_is_closed_the_switch_is_named() {
        let mut facts = good();
        facts.rungs.iter_mut().for_each(|(_, tried)| *tried = fails("no user namespaces"));
        facts.user_namespace = Err("No space left on device".to_owned());
        facts.obstacles.max_user_namespaces = Some(0);
        let verdict = Verdict::of(&facts, Choice::Auto);
        assert_eq!(
            (verdict.rung, verdict.reason.as_str()),
            (None, "only images without RUN can be built: no user namespaces")
        );
        assert_eq!(commands(&verdict), ["sysctl user.max_user_namespaces=15000"]);
        // What can only be tried on a rung is unknown, not missing.
        assert_eq!(state(&verdict, "overlay"), State::NotApplicable);
    }

    #[test]
    fn a_namespace_with_one_id_cannot_lend_any() {
        let mut facts = good();
        (facts.owned_ids, facts.lent_users, facts.newuidmap) = (1, 0, Mapper::Missing);
        facts.rungs[1].1 = fails("this user namespace has a single id itself");
        let verdict = Verdict::of(&facts, Choice::Auto);
        assert_eq!((verdict.rung, verdict.hints.len()), (Some(Rung::Single), 0));
    }

    #[test]
    fn control_groups_count_by_what_they_limit() {
        let mut facts = good();
        let delegated = |names: &[&str]| Cgroup::Delegated {
            directory: PathBuf::from("/c"),
            controllers: names.iter().map(|name| (*name).to_owned()).collect(),
            is_hybrid: true,
        };
        facts.cgroup = delegated(&["memory", "pids"]);
        assert_eq!(state(&Verdict::of(&facts, Choice::Auto), "cgroup"), State::Ok);
        facts.cgroup = delegated(&["hugetlb"]);
        assert_eq!(state(&Verdict::of(&facts, Choice::Auto), "cgroup"), State::Missing);
    }

    #[test]
    fn what_a_rung_lacks_inside_is_told() {
        let mut facts = good();
        let proc = ProcTried::Fails("Operation not permitted".to_owned());
        let overlay = OverlayTried::Fails("Invalid argument".to_owned());
        let why = "neither is installed".to_owned();
        let network = NetworkTried::Fails { why, remedy: Some(Remedy::install("passt")) };
        facts.rungs[1].1 = Tried::Works(Inside { overlay, proc, network, ..inside(65_537) });
        facts.tun = Device::Missing;
        let verdict = Verdict::of(&facts, Choice::Auto);
        assert_eq!(["overlay", "proc", "network"].map(|name| state(&verdict, name)), [State::Missing; 3]);
        assert_eq!((verdict.rung, verdict.works), (Some(Rung::Range), false));
        assert!(
            verdict.reason.ends_with("but steps cannot run: no /proc can be shown"),
            "{}",
            verdict.reason
        );
        assert_eq!(commands(&verdict), ["modprobe tun", "apt-get install passt"]);
        assert_eq!(verdict.hints.len(), 4);
        // On the other rung all but the device was found to work.
        assert_eq!(commands(&Verdict::of(&facts, Choice::Only(Rung::Single))), ["modprobe tun"]);
    }
}
