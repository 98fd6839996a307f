//! Programs that the kernel runs for every system call (classic BPF, as seccomp knows it), instruction by instruction.

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W,
};

/// One instruction. There is one register, which loading fills and everything else looks at.
pub type Instruction = libc::sock_filter;

/// What a program can look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The call's number.
    Number,
    /// Whose numbers and arguments they are: one of the `AUDIT_ARCH` values.
    Architecture,
    /// The lower half of an argument, which is all that there is of an `int`.
    Argument(u32),
}

/// What becomes of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Allow,
    /// It fails with this errno, positive.
    Fail(i32),
    /// It is handed over to whoever listens.
    HandOver,
}

pub fn load(field: Field) -> Instruction {
    // Arguments have 64 bits; the lower half comes first on every machine this runs on.
    let offset = match field {
        Field::Number => 0,
        Field::Architecture => 4,
        Field::Argument(index) => 16 + 8 * index,
    };
    instruction(BPF_LD | BPF_W | BPF_ABS, offset)
}

/// Keeps only these bits.
pub fn keep(bits: u32) -> Instruction {
    instruction(BPF_ALU | BPF_AND | BPF_K, bits)
}

pub fn end(verdict: Verdict) -> Instruction {
    let value = match verdict {
        Verdict::Allow => libc::SECCOMP_RET_ALLOW,
        Verdict::Fail(errno) => libc::SECCOMP_RET_ERRNO | errno.cast_unsigned() & libc::SECCOMP_RET_DATA,
        Verdict::HandOver => libc::SECCOMP_RET_USER_NOTIF,
    };
    instruction(BPF_RET | BPF_K, value)
}

/// Passes over so many instructions.
pub fn skip(count: usize) -> Instruction {
    instruction(BPF_JMP | BPF_JA | BPF_K, u32::try_from(count).expect("programs are short"))
}

/// Passes over `then` instructions if the value is this, else over `otherwise`.
pub fn if_equal(value: u32, then: u8, otherwise: u8) -> Instruction {
    jump(BPF_JEQ, value, then, otherwise)
}

/// As [`if_equal`], if the value is this or greater.
pub fn if_at_least(value: u32, then: u8, otherwise: u8) -> Instruction {
    jump(BPF_JGE, value, then, otherwise)
}

/// As [`if_equal`], if any of these bits is set.
pub fn if_any(bits: u32, then: u8, otherwise: u8) -> Instruction {
    jump(BPF_JSET, bits, then, otherwise)
}

fn jump(condition: u32, value: u32, then: u8, otherwise: u8) -> Instruction {
    Instruction { jt: then, jf: otherwise, ..instruction(BPF_JMP | condition | BPF_K, value) }
}

fn instruction(code: u32, value: u32) -> Instruction {
    Instruction { code: u16::try_from(code).expect("codes are small"), jt: 0, jf: 0, k: value }
}

/// Runs programs as the kernel would.
#[cfg(test)]
pub(crate) mod interpreter {
    use super::*;

    /// Gives the verdict, and how many instructions it took.
    pub(crate) fn run(
        program: &[Instruction],
        architecture: u32,
        number: u32,
        arguments: [u32; 6],
    ) -> (Verdict, usize) {
        let load = |offset: u32| match offset {
            0 => number,
            4 => architecture,
            offset => arguments[((offset - 16) / 8) as usize],
        };
        let (mut at, mut register) = (0, 0);
        for count in 1.. {
            let Instruction { code, jt, jf, k } = program[at];
            let either = |condition: bool| usize::from(if condition { jt } else { jf });
            at += 1;
            match u32::from(code) {
                code if code == BPF_LD | BPF_W | BPF_ABS => register = load(k),
                code if code == BPF_ALU | BPF_AND | BPF_K => register &= k,
                code if code == BPF_JMP | BPF_JA | BPF_K => at += k as usize,
                code if code == BPF_JMP | BPF_JEQ | BPF_K => at += either(register == k),
                code if code == BPF_JMP | BPF_JGE | BPF_K => at += either(register >= k),
                code if code == BPF_JMP | BPF_JSET | BPF_K => at += either(register & k != 0),
                code if code == BPF_RET | BPF_K => return (verdict(k), count),
                code => panic!("unknown code {code}"),
            }
        }
        unreachable!("counting has no end")
    }

    fn verdict(value: u32) -> Verdict {
        match value & !libc::SECCOMP_RET_DATA {
            libc::SECCOMP_RET_ALLOW => Verdict::Allow,
            libc::SECCOMP_RET_USER_NOTIF => Verdict::HandOver,
            libc::SECCOMP_RET_ERRNO => Verdict::Fail((value & libc::SECCOMP_RET_DATA).cast_signed()),
            other => panic!("unknown verdict {other:#x}"),
        }
    }
}
