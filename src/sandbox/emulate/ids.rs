//! The calls that ask for user and group ids and set them, answered as the kernel would with other ids to give.

use std::io;
use std::rc::Rc;

use super::calls::IdCall;
use super::place::low;
use super::processes::Processes;
use super::procfs::Proc;
use crate::sys::ownership::Recorded;
use crate::sys::seccomp::{Answer, Call, read_numbers, write_memory};

/// What one process believes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct State {
    user: Triple,
    group: Triple,
    groups: Vec<u32>,
}

/// Real, effective, saved, and the one for files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Triple {
    real: u32,
    effective: u32,
    saved: u32,
    files: u32,
}

/// "Leave as it is."
const KEEP: u32 = u32::MAX;

impl State {
    /// Whether a process may do what takes root.
    pub(super) fn is_privileged(&self) -> bool {
        self.user.effective == 0
    }

    /// Root may give files away; others may hand their own to one of their groups.
    pub(super) fn may_chown(&self, before: &Recorded, after: &Recorded) -> bool {
        let own = before.uid == self.user.effective && after.uid == before.uid;
        let to_own_group = after.gid == self.group.effective || self.groups.contains(&after.gid);
        self.is_privileged() || (own && (after.gid == before.gid || to_own_group))
    }

    /// Whose the files are that a process makes.
    pub(super) fn new_files(&self) -> (u32, u32) {
        (self.user.files, self.group.files)
    }

    /// What a process has once it runs another program, which may belong to somebody whose ids it brings along.
    pub(super) fn executing(&self, user: Option<u32>, group: Option<u32>) -> Self {
        let after = |ids: Triple, brought: Option<u32>| {
            let effective = brought.unwrap_or(ids.effective);
            Triple { real: ids.real, effective, saved: effective, files: effective }
        };
        Self { user: after(self.user, user), group: after(self.group, group), groups: self.groups.clone() }
    }
}

pub(super) fn answer(
    kind: IdCall,
    call: &Call,
    processes: &mut Processes,
    proc: &Proc,
) -> io::Result<Answer> {
    let [a, b, c, ..] = call.arguments;
    let state = processes.state(proc, call.thread);
    let value = |id: u32| Ok(Answer::Value(id.into()));
    let privileged = state.is_privileged();
    let mut setter = Setter { call, processes, proc, state: Rc::clone(&state) };
    match kind {
        IdCall::Getuid => value(state.user.real),
        IdCall::Geteuid => value(state.user.effective),
        IdCall::Getgid => value(state.group.real),
        IdCall::Getegid => value(state.group.effective),
        IdCall::Getresuid => write_triple(call, state.user),
        IdCall::Getresgid => write_triple(call, state.group),
        IdCall::Getgroups => get_groups(call, &state),
        IdCall::Setgroups => setter.set_groups(),
        IdCall::Setuid => setter.set(Part::User, |ids| ids.set(low(a), privileged)),
        IdCall::Setgid => setter.set(Part::Group, |ids| ids.set(low(a), privileged)),
        IdCall::Setreuid => setter.set(Part::User, |ids| ids.set_real_effective(low(a), low(b), privileged)),
        IdCall::Setregid => setter.set(Part::Group, |ids| ids.set_real_effective(low(a), low(b), privileged)),
        IdCall::Setresuid => setter.set(Part::User, |ids| ids.set_all(low(a), low(b), low(c), privileged)),
        IdCall::Setresgid => setter.set(Part::Group, |ids| ids.set_all(low(a), low(b), low(c), privileged)),
        IdCall::Setfsuid => Ok(setter.set_files(Part::User, low(a))),
        IdCall::Setfsgid => Ok(setter.set_files(Part::Group, low(a))),
    }
}

/// A process that sets its ids.
struct Setter<'a> {
    call: &'a Call,
    processes: &'a mut Processes,
    proc: &'a Proc,
    state: Rc<State>,
}

impl Setter<'_> {
    fn store(&mut self, changed: State) {
        if changed != *self.state {
            self.processes.set(self.proc, self.call.thread, changed);
        }
    }

    fn set(&mut self, part: Part, change: impl FnOnce(Triple) -> Option<Triple>) -> io::Result<Answer> {
        let mut changed = State::clone(&self.state);
        let Some(ids) = change(*part.of(&mut changed)) else { return Ok(Answer::Error(libc::EPERM)) };
        *part.of(&mut changed) = ids;
        self.store(changed);
        Ok(Answer::Value(0))
    }

    /// Returns the former id, whether it was changed or not.
    fn set_files(&mut self, part: Part, id: u32) -> Answer {
        let mut changed = State::clone(&self.state);
        let may = changed.is_privileged();
        let ids = part.of(&mut changed);
        let before = ids.files;
        if id != KEEP && (may || ids.has(id)) {
            ids.files = id;
            self.store(changed);
        }
        Answer::Value(before.into())
    }

    fn set_groups(&mut self) -> io::Result<Answer> {
        const MOST: u64 = 65_536;
        let [count, address, ..] = self.call.arguments;
        if !self.state.is_privileged() {
            return Ok(Answer::Error(libc::EPERM));
        }
        let Some(count) = usize::try_from(count).ok().filter(|count| *count as u64 <= MOST) else {
            return Ok(Answer::Error(libc::EINVAL));
        };
        let mut groups = read_numbers(self.call.thread, address, count)?;
        groups.sort_unstable();
        let changed = State { groups, ..State::clone(&self.state) };
        self.store(changed);
        Ok(Answer::Value(0))
    }
}

#[derive(Debug, Clone, Copy)]
enum Part {
    User,
    Group,
}

impl Part {
    fn of(self, state: &mut State) -> &mut Triple {
        match self {
            Self::User => &mut state.user,
            Self::Group => &mut state.group,
        }
    }
}

impl Triple {
    fn has(self, id: u32) -> bool {
        [self.real, self.effective, self.saved, self.files].contains(&id)
    }

    fn set(self, id: u32, may: bool) -> Option<Self> {
        if id == KEEP {
            None
        } else if may {
            Some(Self { real: id, effective: id, saved: id, files: id })
        } else {
            (id == self.real || id == self.saved).then_some(Self { effective: id, files: id, ..self })
        }
    }

    fn set_real_effective(self, real: u32, effective: u32, may: bool) -> Option<Self> {
        let real_fits = real == KEEP || may || real == self.real || real == self.effective;
        let effective_fits =
            effective == KEEP || may || [self.real, self.effective, self.saved].contains(&effective);
        if !real_fits || !effective_fits {
            return None;
        }
        let mut after = self;
        if real != KEEP {
            after.real = real;
        }
        if effective != KEEP {
            after.effective = effective;
        }
        // The saved id follows when the real one is set, or the effective one to something else than it.
        if real != KEEP || (effective != KEEP && effective != self.real) {
            after.saved = after.effective;
        }
        after.files = after.effective;
        Some(after)
    }

    fn set_all(self, real: u32, effective: u32, saved: u32, may: bool) -> Option<Self> {
        let fits = |id: u32| id == KEEP || may || [self.real, self.effective, self.saved].contains(&id);
        if ![real, effective, saved].into_iter().all(fits) {
            return None;
        }
        let or = |id: u32, before: u32| if id == KEEP { before } else { id };
        let effective = or(effective, self.effective);
        Some(Self { real: or(real, self.real), effective, saved: or(saved, self.saved), files: effective })
    }
}

fn write_triple(call: &Call, ids: Triple) -> io::Result<Answer> {
    for (address, id) in call.arguments.iter().zip([ids.real, ids.effective, ids.saved]) {
        write_memory(call.thread, *address, &id.to_ne_bytes())?;
    }
    Ok(Answer::Value(0))
}

fn get_groups(call: &Call, state: &State) -> io::Result<Answer> {
    let [room, address, ..] = call.arguments;
    let count = state.groups.len() as u64;
    if room != 0 {
        if room < count {
            return Ok(Answer::Error(libc::EINVAL));
        }
        let bytes: Vec<u8> = state.groups.iter().flat_map(|group| group.to_ne_bytes()).collect();
        write_memory(call.thread, address, &bytes)?;
    }
    Ok(Answer::Value(count.cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Triple = Triple { real: 0, effective: 0, saved: 0, files: 0 };

    #[test]
    fn root_may_become_anybody_and_anybody_only_who_they_are() {
        let app = ROOT.set(1000, true).unwrap();
        assert_eq!(app, Triple { real: 1000, effective: 1000, saved: 1000, files: 1000 });
        assert_eq!(app.set(0, false), None);
        assert_eq!(app.set(1000, false), Some(app));
    }

    #[test]
    fn a_program_may_drop_and_regain_what_it_saved() {
        // As apt does: effective ids to another user, the saved one kept.
        let dropped = ROOT.set_all(KEEP, 42, KEEP, true).unwrap();
        assert_eq!(dropped, Triple { real: 0, effective: 42, saved: 0, files: 42 });
        assert_eq!(dropped.set_all(KEEP, 0, KEEP, false), Some(ROOT));
        assert_eq!(dropped.set_all(7, KEEP, KEEP, false), None);
    }

    #[test]
    fn setreuid_moves_the_saved_id_as_the_kernel_does() {
        let swapped = ROOT.set_real_effective(1000, 1000, true).unwrap();
        assert_eq!(swapped.saved, 1000);
        let effective_only = ROOT.set_real_effective(KEEP, 5, true).unwrap();
        assert_eq!(effective_only, Triple { real: 0, effective: 5, saved: 5, files: 5 });
    }

    #[test]
    fn owners_may_give_files_to_their_groups_only() {
        let app = ROOT.set(1000, true).unwrap();
        let state = State { user: app, group: app, groups: vec![50] };
        let file = |uid, gid| Recorded { uid, gid, device: None };
        assert!(state.may_chown(&file(1000, 1000), &file(1000, 50)));
        assert!(!state.may_chown(&file(1000, 1000), &file(1000, 51)));
        assert!(!state.may_chown(&file(1000, 1000), &file(0, 1000)));
        assert!(!state.may_chown(&file(0, 0), &file(0, 50)));
    }

    #[test]
    fn a_program_brings_its_owner_along_and_forgets_what_was_saved() {
        let app = ROOT.set(1000, true).unwrap();
        let state = State { user: app, group: app, groups: Vec::new() };
        let sudo = state.executing(Some(0), None);
        assert!(sudo.is_privileged() && sudo.user.real == 1000 && sudo.group == app);
        let all_but_real = Triple { real: 42, effective: 42, saved: 0, files: 42 };
        let gone = State { user: all_but_real, ..State::default() }.executing(None, None);
        assert_eq!(gone.user.set_all(KEEP, 0, KEEP, false), None);
    }
}
