//! What `--chmod` makes of a mode.

use crate::graph::CopyMode;

/// How modes are changed on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModeChange {
    Keep,
    Set(u32),
    /// One after the other.
    Changes(Vec<Change>),
}

/// One of the changes of `u=rwX,go=rX`: what becomes of the bits of some classes of users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    how: How,
    /// The bits that it is about.
    of: u32,
    /// Whether the mark that keeps others from removing files is among them. No class has it.
    sticky: bool,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// `execute_if_any`: also permission to execute, where somebody has it or it is a directory.
    Bits { bits: u32, execute_if_any: bool },
    /// What a class may, as far down as others' bits stand.
    Class { shift: u32 },
}

const STICKY: u32 = 0o1000;
const EVERYBODY: u32 = 0o6777;

impl ModeChange {
    pub(super) fn new(mode: Option<&CopyMode>) -> Self {
        match mode {
            None => Self::Keep,
            Some(CopyMode::Octal(mode)) => Self::Set(*mode),
            Some(CopyMode::Symbolic(text)) => Self::Changes(text.split(',').flat_map(clause).collect()),
        }
    }

    /// The mode that something gets that had another one.
    pub(super) fn apply(&self, before: u32, is_directory: bool) -> u32 {
        match self {
            Self::Keep => before,
            Self::Set(mode) => *mode,
            Self::Changes(changes) => {
                let execute = if is_directory || before & 0o111 != 0 { 0o111 } else { 0 };
                changes.iter().fold(before, |mode, change| change.apply(mode, execute))
            }
        }
    }

    /// What directories get that have to be made for what is copied.
    pub(super) fn of_parents(&self) -> u32 {
        match self {
            Self::Set(mode) => *mode,
            Self::Keep | Self::Changes(_) => 0o755,
        }
    }
}

/// Planning has refused what is none.
fn clause(text: &str) -> Vec<Change> {
    let changes = text.trim_start_matches(['u', 'g', 'o', 'a']);
    let classes = &text[..text.len() - changes.len()];
    let of = classes.chars().map(class_bits).fold(0, |all, bits| all | bits);
    let of = if of == 0 { EVERYBODY } else { of };
    let mut parsed = Vec::new();
    let mut rest = changes;
    while let Some(sign) = rest.chars().next() {
        let how = match sign {
            '+' => How::Add,
            '-' => How::Remove,
            _ => How::Set,
        };
        let after = &rest[sign.len_utf8()..];
        let end = after.find(['+', '-', '=']).unwrap_or(after.len());
        parsed.push(change(how, of, &after[..end]));
        rest = &after[end..];
    }
    parsed
}

fn class_bits(class: char) -> u32 {
    match class {
        'u' => 0o4700,
        'g' => 0o2070,
        'o' => 0o0007,
        _ => EVERYBODY,
    }
}

fn change(how: How, of: u32, what: &str) -> Change {
    let shift = match what {
        "u" => Some(6),
        "g" => Some(3),
        "o" => Some(0),
        _ => None,
    };
    if let Some(shift) = shift {
        return Change { how, of, sticky: false, what: What::Class { shift } };
    }
    // For others alone these two mean nothing.
    let is_for_others = of == class_bits('o');
    let bits = what.chars().map(|letter| match letter {
        'r' => 0o444,
        'w' => 0o222,
        'x' => 0o111,
        's' if !is_for_others => 0o6000,
        _ => 0,
    });
    let bits = bits.fold(0, |all, bits| all | bits);
    let sticky = what.contains('t') && !is_for_others;
    Change { how, of, sticky, what: What::Bits { bits, execute_if_any: what.contains('X') } }
}

impl Change {
    fn apply(&self, mode: u32, execute: u32) -> u32 {
        let (bits, cleared) = match self.what {
            What::Bits { bits, execute_if_any } => {
                (if execute_if_any { bits | execute } else { bits }, self.of)
            }
            // What a class may is what it may read, write and execute.
            What::Class { shift } => (((mode >> shift) & 7) * 0o111, self.of & 0o777),
        };
        let sticky = if self.sticky { STICKY } else { 0 };
        let bits = bits & self.of | sticky;
        match self.how {
            How::Add => mode | bits,
            How::Remove => mode & !bits,
            How::Set => mode & !(cleared | sticky) | bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_changed_as_chmod_does() {
        for (changes, before, of_file, of_directory) in [
            ("u=rwX,go=rX", 0o644, 0o644, 0o755),
            ("u=rwX,go=rX", 0o700, 0o755, 0o755),
            ("u=rwX,go=rX", 0o4777, 0o755, 0o755),
            ("+x", 0o644, 0o755, 0o755),
            ("a-w", 0o666, 0o444, 0o444),
            ("a=", 0o7777, 0o1000, 0o1000),
            ("=rw", 0o4711, 0o666, 0o666),
            ("u+x-w", 0o644, 0o544, 0o544),
            ("g=u", 0o640, 0o660, 0o660),
            ("g=u,o=g", 0o640, 0o666, 0o666),
            ("o+u", 0o741, 0o747, 0o747),
            ("go-u", 0o477, 0o433, 0o433),
            ("g=o", 0o2664, 0o2644, 0o2644),
            ("u+s", 0o755, 0o4755, 0o4755),
            ("g+s", 0o755, 0o2755, 0o2755),
            ("+s", 0o755, 0o6755, 0o6755),
            ("o+s", 0o755, 0o755, 0o755),
            ("+t", 0o755, 0o1755, 0o1755),
            ("o+t", 0o755, 0o755, 0o755),
            ("-t", 0o1755, 0o755, 0o755),
            ("u=rw", 0o4755, 0o655, 0o655),
            ("g+X", 0o640, 0o640, 0o650),
            ("-x,+X", 0o744, 0o755, 0o755),
            ("ugo=r,o-r", 0o777, 0o440, 0o440),
        ] {
            let change = ModeChange::new(Some(&CopyMode::Symbolic(changes.to_owned())));
            let shown = |mode: u32| format!("{mode:04o}");
            assert_eq!(shown(change.apply(before, false)), shown(of_file), "{changes} of {before:o}");
            assert_eq!(shown(change.apply(before, true)), shown(of_directory), "{changes} of a directory");
        }
    }
}
