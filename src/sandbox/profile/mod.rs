//! Which system calls a step may make: docker's default profile, as a program for the kernel.
//!
//! Flow: the lists, by name (`calls`, `conditional`), and the few calls whose arguments are looked at (`Check`)
//! become, for one architecture, ranges of numbers with one answer each; those become a binary search (`compile`).
//!
//! A call that is known and not listed fails with EPERM; one that is newer than the lists with ENOSYS, so that programs
//! fall back to older calls as on an older kernel. Pure. Runs in the sandbox's first process.

mod calls;
mod compile;
mod conditional;

use std::ops::RangeInclusive;

use rustix::thread::CapabilitySet as Has;

use self::calls::ALWAYS;
use self::compile::compile;
use self::conditional::CONDITIONAL;
use super::capabilities::Capabilities;
use crate::sys::bpf::{Instruction, Verdict};

/// A call's numbers on x86-64, i386, arm64 and arm.
#[derive(Debug, Clone, Copy)]
struct Call {
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers, and for tests that look calls up"))]
    name: &'static str,
    numbers: [i16; 4],
}

/// Where an architecture lacks the call.
const NO: i16 = -1;

const fn call(name: &'static str, x86_64: i16, i386: i16, arm64: i16, arm: i16) -> Call {
    Call { name, numbers: [x86_64, i386, arm64, arm] }
}

/// The newest call that the lists know of.
const NEWEST: u32 = 466;

#[derive(Debug)]
struct Architecture {
    /// As the kernel names it to filters.
    audit: u32,
    /// Its place among a call's numbers.
    column: usize,
    /// The part of a number that tells the call.
    number_bits: u32,
    /// Allowed numbers beyond the newest call.
    beyond: &'static [RangeInclusive<u32>],
}

/// Calls of the x32 interface have a bit more in their number. Some have numbers of their own, all allowed but kexec_load
/// (528) and move_pages (533).
const X86_64: Architecture = Architecture {
    audit: 0xc000_003e,
    column: 0,
    number_bits: !0x4000_0000,
    beyond: &[512..=527, 529..=532, 534..=547],
};
const I386: Architecture = Architecture { audit: 0x4000_0003, column: 1, number_bits: !0, beyond: &[] };
const ARM64: Architecture = Architecture { audit: 0xc000_00b7, column: 2, number_bits: !0, beyond: &[] };
/// Its own calls are breakpoint, cacheflush and set_tls.
const ARM: Architecture = Architecture {
    audit: 0x4000_0028,
    column: 3,
    number_bits: !0,
    beyond: &[0xf0001..=0xf0002, 0xf0005..=0xf0005],
};

/// What the filter does about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Give(Verdict),
    LookAt(Check),
}

/// What is looked at before a call is allowed: its first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// None of these bits is set.
    Without(u32),
    /// It is none of these.
    NotOneOf(&'static [u32]),
    OneOf(&'static [u32]),
}

const ALLOWED: Answer = Answer::Give(Verdict::Allow);
const REFUSED: Answer = Answer::Give(Verdict::Fail(libc::EPERM));
const UNKNOWN: Answer = Answer::Give(Verdict::Fail(libc::ENOSYS));

/// Every flag that asks for a new namespace.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// No virtual machine's host and no kernel crypto: neither knows containers.
const FAMILIES: [u32; 2] = [libc::AF_ALG.cast_unsigned(), libc::AF_VSOCK.cast_unsigned()];

/// Linux, 32 bits, each also without randomised addresses as debuggers want it; and the question which one it is.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, u32::MAX];

/// The calls that are not just allowed or refused.
fn special(capabilities: Has) -> [(Call, Answer); 4] {
    let (clone, clone3) = match capabilities.contains(Has::SYS_ADMIN) {
        true => (ALLOWED, ALLOWED),
        // What clone3 is asked for lies in memory, where no filter sees it: programs take it for missing and use clone.
        false => (Answer::LookAt(Check::Without(NEW_NAMESPACES)), UNKNOWN),
    };
    [
        (call("clone", 56, 120, 220, 120), clone),
        (call("clone3", 435, 435, 435, 435), clone3),
        (call("personality", 135, 136, 92, 136), Answer::LookAt(Check::OneOf(&PERSONALITIES))),
        (call("socket", 41, 359, 198, 281), Answer::LookAt(Check::NotOneOf(&FAMILIES))),
    ]
}

/// The program for this machine and a process with these capabilities; none where there is no list for the machine.
pub fn program(capabilities: Capabilities) -> Option<Vec<Instruction>> {
    let capabilities = capabilities.kept();
    if cfg!(target_arch = "x86_64") {
        Some(compile(&[X86_64, I386], capabilities))
    } else if cfg!(target_arch = "aarch64") {
        Some(compile(&[ARM64, ARM], capabilities))
    } else {
        None
    }
}

/// Ranges of numbers by their first number, each with the answer that holds until the next begins.
fn ranges(architecture: &Architecture, capabilities: Has) -> Vec<(u32, Answer)> {
    const KNOWN: usize = NEWEST as usize + 1;
    let mut answers = [REFUSED; KNOWN];
    let mut set = |call: &Call, answer| {
        let number = usize::try_from(call.numbers[architecture.column]).ok();
        if let Some(place) = number.and_then(|number| answers.get_mut(number)) {
            *place = answer;
        }
    };
    ALWAYS.iter().for_each(|call| set(call, ALLOWED));
    let unlocked = CONDITIONAL.iter().filter(|(has, _)| capabilities.intersects(*has));
    unlocked.for_each(|(_, call)| set(call, ALLOWED));
    special(capabilities).iter().for_each(|(call, answer)| set(call, *answer));

    let mut ranges: Vec<(u32, Answer)> = Vec::new();
    for (number, answer) in (0..).zip(answers) {
        if ranges.last().is_none_or(|(_, last)| *last != answer) {
            ranges.push((number, answer));
        }
    }
    ranges.push((NEWEST + 1, UNKNOWN));
    for beyond in architecture.beyond {
        ranges.extend([(*beyond.start(), ALLOWED), (beyond.end() + 1, UNKNOWN)]);
    }
    ranges
}

#[cfg(test)]
mod tests;
