//! From ranges of numbers to a program: a binary search, so that a call costs a dozen instructions.
//!
//! The shorter the program, the sooner it is installed: the kernel translates it, and runs it for every number once to
//! learn which calls need it no more. So every answer is there once for an architecture, and is jumped to.

use rustix::thread::CapabilitySet;

use super::{ALLOWED, Answer, Architecture, Check, REFUSED, ranges};
use crate::sys::bpf::{Field, Instruction, end, if_any, if_at_least, if_equal, keep, load, skip};

/// A call of none of the architectures is refused.
pub(super) fn compile(architectures: &[Architecture], capabilities: CapabilitySet) -> Vec<Instruction> {
    let mut program = Program::default();
    let mut next = program.answer(REFUSED);
    for architecture in architectures.iter().rev() {
        program.answers.clear();
        let search = program.search(&ranges(architecture, capabilities));
        let search = program.near(search);
        debug_assert_eq!(program.distance(search), 0, "a search is written last");
        program.put(keep(architecture.number_bits));
        let this = program.put(load(Field::Number));
        next = program.branch(this, next, |then, otherwise| if_equal(architecture.audit, then, otherwise));
    }
    program.put(load(Field::Architecture));
    program.backwards.reverse();
    program.backwards
}

/// A program that is written from its end, so that what is jumped to is there before the jump.
#[derive(Default)]
struct Program {
    backwards: Vec<Instruction>,
    /// Where answers are given.
    answers: Vec<(Answer, Place)>,
}

/// An instruction, counted from the end.
#[derive(Clone, Copy)]
struct Place(usize);

/// How many instructions a condition passes over at most; a few less than it could, because more may come between.
const NEAR: usize = 250;

impl Program {
    fn put(&mut self, instruction: Instruction) -> Place {
        self.backwards.push(instruction);
        Place(self.backwards.len() - 1)
    }

    /// How many instructions lie between the next one to be put and this one.
    fn distance(&self, place: Place) -> usize {
        self.backwards.len() - 1 - place.0
    }

    /// The place, or one nearer by from where it is gone to.
    fn near(&mut self, place: Place) -> Place {
        let distance = self.distance(place);
        if distance <= NEAR { place } else { self.put(skip(distance)) }
    }

    fn branch(
        &mut self,
        then: Place,
        otherwise: Place,
        condition: impl FnOnce(u8, u8) -> Instruction,
    ) -> Place {
        let (then, otherwise) = (self.near(then), self.near(otherwise));
        let [then, otherwise] =
            [then, otherwise].map(|place| u8::try_from(self.distance(place)).expect("it is near"));
        self.put(condition(then, otherwise))
    }

    /// Finds the range of the number that has been loaded.
    fn search(&mut self, ranges: &[(u32, Answer)]) -> Place {
        if let [(_, answer)] = ranges {
            return self.answer(*answer);
        }
        let (below, above) = ranges.split_at(ranges.len() / 2);
        let first = above[0].0;
        let (above, below) = (self.search(above), self.search(below));
        self.branch(above, below, |then, otherwise| if_at_least(first, then, otherwise))
    }

    fn answer(&mut self, answer: Answer) -> Place {
        if let Some((_, place)) = self.answers.iter().find(|(given, _)| *given == answer) {
            return *place;
        }
        let place = match answer {
            Answer::Give(verdict) => self.put(end(verdict)),
            Answer::LookAt(check) => self.look_at(check),
        };
        self.answers.push((answer, place));
        place
    }

    fn look_at(&mut self, check: Check) -> Place {
        let (allowed, refused) = (self.answer(ALLOWED), self.answer(REFUSED));
        match check {
            Check::Without(bits) => {
                self.branch(refused, allowed, |then, otherwise| if_any(bits, then, otherwise))
            }
            Check::OneOf(values) => self.compare(values, allowed, refused),
            Check::NotOneOf(values) => self.compare(values, refused, allowed),
        };
        self.put(load(Field::Argument(0)))
    }

    /// Compares with values: few, so one after the other.
    fn compare(&mut self, values: &[u32], found: Place, otherwise: Place) -> Place {
        values.iter().fold(otherwise, |otherwise, value| {
            self.branch(found, otherwise, |then, otherwise| if_equal(*value, then, otherwise))
        })
    }
}
