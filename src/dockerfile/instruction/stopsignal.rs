//! STOPSIGNAL: what asks a container to stop.

use super::argument::Arguments;
use crate::dockerfile::diagnostic::Diagnostic;
use crate::dockerfile::expand;
use crate::dockerfile::source::Word;
use crate::dockerfile::suggest;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stopsignal {
    pub signal: Word,
}

impl Stopsignal {
    pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.no_flags();
        let signal = arguments.single()?;
        match expand::constant(&signal.text, arguments.escape()) {
            Some(text) if !is_signal(&text) => Err(invalid(&text, &signal)),
            Some(_) | None => Ok(Self { signal }),
        }
    }

    /// Checks the expanded text.
    pub fn check(&self, expanded: &str) -> Result<(), Diagnostic> {
        if is_signal(expanded) { Ok(()) } else { Err(invalid(expanded, &self.signal)) }
    }
}

/// Whether docker takes this for a signal: any number but zero, also one that no system has, and the names of Linux, with
/// or without `SIG`, in any case.
fn is_signal(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<i64>().is_ok_and(|number| number != 0);
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let counted = |from: &str, last: u8| {
        name.strip_prefix(from).is_some_and(|offset| (1..=last).any(|known| offset == known.to_string()))
    };
    NAMES.contains(&name) || counted("RTMIN+", 15) || counted("RTMAX-", 14)
}

fn invalid(text: &str, word: &Word) -> Diagnostic {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let near = suggest::nearest(name, NAMES.iter().copied());
    let near = near.map(|name| format!(" (did you mean SIG{name}?)")).unwrap_or_default();
    Diagnostic::new(format!("invalid signal: {text}{near}"), word.span)
}

/// Those of Linux on x86-64, Arm and RISC-V, but for the counted ones of real time.
const NAMES: &[&str] = &[
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "IOT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "POLL", "PWR", "SYS", "RTMIN", "RTMAX",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_names_and_any_number_but_zero() {
        for text in ["9", "64", "65", "999", "+9", "-9", "007", "9223372036854775807"] {
            assert!(is_signal(text), "{text}");
        }
        for text in ["SIGTERM", "term", "sigTerm", "SIGRTMIN", "SIGRTMIN+3", "rtmin+15", "RTMAX-14"] {
            assert!(is_signal(text), "{text}");
        }
        for text in ["", "0", "-0", "00", "+", "9223372036854775808", "9x", "1_0", "SIG9", "SIG"] {
            assert!(!is_signal(text), "{text}");
        }
        for text in
            ["TREM", "SIGSIGTERM", "RTMIN+0", "RTMIN+03", "RTMIN++3", "RTMIN+16", "RTMAX-15", "RTMAX+1"]
        {
            assert!(!is_signal(text), "{text}");
        }
    }
}
