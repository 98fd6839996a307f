use std::collections::BTreeSet;

use super::*;
use crate::sys::bpf::interpreter::run;

const EPERM: Verdict = Verdict::Fail(libc::EPERM);
const ENOSYS: Verdict = Verdict::Fail(libc::ENOSYS);
const MACHINES: [[Architecture; 2]; 2] = [[X86_64, I386], [ARM64, ARM]];

fn dockers() -> Has {
    Has::SYS_CHROOT | Has::MKNOD | Has::SETUID
}

fn names() -> Vec<(&'static str, [i16; 4])> {
    let all = ALWAYS.iter().chain(CONDITIONAL.iter().map(|(_, call)| call));
    all.map(|call| (call.name, call.numbers)).collect()
}

/// What a process with these capabilities gets, on each architecture that has the call.
fn verdicts(capabilities: Has, name: &str, argument: u32) -> Vec<Verdict> {
    let known = names().into_iter().chain(special(capabilities).map(|(call, _)| (call.name, call.numbers)));
    let numbers = known.filter(|known| known.0 == name).map(|known| known.1).next().expect("a known name");
    let mut verdicts = Vec::new();
    for machine in MACHINES {
        let program = compile(&machine, capabilities);
        for architecture in machine {
            if let Ok(number) = u32::try_from(numbers[architecture.column]) {
                verdicts.push(run(&program, architecture.audit, number, [argument, 1, 1, 1, 1, 1]).0);
            }
        }
    }
    verdicts
}

#[track_caller]
fn check(capabilities: Has, name: &str, argument: u32, expected: Verdict) {
    let verdicts = verdicts(capabilities, name, argument);
    assert!(
        !verdicts.is_empty() && verdicts.iter().all(|verdict| *verdict == expected),
        "{name}: {verdicts:?}"
    );
}

#[test]
fn the_lists_are_sorted_and_say_nothing_twice() {
    let is_sorted = |names: &[&str]| names.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(is_sorted(&ALWAYS.iter().map(|call| call.name).collect::<Vec<_>>()));
    assert!(is_sorted(&CONDITIONAL.iter().map(|(_, call)| call.name).collect::<Vec<_>>()));
    let special = special(Has::empty()).map(|(call, _)| (call.name, call.numbers));
    let all: Vec<_> = names().into_iter().chain(special).collect();
    let distinct: BTreeSet<_> = all.iter().map(|(name, _)| name).collect();
    assert_eq!(distinct.len(), all.len());
    for column in 0..4 {
        let numbers: Vec<i16> =
            all.iter().map(|call| call.1[column]).filter(|number| *number != NO).collect();
        let distinct: BTreeSet<_> = numbers.iter().collect();
        assert_eq!(distinct.len(), numbers.len(), "column {column}");
        let in_range = |number: &i16| (0..=NEWEST).contains(&u32::try_from(*number).expect("a number"));
        assert!(numbers.iter().all(in_range), "column {column}");
    }
}

#[test]
fn numbers_are_those_of_the_c_library() {
    let known = [
        ("read", libc::SYS_read),
        ("openat2", libc::SYS_openat2),
        ("execve", libc::SYS_execve),
        ("mount", libc::SYS_mount),
        ("unshare", libc::SYS_unshare),
        ("setns", libc::SYS_setns),
        ("bpf", libc::SYS_bpf),
        ("process_vm_writev", libc::SYS_process_vm_writev),
    ];
    let column = if cfg!(target_arch = "x86_64") { 0 } else { 2 };
    for (name, number) in known {
        let listed = names().into_iter().find(|known| known.0 == name).expect("a known name").1[column];
        assert_eq!(i64::from(listed), number, "{name}");
    }
    let special = special(Has::empty()).map(|(call, _)| i64::from(call.numbers[column]));
    assert_eq!(special, [libc::SYS_clone, libc::SYS_clone3, libc::SYS_personality, libc::SYS_socket]);
}

#[test]
fn every_number_gets_the_answer_of_its_call() {
    for capabilities in [Has::empty(), dockers(), Has::SYS_ADMIN, Has::all()] {
        for machine in MACHINES {
            let program = compile(&machine, capabilities);
            for architecture in machine {
                let answer = |number: u32| {
                    let is_it = |call: &Call| u32::try_from(call.numbers[architecture.column]) == Ok(number);
                    let conditional = CONDITIONAL.iter().find(|(_, call)| is_it(call));
                    let allowed = ALWAYS.iter().any(is_it)
                        || conditional.is_some_and(|(has, _)| capabilities.intersects(*has))
                        || architecture.beyond.iter().any(|beyond| beyond.contains(&number));
                    if allowed {
                        Verdict::Allow
                    } else if number > NEWEST {
                        ENOSYS
                    } else {
                        EPERM
                    }
                };
                for number in (0..600).chain(0xf_0000..0xf_0010).chain([u32::MAX]) {
                    let bits = number & architecture.number_bits;
                    let is_special = |(call, _): &(Call, Answer)| {
                        u32::try_from(call.numbers[architecture.column]) == Ok(bits)
                    };
                    if special(capabilities).iter().any(is_special) {
                        continue;
                    }
                    let verdict = run(&program, architecture.audit, number, [0; 6]).0;
                    assert_eq!(verdict, answer(bits), "{number} on {:#x}", architecture.audit);
                }
            }
        }
    }
}

#[test]
fn what_makes_namespaces_is_refused_without_the_capability() {
    for name in ["unshare", "setns", "mount", "umount2", "fsopen", "move_mount", "bpf", "perf_event_open"] {
        check(dockers(), name, 0, EPERM);
        check(Has::SYS_ADMIN, name, 0, Verdict::Allow);
    }
    // The flags of a thread, and of a process.
    check(dockers(), "clone", 0x003d_0f00, Verdict::Allow);
    check(dockers(), "clone", 0x11, Verdict::Allow);
    for namespace in [0x0002_0000, 0x0200_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        check(dockers(), "clone", namespace | 0x11, EPERM);
        check(Has::SYS_ADMIN, "clone", namespace | 0x11, Verdict::Allow);
    }
    check(dockers(), "clone3", 0, ENOSYS);
    check(Has::SYS_ADMIN, "clone3", 0, Verdict::Allow);
}

#[test]
fn a_capability_brings_its_calls() {
    check(dockers(), "chroot", 0, Verdict::Allow);
    check(Has::empty(), "chroot", 0, EPERM);
    check(dockers(), "ptrace", 0, Verdict::Allow);
    check(dockers(), "kcmp", 0, EPERM);
    check(Has::SYS_PTRACE, "kcmp", 0, Verdict::Allow);
    check(Has::SYSLOG, "syslog", 0, Verdict::Allow);
    check(Has::SYS_TIME, "clock_settime", 0, Verdict::Allow);
}

#[test]
fn families_of_sockets_and_personalities_are_looked_at() {
    for family in [0, 1, 2, 10, 16, 17, 37, 39, 41] {
        check(dockers(), "socket", family, Verdict::Allow);
    }
    check(Has::all(), "socket", 38, EPERM);
    check(Has::all(), "socket", 40, EPERM);
    for personality in PERSONALITIES {
        check(dockers(), "personality", personality, Verdict::Allow);
    }
    check(dockers(), "personality", 0x40000, EPERM);
    check(dockers(), "personality", 0x20009, EPERM);
}

#[test]
fn calls_that_are_newer_than_the_lists_are_missing_ones() {
    let program = compile(&[X86_64, I386], dockers());
    // keyctl, io_uring_setup and userfaultfd are known, and refused.
    for number in [250, 425, 323] {
        assert_eq!(run(&program, X86_64.audit, number, [0; 6]).0, EPERM);
    }
    for number in [467, 469, 500, 548, 5000, u32::MAX] {
        assert_eq!(run(&program, X86_64.audit, number, [0; 6]).0, ENOSYS);
    }
    assert_eq!(run(&program, I386.audit, 467, [0; 6]).0, ENOSYS);
}

#[test]
fn other_interfaces_are_held_to_the_same_lists() {
    let program = compile(&[X86_64, I386], dockers());
    let x32 = |number: u32, argument| run(&program, X86_64.audit, 0x4000_0000 | number, [argument; 6]).0;
    assert_eq!(
        [x32(39, 0), x32(165, 0), x32(272, 0), x32(513, 0)],
        [Verdict::Allow, EPERM, EPERM, Verdict::Allow]
    );
    assert_eq!([x32(56, 0x1000_0000), x32(41, 38), x32(528, 0)], [EPERM, EPERM, ENOSYS]);
    // What is getpid on i386 is writev here, and what is mount there is access here.
    assert_eq!(run(&program, I386.audit, 21, [0; 6]).0, EPERM);
    assert_eq!(run(&program, X86_64.audit, 21, [0; 6]).0, Verdict::Allow);
    assert_eq!(run(&program, ARM64.audit, 0, [0; 6]).0, EPERM);
    assert_eq!(run(&compile(&[ARM64, ARM], dockers()), X86_64.audit, 0, [0; 6]).0, EPERM);
}

#[test]
fn a_call_costs_a_dozen_instructions() {
    for machine in MACHINES {
        let program = compile(&machine, dockers());
        assert!(program.len() < 300, "{} instructions", program.len());
        let native = &machine[0];
        let cost = (0..=NEWEST).map(|number| run(&program, native.audit, number, [0; 6]).1).max();
        assert!(cost <= Some(20), "{cost:?}");
    }
}
