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
            Some(text) if signal_number(&text).is_none() => Err(invalid(&text, &signal)),
            Some(_) | None => Ok(Self { signal }),
        }
    }

    /// Checks the expanded text.
    pub fn check(&self, expanded: &str) -> Result<(), Diagnostic> {
        match signal_number(expanded) {
            Some(_) => Ok(()),
            None => Err(invalid(expanded, &self.signal)),
        }
    }
}

/// The number of a signal that is given by number or name, with or without `SIG`, in any case.
pub fn signal_number(text: &str) -> Option<u8> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|number| (1..=HIGHEST).contains(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    let real_time = |offset: &str| offset.parse::<u8>().ok().filter(|offset| (1..=15).contains(offset));
    match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
        (Some(offset), _) => real_time(offset).map(|offset| LOWEST_REAL_TIME + offset),
        (None, Some(offset)) => {
            real_time(offset).filter(|offset| *offset < 15).map(|offset| HIGHEST - offset)
        }
        (None, None) => None,
    }
}

fn invalid(text: &str, word: &Word) -> Diagnostic {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let near = suggest::nearest(name, SIGNALS.iter().map(|(name, _)| *name));
    let near = near.map(|name| format!(" (did you mean SIG{name}?)")).unwrap_or_default();
    Diagnostic::new(format!("invalid signal: {text}{near}"), word.span)
}

/// The first that programs may use: libc keeps 32 and 33 to itself.
const LOWEST_REAL_TIME: u8 = 34;
const HIGHEST: u8 = 64;

/// Linux on x86-64, Arm and RISC-V.
const SIGNALS: &[(&str, u8)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", LOWEST_REAL_TIME),
    ("RTMAX", HIGHEST),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for (text, number) in
            [("9", 9), ("SIGTERM", 15), ("term", 15), ("SIGRTMIN+3", 37), ("RTMAX-14", 50), ("64", 64)]
        {
            assert_eq!(signal_number(text), Some(number), "{text}");
        }
        for text in ["", "0", "65", "-9", "TREM", "SIGRTMIN+16", "SIGRTMAX-15", "99999999999"] {
            assert_eq!(signal_number(text), None, "{text}");
        }
    }
}
