//! User and group ids of processes, as they believe them to be.
//!
//! A process has the ids that it set itself, else those of the nearest ancestor that did, else those that the first
//! process had when its program began.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use super::calls::IdCall;
use crate::sys::ownership::Recorded;
use crate::sys::seccomp::{Answer, Call, read_numbers, write_memory};

#[derive(Debug)]
pub(super) struct Ids {
    /// The first process; what it sets is where everybody else begins.
    init: i32,
    initial: State,
    /// Of processes that have set ids, by number. A number is used again when a process is gone, so the time when it
    /// began is part of its name.
    known: HashMap<i32, (u64, State)>,
}

/// What one process believes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct State {
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

impl Ids {
    pub(super) fn new(init: i32) -> Self {
        Self { init, initial: State::default(), known: HashMap::new() }
    }

    pub(super) fn answer(&mut self, kind: IdCall, call: &Call) -> io::Result<Answer> {
        let [a, b, c, ..] = call.arguments;
        let state = self.state(call.thread);
        let value = |id: u32| Ok(Answer::Value(id.into()));
        match kind {
            IdCall::Getuid => value(state.user.real),
            IdCall::Geteuid => value(state.user.effective),
            IdCall::Getgid => value(state.group.real),
            IdCall::Getegid => value(state.group.effective),
            IdCall::Getresuid => write_triple(call, state.user),
            IdCall::Getresgid => write_triple(call, state.group),
            IdCall::Getgroups => get_groups(call, &state),
            IdCall::Setgroups => self.set_groups(call, state),
            IdCall::Setuid => self.set(call, state, Part::User, |ids, may| ids.set(low(a), may)),
            IdCall::Setgid => self.set(call, state, Part::Group, |ids, may| ids.set(low(a), may)),
            IdCall::Setreuid => {
                self.set(call, state, Part::User, |ids, may| ids.set_real_effective(low(a), low(b), may))
            }
            IdCall::Setregid => {
                self.set(call, state, Part::Group, |ids, may| ids.set_real_effective(low(a), low(b), may))
            }
            IdCall::Setresuid => {
                self.set(call, state, Part::User, |ids, may| ids.set_all(low(a), low(b), low(c), may))
            }
            IdCall::Setresgid => {
                self.set(call, state, Part::Group, |ids, may| ids.set_all(low(a), low(b), low(c), may))
            }
            IdCall::Setfsuid => self.set_files(call, state, Part::User, low(a)),
            IdCall::Setfsgid => self.set_files(call, state, Part::Group, low(a)),
        }
    }

    /// Whether a process may do what takes root.
    pub(super) fn is_privileged(&mut self, thread: i32) -> bool {
        self.state(thread).user.effective == 0
    }

    /// Root may give files away; others may hand their own to one of their groups.
    pub(super) fn may_chown(&mut self, thread: i32, before: &Recorded, after: &Recorded) -> bool {
        let state = self.state(thread);
        let own = before.uid == state.user.effective && after.uid == before.uid;
        let to_own_group = after.gid == state.group.effective || state.groups.contains(&after.gid);
        state.user.effective == 0 || (own && (after.gid == before.gid || to_own_group))
    }

    /// Whose the files are that a process makes.
    pub(super) fn new_files_of(&mut self, thread: i32) -> (u32, u32) {
        let state = self.state(thread);
        (state.user.files, state.group.files)
    }

    fn state(&mut self, thread: i32) -> State {
        // As long as nobody has set anything, no process has to be looked at.
        if self.known.is_empty() {
            return self.initial.clone();
        }
        let mut number = thread;
        // A chain of ancestors is short; the bound is for chains that change while they are followed.
        for _ in 0..64 {
            let Some(process) = Process::read(number) else { break };
            if process.number == self.init {
                break;
            }
            match self.known.get(&process.number) {
                Some((began, state)) if *began == process.began => return state.clone(),
                // Somebody else's, gone since.
                Some(_) => {
                    self.known.remove(&process.number);
                }
                None => {}
            }
            number = process.parent;
        }
        self.initial.clone()
    }

    fn store(&mut self, thread: i32, state: State) {
        match Process::read(thread) {
            Some(process) if process.number == self.init => self.initial = state,
            Some(process) => {
                // Who is gone is forgotten, so that looking up costs nothing again when all are.
                self.known.retain(|number, _| Path::new(&number.to_string()).exists());
                self.known.insert(process.number, (process.began, state));
            }
            None => {}
        }
    }

    fn set(
        &mut self,
        call: &Call,
        mut state: State,
        part: Part,
        change: impl FnOnce(Triple, bool) -> Option<Triple>,
    ) -> io::Result<Answer> {
        let may = state.user.effective == 0;
        let Some(changed) = change(*part.of(&mut state), may) else { return Ok(Answer::Error(libc::EPERM)) };
        if changed != *part.of(&mut state) {
            *part.of(&mut state) = changed;
            self.store(call.thread, state);
        }
        Ok(Answer::Value(0))
    }

    /// Returns the former id, whether it was changed or not.
    fn set_files(&mut self, call: &Call, mut state: State, part: Part, id: u32) -> io::Result<Answer> {
        let may = state.user.effective == 0;
        let ids = part.of(&mut state);
        let before = ids.files;
        if id != KEEP && (may || ids.has(id)) && id != before {
            ids.files = id;
            self.store(call.thread, state);
        }
        Ok(Answer::Value(before.into()))
    }

    fn set_groups(&mut self, call: &Call, mut state: State) -> io::Result<Answer> {
        const MOST: u64 = 65_536;
        let [count, address, ..] = call.arguments;
        if state.user.effective != 0 {
            return Ok(Answer::Error(libc::EPERM));
        }
        let Some(count) = usize::try_from(count).ok().filter(|count| *count as u64 <= MOST) else {
            return Ok(Answer::Error(libc::EINVAL));
        };
        let mut groups = read_numbers(call.thread, address, count)?;
        groups.sort_unstable();
        if groups != state.groups {
            state.groups = groups;
            self.store(call.thread, state);
        }
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

fn low(argument: u64) -> u32 {
    u32::try_from(argument & 0xffff_ffff).expect("masked to 32 bits")
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

/// A process as /proc shows it; the working directory is /proc.
struct Process {
    number: i32,
    parent: i32,
    began: u64,
}

impl Process {
    /// The process of a thread.
    fn read(thread: i32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("{thread}/status")).ok()?;
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse::<i32>().ok();
        let number = field("Tgid:")?;
        let stat = std::fs::read_to_string(format!("{number}/stat")).ok()?;
        // The second field is a name in parentheses that may contain anything.
        let after_name = stat.rsplit_once(')')?.1;
        let began = after_name.split_whitespace().nth(19)?.parse().ok()?;
        Some(Self { number, parent: field("PPid:")?, began })
    }
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
        let mut ids = Ids::new(1);
        ids.initial = State {
            user: ROOT.set(1000, true).unwrap(),
            group: ROOT.set(1000, true).unwrap(),
            groups: vec![50],
        };
        let file = |uid, gid| Recorded { uid, gid, device: None };
        assert!(ids.may_chown(1, &file(1000, 1000), &file(1000, 50)));
        assert!(!ids.may_chown(1, &file(1000, 1000), &file(1000, 51)));
        assert!(!ids.may_chown(1, &file(1000, 1000), &file(0, 1000)));
        assert!(!ids.may_chown(1, &file(0, 0), &file(0, 50)));
    }
}
